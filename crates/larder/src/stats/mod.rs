//! What is counted: per namespace, per tier, per outcome; read as plain numbers.

mod bus;
mod counter;
mod scope;
mod tier;

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use larder_core::Timestamp;

pub(crate) use bus::BusCounters;
pub use bus::BusStats;
use counter::Counters;
pub use scope::Capture;
use scope::noted_in_scope;
pub(crate) use scope::{capturing, carried, current};
pub(crate) use tier::TierCounters;
pub use tier::{Latency, TierStats};

macro_rules! counts {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// What happened in one namespace since the last reset.
        ///
        /// `hits` and `misses` count tier by tier in `tiers`; here `misses` are reads that no tier could answer.
        #[derive(Clone, Debug, Default, PartialEq, Eq)]
        #[non_exhaustive]
        pub struct NamespaceStats {
            /// The namespace.
            pub name: Arc<str>,
            /// Per tier, in the order of the stack.
            pub tiers: Vec<TierHits>,
            $($(#[$doc])* pub $name: u64,)*
        }

        /// One thing to count.
        #[derive(Clone, Copy, Debug)]
        #[expect(non_camel_case_types, reason = "named after the field it raises")]
        pub(crate) enum Count { $($name,)* }

        /// How many there are.
        const COUNTS: usize = [$(Count::$name),*].len();

        impl Counts {
            pub(crate) fn read(&self, name: Arc<str>, tiers: &[Arc<str>]) -> NamespaceStats {
                let tiers = tiers.iter().enumerate().map(|(tier, name)| self.read_tier(tier, name)).collect();
                NamespaceStats { name, tiers, $($name: self.counters.get(self.single(Count::$name)),)* }
            }
        }
    };
}

counts! {
    /// Reads that no tier could answer.
    misses,
    /// Loader calls.
    loads,
    /// Loads that no reader waits for: of stale entries, ahead of time, and on request.
    refreshes,
    /// Loads that failed, panicked or ran past their limit.
    load_errors,
    /// Loads that ran past their limit.
    load_timeouts,
    /// Loads that found the value unchanged at the origin.
    not_modified,
    /// Callers that shared a load or store read that another began.
    coalesced,
    /// Loads that were not shared, since the flight table was full.
    uncoalesced,
    /// Answers that were past their time.
    stale_served,
    /// Values set.
    sets,
    /// Versioned sets refused since a later revision was written before.
    superseded,
    /// Keys removed on request.
    removes,
    /// Keys expired on request.
    expires,
    /// Clears.
    clears,
    /// Absences remembered.
    absences_stored,
    /// Fills refused since the key was invalidated meanwhile.
    fenced,
    /// Writes and fills that a tier failed to take.
    write_failures,
    /// Stored bytes that were not used.
    payloads_rejected,
    /// Entries that left memory for space.
    evictions,
    /// Entries that left memory for their age.
    expirations,
    /// Entries warmed.
    warmed,
    /// Entries that a barrier had made dead, removed from a store when somebody met them there.
    swept,
}

/// How often one tier had what a namespace asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct TierHits {
    /// The tier.
    pub tier: Arc<str>,
    /// Fresh values.
    pub hits: u64,
    /// Remembered absences.
    pub absent_hits: u64,
    /// Values past their time, but not dead.
    pub stale_hits: u64,
    /// Nothing, or nothing usable.
    pub misses: u64,
    /// Entries copied into this tier after a read found them farther down.
    pub fills: u64,
}

/// What a tier answered.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Outcome {
    Hit,
    AbsentHit,
    StaleHit,
    Miss,
    Fill,
}

const OUTCOMES: [Outcome; 5] =
    [Outcome::Hit, Outcome::AbsentHit, Outcome::StaleHit, Outcome::Miss, Outcome::Fill];

/// What happens in one namespace, or in one scope, while it is being counted: each tier's outcomes first, since every hit
/// is one, then the single counts.
#[derive(Debug)]
pub(crate) struct Counts {
    counters: Counters,
    tiers: usize,
}

impl Counts {
    pub(crate) fn new(tiers: usize) -> Self {
        Self { counters: Counters::new(COUNTS + tiers * OUTCOMES.len()), tiers }
    }

    pub(crate) fn add(&self, what: Count, n: u64) {
        self.counters.add(self.single(what), n);
        noted_in_scope(|scope| scope.counters.add(scope.single(what), n));
    }

    #[inline]
    pub(crate) fn tier(&self, tier: usize, outcome: Outcome) {
        self.counters.add(of_tier(tier, outcome), 1);
        noted_in_scope(|scope| {
            if tier < scope.tiers {
                scope.counters.add(of_tier(tier, outcome), 1);
            }
        });
    }

    pub(crate) fn reset(&self) {
        self.counters.reset();
    }

    fn single(&self, what: Count) -> usize {
        self.tiers * OUTCOMES.len() + what as usize
    }

    fn read_tier(&self, tier: usize, name: &Arc<str>) -> TierHits {
        let [hits, absent_hits, stale_hits, misses, fills] =
            OUTCOMES.map(|outcome| self.counters.get(of_tier(tier, outcome)));
        TierHits { tier: Arc::clone(name), hits, absent_hits, stale_hits, misses, fills }
    }
}

#[inline]
fn of_tier(tier: usize, outcome: Outcome) -> usize {
    tier * OUTCOMES.len() + outcome as usize
}

impl NamespaceStats {
    /// The share of reads that some tier answered, stale values and absences included; 0 without traffic.
    ///
    /// ```
    /// assert_eq!(larder::NamespaceStats::default().hit_ratio(), 0.0);
    /// ```
    #[must_use]
    pub fn hit_ratio(&self) -> f64 {
        let hits: u64 = self.tiers.iter().map(TierHits::all_hits).sum();
        ratio(hits, self.misses)
    }

    /// The same for one tier, of the reads that asked it; 0 without traffic or without such a tier.
    #[must_use]
    pub fn tier_hit_ratio(&self, tier: &str) -> f64 {
        let tier = self.tiers.iter().find(|hits| &*hits.tier == tier);
        tier.map_or(0.0, |tier| ratio(tier.all_hits(), tier.misses))
    }

    /// Hits in one tier, of any kind.
    #[must_use]
    pub fn tier_hits(&self, tier: &str) -> u64 {
        self.tiers.iter().find(|hits| &*hits.tier == tier).map_or(0, TierHits::all_hits)
    }
}

impl TierHits {
    /// Fresh, stale and absent hits together.
    #[must_use]
    pub fn all_hits(&self) -> u64 {
        self.hits + self.absent_hits + self.stale_hits
    }
}

fn ratio(hits: u64, misses: u64) -> f64 {
    match hits + misses {
        0 => 0.0,
        reads => hits as f64 / reads as f64,
    }
}

/// Everything a stack counted.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct Stats {
    /// Per namespace, in the order of their making.
    pub namespaces: Vec<NamespaceStats>,
    /// Per store tier.
    pub tiers: Vec<TierStats>,
    /// The bus, if there is one.
    pub bus: Option<BusStats>,
    /// Entries in memory.
    pub memory_entries: u64,
    /// Their weight, in bytes unless a weigher says otherwise.
    pub memory_weight: u64,
    /// Loads and store reads under way.
    pub flights: u64,
    /// Loads that run without a lease now, since the store that grants leases is down: other nodes may load the same keys
    /// at the same time. At [`Settings::unleased_loads_max`](crate::Settings::unleased_loads_max) further ones wait, then
    /// fall back or are refused.
    pub unleased_loads: u64,
    /// Events that observers missed.
    pub events_missed: u64,
    /// When counting began: the building of the stack, or the last reset.
    pub since: Timestamp,
}

impl Stats {
    /// The share of reads that some tier answered, over all namespaces; 0 without traffic.
    #[must_use]
    pub fn hit_ratio(&self) -> f64 {
        let hits = self.namespaces.iter().flat_map(|space| &space.tiers).map(TierHits::all_hits).sum();
        ratio(hits, self.namespaces.iter().map(|space| space.misses).sum())
    }
}

/// A moment that can be set while others read it.
#[derive(Debug, Default)]
pub(crate) struct Since(AtomicU64);

impl Since {
    pub(crate) fn set(&self, at: Timestamp) {
        self.0.store(at.as_millis(), Ordering::Relaxed);
    }

    pub(crate) fn get(&self) -> Timestamp {
        Timestamp::from_millis(self.0.load(Ordering::Relaxed))
    }
}
