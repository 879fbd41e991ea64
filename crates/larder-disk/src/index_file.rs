//! The index file: the whole index, written by a clean close, so that opening need not go through the log.
//!
//! It is believed only if it is whole and the segments are exactly those it was written for; and it is deleted before
//! the log changes again.

use larder_core::{Clock, MAX_KEY_BYTES, Version};
use xxhash_rust::xxh3::xxh3_64;

use crate::{
    books::{self, Books},
    frame::{Life, Position, SEGMENT_HEAD_BYTES, frame_bytes},
    index::Slot,
    shared::Shared,
};

/// Its name.
pub(crate) const NAME: &str = "larder.index";

const MAGIC: &[u8; 8] = b"LARDIDX2";
const CHECK_BYTES: usize = 8;
/// What it takes beside its entries, segments and barriers. Each of these takes no more in it than in the log.
pub(crate) const HEAD_BYTES: usize = 48 + books::HEAD_BYTES;
/// What an entry takes beside its key.
const ENTRY_BYTES: usize = 30;

/// What an index file says.
#[derive(Debug)]
pub(crate) struct Saved {
    /// Ids and lengths, oldest first.
    pub(crate) segments: Vec<(u32, u64)>,
    /// The segment that may grow, if one may.
    pub(crate) active: Option<u32>,
    pub(crate) sequence: u64,
    pub(crate) books: Books,
    /// In the order of their keys.
    pub(crate) entries: Vec<(Box<[u8]>, Slot)>,
}

/// Writes down what is alive.
pub(crate) fn encode(shared: &Shared, active: Option<u32>) -> Vec<u8> {
    let (now, wall) = (shared.clock.now(), shared.clock.wall());
    let index = shared.index.read();
    let mut out = Vec::with_capacity(64 + index.entries() * (ENTRY_BYTES + 48));
    out.extend_from_slice(MAGIC);
    out.extend_from_slice(&shared.sequence.current().get().to_le_bytes());
    out.extend_from_slice(&wall.as_millis().to_le_bytes());
    out.extend_from_slice(&active.unwrap_or(0).to_le_bytes());
    out.extend_from_slice(&u32::try_from(index.segments().len()).unwrap_or(u32::MAX).to_le_bytes());
    for segment in index.segments() {
        out.extend_from_slice(&segment.id.to_le_bytes());
        out.extend_from_slice(&segment.len().to_le_bytes());
    }
    let books = shared.books.lock();
    let barriers = books.encode(&*shared.clock);
    out.extend_from_slice(&books.since().unwrap_or(0).to_le_bytes());
    out.extend_from_slice(&u32::try_from(barriers.len()).expect("at most 16 MiB").to_le_bytes());
    out.extend_from_slice(&barriers);
    for (key, slot) in index.range(&[], None, usize::MAX).filter(|(_, slot)| slot.is_live(now)) {
        let deadline = wall.after(now.until(slot.deadline));
        out.extend_from_slice(&u16::try_from(key.len()).expect("keys are at most 1 KiB").to_le_bytes());
        out.extend_from_slice(key);
        out.extend_from_slice(&slot.at.segment.to_le_bytes());
        out.extend_from_slice(&slot.at.offset.to_le_bytes());
        out.extend_from_slice(&slot.payload_len.to_le_bytes());
        out.extend_from_slice(&slot.version.get().to_le_bytes());
        out.extend_from_slice(&deadline.as_millis().to_le_bytes());
    }
    let check = xxh3_64(&out);
    out.extend_from_slice(&check.to_le_bytes());
    out
}

/// Reads it back, leaving out what has expired. `None` unless every bit is as it was written. Allocates no more than a
/// small multiple of the bytes present.
pub(crate) fn decode(bytes: &[u8], clock: &dyn Clock) -> Option<Saved> {
    let (body, check) = bytes.split_last_chunk::<CHECK_BYTES>()?;
    if xxh3_64(body) != u64::from_le_bytes(*check) {
        return None;
    }
    let mut input = Input(body);
    if input.take::<8>()? != *MAGIC {
        return None;
    }
    let (sequence, closed_at) = (input.u64()?, input.u64()?);
    let active = Some(input.u32()?).filter(|&id| id != 0);
    let count = input.u32()?;
    let mut segments = Vec::new();
    for _ in 0..count {
        segments.push((input.u32()?, input.u64()?));
    }
    let since = Some(input.u32()?).filter(|&id| id != 0);
    let barriers_len = usize::try_from(input.u32()?).ok()?;
    let mut books = Books::decode(input.slice(barriers_len)?, clock)?;
    books.note_since(since);
    let (now, wall) = (clock.now(), clock.wall());
    let mut entries = Vec::with_capacity(input.0.len() / (ENTRY_BYTES + 16));
    while !input.0.is_empty() {
        let key_len = usize::from(u16::from_le_bytes(input.take()?));
        let key = input.slice(key_len)?;
        let at = Position { segment: input.u32()?, offset: input.u32()? };
        let (payload_len, version, deadline) = (input.u32()?, input.u64()?, input.u64()?);
        if key_len > MAX_KEY_BYTES || !fits(&segments, at, frame_bytes(key_len, payload_len)) {
            return None;
        }
        let life = Life::from_parts(deadline, deadline.saturating_sub(closed_at));
        if let Some(deadline) = life.resume(now, wall) {
            entries.push((key.into(), Slot::new(at, payload_len, Version::new(version), deadline)));
        }
    }
    Some(Saved { segments, active, sequence, books, entries })
}

/// Whether a frame of this size can stand there.
fn fits(segments: &[(u32, u64)], at: Position, size: u64) -> bool {
    let Some(first) = segments.first() else { return false };
    let place = at.segment.checked_sub(first.0).and_then(|nth| segments.get(nth as usize));
    place.is_some_and(|&(id, len)| {
        let offset = u64::from(at.offset);
        id == at.segment && offset >= SEGMENT_HEAD_BYTES as u64 && offset + size <= len
    })
}

struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (head, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*head)
    }

    fn slice(&mut self, len: usize) -> Option<&'a [u8]> {
        let (head, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(head)
    }

    fn u32(&mut self) -> Option<u32> {
        self.take().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Option<u64> {
        self.take().map(u64::from_le_bytes)
    }
}
