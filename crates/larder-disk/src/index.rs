//! The index: every key that the store holds, in order, with the place of its entry in the log.

use std::{
    collections::{BTreeMap, VecDeque},
    ops::Bound,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use larder_core::{Moment, Version};

use crate::{
    frame::{self, Position},
    segment::Segment,
};

/// Where an entry is and what must be known of it without reading it: 32 bytes. The tree adds the key, its
/// allocation and its own slack: about 100 bytes an entry in all, beside the key's own (measured: 110 with a key of
/// 20 bytes, written in random order).
#[derive(Debug)]
pub(crate) struct Slot {
    pub(crate) at: Position,
    pub(crate) payload_len: u32,
    /// Read since it was written: worth a second round through the log.
    visited: AtomicBool,
    pub(crate) version: Version,
    pub(crate) deadline: Moment,
}

impl Slot {
    pub(crate) fn new(at: Position, payload_len: u32, version: Version, deadline: Moment) -> Self {
        Self { at, payload_len, visited: AtomicBool::new(false), version, deadline }
    }

    pub(crate) fn is_live(&self, now: Moment) -> bool {
        now < self.deadline
    }

    /// Marks it as read; writes only the first time, so that hot entries stay in every core's cache.
    pub(crate) fn visit(&self) {
        if !self.visited.load(Ordering::Relaxed) {
            self.visited.store(true, Ordering::Relaxed);
        }
    }

    pub(crate) fn is_visited(&self) -> bool {
        self.visited.load(Ordering::Relaxed)
    }
}

/// The keys and the segments their entries are in.
#[derive(Debug, Default)]
pub(crate) struct Index {
    entries: BTreeMap<Box<[u8]>, Slot>,
    /// Oldest first, ids without gaps.
    segments: VecDeque<Arc<Segment>>,
    /// How many bytes of the log belong to indexed entries.
    live_bytes: u64,
}

impl Index {
    /// The entry under a key, dead or alive.
    pub(crate) fn get(&self, key: &[u8]) -> Option<&Slot> {
        self.entries.get(key)
    }

    /// The entry under a key, if it is alive.
    pub(crate) fn get_live(&self, key: &[u8], now: Moment) -> Option<&Slot> {
        self.get(key).filter(|slot| slot.is_live(now))
    }

    /// How many entries there are, expired ones included.
    pub(crate) fn entries(&self) -> usize {
        self.entries.len()
    }

    pub(crate) fn live_bytes(&self) -> u64 {
        self.live_bytes
    }

    /// Puts an entry, in place of the one that was there.
    pub(crate) fn put(&mut self, key: &[u8], slot: Slot) {
        self.live_bytes += frame::frame_bytes(key.len(), slot.payload_len);
        let old = match self.entries.get_mut(key) {
            Some(place) => Some(std::mem::replace(place, slot)),
            None => self.entries.insert(key.into(), slot),
        };
        self.forget_bytes(key.len(), old);
    }

    /// Takes all entries at once, sorted by key and each key once, in place of what was there.
    pub(crate) fn fill(&mut self, entries: Vec<(Box<[u8]>, Slot)>) {
        self.live_bytes =
            entries.iter().map(|(key, slot)| frame::frame_bytes(key.len(), slot.payload_len)).sum();
        self.entries = entries.into_iter().collect();
    }

    /// Takes an entry out. Answers whether there was one.
    pub(crate) fn remove(&mut self, key: &[u8]) -> bool {
        let old = self.entries.remove(key);
        let found = old.is_some();
        self.forget_bytes(key.len(), old);
        found
    }

    /// Takes an entry out if it still is at this place.
    pub(crate) fn remove_at(&mut self, key: &[u8], at: Position) -> bool {
        self.get(key).is_some_and(|slot| slot.at == at) && self.remove(key)
    }

    /// Takes out all entries that were in this segment.
    pub(crate) fn remove_segment(&mut self, id: u32) -> u64 {
        let before = self.entries.len();
        let freed: u64 = self
            .entries
            .extract_if(.., |_, slot| slot.at.segment == id)
            .map(|(key, slot)| frame::frame_bytes(key.len(), slot.payload_len))
            .sum();
        self.live_bytes -= freed;
        (before - self.entries.len()) as u64
    }

    /// Takes out all entries.
    pub(crate) fn clear(&mut self) {
        self.entries.clear();
        self.live_bytes = 0;
    }

    /// At most `limit` entries whose keys begin with `prefix`, in order, from just behind `after` on.
    pub(crate) fn range<'a>(
        &'a self,
        prefix: &'a [u8],
        after: Option<&'a [u8]>,
        limit: usize,
    ) -> impl Iterator<Item = (&'a [u8], &'a Slot)> {
        let from = match after {
            Some(after) if after >= prefix => Bound::Excluded(after),
            _ => Bound::Included(prefix),
        };
        self.entries
            .range::<[u8], _>((from, Bound::Unbounded))
            .take_while(move |(key, _)| key.starts_with(prefix))
            .take(limit)
            .map(|(key, slot)| (&**key, slot))
    }

    fn forget_bytes(&mut self, key_len: usize, old: Option<Slot>) {
        if let Some(old) = old {
            self.live_bytes -= frame::frame_bytes(key_len, old.payload_len);
        }
    }

    /// The segment with this id, if it is still there.
    pub(crate) fn segment(&self, id: u32) -> Option<&Arc<Segment>> {
        let first = self.segments.front()?.id;
        self.segments.get(usize::try_from(id.checked_sub(first)?).ok()?)
    }

    /// All segments, oldest first.
    pub(crate) fn segments(&self) -> impl ExactSizeIterator<Item = &Arc<Segment>> {
        self.segments.iter()
    }

    pub(crate) fn oldest_segment(&self) -> Option<&Arc<Segment>> {
        self.segments.front()
    }

    pub(crate) fn newest_segment(&self) -> Option<&Arc<Segment>> {
        self.segments.back()
    }

    /// Adds the newest segment. Segments before a gap in the ids are forgotten: they are part of no history.
    pub(crate) fn push_segment(&mut self, segment: Arc<Segment>) {
        debug_assert!(self.segments.back().is_none_or(|last| last.id + 1 == segment.id));
        self.segments.push_back(segment);
    }

    /// Lets go of the oldest segment; nothing may point into it any more.
    pub(crate) fn pop_segment(&mut self) {
        self.segments.pop_front();
    }

    /// How many bytes the segments take.
    pub(crate) fn used_bytes(&self) -> u64 {
        self.segments.iter().map(|segment| segment.len()).sum()
    }
}
