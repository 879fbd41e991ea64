//! The invalidations of the last seconds, to be done again if the store forgets them.
//!
//! A store that fails over to a replica which lags loses the last writes it acknowledged (Redis replicates
//! asynchronously, and says so). What was removed there comes back. So each node remembers what it invalidated itself for
//! longer than a replica lags, and does it again when it notices that the store lost history.

use std::{
    collections::{BTreeMap, HashMap},
    time::Duration,
};

use larder_core::Moment;

use super::journal::Debt;

/// How long an invalidation is remembered: longer than any replica in use lags.
const REMEMBERED: Duration = Duration::from_secs(15);

/// The node's own invalidations of the last seconds.
#[derive(Debug)]
pub(crate) struct Ring {
    /// By their numbers: the oldest first.
    entries: BTreeMap<u64, (Moment, Debt)>,
    /// What was done twice is done again once.
    numbers: HashMap<Debt, u64>,
    next: u64,
    max: usize,
    /// Until then one that was dropped for want of room would have been remembered.
    short_until: Option<Moment>,
}

impl Ring {
    /// At `max` the oldest makes room, and then everything is to be done again.
    pub(crate) fn new(max: usize) -> Self {
        Self { entries: BTreeMap::new(), numbers: HashMap::new(), next: 0, max, short_until: None }
    }

    /// Remembers what the store executed at this moment.
    pub(crate) fn push(&mut self, now: Moment, debt: Debt) {
        self.forget(now);
        self.next += 1;
        if let Some(before) = self.numbers.insert(debt.clone(), self.next) {
            self.entries.remove(&before);
        } else if self.entries.len() >= self.max
            && let Some((at, _)) = self.drop_oldest()
        {
            self.short_until = Some(at.after(REMEMBERED));
        }
        self.entries.insert(self.next, (now, debt));
    }

    /// What is to be done again at this moment; `None` means everything, since not all of it is remembered.
    pub(crate) fn replay(&mut self, now: Moment) -> Option<Vec<Debt>> {
        self.forget(now);
        if self.short_until.is_some() {
            return None;
        }
        Some(self.entries.values().map(|(_, debt)| debt.clone()).collect())
    }

    fn forget(&mut self, now: Moment) {
        let is_old = |at: Moment| at.after(REMEMBERED) <= now;
        while self.entries.first_key_value().is_some_and(|(_, (at, _))| is_old(*at)) {
            self.drop_oldest();
        }
        self.short_until.take_if(|until| *until <= now);
    }

    fn drop_oldest(&mut self) -> Option<(Moment, Debt)> {
        let (_, (at, debt)) = self.entries.pop_first()?;
        self.numbers.remove(&debt);
        Some((at, debt))
    }
}

#[cfg(test)]
mod tests {
    use larder_core::Key;

    use super::*;

    fn debt(n: u64) -> Debt {
        Debt::Key(Key::from_escaped(format!("n:{n}")).expect("a key"))
    }

    fn at(s: u64) -> Moment {
        Moment::from_millis(s * 1_000)
    }

    #[test]
    fn what_was_done_lately_is_done_again_and_what_is_older_is_forgotten() {
        let mut ring = Ring::new(10);
        ring.push(at(0), debt(1));
        ring.push(at(10), debt(2));
        assert_eq!(ring.replay(at(14)), Some(vec![debt(1), debt(2)]));
        assert_eq!(ring.replay(at(15)), Some(vec![debt(2)]));
        assert_eq!(ring.replay(at(14)), Some(vec![debt(2)]), "it is asked again when it happens again");
    }

    #[test]
    fn what_was_done_again_takes_no_more_room() {
        let mut ring = Ring::new(2);
        for (second, number) in [(0, 1), (1, 2), (2, 1), (3, 2), (4, 1)] {
            ring.push(at(second), debt(number));
        }
        assert_eq!(ring.replay(at(5)), Some(vec![debt(2), debt(1)]));
        assert_eq!(ring.replay(at(18)), Some(vec![debt(1)]), "each since it was last done");
    }

    #[test]
    fn without_room_for_all_of_it_everything_is_done_again_until_that_is_old() {
        let mut ring = Ring::new(2);
        (0..3).for_each(|n| ring.push(at(n), debt(n)));
        assert_eq!(ring.replay(at(3)), None);
        assert_eq!(ring.replay(at(15)), Some(vec![debt(1), debt(2)]), "the one that was dropped is too old");
    }
}
