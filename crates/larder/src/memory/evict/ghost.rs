//! The memory of who left: hashes without entries, the oldest forgotten first.

use std::collections::VecDeque;

use hashbrown::{HashTable, hash_table::Entry};

/// A bounded set of hashes. Two keys with one hash are one ghost, which costs at most an undeserved place.
pub(super) struct Ghosts {
    /// In the order they left. A ghost that returned stays here until its turn, unless it left again meanwhile.
    order: VecDeque<u64>,
    /// How many were ever forgotten in their turn: the number of the first in `order`.
    first: u64,
    /// The hash, and the number of its latest place in `order`.
    present: HashTable<(u64, u64)>,
}

impl Ghosts {
    pub(super) fn new() -> Self {
        Self { order: VecDeque::new(), first: 0, present: HashTable::new() }
    }

    /// Remembers a hash, and forgets the oldest beyond `max`.
    pub(super) fn add(&mut self, hash: u64, max: usize) {
        let number = self.first + self.order.len() as u64;
        self.order.push_back(hash);
        match self.present.entry(hash, |ghost| ghost.0 == hash, |ghost| ghost.0) {
            Entry::Occupied(mut there) => there.get_mut().1 = number,
            Entry::Vacant(free) => _ = free.insert((hash, number)),
        }
        while self.order.len() > max {
            self.forget_oldest();
        }
    }

    /// Whether the hash is remembered; it is not any more.
    pub(super) fn take(&mut self, hash: u64) -> bool {
        self.present.find_entry(hash, |ghost| ghost.0 == hash).is_ok_and(|there| {
            there.remove();
            true
        })
    }

    fn forget_oldest(&mut self) {
        if let Some(hash) = self.order.pop_front() {
            let number = self.first;
            self.first += 1;
            if let Ok(there) = self.present.find_entry(hash, |ghost| *ghost == (hash, number)) {
                there.remove();
            }
        }
    }
}
