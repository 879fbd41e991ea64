//! How the stack and each of its store tiers behave.

use std::time::Duration;

use serde::Deserialize;

use super::{problem::Problems, serde_span, write::WriteMode};
use crate::policy::{breaker::BreakerRule, expiry::LONGEST};

/// Larger bounds are mistakes, and more than semaphores and queues can count.
const COUNT_MAX: usize = 1 << 30;
/// More waiting events than anybody wants; a queue reserves their room at once.
const EVENTS_MAX: usize = 1 << 20;

/// How a stack behaves: its bounds, and what is the same for all of its caches.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct Settings {
    /// What a write does when a tier fails, unless the call says otherwise. Set in code, not in a file. Default: strict.
    #[serde(skip)]
    pub write_mode: WriteMode,
    /// How many loads and store reads may be under way at once. Beyond it loads are not shared, and an event says
    /// so; never more than twice as many in all, then `Overloaded`. Default: 10 000.
    pub flights_max: usize,
    /// How many writes, removals, expiries and clears may be under way at once; beyond it they answer `Overloaded` and
    /// change nothing. Those of keys that never leave memory wait for nothing and do not count. Default: 10 000.
    pub writes_max: usize,
    /// Share loads and store reads among concurrent callers. Without it each caller loads for itself; leases still keep
    /// other processes from loading the same. Default: true.
    pub coalesce: bool,
    /// How many loads run at once while the authority cannot be asked for leases; the others wait up to a second
    /// and then take a stale value or fail with `Overloaded`. Default: 64.
    pub unleased_loads_max: usize,
    /// How long a lease lasts unless its holder renews it, which it does while it lives: what a dead holder delays
    /// others by. Default: 2 seconds.
    #[serde(deserialize_with = "serde_span::one")]
    pub lease: Duration,
    /// How many keys a failed invalidation may leave owed to a store before they collapse into "everything".
    /// Default: 10 000.
    pub journal_max: usize,
    /// How many of its own invalidations of the last 15 seconds a node remembers, to repeat them at a store that lost its
    /// last writes in a failover. If there were more, everything is invalidated then. Default: 65 536.
    pub replay_max: usize,
    /// How long at least a revision is remembered: a versioned set that comes within this time after a higher revision of
    /// its key was set or removed is refused, also if the entry is gone. Longer than any writer may be late. Where the entry
    /// lives longer, so long. Default: 1 hour.
    #[serde(deserialize_with = "serde_span::one")]
    pub revision_keep: Duration,
    /// Of how many keys a process remembers revisions where no shared store does; beyond it those written longest ago are
    /// forgotten. Default: 65 536.
    pub revisions_max: usize,
    /// The longest an entry with tags is kept in any tier, whatever its policy says: for so long a store must remember which
    /// tags were invalidated. The same on all nodes. Default: 1 day.
    #[serde(deserialize_with = "serde_span::one")]
    pub tagged_life_max: Duration,
    /// How many keys one removal or expiry by prefix or pattern may find; if there are more it answers `Rejected` and has
    /// done nothing. Their names are in memory meanwhile. Default: 10 000.
    pub invalidation_max_keys: usize,
    /// How many namespaces there may be, nested ones included; they are never forgotten. Default: 10 000.
    pub namespaces_max: usize,
    /// The largest stored value in bytes, decompressed. Default: 16 MiB.
    pub max_value_bytes: usize,
    /// How many events may wait for each observer before it misses some. Default: 4 096.
    pub events_max: usize,
    /// Count hits, misses and latencies. Default: true.
    pub statistics: bool,
    /// Compress stored values from this many bytes on, when that saves an eighth; `None` never. Default: 1 KiB.
    pub compress_from_bytes: Option<usize>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            write_mode: WriteMode::Strict,
            flights_max: 10_000,
            writes_max: 10_000,
            coalesce: true,
            unleased_loads_max: 64,
            lease: Duration::from_secs(2),
            journal_max: 10_000,
            replay_max: 65_536,
            revision_keep: Duration::from_secs(3_600),
            revisions_max: 65_536,
            tagged_life_max: Duration::from_secs(86_400),
            invalidation_max_keys: 10_000,
            namespaces_max: 10_000,
            max_value_bytes: 16 << 20,
            events_max: 4_096,
            statistics: true,
            compress_from_bytes: Some(1_024),
        }
    }
}

impl Settings {
    /// The defaults.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    pub(crate) fn check(&self, problems: &mut Problems) {
        let counts = [
            ("flights_max", self.flights_max),
            ("writes_max", self.writes_max),
            ("unleased_loads_max", self.unleased_loads_max),
            ("journal_max", self.journal_max),
            ("replay_max", self.replay_max),
            ("revisions_max", self.revisions_max),
            ("invalidation_max_keys", self.invalidation_max_keys),
            ("namespaces_max", self.namespaces_max),
            ("max_value_bytes", self.max_value_bytes),
            ("events_max", self.events_max),
        ];
        for (name, count) in counts {
            problems.fault_if(count == 0, name, "is zero", "give at least 1");
            problems.fault_if(
                count > COUNT_MAX,
                name,
                "is more than 1 073 741 824",
                "a bound that large is none",
            );
        }
        problems.fault_if(
            self.events_max > EVENTS_MAX,
            "events_max",
            "is more than 1 048 576, and room for all is reserved at once",
            "an observer that falls so far behind should take less in hand",
        );
        problems.fault_if(
            self.tagged_life_max.is_zero() || self.tagged_life_max > LONGEST,
            "tagged_life_max",
            "is zero or longer than ten years",
            "a day is enough for most",
        );
        problems.fault_if(
            self.revision_keep.is_zero() || self.revision_keep > LONGEST,
            "revision_keep",
            "is zero or longer than ten years",
            "give it longer than any writer may be late, such as 1h",
        );
        problems.fault_if(
            self.lease < Duration::from_millis(100) || self.lease > Duration::from_secs(30),
            "lease",
            "is not between 100ms and 30s",
            "2s lets others go on soon after a holder died",
        );
    }
}

macro_rules! setters {
    ($target:ident: $($(#[$doc:meta])* $setter:ident: $type:ty => $field:ident = $value:expr;)*) => {
        impl $target {
            $($(#[$doc])* #[must_use] pub fn $setter(mut self, $field: $type) -> Self { self.$field = $value; self })*
        }
    };
}

pub(super) use setters;

setters! { Settings:
    /// Sets [`write_mode`](Self::write_mode).
    with_write_mode: WriteMode => write_mode = write_mode;
    /// Sets [`flights_max`](Self::flights_max).
    with_flights_max: usize => flights_max = flights_max;
    /// Sets [`writes_max`](Self::writes_max).
    with_writes_max: usize => writes_max = writes_max;
    /// Sets [`coalesce`](Self::coalesce).
    with_coalesce: bool => coalesce = coalesce;
    /// Sets [`unleased_loads_max`](Self::unleased_loads_max).
    with_unleased_loads_max: usize => unleased_loads_max = unleased_loads_max;
    /// Sets [`lease`](Self::lease).
    with_lease: Duration => lease = lease;
    /// Sets [`journal_max`](Self::journal_max).
    with_journal_max: usize => journal_max = journal_max;
    /// Sets [`replay_max`](Self::replay_max).
    with_replay_max: usize => replay_max = replay_max;
    /// Sets [`revision_keep`](Self::revision_keep).
    with_revision_keep: Duration => revision_keep = revision_keep;
    /// Sets [`revisions_max`](Self::revisions_max).
    with_revisions_max: usize => revisions_max = revisions_max;
    /// Sets [`tagged_life_max`](Self::tagged_life_max).
    with_tagged_life_max: Duration => tagged_life_max = tagged_life_max;
    /// Sets [`invalidation_max_keys`](Self::invalidation_max_keys).
    with_invalidation_max_keys: usize => invalidation_max_keys = invalidation_max_keys;
    /// Sets [`namespaces_max`](Self::namespaces_max).
    with_namespaces_max: usize => namespaces_max = namespaces_max;
    /// Sets [`max_value_bytes`](Self::max_value_bytes).
    with_max_value_bytes: usize => max_value_bytes = max_value_bytes;
    /// Sets [`events_max`](Self::events_max).
    with_events_max: usize => events_max = events_max;
    /// Sets [`statistics`](Self::statistics).
    with_statistics: bool => statistics = statistics;
    /// Sets [`compress_from_bytes`](Self::compress_from_bytes).
    with_compress_from_bytes: Option<usize> => compress_from_bytes = compress_from_bytes;
}

/// How a store tier behaves.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct TierSettings {
    /// What the tier is called in options, statistics and events. Default: the store's own name.
    pub name: Option<String>,
    /// How long a call to the store may take before it counts as failed. Default: 250 ms.
    #[serde(deserialize_with = "serde_span::one")]
    pub timeout: Duration,
    /// Errors in a row that make the tier be skipped for a while; one timeout does it too. Default: 5.
    pub breaker_failures: u32,
    /// How long it is skipped at first; doubles with each failed try. Default: 1 second.
    #[serde(deserialize_with = "serde_span::one")]
    pub retry_after: Duration,
    /// The longest it is skipped. Default: 15 seconds.
    #[serde(deserialize_with = "serde_span::one")]
    pub retry_after_max: Duration,
}

impl Default for TierSettings {
    fn default() -> Self {
        Self {
            name: None,
            timeout: Duration::from_millis(250),
            breaker_failures: 5,
            retry_after: Duration::from_secs(1),
            retry_after_max: Duration::from_secs(15),
        }
    }
}

setters! { TierSettings:
    /// Sets [`name`](Self::name).
    with_name: impl Into<String> => name = Some(name.into());
    /// Sets [`timeout`](Self::timeout).
    with_timeout: Duration => timeout = timeout;
    /// Sets [`breaker_failures`](Self::breaker_failures).
    with_breaker_failures: u32 => breaker_failures = breaker_failures;
    /// Sets [`retry_after`](Self::retry_after).
    with_retry_after: Duration => retry_after = retry_after;
    /// Sets [`retry_after_max`](Self::retry_after_max).
    with_retry_after_max: Duration => retry_after_max = retry_after_max;
}

impl TierSettings {
    /// The defaults.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    pub(crate) fn rule(&self) -> BreakerRule {
        BreakerRule {
            failures: self.breaker_failures,
            first_pause: self.retry_after.min(LONGEST),
            longest_pause: self.retry_after_max.max(self.retry_after).min(LONGEST),
        }
    }

    pub(crate) fn check(&self, tier: &str, problems: &mut Problems) {
        let setting = |name: &str| format!("tier.{tier}.{name}");
        if self.timeout.is_zero() {
            problems.fault(setting("timeout"), "is zero", "give the store some time, such as 250ms");
        }
        if self.breaker_failures == 0 {
            problems.fault(setting("breaker_failures"), "is zero", "1 skips the tier after one error");
        }
        if self.retry_after.is_zero() {
            problems.fault(setting("retry_after"), "is zero", "give the store time to recover, such as 1s");
        }
        if self.retry_after_max < self.retry_after {
            problems.advise(
                setting("retry_after_max"),
                "is shorter than retry_after and has no effect",
                "raise it",
            );
        }
    }
}
