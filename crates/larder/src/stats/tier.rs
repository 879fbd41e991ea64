//! What is counted at a store tier: how long its calls take, and how they end.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use larder_core::TierState;

use crate::policy::breaker::Ending;

/// How long the calls to a tier took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Latency {
    /// How many were measured.
    pub count: u64,
    /// Their mean.
    pub mean: Duration,
    /// The longest.
    pub max: Duration,
}

/// A store tier's own numbers.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct TierStats {
    /// The tier.
    pub name: Arc<str>,
    /// Calls that ended, well or not.
    pub latency: Latency,
    /// Calls that failed or took too long.
    pub failures: u64,
    /// Calls that took too long.
    pub timeouts: u64,
    /// Calls that were not made since the breaker was open.
    pub skipped: u64,
    /// Times the breaker opened.
    pub breaker_trips: u64,
    /// The breaker.
    pub state: TierState,
    /// How much longer the tier is skipped, while its breaker is open.
    pub degraded_for: Option<Duration>,
    /// Invalidations owed to the store.
    pub journal: u64,
}

#[derive(Default, Debug)]
pub(crate) struct TierCounters {
    latency: Mutex<Sum>,
    failures: AtomicU64,
    timeouts: AtomicU64,
    skipped: AtomicU64,
    trips: AtomicU64,
}

#[derive(Default, Debug, Clone, Copy)]
struct Sum {
    count: u64,
    nanos: u128,
    max_nanos: u64,
}

impl TierCounters {
    pub(crate) fn called(&self, ending: Ending, nanos: u64) {
        {
            let mut sum = self.latency.lock().unwrap_or_else(PoisonError::into_inner);
            sum.count += 1;
            sum.nanos += u128::from(nanos);
            sum.max_nanos = sum.max_nanos.max(nanos);
        }
        if ending != Ending::Ok {
            self.failures.fetch_add(1, Ordering::Relaxed);
        }
        if ending == Ending::TimedOut {
            self.timeouts.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(crate) fn skipped(&self) {
        self.skipped.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn tripped(&self) {
        self.trips.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn reset(&self) {
        *self.latency.lock().unwrap_or_else(PoisonError::into_inner) = Sum::default();
        for number in [&self.failures, &self.timeouts, &self.skipped, &self.trips] {
            number.store(0, Ordering::Relaxed);
        }
    }

    /// The numbers; the caller adds what it alone knows.
    pub(crate) fn read(&self, name: Arc<str>) -> TierStats {
        let sum = *self.latency.lock().unwrap_or_else(PoisonError::into_inner);
        let mean = sum.nanos.checked_div(u128::from(sum.count)).unwrap_or(0);
        TierStats {
            name,
            latency: Latency {
                count: sum.count,
                mean: Duration::from_nanos(u64::try_from(mean).unwrap_or(u64::MAX)),
                max: Duration::from_nanos(sum.max_nanos),
            },
            failures: self.failures.load(Ordering::Relaxed),
            timeouts: self.timeouts.load(Ordering::Relaxed),
            skipped: self.skipped.load(Ordering::Relaxed),
            breaker_trips: self.trips.load(Ordering::Relaxed),
            state: TierState::Closed,
            degraded_for: None,
            journal: 0,
        }
    }
}
