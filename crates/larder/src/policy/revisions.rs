//! The origin's numbers that this process wrote keys with, where no other process writes them: no older one passes.

use std::collections::{BTreeMap, HashMap};

use larder_core::{Key, Moment, Revision};

/// The highest revision of each key, and until when it is remembered. At the bound the key that was raised longest ago is
/// forgotten.
#[derive(Debug)]
pub(crate) struct Revisions {
    keys: HashMap<Key, Known>,
    /// The keys by when they were raised.
    order: BTreeMap<u64, Key>,
    max: usize,
    next: u64,
}

#[derive(Clone, Copy, Debug)]
struct Known {
    number: u64,
    forget_at: Moment,
    raised: u64,
}

impl Revisions {
    pub(crate) fn new(max: usize) -> Self {
        Self { keys: HashMap::new(), order: BTreeMap::new(), max, next: 0 }
    }

    /// Whether the key was not written with this number or a higher one.
    pub(crate) fn is_newer(&self, key: &Key, number: u64, now: Moment) -> bool {
        let known = self.keys.get(key).filter(|known| known.forget_at > now);
        known.is_none_or(|known| known.number < number)
    }

    /// Remembers a revision, if it is newer.
    pub(crate) fn raise(&mut self, key: Key, revision: Revision, now: Moment) {
        if !self.is_newer(&key, revision.number, now) {
            return;
        }
        self.next += 1;
        let known = Known { number: revision.number, forget_at: now.after(revision.keep), raised: self.next };
        if let Some(before) = self.keys.insert(key.clone(), known) {
            self.order.remove(&before.raised);
        }
        self.order.insert(self.next, key);
        if self.order.len() > self.max
            && let Some((_, oldest)) = self.order.pop_first()
        {
            self.keys.remove(&oldest);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const START: Moment = Moment::from_millis(1_000);

    fn key(n: u64) -> Key {
        Key::from_escaped(format!("n:{n}")).expect("a key")
    }

    fn of(number: u64) -> Revision {
        Revision { number, keep: Duration::from_secs(1) }
    }

    #[test]
    fn only_a_higher_number_is_newer_until_the_last_is_forgotten() {
        let mut revisions = Revisions::new(8);
        assert!(revisions.is_newer(&key(1), 0, START));
        revisions.raise(key(1), of(5), START);
        revisions.raise(key(1), of(3), START);
        let newer = |number, at| revisions.is_newer(&key(1), number, at);
        assert_eq!([4, 5, 6].map(|number| newer(number, START)), [false, false, true]);
        assert!(!newer(5, START.after(Duration::from_millis(999))));
        assert!(newer(1, START.after(Duration::from_secs(1))));
    }

    #[test]
    fn at_the_bound_the_key_that_was_raised_longest_ago_is_forgotten() {
        let mut revisions = Revisions::new(2);
        for (n, number) in [(1, 5), (2, 5), (1, 6), (3, 5)] {
            revisions.raise(key(n), of(number), START);
        }
        assert_eq!([1, 2, 3].map(|n| revisions.is_newer(&key(n), 5, START)), [false, true, false]);
        assert_eq!((revisions.keys.len(), revisions.order.len()), (2, 2));
    }
}
