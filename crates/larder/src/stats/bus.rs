//! What is counted of a stack's bus.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

/// How a stack's bus does.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct BusStats {
    /// What the bus is called.
    pub bus: Arc<str>,
    /// Whether it is heard now.
    pub is_heard: bool,
    /// Whether memory is served as it is: nothing can have been missed.
    pub is_sound: bool,
    /// For how much longer memory is served as it is if no further sign proves that nothing was missed: a second at most
    /// ([`BusSettings::sound`](crate::BusSettings::sound)), renewed by each beat. A healthy node never comes near zero;
    /// zero is a node that serves memory only as its [`Partition`](crate::Partition) allows. `None` at a node that does not
    /// listen, whose memory the bus does not protect.
    pub sound_for: Option<Duration>,
    /// How many numbers the shared store has drawn for news, as far as this node knows, that this node has not heard: how
    /// far it is behind. What one beat saw and the next still misses is a gap, which clears memory and is caught up with so.
    /// Always zero where no store is asked.
    pub lag_seq: u64,
    /// Messages of other nodes that were taken in.
    pub taken_in: u64,
    /// Messages that were not understood.
    pub rejected: u64,
    /// Messages of other fleets on the same channel, which were ignored
    /// ([`BusSettings::fleet`](crate::BusSettings::fleet)).
    pub foreign: u64,
    /// Messages that the transport took.
    pub published: u64,
    /// Attempts to publish that failed.
    pub failures: u64,
    /// News that wait until the bus takes them.
    pub waiting: u64,
    /// How often news were found missing.
    pub gaps: u64,
    /// How often memory was cleared unasked.
    pub clears: u64,
    /// Values that other nodes sent and memory took ([`Policy::prime`](crate::Policy::prime)).
    pub primed: u64,
    /// Values that other nodes sent and memory did not take: they came late, or it has better.
    pub primes_refused: u64,
}

#[derive(Default)]
pub(crate) struct BusCounters {
    pub(crate) taken_in: AtomicU64,
    pub(crate) rejected: AtomicU64,
    pub(crate) foreign: AtomicU64,
    pub(crate) published: AtomicU64,
    pub(crate) failures: AtomicU64,
    pub(crate) gaps: AtomicU64,
    pub(crate) clears: AtomicU64,
    pub(crate) primed: AtomicU64,
    pub(crate) primes_refused: AtomicU64,
}

impl BusCounters {
    pub(crate) fn add(counter: &AtomicU64) {
        counter.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn read(&self) -> BusStats {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        BusStats {
            taken_in: get(&self.taken_in),
            rejected: get(&self.rejected),
            foreign: get(&self.foreign),
            published: get(&self.published),
            failures: get(&self.failures),
            gaps: get(&self.gaps),
            clears: get(&self.clears),
            primed: get(&self.primed),
            primes_refused: get(&self.primes_refused),
            ..BusStats::default()
        }
    }

    pub(crate) fn reset(&self) {
        let messages = [&self.taken_in, &self.rejected, &self.foreign, &self.published, &self.failures];
        let outcomes = [&self.gaps, &self.clears, &self.primed, &self.primes_refused];
        messages.into_iter().chain(outcomes).for_each(|counter| counter.store(0, Ordering::Relaxed));
    }
}
