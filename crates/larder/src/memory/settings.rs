//! The settings of the memory tier.

use std::num::NonZeroUsize;

/// The bounds of the memory tier, and what leaves when they are reached.
///
/// There is always a bound: in bytes, in entries, or both. Neither is ever exceeded, not even for a moment.
///
/// **What an entry weighs**: what the weigher says of its value, plus the length of its key, plus
/// [`ENTRY_OVERHEAD_BYTES`](Self::ENTRY_OVERHEAD_BYTES) for the bookkeeping, plus what its tags take, some 300 bytes for
/// the first. A weigher may answer anything: zero costs
/// nothing beyond key and bookkeeping, and an entry of 4 GiB or more is not kept.
///
/// **Shards.** The tier is split into shards so that threads do not wait for each other; each has an equal share of the
/// bounds and evicts on its own. Two things follow. An entry heavier than one *share* is not kept (with the default
/// number of shards a share is never less than 8 MiB, or the whole bound if that is smaller). And only within a shard is
/// the order of eviction exact, so a tier bounded to fewer than 2 048 entries has one shard.
///
/// ```
/// use larder::{Eviction, Memory};
///
/// let memory = Memory::max_bytes(256 << 20).with_eviction(Eviction::Lru);
/// assert_eq!(memory.max_bytes, Some(256 << 20));
/// ```
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Memory {
    /// The bound in bytes, counted as above. Zero keeps nothing. Default: 64 MiB, unless the entries are bounded.
    pub max_bytes: Option<u64>,
    /// The bound in entries. Zero keeps nothing. Default: none.
    pub max_entries: Option<u64>,
    /// Who leaves first when the tier is full. Default: [`Eviction::Adaptive`].
    pub eviction: Eviction,
    /// How many shards, rounded up to a power of two, at most 1 024, and never more than the entries allowed. Default:
    /// four for each processor, at most 256, but no more than one for each 8 MiB and one for each 1 024 entries.
    pub shards: Option<u32>,
}

/// Who leaves first when the memory tier is full.
///
/// Every one of them is exact within a shard; see [`Memory`] for how many shards there are.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Eviction {
    /// Follows the workload. New entries pass a small queue, and only those asked for again enter the main one, so
    /// one-hit wonders and scans leave quickly; who comes back after it left shows which queue is too small, so where
    /// favourites change often the small one grows until recency decides nearly alone, close to [`Lru`](Self::Lru). A loop
    /// that is larger than the tier keeps most of what fits. A hit changes no order, so readers never wait for each
    /// other. (After S3-FIFO, Yang et al., SOSP 2023; ARC, Megiddo and Modha, FAST 2003; and LIRS, Jiang and Zhang,
    /// SIGMETRICS 2002.)
    #[default]
    Adaptive,
    /// The least recently used: for workloads whose favourites change often. A hit reorders, so readers of a shard wait
    /// for each other.
    Lru,
    /// The least frequently used since it was put; of those, the least recently used. Counts never age: for a set of
    /// favourites that stays. A hit reorders, so readers of a shard wait for each other. (Shah, Mitra, Matani: "An O(1)
    /// algorithm for implementing the LFU cache eviction scheme", 2010.)
    Lfu,
    /// The one put longest ago; hits do not matter, and an entry that is put again counts as new.
    Fifo,
}

impl Memory {
    /// What an entry weighs beyond its value and its key, in bytes: its place in the slab, in the index and in the
    /// memory of who left, and what the allocation of its value takes beside it.
    pub const ENTRY_OVERHEAD_BYTES: u64 = 116;

    /// A tier bounded by what its entries weigh, in bytes.
    #[must_use]
    pub const fn max_bytes(bytes: u64) -> Self {
        Self { max_bytes: Some(bytes), max_entries: None, eviction: Eviction::Adaptive, shards: None }
    }

    /// A tier bounded by the number of its entries, whatever they weigh.
    #[must_use]
    pub const fn max_entries(entries: u64) -> Self {
        Self { max_bytes: None, max_entries: Some(entries), eviction: Eviction::Adaptive, shards: None }
    }

    /// Bounds what the entries weigh, in bytes, beside any other bound.
    #[must_use]
    pub const fn with_max_bytes(self, bytes: u64) -> Self {
        Self { max_bytes: Some(bytes), ..self }
    }

    /// Bounds the number of entries, beside any other bound.
    #[must_use]
    pub const fn with_max_entries(self, entries: u64) -> Self {
        Self { max_entries: Some(entries), ..self }
    }

    /// Chooses who leaves first when the tier is full.
    #[must_use]
    pub const fn with_eviction(self, eviction: Eviction) -> Self {
        Self { eviction, ..self }
    }

    /// Splits the tier into so many shards; see [`shards`](Self::shards) for how the number is rounded.
    #[must_use]
    pub const fn with_shards(self, shards: u32) -> Self {
        Self { shards: Some(shards), ..self }
    }
}

impl Default for Memory {
    /// 64 MiB, [`Eviction::Adaptive`].
    fn default() -> Self {
        Self::max_bytes(DEFAULT_BYTES)
    }
}

const DEFAULT_BYTES: u64 = 64 << 20;
/// "No bound": far above any machine, and so far below the end of `u64` that sums of two cannot overflow.
const UNBOUNDED: u64 = 1 << 62;
/// Slots are numbered in 32 bits and the last number means "none".
const SHARD_ENTRIES_MAX: u64 = u32::MAX as u64 - 1;
const SHARDS_MAX: u64 = 1_024;
const AUTOMATIC_SHARDS_MAX: u64 = 256;
const SHARDS_PER_PROCESSOR: u64 = 4;
const SHARD_BYTES_MIN: u64 = 8 << 20;
const SHARD_ENTRIES_MIN: u64 = 1_024;

/// The bounds of one shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Bounds {
    pub(super) bytes: u64,
    pub(super) entries: u64,
}

impl Bounds {
    /// Whether there is a bound in bytes.
    pub(super) fn are_bytes(&self) -> bool {
        self.bytes < UNBOUNDED / SHARDS_MAX
    }
}

/// The bounds of each shard: a power of two of them, together exactly the bounds of the tier.
pub(super) fn shares(settings: &Memory) -> Vec<Bounds> {
    let otherwise = if settings.max_entries.is_some() { UNBOUNDED } else { DEFAULT_BYTES };
    let bytes = settings.max_bytes.unwrap_or(otherwise).min(UNBOUNDED);
    let entries = settings.max_entries.unwrap_or(UNBOUNDED).min(UNBOUNDED);
    let shards = shard_count(settings, bytes, entries);
    let share = |total: u64, shard: u64| total / shards + u64::from(shard < total % shards);
    (0..shards)
        .map(|shard| Bounds {
            bytes: share(bytes, shard),
            entries: share(entries, shard).min(SHARD_ENTRIES_MAX),
        })
        .collect()
}

fn shard_count(settings: &Memory, bytes: u64, entries: u64) -> u64 {
    let count = match settings.shards {
        Some(shards) => u64::from(shards).clamp(1, SHARDS_MAX).next_power_of_two().min(entries),
        None => {
            let processors = std::thread::available_parallelism().map_or(1, NonZeroUsize::get) as u64;
            let wanted = (processors * SHARDS_PER_PROCESSOR).next_power_of_two().min(AUTOMATIC_SHARDS_MAX);
            wanted.min(bytes / SHARD_BYTES_MIN).min(entries / SHARD_ENTRIES_MIN)
        }
    };
    // The largest power of two that is not above it.
    1 << count.max(1).ilog2()
}
