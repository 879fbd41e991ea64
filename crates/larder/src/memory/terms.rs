//! What many entries have in common, kept once: the epoch they were put in, and their windows.
//!
//! Entries of a namespace differ in their keys, values and deadlines, and in little else as a rule. What they share
//! is a handful of *terms* in each shard, which slots name by a number. The few entries that bear more than a slot has
//! room for (tags, a failed refresh, a deadline thousands of years away) have terms of their own.

#[cfg(test)]
mod tests;

use std::{hash::Hasher, sync::Arc};

use foldhash::{SharedSeed, fast::FoldHasher};
use hashbrown::HashTable;
use larder_core::{Barrier, Moment};

use super::slab::NONE;
use crate::{policy::freshness::Deadlines, value::Extra};

/// The terms of at least one entry.
pub(super) struct Terms {
    pub(super) shared: Shared,
    pub(super) own: Option<Box<Own>>,
}

/// What entries have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Shared {
    /// The clear counters when the entry was put.
    pub(super) epoch: u64,
    /// How long after its fresh life an entry is served while it is refreshed, in milliseconds.
    pub(super) stale_ms: u64,
    /// How long after its fresh life an entry is served when its refresh fails, in milliseconds.
    pub(super) fallback_ms: u64,
}

/// What one entry has for itself.
pub(super) struct Own {
    pub(super) extra: Option<Arc<Extra>>,
    pub(super) undoubted: Option<Box<Deadlines>>,
    /// Its place in the order of barriers; only asked of an entry with tags.
    pub(super) stamp: Barrier,
    pub(super) retry_at: Moment,
    pub(super) fresh: Moment,
}

/// The terms of a shard's entries. As many as there are entries at most.
pub(super) struct TermsTable {
    cells: Vec<Cell>,
    /// The numbers of those that are shared.
    index: HashTable<u32>,
    /// The free cell to fill next.
    free: u32,
    /// The shared terms that were wanted last: most often they are wanted again.
    latest: u32,
    used: u32,
}

struct Cell {
    terms: Terms,
    /// None if the cell is free.
    entries: u32,
    /// The free cell to fill after this one, if it is free.
    next_free: u32,
}

impl TermsTable {
    pub(super) fn new() -> Self {
        Self { cells: Vec::new(), index: HashTable::new(), free: NONE, latest: NONE, used: 0 }
    }

    /// The number for one more entry of these terms.
    pub(super) fn take(&mut self, shared: Shared, own: Option<Box<Own>>) -> u32 {
        if own.is_some() {
            return self.fill(Terms { shared, own });
        }
        let number = match self.find(&shared) {
            Some(number) => {
                self.cells[number as usize].entries += 1;
                number
            }
            None => {
                let number = self.fill(Terms { shared, own: None });
                let cells = &self.cells;
                self.index
                    .insert_unique(shared.hash(), number, |&other| cells[other as usize].terms.shared.hash());
                number
            }
        };
        self.latest = number;
        number
    }

    /// One entry less of these terms.
    pub(super) fn give_back(&mut self, number: u32) {
        let cell = &mut self.cells[number as usize];
        cell.entries -= 1;
        if cell.entries > 0 {
            return;
        }
        if cell.terms.own.take().is_none() {
            let place = self.index.find_entry(cell.terms.shared.hash(), |&other| other == number);
            place.expect("shared terms are in the index").remove();
        }
        cell.next_free = std::mem::replace(&mut self.free, number);
        if self.latest == number {
            self.latest = NONE;
        }
        self.used -= 1;
        if self.used == 0 {
            *self = Self::new();
        }
    }

    fn find(&self, shared: &Shared) -> Option<u32> {
        if self.cells.get(self.latest as usize).is_some_and(|cell| cell.terms.shared == *shared) {
            return Some(self.latest);
        }
        self.index.find(shared.hash(), |&number| self[number].shared == *shared).copied()
    }

    fn fill(&mut self, terms: Terms) -> u32 {
        self.used += 1;
        let cell = Cell { terms, entries: 1, next_free: NONE };
        if let Some(free) = self.cells.get_mut(self.free as usize) {
            let number = std::mem::replace(&mut self.free, free.next_free);
            *free = cell;
            return number;
        }
        self.cells.push(cell);
        u32::try_from(self.cells.len() - 1).expect("no more terms than slots")
    }
}

impl std::ops::Index<u32> for TermsTable {
    type Output = Terms;

    #[inline]
    fn index(&self, number: u32) -> &Terms {
        &self.cells[number as usize].terms
    }
}

impl Shared {
    fn hash(&self) -> u64 {
        // Nobody outside chooses these numbers, so the seed need not be secret.
        const SEED: SharedSeed = SharedSeed::from_u64(1);
        let mut hasher = FoldHasher::with_seed(0, &SEED);
        hasher.write_u64(self.epoch);
        hasher.write_u64(self.stale_ms);
        hasher.write_u64(self.fallback_ms);
        hasher.finish()
    }
}
