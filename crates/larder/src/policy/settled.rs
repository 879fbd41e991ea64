//! When a floor has done its duty.
//!
//! A floor rejects what is older than an invalidation: a reply that was under way, or what comes back when a store fails
//! over to a replica which lags. Floors are kept by stripe, so each write also makes a node doubt what the store has of
//! its key's neighbours; were floors kept for ever, all that is stored would be doubted in the end. But once an
//! invalidation is old, and the store has kept its history since, its replicas have it too: it has *settled*, and what
//! the store holds is believed whatever the floor says. What had not settled when a store lost history never does: it may
//! be what was lost, and nobody may be left to repeat it.

use std::{collections::VecDeque, time::Duration};

use larder_core::{Moment, Tip, Version};

/// How long a store must have kept its history since: twice what nodes repeat to a store that lost some
/// ([`Ring`](super::ring::Ring)).
const SETTLES_AFTER: Duration = Duration::from_secs(30);
/// How often is looked; more often gains nothing.
const EVERY: Duration = Duration::from_secs(1);

/// What a store said of its sequences in the last half minute. Holds one entry a second.
#[derive(Debug, Default)]
pub(crate) struct Settling {
    seen: VecDeque<(Moment, Vec<Tip>)>,
    /// The store lost history since the last pulse.
    lost: bool,
}

/// What has settled, sequence by sequence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Settled {
    /// No more than before.
    AsBefore,
    /// All that was drawn up to here.
    UpTo(Vec<Version>),
    /// Nothing more of what was drawn before history was lost ever will; now it is here.
    Never(Vec<Version>),
}

impl Settling {
    /// Takes note of how far the sequences are, asked at `now`.
    pub(crate) fn pulse(&mut self, now: Moment, tips: &[Tip]) -> Settled {
        let histories = |tips: &[Tip]| tips.iter().map(|tip| tip.history).collect::<Vec<_>>();
        let versions = |tips: &[Tip]| tips.iter().map(|tip| Version::new(tip.number)).collect();
        let last = self.seen.back();
        if self.lost || last.is_some_and(|(_, before)| histories(before) != histories(tips)) {
            *self = Self { seen: VecDeque::from([(now, tips.to_vec())]), lost: false };
            return Settled::Never(versions(tips));
        }
        if last.is_some_and(|(at, _)| now < at.after(EVERY)) {
            return Settled::AsBefore;
        }
        self.seen.push_back((now, tips.to_vec()));
        let mut settled = None;
        while self.seen.front().is_some_and(|(at, _)| at.after(SETTLES_AFTER) <= now) {
            settled = self.seen.pop_front();
        }
        settled.map_or(Settled::AsBefore, |(_, tips)| Settled::UpTo(versions(&tips)))
    }

    /// The store lost history, or may have.
    pub(crate) fn lose(&mut self) {
        self.lost = true;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Moment {
        Moment::from_millis(ms)
    }

    fn tips(number: u64, history: u64) -> [Tip; 1] {
        [Tip { number, history }]
    }

    fn upto(number: u64) -> Vec<Version> {
        vec![Version::new(number)]
    }

    #[test]
    fn what_was_drawn_half_a_minute_ago_has_settled_if_the_history_is_the_same() {
        let mut settling = Settling::default();
        for second in 0..30 {
            assert_eq!(settling.pulse(at(second * 1_000), &tips(100 + second, 7)), Settled::AsBefore);
        }
        assert_eq!(settling.pulse(at(29_900), &tips(999, 7)), Settled::AsBefore, "too soon after the last");
        assert_eq!(settling.pulse(at(30_000), &tips(200, 7)), Settled::UpTo(upto(100)));
        assert_eq!(settling.pulse(at(34_000), &tips(201, 7)), Settled::UpTo(upto(104)), "the last of them");
        assert!(settling.seen.len() <= 31);
    }

    #[test]
    fn what_had_not_settled_when_history_was_lost_never_does() {
        let mut settling = Settling::default();
        assert_eq!(settling.pulse(at(0), &tips(100, 7)), Settled::AsBefore);
        assert_eq!(settling.pulse(at(29_000), &tips(130, 8)), Settled::Never(upto(130)));
        assert_eq!(
            settling.pulse(at(31_000), &tips(131, 8)),
            Settled::AsBefore,
            "the lost history is not asked"
        );
        assert_eq!(settling.pulse(at(59_000), &tips(132, 8)), Settled::UpTo(upto(130)));
        settling.lose();
        assert_eq!(settling.pulse(at(59_100), &tips(140, 8)), Settled::Never(upto(140)));
        assert_eq!(settling.pulse(at(62_000), &tips(141, 8)), Settled::AsBefore);
    }
}
