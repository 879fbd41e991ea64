//! Whether the numbers that slots hold and the counts that the table holds agree.

use std::collections::BTreeMap;

use super::{Cell, TermsTable};

impl TermsTable {
    /// Panics unless exactly `slots`, with the number that each holds, are counted, and everything else is free.
    pub(in super::super) fn audit(&self, slots: impl Iterator<Item = u32>) {
        let mut counted = BTreeMap::new();
        slots.for_each(|number| *counted.entry(number).or_insert(0_u32) += 1);
        let used = |(number, cell): (usize, &Cell)| {
            assert!(cell.terms.own.is_none() || cell.entries == 1, "own terms are one entry's");
            (cell.entries > 0).then(|| (u32::try_from(number).expect("few"), cell.entries))
        };
        let used: BTreeMap<u32, u32> = self.cells.iter().enumerate().filter_map(used).collect();
        assert_eq!(used, counted, "the terms that slots hold");
        assert_eq!(used.len(), self.used as usize);
        self.audit_index(&used);
        self.audit_free();
    }

    /// What is shared is in the index, once, and found there.
    fn audit_index(&self, used: &BTreeMap<u32, u32>) {
        let shared = |&&number: &&u32| self[number].own.is_none();
        let shared: Vec<u32> = used.keys().filter(shared).copied().collect();
        assert_eq!(self.index.len(), shared.len(), "the index holds the shared terms");
        shared.iter().for_each(|&number| assert_eq!(self.find(&self[number].shared), Some(number)));
        assert!(self.cells.get(self.latest as usize).is_none_or(|_| shared.contains(&self.latest)));
    }

    fn audit_free(&self) {
        let (mut next, mut free) = (self.free, 0);
        while let Some(cell) = self.cells.get(next as usize) {
            assert_eq!(cell.entries, 0, "a used cell among the free");
            (next, free) = (cell.next_free, free + 1);
            assert!(free <= self.cells.len(), "the free cells go round");
        }
        assert_eq!(free + self.used as usize, self.cells.len(), "every cell is used or free");
    }
}
