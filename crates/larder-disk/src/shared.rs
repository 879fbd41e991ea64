//! What readers and the writer share: the index, the leases, the sequence; and how an entry is read.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use bytes::Bytes;
use larder_core::{
    Clock, Error, ErrorKind, Found, Grant, Key, LeaseFor, LeaseRequest, Moment, Read, Result, Stored,
};
use parking_lot::{Mutex, RwLock};

use crate::{
    books::Books,
    frame::{HEAD_BYTES, Head, Kind, Position, frame_bytes},
    index::Index,
    lease::{Asked, Leases, Sequence},
    segment::Segment,
};

/// Entries up to this size are read on the calling thread when they are in memory. Copying and checking more would
/// hold up the other tasks of that thread.
const AT_ONCE_BYTES: usize = 256 << 10;
/// How often a read starts over because the entry it found turned out damaged.
const ATTEMPTS: usize = 3;

/// Shared by all handles and the writer. Locks are taken in the order of the fields.
pub(crate) struct Shared {
    pub(crate) index: RwLock<Index>,
    pub(crate) leases: Mutex<Leases>,
    pub(crate) books: Mutex<Books>,
    pub(crate) sequence: Sequence,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) closed: AtomicBool,
    pub(crate) counters: Counters,
}

/// What is counted as it happens.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) evicted: AtomicU64,
    pub(crate) rewritten_bytes: AtomicU64,
    pub(crate) damaged: AtomicU64,
    pub(crate) failures: AtomicU64,
}

/// Adds one.
pub(crate) fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

/// Where an entry was when it was looked up. It can be read from there even if it has been replaced since.
#[derive(Debug)]
pub(crate) struct Place {
    segment: Arc<Segment>,
    at: Position,
    frame_bytes: usize,
}

/// What reading without waiting led to.
pub(crate) enum AtOnce {
    Found(Found),
    /// It takes the device.
    Later(Place),
}

enum Looked {
    Answer(Found),
    At(Place),
}

impl Shared {
    /// Answers a read, unless that takes the device.
    ///
    /// # Errors
    /// `Unavailable` when the device fails.
    pub(crate) fn read_at_once(&self, read: &Read) -> Result<AtOnce> {
        for _ in 0..ATTEMPTS {
            let place = match self.look(read) {
                Looked::Answer(found) => return Ok(AtOnce::Found(found)),
                Looked::At(place) if place.frame_bytes > AT_ONCE_BYTES => return Ok(AtOnce::Later(place)),
                Looked::At(place) => place,
            };
            let mut bytes = vec![0; place.frame_bytes];
            match place.segment.read_now(&mut bytes, u64::from(place.at.offset)) {
                Ok(false) => return Ok(AtOnce::Later(place)),
                Ok(true) => match open(bytes, &read.key, place.at) {
                    Some(stored) => return Ok(AtOnce::Found(Found::Hit(stored))),
                    None => self.forget(&read.key, &place),
                },
                Err(cause) => return Err(self.unreadable(&read.key, &place, cause)),
            }
        }
        Ok(AtOnce::Found(Found::Miss))
    }

    /// Answers a read that takes the device; blocks.
    ///
    /// # Errors
    /// `Unavailable` when the device fails.
    pub(crate) fn read_blocking(&self, read: &Read, mut place: Place) -> Result<Found> {
        for _ in 0..ATTEMPTS {
            let mut bytes = vec![0; place.frame_bytes];
            match place.segment.read(&mut bytes, u64::from(place.at.offset)) {
                Ok(()) => match open(bytes, &read.key, place.at) {
                    Some(stored) => return Ok(Found::Hit(stored)),
                    None => self.forget(&read.key, &place),
                },
                Err(cause) if cause.kind() == io::ErrorKind::UnexpectedEof => self.forget(&read.key, &place),
                Err(cause) => return Err(self.unreadable(&read.key, &place, cause)),
            }
            place = match self.look(read) {
                Looked::Answer(found) => return Ok(found),
                Looked::At(next) => next,
            };
        }
        Ok(Found::Miss)
    }

    /// What a key holds; blocks if that takes the device.
    ///
    /// # Errors
    /// `Unavailable` when the device fails.
    pub(crate) fn get_blocking(&self, key: &Key) -> Result<Option<Stored>> {
        let read = Read { key: key.clone(), lease: None };
        let found = match self.read_at_once(&read)? {
            AtOnce::Found(found) => found,
            AtOnce::Later(place) => self.read_blocking(&read, place)?,
        };
        Ok(if let Found::Hit(stored) = found { Some(stored) } else { None })
    }

    /// Looks a key up; a lease is granted under the same lock, so nothing comes between.
    fn look(&self, read: &Read) -> Looked {
        let now = self.clock.now();
        let index = self.index.read();
        let refresh = read.lease.is_some_and(|lease| lease.when == LeaseFor::Refresh);
        if !refresh
            && let Some(slot) = index.get_live(read.key.as_bytes(), now)
            && let Some(segment) = index.segment(slot.at.segment)
        {
            slot.visit();
            let frame_bytes = frame_bytes(read.key.as_bytes().len(), slot.payload_len) as usize;
            return Looked::At(Place { segment: Arc::clone(segment), at: slot.at, frame_bytes });
        }
        Looked::Answer(match read.lease {
            Some(lease) => self.ask(&read.key, lease, now),
            None => Found::Miss,
        })
    }

    fn ask(&self, key: &Key, lease: LeaseRequest, now: Moment) -> Found {
        let next = Grant { version: self.sequence.current() };
        match self.leases.lock().ask(key, lease, next, now) {
            Asked::Granted(grant) => Found::Granted(grant),
            Asked::Held => Found::Held,
            Asked::Full => Found::Miss,
        }
    }

    /// Lets go of an entry that is not what was written. Only if it is still that one.
    fn forget(&self, key: &Key, place: &Place) {
        if self.index.write().remove_at(key.as_bytes(), place.at) {
            count(&self.counters.damaged);
        }
    }

    /// A failing device is told, once for each entry: the next read of it is a miss, so that it can be loaded again.
    fn unreadable(&self, key: &Key, place: &Place, cause: io::Error) -> Error {
        count(&self.counters.failures);
        self.forget(key, place);
        Error::because(ErrorKind::Unavailable, "the disk tier could not read an entry", cause).at_key(key)
    }

    /// # Errors
    /// `Closed` once the store is.
    pub(crate) fn check_open(&self) -> Result<()> {
        if self.closed.load(Ordering::Acquire) { Err(closed()) } else { Ok(()) }
    }
}

/// The error of every call after close.
pub(crate) fn closed() -> Error {
    Error::new(ErrorKind::Closed, "the disk store is closed; open it anew")
}

/// Checks a whole frame and takes the payload out, without copying it.
fn open(bytes: Vec<u8>, key: &Key, at: Position) -> Option<Stored> {
    let head = Head::read(&bytes, at)?;
    let payload_at = HEAD_BYTES + head.key_len;
    let whole = head.kind == Kind::Put
        && bytes.get(HEAD_BYTES..payload_at)? == key.as_bytes()
        && head.accepts_payload(key.as_bytes(), bytes.get(payload_at..)?);
    whole.then(|| Stored { version: head.version, bytes: Bytes::from(bytes).slice(payload_at..) })
}
