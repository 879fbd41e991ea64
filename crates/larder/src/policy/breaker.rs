//! A circuit breaker as a value: told what happened and when, it answers whether to try.

use std::time::Duration;

use larder_core::{Moment, TierState};

/// When a breaker opens and for how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BreakerRule {
    /// Errors in a row that open it. A timeout opens it at once: the next caller shall not wait as long again.
    pub(crate) failures: u32,
    /// How long it stays open at first; each failed probe doubles that.
    pub(crate) first_pause: Duration,
    /// The longest it stays open.
    pub(crate) longest_pause: Duration,
}

/// How a call ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    Ok,
    Failed,
    TimedOut,
}

/// Whether to make a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Permit {
    Go,
    /// Go, as the one who tries whether the tier is well again.
    Probe,
    /// Do not call.
    Skip,
}

#[derive(Clone, Copy, Debug)]
enum State {
    Closed { failures: u32 },
    Open { until: Moment, pause: Duration },
    Probing { since: Moment, pause: Duration },
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Breaker {
    rule: BreakerRule,
    state: State,
}

impl Breaker {
    pub(crate) fn new(rule: BreakerRule) -> Self {
        Self { rule, state: State::Closed { failures: 0 } }
    }

    /// Whether to call now. A `Probe` is given to one caller at a time; a probe that never reports (its caller
    /// vanished) is given up after the longest pause.
    pub(crate) fn permit(&mut self, now: Moment) -> Permit {
        match self.state {
            State::Closed { .. } => Permit::Go,
            State::Open { until, pause } if now >= until && !ablated!(BreakerStuck) => self.probe(now, pause),
            State::Probing { since, pause } if now >= since.after(self.rule.longest_pause) => {
                self.probe(now, pause)
            }
            State::Open { .. } | State::Probing { .. } => Permit::Skip,
        }
    }

    fn probe(&mut self, now: Moment, pause: Duration) -> Permit {
        self.state = State::Probing { since: now, pause };
        Permit::Probe
    }

    /// Takes note of how a call ended; `draw` from `(0, 1]` spreads the pauses of many nodes. Calls that were let
    /// go before the breaker opened still report; they neither close nor prolong it.
    pub(crate) fn record(&mut self, permit: Permit, ending: Ending, now: Moment, draw: f64) {
        match (self.state, ending) {
            (State::Closed { .. }, Ending::Ok) => self.state = State::Closed { failures: 0 },
            (State::Closed { failures }, Ending::Failed) if failures + 1 < self.rule.failures => {
                self.state = State::Closed { failures: failures + 1 };
            }
            (State::Closed { .. }, _) => self.open(now, self.rule.first_pause, draw),
            (State::Probing { .. }, Ending::Ok) if permit == Permit::Probe => {
                self.state = State::Closed { failures: 0 };
            }
            (State::Probing { pause, .. }, _) if permit == Permit::Probe => self.open(now, pause * 2, draw),
            _ => {}
        }
    }

    /// The caller vanished before its call ended. A probe that did leaves its turn to the next caller.
    pub(crate) fn forget(&mut self, permit: Permit, now: Moment) {
        if let (State::Probing { pause, .. }, Permit::Probe) = (self.state, permit) {
            self.state = State::Open { until: now, pause };
        }
    }

    fn open(&mut self, now: Moment, pause: Duration, draw: f64) {
        let pause = pause.min(self.rule.longest_pause);
        self.state = State::Open { until: now.after(pause.mul_f64(1.0 - 0.2 * draw)), pause };
    }

    pub(crate) fn state(&self) -> TierState {
        match self.state {
            State::Closed { .. } => TierState::Closed,
            State::Open { .. } => TierState::Open,
            State::Probing { .. } => TierState::Probing,
        }
    }

    /// Until when calls are skipped, while it is open.
    pub(crate) fn open_until(&self) -> Option<Moment> {
        match self.state {
            State::Open { until, .. } => Some(until),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULE: BreakerRule = BreakerRule {
        failures: 3,
        first_pause: Duration::from_secs(1),
        longest_pause: Duration::from_secs(3),
    };

    fn at(ms: u64) -> Moment {
        Moment::from_millis(ms)
    }

    fn fail(breaker: &mut Breaker, now: u64) {
        let permit = breaker.permit(at(now));
        breaker.record(permit, Ending::Failed, at(now), 1e-9);
    }

    #[test]
    fn it_opens_after_failures_in_a_row_and_a_success_between_starts_the_count_again() {
        let mut breaker = Breaker::new(RULE);
        fail(&mut breaker, 0);
        fail(&mut breaker, 0);
        breaker.record(Permit::Go, Ending::Ok, at(0), 0.5);
        fail(&mut breaker, 0);
        fail(&mut breaker, 0);
        assert_eq!(breaker.state(), TierState::Closed);
        fail(&mut breaker, 0);
        assert_eq!(breaker.permit(at(999)), Permit::Skip);
    }

    #[test]
    fn one_timeout_opens_it_so_that_the_next_caller_does_not_wait_too() {
        let mut breaker = Breaker::new(RULE);
        breaker.record(Permit::Go, Ending::TimedOut, at(0), 0.5);
        assert_eq!(breaker.permit(at(1)), Permit::Skip);
    }

    #[test]
    fn one_probe_at_a_time_decides_and_failed_probes_double_the_pause_up_to_the_longest() {
        let mut breaker = Breaker::new(RULE);
        breaker.record(Permit::Go, Ending::TimedOut, at(0), 1e-9);
        assert_eq!([breaker.permit(at(1_000)), breaker.permit(at(1_000))], [Permit::Probe, Permit::Skip]);
        breaker.record(Permit::Go, Ending::Ok, at(1_001), 0.5);
        assert_eq!(breaker.state(), TierState::Probing, "a call from before does not close it");
        breaker.record(Permit::Probe, Ending::Failed, at(1_001), 1e-9);
        assert_eq!([breaker.permit(at(3_000)), breaker.permit(at(3_001))], [Permit::Skip, Permit::Probe]);
        breaker.record(Permit::Probe, Ending::Failed, at(3_001), 1e-9);
        assert_eq!(breaker.permit(at(6_001)), Permit::Probe, "three seconds, not four");
        breaker.record(Permit::Probe, Ending::Ok, at(6_002), 0.5);
        assert_eq!(breaker.state(), TierState::Closed);
    }

    #[test]
    fn a_probe_that_is_dropped_leaves_its_turn_to_the_next_caller() {
        let mut breaker = Breaker::new(RULE);
        breaker.record(Permit::Go, Ending::TimedOut, at(0), 0.5);
        assert_eq!(breaker.permit(at(1_000)), Permit::Probe);
        breaker.forget(Permit::Go, at(1_001));
        assert_eq!(breaker.permit(at(1_001)), Permit::Skip, "another call's end is not the probe's");
        breaker.forget(Permit::Probe, at(1_002));
        assert_eq!(breaker.permit(at(1_002)), Permit::Probe);
        breaker.record(Permit::Probe, Ending::Ok, at(1_003), 0.5);
        breaker.forget(Permit::Probe, at(1_004));
        assert_eq!(breaker.state(), TierState::Closed, "what ended is not forgotten");
    }

    #[test]
    fn a_probe_whose_caller_vanished_does_not_keep_the_breaker_shut_for_ever() {
        let mut breaker = Breaker::new(RULE);
        breaker.record(Permit::Go, Ending::TimedOut, at(0), 0.5);
        assert_eq!(breaker.permit(at(1_000)), Permit::Probe);
        assert_eq!([breaker.permit(at(3_999)), breaker.permit(at(4_000))], [Permit::Skip, Permit::Probe]);
    }
}
