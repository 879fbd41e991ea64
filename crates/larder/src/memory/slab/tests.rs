//! Whether the slots are what the slab says of them.

use super::{CHUNK, FREE_MIN, FREE_PARTS, NONE, Slab};

impl Slab {
    /// Panics unless the full slots are as many as they are said to be, the free ones linked, no more of them than
    /// allowed, and every slot's terms counted.
    pub(in super::super) fn audit(&self) {
        let full: Vec<u32> = (0..self.end).filter(|&index| self.at(index).is_some()).collect();
        assert_eq!(full.len(), self.len, "full slots");
        self.audit_free();
        assert!(self.end as usize <= self.chunks.len() * CHUNK);
        let beyond = (self.end as usize..self.chunks.len() * CHUNK).map(|index| index as u32);
        beyond.for_each(|index| assert!(self.hot(index).is_free(), "slot {index} is full, beyond the end"));
        self.terms.audit(full.iter().map(|&index| self.hot(index).terms));
    }

    fn audit_free(&self) {
        let (mut before, mut index, mut free) = (NONE, self.free, 0);
        while index != NONE {
            assert!(index < self.end && self.at(index).is_none(), "slot {index} is not free");
            assert_eq!(self.cold(index).older, before, "the link back from slot {index}");
            (before, index, free) = (index, self.cold(index).younger, free + 1);
            assert!(free <= self.end, "the free slots go round");
        }
        assert_eq!(free as usize, self.end as usize - self.len, "every slot is full or free");
        assert!(free as usize <= FREE_MIN + self.len / FREE_PARTS + 1, "too many free slots: {free}");
    }
}
