//! The invalidations of the last seconds, to be done again if the store forgets them.
//!
//! A store that fails over to a replica which lags loses the last writes it acknowledged (Redis replicates
//! asynchronously, and says so). What was removed there comes back. So each node remembers what it invalidated itself for
//! longer than a replica lags, and does it again when it notices that the store lost history.

use std::{collections::VecDeque, time::Duration};

use larder_core::Moment;

use super::journal::Debt;

/// How long an invalidation is remembered: longer than any replica in use lags.
const REMEMBERED: Duration = Duration::from_secs(15);

/// The node's own invalidations of the last seconds.
#[derive(Debug)]
pub(crate) struct Ring {
    entries: VecDeque<(Moment, Debt)>,
    max: usize,
    /// Until then one that was dropped for want of room would have been remembered.
    short_until: Option<Moment>,
}

impl Ring {
    /// At `max` the oldest makes room, and then everything is to be done again.
    pub(crate) fn new(max: usize) -> Self {
        Self { entries: VecDeque::new(), max, short_until: None }
    }

    /// Remembers what the store executed at this moment.
    pub(crate) fn push(&mut self, now: Moment, debt: Debt) {
        self.forget(now);
        if self.entries.len() >= self.max
            && let Some((at, _)) = self.entries.pop_front()
        {
            self.short_until = Some(at.after(REMEMBERED));
        }
        self.entries.push_back((now, debt));
    }

    /// What is to be done again at this moment; `None` means everything, since not all of it is remembered.
    pub(crate) fn replay(&mut self, now: Moment) -> Option<Vec<Debt>> {
        self.forget(now);
        if self.short_until.is_some() {
            return None;
        }
        Some(self.entries.iter().map(|(_, debt)| debt.clone()).collect())
    }

    fn forget(&mut self, now: Moment) {
        while self.entries.front().is_some_and(|(at, _)| at.after(REMEMBERED) <= now) {
            self.entries.pop_front();
        }
        self.short_until.take_if(|until| *until <= now);
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
    fn without_room_for_all_of_it_everything_is_done_again_until_that_is_old() {
        let mut ring = Ring::new(2);
        (0..3).for_each(|n| ring.push(at(n), debt(n)));
        assert_eq!(ring.replay(at(3)), None);
        assert_eq!(ring.replay(at(15)), Some(vec![debt(1), debt(2)]), "the one that was dropped is too old");
    }
}
