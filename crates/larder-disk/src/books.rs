//! Barriers as the store keeps them: which stand, how far their sequence is, and their form in the log.
//!
//! A frame in the log tells which were raised together; it is whole or not there. All that stand are written anew, in one
//! frame in place of all before it, when the segment with the oldest frame that matters is about to leave, or when
//! they become too many and are forgotten. Every segment's header says in which segment these frames begin, so that
//! recovery notices if one is missing. Then it is not known any more what was invalidated, and everything older counts as
//! invalid: the floor.

use std::{collections::BTreeMap, time::Duration};

use bytes::Bytes;
use larder_core::{
    Barrier, Barriers, Clock, Error, ErrorKind, MAX_KEY_BYTES, Moment, Raise, Result, Standing, Tip, Version,
};

use crate::frame::{Draft, Kind, Life, Position};

/// How many barriers stand at most; beyond, everything that is older than the last is invalid and they are forgotten.
const BARRIERS_MAX: usize = 10_000;
/// What they may take at most, written down.
const BYTES_MAX: u64 = 16 << 20;
/// What a frame of them has at most beside its head.
pub(crate) const PAYLOAD_BYTES_MAX: usize = HEAD_BYTES + BYTES_MAX as usize;
/// What is written before them, and of each beside its name and note.
pub(crate) const HEAD_BYTES: usize = 16;
const ENTRY_BYTES: usize = 30;

/// What the store knows of barriers. Only the writer changes it.
#[derive(Debug)]
pub(crate) struct Books {
    standing: BTreeMap<Bytes, Kept>,
    /// What those take, written down.
    bytes: usize,
    tip: u64,
    floor: u64,
    /// The segment in which their frames begin; `None` if there are none.
    since: Option<u32>,
    /// Whether they are to be written anew before anything else.
    owed: bool,
}

#[derive(Debug)]
struct Kept {
    standing: Standing,
    /// How long it matters, from when it was raised.
    keep_ms: u64,
    forget_at: Moment,
}

/// A frame to be.
#[derive(Debug)]
pub(crate) struct Entry {
    kind: Kind,
    tip: u64,
    payload: Vec<u8>,
}

impl Entry {
    pub(crate) fn draft(&self) -> Draft<'_> {
        let (version, life) = (Version::new(self.tip), Life::from_parts(0, 0));
        Draft { kind: self.kind, drawn: false, key: &[], payload: &self.payload, version, life }
    }

    pub(crate) fn at(&self) -> Barrier {
        Barrier::new(self.tip)
    }
}

impl Books {
    /// Books that begin at this number, with everything below it invalid.
    pub(crate) fn begin(number: u64) -> Self {
        let number = number.min(Version::MAX.get());
        Self { standing: BTreeMap::new(), bytes: 0, tip: number, floor: number, since: None, owed: false }
    }

    /// Nothing is known any more of what was raised: everything below this number is invalid.
    pub(crate) fn begin_anew(&mut self, number: u64) {
        *self = Self { owed: true, ..Self::begin(number.max(self.tip)) };
    }

    /// The sequence goes on at least here, the floor at least there.
    pub(crate) fn raise_to(&mut self, tip: u64, floor: u64) {
        self.tip = self.tip.max(tip).min(Version::MAX.get());
        self.floor = self.floor.max(floor);
    }

    /// The last number that was drawn.
    pub(crate) fn tip(&self) -> u64 {
        self.tip
    }

    /// Everything that is older is invalid.
    pub(crate) fn floor(&self) -> u64 {
        self.floor
    }

    /// The segment in which their frames begin, if there are any.
    pub(crate) fn since(&self) -> Option<u32> {
        self.since
    }

    /// What the header of a segment says.
    pub(crate) fn note_since(&mut self, since: Option<u32>) {
        self.since = since.or(self.since);
    }

    /// Whether they are to be written anew before anything else.
    pub(crate) fn are_owed(&self) -> bool {
        self.owed
    }

    /// What stands under these names.
    pub(crate) fn find(&self, names: &[Bytes], history: u64, now: Moment) -> Barriers {
        let find = |name| self.live(name, now).cloned();
        Barriers {
            tip: Tip { number: self.tip, history },
            floor: Barrier::new(self.floor),
            found: names.iter().map(find).collect(),
        }
    }

    /// What raising these takes. `None` if the first does not stand where it was expected.
    ///
    /// # Errors
    /// `Rejected` when a name is longer than a key may be, or when they are together larger than all barriers may be.
    /// `Unavailable` when the sequence is used up.
    pub(crate) fn draft(
        &mut self,
        raise: &Raise,
        segment_bytes: u64,
        clock: &dyn Clock,
    ) -> Result<Option<Entry>> {
        let now = clock.now();
        let first = raise.barriers.first().and_then(|(name, _)| self.live(name, now));
        let stands = first.map_or(Barrier::ZERO, |standing| standing.at);
        if raise.expected.is_some_and(|expected| expected != stands) {
            return Ok(None);
        }
        let bytes_max = usize::try_from(BYTES_MAX.min(segment_bytes / 2)).unwrap_or(usize::MAX);
        let more: usize = raise.barriers.iter().map(|(name, note)| entry_bytes(name, note)).sum();
        if more > bytes_max || raise.barriers.iter().any(|(name, _)| name.len() > MAX_KEY_BYTES) {
            return Err(too_large(more, bytes_max));
        }
        let tip = self.tip + 1;
        if tip > Version::MAX.get() {
            return Err(Error::new(ErrorKind::Unavailable, "the disk tier's barriers are used up"));
        }
        if self.is_full_for(raise, bytes_max) {
            self.prune(now);
        }
        if self.is_full_for(raise, bytes_max) {
            return Ok(Some(Entry { kind: Kind::AllBarriers, tip, payload: payload_head(tip, tip) }));
        }
        let mut payload = payload_head(tip, self.floor);
        let (deadline, keep_ms) = (now.after(raise.keep), millis(raise.keep));
        for (name, note) in &raise.barriers {
            let standing = Standing { at: Barrier::new(tip), note: note.clone() };
            put(&mut payload, name, &Kept { standing, keep_ms, forget_at: deadline }, clock);
        }
        Ok(Some(Entry { kind: Kind::Barriers, tip, payload }))
    }

    /// All that stand, in one frame in place of all before it.
    pub(crate) fn all(&mut self, clock: &dyn Clock) -> Entry {
        self.prune(clock.now());
        Entry { kind: Kind::AllBarriers, tip: self.tip, payload: self.encode(clock) }
    }

    /// An entry was written there: it holds from here on.
    pub(crate) fn written(&mut self, entry: &Entry, at: Position, clock: &dyn Clock) {
        let read = self.take(entry.kind, &entry.payload, at, clock);
        debug_assert!(read.is_some(), "what was just laid out is read");
        self.owed = false;
    }

    /// Takes in the payload of a frame that stands there. `None` if it is not what was written.
    pub(crate) fn take(&mut self, kind: Kind, payload: &[u8], at: Position, clock: &dyn Clock) -> Option<()> {
        match kind {
            Kind::AllBarriers => {
                let since = Some(at.segment);
                let all = Self { since, ..Self::decode(payload, clock)? };
                let (tip, floor) = (self.tip, self.floor);
                *self = all;
                self.raise_to(tip, floor);
            }
            _ => {
                self.merge(payload, clock)?;
                self.since = self.since.or(Some(at.segment));
            }
        }
        Some(())
    }

    /// All that stand, as the index file keeps them.
    pub(crate) fn encode(&self, clock: &dyn Clock) -> Vec<u8> {
        let now = clock.now();
        let mut out = payload_head(self.tip, self.floor);
        let live = self.standing.iter().filter(|(_, kept)| kept.forget_at > now);
        live.for_each(|(name, kept)| put(&mut out, name, kept, clock));
        out
    }

    /// Reads what [`encode`](Self::encode) wrote, leaving out what no longer matters.
    pub(crate) fn decode(bytes: &[u8], clock: &dyn Clock) -> Option<Self> {
        let mut books = Self::begin(0);
        books.merge(bytes, clock)?;
        Some(books)
    }

    fn merge(&mut self, payload: &[u8], clock: &dyn Clock) -> Option<()> {
        let (now, wall) = (clock.now(), clock.wall());
        let mut rest = payload;
        let (tip, floor) = (u64_of(&mut rest)?, u64_of(&mut rest)?);
        let mut entries = Vec::new();
        while !rest.is_empty() {
            let (number, deadline, keep_ms) = (u64_of(&mut rest)?, u64_of(&mut rest)?, u64_of(&mut rest)?);
            let name_len = u16::from_le_bytes(*take(&mut rest)?);
            let note_len = u32::from_le_bytes(*take(&mut rest)?);
            let name = slice(&mut rest, usize::from(name_len))?;
            let note = slice(&mut rest, usize::try_from(note_len).ok()?)?;
            entries.push((name, number, note, deadline, keep_ms));
        }
        for (name, number, note, deadline, keep_ms) in entries {
            self.remove(name);
            if let Some(forget_at) = Life::from_parts(deadline, keep_ms).resume(now, wall) {
                let standing = Standing { at: Barrier::new(number), note: Bytes::copy_from_slice(note) };
                self.bytes += entry_bytes(name, note);
                self.standing.insert(Bytes::copy_from_slice(name), Kept { standing, keep_ms, forget_at });
            }
        }
        self.raise_to(tip, floor);
        Some(())
    }

    fn live(&self, name: &Bytes, now: Moment) -> Option<&Standing> {
        self.standing.get(name).filter(|kept| kept.forget_at > now).map(|kept| &kept.standing)
    }

    fn is_full_for(&self, raise: &Raise, bytes_max: usize) -> bool {
        let (mut names, mut bytes) = (self.standing.len(), self.bytes);
        for (name, note) in &raise.barriers {
            match self.standing.get(name) {
                Some(kept) => bytes -= kept.standing.note.len().min(bytes),
                None => (names, bytes) = (names + 1, bytes + ENTRY_BYTES + name.len()),
            }
            bytes += note.len();
        }
        names > BARRIERS_MAX || bytes > bytes_max
    }

    fn prune(&mut self, now: Moment) {
        self.standing.retain(|_, kept| kept.forget_at > now);
        self.bytes = self.standing.iter().map(|(name, kept)| entry_bytes(name, &kept.standing.note)).sum();
    }

    fn remove(&mut self, name: &[u8]) {
        if let Some(kept) = self.standing.remove(name) {
            self.bytes -= entry_bytes(name, &kept.standing.note);
        }
    }
}

fn payload_head(tip: u64, floor: u64) -> Vec<u8> {
    [tip.to_le_bytes(), floor.to_le_bytes()].concat()
}

fn put(out: &mut Vec<u8>, name: &[u8], kept: &Kept, clock: &dyn Clock) {
    let life = Life::until(kept.forget_at, clock);
    out.extend_from_slice(&kept.standing.at.get().to_le_bytes());
    out.extend_from_slice(&life.deadline_ms().to_le_bytes());
    // As long as at first, and not as is left: no entry that it is about may outlive it, however clocks step.
    out.extend_from_slice(&kept.keep_ms.to_le_bytes());
    out.extend_from_slice(&u16::try_from(name.len()).expect("names are at most 1 KiB").to_le_bytes());
    let note_len = u32::try_from(kept.standing.note.len()).expect("notes are at most 16 MiB");
    out.extend_from_slice(&note_len.to_le_bytes());
    out.extend_from_slice(name);
    out.extend_from_slice(&kept.standing.note);
}

fn entry_bytes(name: &[u8], note: &[u8]) -> usize {
    ENTRY_BYTES + name.len() + note.len()
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX).max(1)
}

fn take<'a, const N: usize>(rest: &mut &'a [u8]) -> Option<&'a [u8; N]> {
    let (taken, behind) = rest.split_first_chunk()?;
    *rest = behind;
    Some(taken)
}

fn slice<'a>(rest: &mut &'a [u8], len: usize) -> Option<&'a [u8]> {
    let (taken, behind) = rest.split_at_checked(len)?;
    *rest = behind;
    Some(taken)
}

fn u64_of(rest: &mut &[u8]) -> Option<u64> {
    take(rest).map(|bytes| u64::from_le_bytes(*bytes))
}

fn too_large(bytes: usize, max: usize) -> Error {
    let what = format!(
        "the barriers take {bytes} bytes, {max} are allowed, and {MAX_KEY_BYTES} for a name; raise fewer at once"
    );
    Error::new(ErrorKind::Rejected, what)
}
