//! The slots of a shard: keys and entries in one array, named by their number.

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
    /// Linked with the other free ones.
    Free {
        before: u32,
        after: u32,
    },
}

/// What a slot takes, in bytes.
#[cfg(test)]
pub(super) const CELL_BYTES: usize = size_of::<Cell>();

/// The slots. The free ones among them are bounded: see [`settle`](Self::settle).
pub(super) struct Slab {
    cells: Vec<Cell>,
    /// The free cell to fill next.
    free: u32,
    len: usize,
}

/// One free slot in so many is kept for entries to come, and these besides.
const FREE_PARTS: usize = 8;
const FREE_MIN: usize = 64;

impl Slab {
    pub(super) fn new() -> Self {
        Self { cells: Vec::new(), free: NONE, len: 0 }
    }

    /// How many slots are full.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Every full slot's number is below this.
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
        let index = self.free;
        if index != NONE {
            self.unlink_free(index);
            self.cells[index as usize] = Cell::Full(slot);
            return index;
        }
        if self.cells.len() == self.cells.capacity() {
            // By a quarter, not by half: the room that nobody uses yet is memory, too.
            self.cells.reserve_exact(self.cells.len() / 4 + 16);
        }
        self.cells.push(Cell::Full(slot));
        self.end() - 1
    }

    pub(super) fn remove(&mut self, index: u32) -> Slot {
        let cell =
            std::mem::replace(&mut self.cells[index as usize], Cell::Free { before: NONE, after: self.free });
        if let Some(Cell::Free { before, .. }) = self.cells.get_mut(self.free as usize) {
            *before = index;
        }
        self.free = index;
        self.len -= 1;
        match cell {
            Cell::Full(slot) => slot,
            Cell::Free { .. } => unreachable!("{EMPTY}"),
        }
    }

    /// Gives room back after a removal, so that slots once needed for many small entries do not stay when few large
    /// ones have taken their place. Moves one slot at most, down to the number it answers second, and never up:
    /// whoever passes the slots in falling order misses nobody.
    pub(super) fn settle(&mut self) -> Option<(u32, u32)> {
        if self.cells.len() - self.len <= FREE_MIN + self.len / FREE_PARTS {
            return None;
        }
        self.drop_free_end();
        let moved = self.fill_from_end();
        if self.cells.capacity() > 2 * (self.cells.len() + FREE_MIN) {
            self.cells.shrink_to(self.cells.len() + self.cells.len() / 4);
        }
        moved
    }

    fn drop_free_end(&mut self) {
        while let Some(Cell::Free { .. }) = self.cells.last() {
            self.unlink_free(self.end() - 1);
            self.cells.pop();
        }
    }

    fn fill_from_end(&mut self) -> Option<(u32, u32)> {
        let to = self.free;
        if to == NONE {
            return None;
        }
        self.unlink_free(to);
        let last = self.cells.pop().expect("a free cell that is not the last has one behind it");
        self.cells[to as usize] = last;
        Some((self.end(), to))
    }

    fn unlink_free(&mut self, index: u32) {
        let Cell::Free { before, after } = self.cells[index as usize] else {
            unreachable!("the list of free cells names free cells only")
        };
        match self.cells.get_mut(before as usize) {
            Some(Cell::Free { after: link, .. }) => *link = after,
            _ => self.free = after,
        }
        if let Some(Cell::Free { before: link, .. }) = self.cells.get_mut(after as usize) {
            *link = before;
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
