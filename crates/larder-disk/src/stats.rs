//! What a disk store tells about itself.

use std::sync::atomic::Ordering;

use crate::shared::Shared;

/// What a store holds, and what it has done since it was opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct DiskStats {
    /// Entries, those included that have expired but not been cleaned up yet.
    pub entries: u64,
    /// What these entries take in the log, in bytes.
    pub live_bytes: u64,
    /// What the log takes, in bytes.
    pub used_bytes: u64,
    /// The files of the log.
    pub segments: u64,
    /// Living entries that left for space.
    pub evicted: u64,
    /// Bytes that were written a second time, to keep entries of a segment that was deleted.
    pub rewritten_bytes: u64,
    /// Entries that were not what had been written.
    pub damaged: u64,
    /// Reads, writes and fsyncs that failed.
    pub failures: u64,
}

impl DiskStats {
    pub(crate) fn of(shared: &Shared) -> Self {
        let counters = &shared.counters;
        let index = shared.index.read();
        Self {
            entries: index.entries() as u64,
            live_bytes: index.live_bytes(),
            used_bytes: index.used_bytes(),
            segments: index.segments().len() as u64,
            evicted: counters.evicted.load(Ordering::Relaxed),
            rewritten_bytes: counters.rewritten_bytes.load(Ordering::Relaxed),
            damaged: counters.damaged.load(Ordering::Relaxed),
            failures: counters.failures.load(Ordering::Relaxed),
        }
    }
}
