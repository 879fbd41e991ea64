//! Known faults, put into the engine on purpose, to prove that the simulation finds them. No part of any other build.
//!
//! Each is named where it would be (`ablated!`), and is there only if the engine is built with `--cfg larder_canary` and
//! the thread was [told](activate) to have it.

use std::cell::Cell;

macro_rules! canaries {
    ($($(#[doc = $what:literal])+ $canary:ident = $name:literal,)*) => {
        /// A known fault.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Canary { $($(#[doc = $what])+ $canary,)* }

        impl Canary {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$canary,)*];

            /// What it is called.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self { $(Self::$canary => $name,)* }
            }

            /// What is wrong where it is active.
            #[must_use]
            pub fn what(self) -> &'static str {
                match self { $(Self::$canary => concat!($($what),+).trim_ascii(),)* }
            }
        }
    };
}

canaries! {
    /// Memory is fenced before a store removed or wrote a key, not after.
    PostBump = "post-bump",
    /// A clear whose answer is lost is waited for, and all that is owed with it, for half a minute.
    HangingClear = "hanging-clear",
    /// Memory is fenced neither before nor after.
    BothBumps = "both-bumps",
    /// Callers share flights that set out before an invalidation.
    FlightEpoch = "flight-epoch",
    /// Callers share flights that set out before a clear.
    FlightClear = "flight-clear",
    /// Loads are stored whether or not their lease stands.
    LeaseToken = "lease-token",
    /// All leases bear the same token.
    RepeatedTokens = "repeated-tokens",
    /// Memory is filled whatever came between.
    MemoryEpoch = "memory-epoch",
    /// What a store holds is believed though it is older than an invalidation.
    ReadFloor = "read-floor",
    /// A removal that a store did not execute is answered Ok.
    FailOpenRemove = "fail-open-remove",
    /// A removal that an open breaker skips is answered Ok.
    BreakerSkipsRemove = "breaker-skips-remove",
    /// What is owed to a store is forgotten.
    NoJournal = "no-journal",
    /// What is owed is paid, but read until then.
    ReadsOwed = "reads-owed",
    /// What is owed is never paid.
    NeverPays = "never-pays",
    /// A removal settles what is owed of other keys.
    SettlesAnything = "settles-anything",
    /// Memory that is not known to be sound is never taken for sound again.
    StaysUnsound = "stays-unsound",
    /// No floor is raised.
    Floors = "floors",
    /// What a store forgot in a failover is not done again.
    Replay = "replay",
    /// No floor is raised, and what a store forgot is not done again.
    FloorsAndReplay = "floors-and-replay",
    /// A value that a peer sent is kept though this node heard of a later invalidation.
    PrimeFloor = "prime-floor",
    /// A value that a peer sent is kept though this node may have missed a later invalidation.
    PrimeLine = "prime-line",
    /// Nobody minds that a store lost its history: memory is kept.
    LineageClear = "lineage-clear",
    /// A copy in memory lives as long as a fresh load.
    PromoteFullTtl = "promote-full-ttl",
    /// What may have come between is noted after a load, not before.
    NotedAfterLoad = "noted-after-load",
    /// A removal only makes stale what memory holds.
    RemoveExpires = "remove-expires",
    /// An expiry makes a new entry of what is older than an invalidation.
    ExpireRevives = "expire-revives",
    /// An absence in memory outlives a set.
    AbsenceOutlivesSet = "absence-outlives-set",
    /// A clear fences memory before the stores did it, not after.
    ClearPostBump = "clear-post-bump",
    /// A clear fences no loads, only what memory holds.
    ClearSparesLoads = "clear-spares-loads",
    /// What is loaded is kept in memory though the store refused it and though the key was invalidated.
    RefusedFill = "refused-fill",
    /// A removal takes the faster store first, and no floor is asked about what that holds.
    RemoveTopDown = "remove-top-down",
    /// Stale windows never end.
    EndlessWindows = "endless-windows",
    /// A stale answer is told as a fresh one.
    StaleUnmarked = "stale-unmarked",
    /// Loads of one key are not shared, and nobody waits for another's lease.
    NoSingleFlight = "no-single-flight",
    /// Nobody waits for another node's load: leases are asked for and not heeded.
    LeasesIgnored = "leases-ignored",
    /// What was loaded for many keys is mixed up.
    ManySwapped = "many-swapped",
    /// A breaker that was opened stays so.
    BreakerStuck = "breaker-stuck",
    /// A flight that ended is still counted.
    LeakedFlight = "leaked-flight",
    /// Memory lets nothing go for room.
    OverfullMemory = "overfull-memory",
    /// A store that fails fails its readers.
    FailClosedRead = "fail-closed-read",
    /// What an earlier process left on its disk is served as fresh.
    DiskTrusted = "disk-trusted",
    /// Memory is served although the bus may be dead.
    HeartbeatGuard = "heartbeat-guard",
    /// News that were lost are not missed.
    Gaps = "gaps",
    /// News that were lost are missed only when others follow.
    LostTail = "lost-tail",
    /// A publisher that fell silent is forgotten, and what it may have said last.
    SilentPublisher = "silent-publisher",
    /// Memory is kept when the bus is heard again.
    ReconnectOrder = "reconnect-order",
    /// An invalidation everywhere waits for nobody.
    EverywhereWait = "everywhere-wait",
    /// An invalidation everywhere takes a peer that has not answered yet for dead.
    EverywhereImpatient = "everywhere-impatient",
    /// Memory hears of no barriers on tags.
    TagFloors = "tag-floors",
    /// What is loaded counts as made at its load's end.
    StampAfterLoad = "stamp-after-load",
    /// What a store holds counts as judged by barriers whose news are on their way.
    ToldTooEarly = "told-too-early",
    /// An entry stands as long as nothing is known against it.
    BarriersUnasked = "barriers-unasked",
    /// News that this release does not understand count as taken in.
    NewerIgnored = "newer-ignored",
    /// A reader that shares another's flight is not counted.
    UncountedRead = "uncounted-read",
}

thread_local! {
    static ACTIVE: Cell<Option<Canary>> = const { Cell::new(None) };
}

/// Gives everything that runs on this thread from here on this fault, or none.
pub fn activate(canary: Option<Canary>) {
    ACTIVE.set(canary);
}

/// Whether this thread has the fault.
#[inline]
pub(crate) fn is_active(canary: Canary) -> bool {
    ACTIVE.get() == Some(canary)
}
