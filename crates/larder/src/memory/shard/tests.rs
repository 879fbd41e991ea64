//! Whether index, slots, order and sums of a shard agree.

use std::collections::BTreeSet;

use super::{NONE, Shard};

impl Shard {
    /// Panics unless all that is kept in step is.
    pub(in super::super) fn audit(&self) {
        self.slab.audit();
        self.audit_index();
        self.audit_sums();
        self.audit_order();
    }

    /// Each full slot is in the index once, under its hash.
    fn audit_index(&self) {
        assert_eq!(self.index.len() as u64, self.len());
        for index in self.full() {
            let there = self.index.find(self.slab.hash(index), |&other| other == index);
            assert!(there.is_some(), "slot {index} is not in the index");
        }
    }

    fn audit_sums(&self) {
        let weigh = |index: u32| u64::from(self.slab.cold(index).weight);
        assert_eq!(self.full().map(weigh).sum::<u64>(), self.weight, "the weights of all");
        let pinned: Vec<u32> = self.full().filter(|&index| self.is_pinned(index)).collect();
        assert_eq!(pinned.len() as u64, self.pinned.entries);
        assert_eq!(pinned.iter().map(|&index| weigh(index)).sum::<u64>(), self.pinned.weight);
        assert!(self.weight <= self.bounds.bytes && self.len() <= self.bounds.entries, "the bounds");
    }

    /// Each full slot that is not pinned is in one list, and the links of all lists lead there and back.
    fn audit_order(&self) {
        let (mut seen, mut lists) = (BTreeSet::new(), 0);
        let unpinned = || self.full().filter(|&index| !self.is_pinned(index));
        for head in unpinned().filter(|&index| self.slab.cold(index).older == NONE) {
            let (mut before, mut index) = (NONE, head);
            while index != NONE {
                assert!(!self.is_pinned(index) && self.at(index).is_some(), "slot {index} is in a list");
                assert_eq!(self.slab.cold(index).older, before, "the link back from slot {index}");
                assert!(seen.insert(index), "slot {index} is in two lists");
                (before, index) = (index, self.slab.cold(index).younger);
            }
            lists += 1;
        }
        assert_eq!(seen, unpinned().collect(), "slots in no list, or in a circle, of {lists}");
    }

    fn full(&self) -> impl Iterator<Item = u32> {
        (0..self.end()).filter(|&index| self.at(index).is_some())
    }
}
