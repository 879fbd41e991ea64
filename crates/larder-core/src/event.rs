//! What happened, told to whoever watches. A closed list; an event may name a key, never a value.

use std::{fmt, sync::Arc, time::Duration};

use crate::{Error, Key};

/// How good an entry still is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Life {
    /// Within its `ttl`.
    Fresh,
    /// Past it, within `stale_while_revalidate`.
    Stale,
    /// Past that, within `stale_if_error`.
    Fallback,
    /// Past everything: not there.
    Dead,
}

/// Why a stale value was served.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum StaleReason {
    /// Within `stale_while_revalidate`: a refresh runs behind it.
    Revalidating,
    /// The load took longer than the soft timeout and goes on.
    SoftTimeout,
    /// The load did not end before the hard timeout or the caller's deadline, and goes on.
    HardTimeout,
    /// The load failed.
    LoadFailed,
    /// A load failed a short while ago; the next attempt waits for the re-arm time.
    Rearmed,
    /// The caller allowed it and nothing better was at hand.
    Allowed,
    /// The node is cut off from the bus and the shared store: others may have changed it, and nobody can tell.
    CutOff,
}

/// What made a load start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LoadCause {
    /// No tier had it.
    Miss,
    /// It was stale.
    Stale,
    /// It was about to become stale.
    RefreshAhead,
    /// The caller wanted a fresh one.
    Forced,
    /// Warming.
    Warm,
}

/// Why stored bytes were not used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RejectedPayload {
    /// Not Larder's bytes.
    Foreign,
    /// From a newer version of Larder. Left in place for those who can read it.
    Newer,
    /// Torn or damaged: the checksum or a length is wrong.
    Corrupt,
    /// Produced for another key. A bug or an attack.
    WrongKey,
    /// Another type, or the type changed shape.
    WrongType,
    /// A codec that this namespace does not read.
    UnknownCodec,
    /// Larger than allowed, or claiming to be.
    TooLarge,
    /// The payload does not decode.
    Undecodable,
    /// Encrypted with another key, tampered with, or plain where encrypted values are asked for.
    NotAuthentic,
    /// Older than an invalidation that this process knows of.
    Outdated,
}

/// The state of a tier's breaker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TierState {
    /// In use.
    Closed,
    /// Skipped until it has had time to recover.
    Open,
    /// One call at a time tries whether it is well again.
    Probing,
}

/// Why memory was cleared unasked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ClearReason {
    /// The node came to hear its bus, for the first time or again.
    Joined,
    /// News were lost.
    Gap,
    /// More news came than could be taken in.
    Overflow,
    /// A peer told so: it had more news than it could keep, or said something that this release does not understand.
    Told,
    /// News told so, or were lost, within a second of the last time: the clear was held back until that was over.
    Held,
    /// A store lost history.
    Lineage,
}

/// What happened.
///
/// The list is closed, so a `match` over it is complete; new kinds come with a new minor version. Events are made
/// only while somebody watches.
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "the fields' names and types say all there is; the variants are documented")]
pub enum Event {
    /// A read found an entry.
    Hit { namespace: Arc<str>, key: Key, tier: Arc<str>, life: Life, absent: bool },
    /// A read found nothing in any tier that it asked.
    Miss { namespace: Arc<str>, key: Key },
    /// A past-its-time value was served.
    StaleServed { namespace: Arc<str>, key: Key, reason: StaleReason, age: Duration },
    /// A loader began.
    LoadStarted { namespace: Arc<str>, key: Key, cause: LoadCause },
    /// A loader returned a value, or `None` (`absent`).
    LoadSucceeded { namespace: Arc<str>, key: Key, took: Duration, absent: bool },
    /// The origin said that the entry at hand is still good.
    NotModified { namespace: Arc<str>, key: Key, took: Duration },
    /// A loader failed or panicked.
    LoadFailed { namespace: Arc<str>, key: Key, took: Duration, error: Error },
    /// A loader ran past its limit and was ended. Comes before the `LoadFailed` that tells it to the callers.
    LoadTimedOut { namespace: Arc<str>, key: Key, took: Duration },
    /// A caller waits on a load that another caller began.
    Coalesced { namespace: Arc<str>, key: Key },
    /// The flight table is full: a load ran without being shared.
    Uncoalesced { namespace: Arc<str>, key: Key },
    /// An absence was remembered.
    AbsenceStored { namespace: Arc<str>, key: Key, ttl: Duration },
    /// An entry was copied into a faster tier.
    Filled { namespace: Arc<str>, key: Key, tier: Arc<str> },
    /// A loaded value was not kept, since its key was invalidated while it was loaded.
    FillFenced { namespace: Arc<str>, key: Key, tier: Arc<str> },
    /// A store did not take an entry. The value was still returned.
    WriteRejected { namespace: Arc<str>, key: Key, tier: Arc<str>, error: Error },
    /// The value could not be encoded. It was still returned, and kept in memory.
    EncodeFailed { namespace: Arc<str>, key: Key, error: Error },
    /// Entries were set.
    Set { namespace: Arc<str>, keys: Vec<Key> },
    /// Entries were removed on request.
    Removed { namespace: Arc<str>, keys: Vec<Key> },
    /// Entries were expired on request; their stale windows stand.
    Expired { namespace: Arc<str>, keys: Vec<Key> },
    /// A namespace was cleared.
    Cleared { namespace: Arc<str> },
    /// The memory tier let an entry go for space.
    Evicted { namespace: Arc<str>, entries: u64, keys: Vec<Key> },
    /// A value was loaded anew on request and kept; peers were told to read it.
    Refreshed { namespace: Arc<str>, key: Key },
    /// An entry was warmed, or could not be.
    Warmed { namespace: Arc<str>, key: Key, ok: bool },
    /// Stored bytes were not used.
    PayloadRejected { namespace: Arc<str>, key: Key, tier: Arc<str>, why: RejectedPayload },
    /// A call to a store failed or took too long.
    TierFailed { tier: Arc<str>, operation: &'static str, error: Error },
    /// A call was not made since the tier's breaker is open.
    TierSkipped { tier: Arc<str>, operation: &'static str },
    /// A tier's breaker changed state.
    TierChanged { tier: Arc<str>, state: TierState },
    /// A store lost history; memory was cleared.
    LineageChanged { tier: Arc<str> },
    /// An invalidation could not be executed at a store; it is kept and will be repeated.
    InvalidationJournaled { tier: Arc<str>, keys: u64 },
    /// Kept invalidations were executed.
    InvalidationReplayed { tier: Arc<str>, keys: u64 },
    /// The stack was shut down while a store still owed so many invalidations: nobody will repeat them.
    InvalidationsLost { tier: Arc<str>, keys: u64 },
    /// The wait for another process' load ended without its result; loaded here, not stored.
    LeaseLost { namespace: Arc<str>, key: Key },
    /// The node hears its bus, for the first time or again.
    BusUp { bus: Arc<str> },
    /// The node does not hear its bus any more.
    BusDown { bus: Arc<str>, error: Error },
    /// The bus takes no messages for now.
    BusBlocked { bus: Arc<str> },
    /// News were lost, so many as far as that is known.
    BusGap { bus: Arc<str>, missed: u64 },
    /// A message on the bus was not understood.
    BusMessageRejected { bus: Arc<str>, newer: bool },
    /// Memory was cleared, since what it holds may have been changed unnoticed.
    MemoryCleared { reason: ClearReason },
    /// News could not be published; they wait until the bus is back.
    NewsKept { bus: Arc<str>, keys: u64 },
    /// A strict invalidation ended: how long it waited, and how many nodes it left behind since they fell silent.
    EverywhereReached { waited: Duration, silent: u64 },
}

impl Event {
    /// Its name in `snake_case`, for logs and metrics.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Hit { .. } => "hit",
            Self::Miss { .. } => "miss",
            Self::StaleServed { .. } => "stale_served",
            Self::LoadStarted { .. } => "load_started",
            Self::LoadSucceeded { .. } => "load_succeeded",
            Self::NotModified { .. } => "not_modified",
            Self::LoadFailed { .. } => "load_failed",
            Self::LoadTimedOut { .. } => "load_timed_out",
            Self::Coalesced { .. } => "coalesced",
            Self::Uncoalesced { .. } => "uncoalesced",
            Self::AbsenceStored { .. } => "absence_stored",
            Self::Filled { .. } => "filled",
            Self::FillFenced { .. } => "fill_fenced",
            Self::WriteRejected { .. } => "write_rejected",
            Self::EncodeFailed { .. } => "encode_failed",
            Self::Set { .. } => "set",
            Self::Removed { .. } => "removed",
            Self::Expired { .. } => "expired",
            Self::Cleared { .. } => "cleared",
            Self::Evicted { .. } => "evicted",
            Self::Refreshed { .. } => "refreshed",
            Self::Warmed { .. } => "warmed",
            Self::PayloadRejected { .. } => "payload_rejected",
            Self::TierFailed { .. } => "tier_failed",
            Self::TierSkipped { .. } => "tier_skipped",
            Self::TierChanged { .. } => "tier_changed",
            Self::LineageChanged { .. } => "lineage_changed",
            Self::InvalidationJournaled { .. } => "invalidation_journaled",
            Self::InvalidationReplayed { .. } => "invalidation_replayed",
            Self::InvalidationsLost { .. } => "invalidations_lost",
            Self::LeaseLost { .. } => "lease_lost",
            Self::BusUp { .. } => "bus_up",
            Self::BusDown { .. } => "bus_down",
            Self::BusBlocked { .. } => "bus_blocked",
            Self::BusGap { .. } => "bus_gap",
            Self::BusMessageRejected { .. } => "bus_message_rejected",
            Self::MemoryCleared { .. } => "memory_cleared",
            Self::NewsKept { .. } => "news_kept",
            Self::EverywhereReached { .. } => "everywhere_reached",
        }
    }
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Watches what happens.
///
/// Each observer gets all events in order, on a thread of its own behind a bounded queue. A slow one misses events,
/// which are counted; a panicking one misses that event; neither delays a read, a write or another observer.
pub trait Observer: Send + 'static {
    /// Called once for each event.
    fn on_event(&mut self, event: &Event);
}

impl<F: FnMut(&Event) + Send + 'static> Observer for F {
    fn on_event(&mut self, event: &Event) {
        self(event);
    }
}
