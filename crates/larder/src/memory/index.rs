//! The index of a shard: which slot a hash leads to.
//!
//! # How it works
//!
//! An open-addressing table with linear probing, of one 32-bit cell for each bucket: the number of a slot in the low bits,
//! and as many bits of the hash as are left above it. A lookup reads one cell, as a rule, and one cache line, where a
//! table with its tags apart reads two; with a million entries each of them is a miss. A cell whose hash bits agree
//! leads to the right slot but for one in thousands, so the slot's key is compared once.
//!
//! Cells are emptied where nothing behind them needs them, else marked, and the marks go when there are too many of them.
//! (Knuth: The Art of Computer Programming, volume 3, 6.4, algorithms L and R.) The table grows by half, so that it is
//! never less than half full, and the position is the high half of hash times length, so that any length will do.
//! (Lemire: "Fast Random Integer Generation in an Interval", 2019.)

const EMPTY: u32 = u32::MAX;
const REMOVED: u32 = u32::MAX - 1;
/// No slot has this number or a larger one, whatever `slot_bits` are.
const RESERVED: u32 = 2;

const SLOT_BITS_MIN: u32 = 6;
/// The hash keeps one bit at least: slots are fewer than this allows by far.
const SLOT_BITS_MAX: u32 = 31;

/// Of so many parts of the cells [`USED_MAX`] may be in use, marks included.
const PARTS: usize = 16;
const USED_MAX: usize = 13;
/// Beyond so many parts that hold slots the table grows; below, only its marks go.
const FULL_MAX: usize = 11;
/// Below so many it shrinks.
const FULL_MIN: usize = 4;
const LEN_MIN: usize = 32;

pub(super) struct Index {
    cells: Box<[u32]>,
    /// How many cells hold slots, and how many are not empty.
    full: usize,
    used: usize,
    /// How many low bits of a cell are the slot's number.
    slot_bits: u32,
}

impl Index {
    pub(super) fn new() -> Self {
        Self { cells: Box::default(), full: 0, used: 0, slot_bits: SLOT_BITS_MIN }
    }

    /// The slot of this hash for which `is` holds.
    #[inline(always)]
    pub(super) fn find(&self, hash: u64, mut is: impl FnMut(u32) -> bool) -> Option<u32> {
        let wanted = self.cell(hash, 0);
        let mut at = self.home(hash);
        loop {
            // No cells at all: no slot.
            let cell = *self.cells.get(at)?;
            if (cell ^ wanted) >> self.slot_bits == 0 {
                let slot = cell & self.slot_mask();
                if cell < REMOVED && is(slot) {
                    return Some(slot);
                }
            }
            if cell == EMPTY {
                return None;
            }
            at = self.behind(at);
        }
    }

    /// Adds a slot that is not there; `hash_of` tells the hashes of the others.
    pub(super) fn insert(&mut self, hash: u64, slot: u32, hash_of: impl Fn(u32) -> u64) {
        let fits = slot < self.slot_mask() - RESERVED;
        if !fits || (self.used + 1) * PARTS > self.cells.len() * USED_MAX {
            self.make_room(slot, hash_of);
        }
        self.place(hash, slot);
    }

    /// Removes a slot that is there.
    pub(super) fn remove(&mut self, hash: u64, slot: u32) {
        let mut at = self.position(hash, slot);
        self.full -= 1;
        if self.cells[self.behind(at)] != EMPTY {
            self.cells[at] = REMOVED;
            return;
        }
        // Nobody probes past here any more, nor past the marks in front of it.
        loop {
            self.cells[at] = EMPTY;
            self.used -= 1;
            at = if at == 0 { self.cells.len() - 1 } else { at - 1 };
            if self.cells[at] != REMOVED {
                return;
            }
        }
    }

    /// Notes that the slot `from` has got the number `to`, which is smaller.
    pub(super) fn renumber(&mut self, hash: u64, from: u32, to: u32) {
        let at = self.position(hash, from);
        self.cells[at] = self.cell(hash, to);
    }

    /// Gives back room that is no longer needed.
    pub(super) fn settle(&mut self, hash_of: impl Fn(u32) -> u64) {
        if self.cells.len() > 4 * LEN_MIN && self.full * PARTS < self.cells.len() * FULL_MIN {
            self.rebuild(self.cells.len() / 2, self.slot_bits, hash_of);
        }
    }

    #[cold]
    fn make_room(&mut self, slot: u32, hash_of: impl Fn(u32) -> u64) {
        let len = self.cells.len();
        let crowded = (self.full + 1) * PARTS > len * FULL_MAX;
        let len = if crowded { (len + len / 2).max(LEN_MIN) } else { len };
        // Slot numbers may run ahead of how many are full: have twice as many.
        let slots = (2 * len).max(2 * slot as usize).next_power_of_two();
        self.rebuild(len, slots.ilog2().clamp(self.slot_bits, SLOT_BITS_MAX), hash_of);
    }

    fn rebuild(&mut self, len: usize, slot_bits: u32, hash_of: impl Fn(u32) -> u64) {
        let mask = self.slot_mask();
        let old = std::mem::replace(&mut self.cells, vec![EMPTY; len].into_boxed_slice());
        (self.full, self.used, self.slot_bits) = (0, 0, slot_bits);
        for cell in old.into_iter().filter(|&cell| cell < REMOVED) {
            let slot = cell & mask;
            self.place(hash_of(slot), slot);
        }
    }

    fn place(&mut self, hash: u64, slot: u32) {
        let mut at = self.home(hash);
        while self.cells[at] < REMOVED {
            at = self.behind(at);
        }
        self.used += usize::from(self.cells[at] == EMPTY);
        self.full += 1;
        self.cells[at] = self.cell(hash, slot);
    }

    /// Where the slot stands.
    fn position(&self, hash: u64, slot: u32) -> usize {
        let wanted = self.cell(hash, slot);
        let mut at = self.home(hash);
        while self.cells[at] != wanted {
            assert!(self.cells[at] != EMPTY, "every slot is in the index");
            at = self.behind(at);
        }
        at
    }

    #[inline]
    fn cell(&self, hash: u64, slot: u32) -> u32 {
        (hash as u32).unbounded_shl(self.slot_bits) | slot
    }

    #[inline]
    fn slot_mask(&self) -> u32 {
        u32::MAX >> (u32::BITS - self.slot_bits)
    }

    /// Where the search for a hash begins.
    #[inline]
    fn home(&self, hash: u64) -> usize {
        ((u128::from(hash) * self.cells.len() as u128) >> 64) as usize
    }

    #[inline]
    fn behind(&self, at: usize) -> usize {
        if at + 1 == self.cells.len() { 0 } else { at + 1 }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::{collection::vec, prelude::*};

    use super::*;

    /// Few different ones, so that many collide.
    fn hash_of(slot: u32) -> u64 {
        u64::from(slot % 37).wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ u64::from(slot) << 3
    }

    fn check(index: &Index, there: &BTreeMap<u32, ()>) {
        let full = index.cells.iter().filter(|&&cell| cell < REMOVED).count();
        let empty = index.cells.iter().filter(|&&cell| cell == EMPTY).count();
        assert_eq!((index.full, index.cells.len() - index.used), (full, empty));
        assert_eq!(full, there.len());
        assert!(index.cells.is_empty() || empty > 0, "a search must end");
        for &slot in there.keys() {
            assert_eq!(index.find(hash_of(slot), |other| other == slot), Some(slot));
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn whatever_comes_and_goes_is_found_while_it_is_there(steps in vec((0_u32..400, 0_u8..8), 1..600)) {
            let (mut index, mut there) = (Index::new(), BTreeMap::new());
            for (slot, step) in steps {
                if there.remove(&slot).is_some() {
                    index.remove(hash_of(slot), slot);
                } else if step > 0 {
                    index.insert(hash_of(slot), slot, hash_of);
                    there.insert(slot, ());
                } else {
                    prop_assert_eq!(index.find(hash_of(slot), |other| other == slot), None);
                }
                index.settle(hash_of);
            }
            check(&index, &there);
        }
    }

    #[test]
    fn a_table_that_stays_as_full_as_it_is_does_not_grow_and_searches_stay_short() {
        let spread = |slot: u32| u64::from(slot).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(17);
        let mut index = Index::new();
        (0..10_000).for_each(|slot| index.insert(spread(slot), slot, spread));
        let len = index.cells.len();
        for round in 0..200_000_u32 {
            // Slots are reused; their hashes change with the keys.
            let slot = round.wrapping_mul(7_919) % 10_000;
            index.remove(spread(slot), slot);
            index.insert(spread(slot), slot, spread);
        }
        assert_eq!((index.cells.len(), index.full), (len, 10_000));
        let mut looks = 0;
        for slot in 0..10_000 {
            let mut at = index.home(spread(slot));
            while index.cells[at] != index.cell(spread(slot), slot) {
                at = index.behind(at);
                looks += 1;
            }
        }
        assert!(looks < 40_000, "{looks} looks past the first for 10 000 slots");
    }

    #[test]
    fn numbers_far_above_what_the_table_holds_find_room_and_a_slot_can_change_its_number() {
        let mut index = Index::new();
        for slot in [5, 70_000, 1 << 20, 1 << 30] {
            index.insert(hash_of(slot), slot, hash_of);
            index.renumber(hash_of(slot), slot, slot - 1);
            assert_eq!(index.find(hash_of(slot), |found| found == slot - 1), Some(slot - 1));
            index.remove(hash_of(slot), slot - 1);
        }
        assert_eq!(index.full, 0);
    }
}
