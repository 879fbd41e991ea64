//! The slots of a shard: entries that stay where they are while they live, named by their number.

use std::{
    ops::{Index, IndexMut},
    sync::atomic::{AtomicU8, Ordering},
};

use super::key::Key;
use crate::value::Entry;

/// The number that names no slot.
pub(super) const NONE: u32 = u32::MAX;

/// An entry with its key and what eviction knows about it, in one place.
pub(super) struct Slot {
    pub(super) key: Key,
    pub(super) hash: u64,
    pub(super) entry: Entry,
    /// With key and overhead, as it was counted.
    pub(super) weight: u64,
    /// The next older and the next younger one in its list.
    pub(super) older: u32,
    pub(super) younger: u32,
    /// In which queue or bucket it is; the policy's own numbering.
    pub(super) place: u32,
    visits: AtomicU8,
}

impl Slot {
    pub(super) fn new(key: Key, hash: u64, entry: Entry, weight: u64) -> Self {
        Self { key, hash, entry, weight, older: NONE, younger: NONE, place: 0, visits: AtomicU8::new(0) }
    }

    /// Counts a visit, up to `max`. Two at once may count as one, which eviction does not mind; and once the count is
    /// full nothing is written, so that readers of a popular entry share its cache line.
    pub(super) fn visit(&self, max: u8) {
        let visits = self.visits.load(Ordering::Relaxed);
        if visits < max {
            self.visits.store(visits + 1, Ordering::Relaxed);
        }
    }

    pub(super) fn visits(&mut self) -> &mut u8 {
        self.visits.get_mut()
    }
}

enum Cell {
    Full(Slot),
    Free { next: u32 },
}

/// The slots.
pub(super) struct Slab {
    cells: Vec<Cell>,
    free: u32,
    len: usize,
}

impl Slab {
    pub(super) fn new() -> Self {
        Self { cells: Vec::new(), free: NONE, len: 0 }
    }

    /// How many slots are full.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// How many numbers have ever named a slot; every full slot's is below.
    pub(super) fn end(&self) -> u32 {
        u32::try_from(self.cells.len()).expect("a shard holds fewer than 2^32 entries")
    }

    /// The slot of that number, if it is full.
    pub(super) fn at(&self, index: u32) -> Option<&Slot> {
        match self.cells.get(index as usize) {
            Some(Cell::Full(slot)) => Some(slot),
            _ => None,
        }
    }

    pub(super) fn insert(&mut self, slot: Slot) -> u32 {
        self.len += 1;
        if self.free == NONE {
            self.cells.push(Cell::Full(slot));
            return self.end() - 1;
        }
        let index = self.free;
        let cell = &mut self.cells[index as usize];
        if let Cell::Free { next } = *cell {
            self.free = next;
        }
        *cell = Cell::Full(slot);
        index
    }

    pub(super) fn remove(&mut self, index: u32) -> Slot {
        let cell = std::mem::replace(&mut self.cells[index as usize], Cell::Free { next: self.free });
        self.free = index;
        self.len -= 1;
        match cell {
            Cell::Full(slot) => slot,
            Cell::Free { .. } => unreachable!("{EMPTY}"),
        }
    }
}

const EMPTY: &str = "the index and the lists name full slots only";

impl Index<u32> for Slab {
    type Output = Slot;

    fn index(&self, index: u32) -> &Slot {
        match &self.cells[index as usize] {
            Cell::Full(slot) => slot,
            Cell::Free { .. } => unreachable!("{EMPTY}"),
        }
    }
}

impl IndexMut<u32> for Slab {
    fn index_mut(&mut self, index: u32) -> &mut Slot {
        match &mut self.cells[index as usize] {
            Cell::Full(slot) => slot,
            Cell::Free { .. } => unreachable!("{EMPTY}"),
        }
    }
}
