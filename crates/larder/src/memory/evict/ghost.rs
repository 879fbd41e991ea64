//! The memory of who left: marks of keys without entries, the oldest forgotten first.

use std::collections::VecDeque;

use hashbrown::{HashTable, hash_table::Entry};

/// Room for fewer is not given back.
const ROOM_MIN: usize = 64;

/// A bounded set of marks. Two keys with one mark are one ghost, which costs at most an undeserved place.
pub(super) struct Ghosts {
    /// In the order they left. A ghost that returned stays here until its turn, unless it left again meanwhile.
    order: VecDeque<Mark>,
    /// The number of the first in `order`. It wraps: far fewer are remembered than it has numbers.
    first: u32,
    present: HashTable<Ghost>,
}

/// Half of a key's hash.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Mark(u32);

#[derive(PartialEq, Eq)]
struct Ghost {
    mark: Mark,
    /// The number of its latest place in `order`.
    number: u32,
}

impl Ghosts {
    pub(super) fn new() -> Self {
        Self { order: VecDeque::new(), first: 0, present: HashTable::new() }
    }

    /// Remembers a hash, and forgets the oldest beyond `max`.
    pub(super) fn add(&mut self, hash: u64, max: usize) {
        let mark = Mark::of(hash);
        let number = self.first.wrapping_add(self.order.len() as u32);
        self.order.push_back(mark);
        match self.present.entry(mark.hash(), |ghost| ghost.mark == mark, |ghost| ghost.mark.hash()) {
            Entry::Occupied(mut there) => there.get_mut().number = number,
            Entry::Vacant(free) => _ = free.insert(Ghost { mark, number }),
        }
        while self.order.len() > max {
            self.forget_oldest();
        }
        self.give_back_room();
    }

    /// Whether the hash is remembered; it is not any more.
    pub(super) fn take(&mut self, hash: u64) -> bool {
        let mark = Mark::of(hash);
        self.present.find_entry(mark.hash(), |ghost| ghost.mark == mark).is_ok_and(|there| {
            there.remove();
            true
        })
    }

    fn forget_oldest(&mut self) {
        if let Some(mark) = self.order.pop_front() {
            let oldest = Ghost { mark, number: self.first };
            self.first = self.first.wrapping_add(1);
            if let Ok(there) = self.present.find_entry(mark.hash(), |ghost| *ghost == oldest) {
                there.remove();
            }
        }
    }

    fn give_back_room(&mut self) {
        let few = 2 * (self.order.len() + ROOM_MIN);
        if self.order.capacity() > 2 * few {
            self.order.shrink_to(few);
            self.present.shrink_to(few, |ghost| ghost.mark.hash());
        }
    }
}

impl Mark {
    fn of(hash: u64) -> Self {
        Self(hash as u32)
    }

    /// Spread over 64 bits again: a hash table looks at both ends.
    fn hash(self) -> u64 {
        u64::from(self.0).wrapping_mul(0x9e37_79b9_7f4a_7c15)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_are_forgotten_first_and_who_returned_is_a_ghost_no_more() {
        let mut ghosts = Ghosts::new();
        (0..5).for_each(|hash| ghosts.add(hash, 3));
        let remembered: Vec<_> = (0..5).filter(|&hash| ghosts.take(hash)).collect();
        assert_eq!(remembered, [2, 3, 4]);
        assert!(!ghosts.take(4));
    }

    #[test]
    fn who_left_again_is_remembered_from_then_on() {
        let mut ghosts = Ghosts::new();
        ghosts.add(1, 3);
        assert!(ghosts.take(1));
        [2, 1, 3].into_iter().for_each(|hash| ghosts.add(hash, 3));
        // The first place of 1 was forgotten, its second was not.
        assert!(ghosts.take(1));
    }

    #[test]
    fn numbers_may_wrap() {
        let mut ghosts = Ghosts { first: u32::MAX - 1, ..Ghosts::new() };
        (0..10).for_each(|hash| ghosts.add(hash, 4));
        assert_eq!((0..10).filter(|&hash| ghosts.take(hash)).count(), 4);
        assert!(ghosts.present.is_empty());
    }
}
