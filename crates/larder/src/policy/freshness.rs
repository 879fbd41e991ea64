//! How good an entry still is, by its deadlines.

use larder_core::{Life, Moment};

/// When an entry passes from one state of life to the next. Always `fresh <= stale <= fallback`.
///
/// Both stale windows count from the end of freshness; a window of zero makes its deadline equal the one before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Deadlines {
    /// Plainly good until here.
    pub(crate) fresh: Moment,
    /// Served while it is refreshed until here.
    pub(crate) stale: Moment,
    /// Served when the load fails until here. After it the entry is dead.
    pub(crate) fallback: Moment,
}

impl Deadlines {
    /// Deadlines in their order, whatever was given: a later state never ends before an earlier one.
    pub(crate) fn new(fresh: Moment, stale: Moment, fallback: Moment) -> Self {
        let stale = stale.max(fresh);
        Self { fresh, stale, fallback: fallback.max(stale) }
    }

    /// The same entry, fresh no longer than `now`; its windows begin then, and none ends later than it did.
    pub(crate) fn ended(self, now: Moment) -> Self {
        let fresh = self.fresh.min(now);
        let window = |end: Moment| fresh.after(self.fresh.until(end)).min(end);
        Self { fresh, stale: window(self.stale), fallback: window(self.fallback) }
    }

    /// The earlier of each: a copy never outlives its entry.
    pub(crate) fn at_most(self, other: Self) -> Self {
        Self {
            fresh: self.fresh.min(other.fresh),
            stale: self.stale.min(other.stale),
            fallback: self.fallback.min(other.fallback),
        }
    }
}

/// The state of life at `now`. A deadline is the first moment of the next state.
pub(crate) fn classify(deadlines: &Deadlines, now: Moment) -> Life {
    if now < deadlines.fresh {
        Life::Fresh
    } else if now < deadlines.stale || (ablated!(EndlessWindows) && deadlines.stale > deadlines.fresh) {
        Life::Stale
    } else if now < deadlines.fallback {
        Life::Fallback
    } else {
        Life::Dead
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Moment {
        Moment::from_millis(ms)
    }

    #[test]
    fn a_deadline_is_the_first_moment_of_the_next_state() {
        let deadlines = Deadlines::new(at(10), at(20), at(30));
        let states = [9, 10, 19, 20, 29, 30].map(|ms| classify(&deadlines, at(ms)));
        use Life::{Dead, Fallback, Fresh, Stale};
        assert_eq!(states, [Fresh, Stale, Stale, Fallback, Fallback, Dead]);
    }

    #[test]
    fn ending_an_entry_moves_its_windows_with_it_and_an_entry_without_windows_is_dead_at_once() {
        let windows = Deadlines::new(at(100), at(110), at(150));
        assert_eq!(windows.ended(at(40)), Deadlines { fresh: at(40), stale: at(50), fallback: at(90) });
        assert_eq!(windows.ended(at(120)), windows, "it had ended already");
        let plain = Deadlines::new(at(100), at(100), at(100));
        assert_eq!(classify(&plain.ended(at(40)), at(40)), Life::Dead);
    }

    #[test]
    fn windows_are_put_in_order_and_copies_never_outlive_their_entry() {
        let deadlines = Deadlines::new(at(10), at(5), at(7));
        assert_eq!(deadlines, Deadlines { fresh: at(10), stale: at(10), fallback: at(10) });
        assert_eq!(deadlines.at_most(Deadlines::new(at(3), at(20), at(20))).fresh, at(3));
    }
}
