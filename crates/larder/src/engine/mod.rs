//! Orchestration: the only code that awaits. What is decided is decided in `policy`; what is kept is kept in `memory`.

mod alone;
mod barrier;
mod epoch;
mod flight;
mod inspect;
mod invalidate;
mod item;
mod keylock;
mod lease;
mod load;
mod matching;
mod passing;
mod quick;
mod read;
mod recovery;
mod refresh;
mod registry;
mod revision;
mod seal;
mod space;
mod store;
mod swap;
mod sweep;
mod sync;
mod tagged;
mod tasks;
mod tier;
mod upkeep;
mod waits;
mod walk;
mod wants;
mod write;

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, RwLock,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use larder_core::{Clock, DynBus, Error, ErrorKind, Event, Key, Moment, NodeId, Result, Rng, Token, Version};
use tokio::{runtime::Handle, sync::Semaphore};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

pub(crate) use epoch::Epoch;
pub(crate) use load::check_tags;
pub(crate) use seal::{Lives, fraction};
pub(crate) use space::{Scope, Space, Spot};
pub(crate) use sync::join;
pub(crate) use tasks::Gate;
#[cfg(feature = "simulation")]
pub use tasks::TaskGate;
pub(crate) use tier::Tier;
pub(crate) use upkeep::start;
pub(crate) use wants::{Answered, Quick, Wants};
pub use write::SetOutcome;
pub(crate) use write::{Manner, NewValue};
pub use {
    epoch::CleanedUp,
    inspect::{Inspection, TierCopy, TierHealth},
    invalidate::{Invalidated, Reach},
    matching::Matched,
    tagged::TagPage,
};

use self::{
    barrier::Barriers,
    flight::Flights,
    keylock::KeyLocks,
    registry::Registry,
    sweep::SWEEPS_MAX,
    sync::{Sync, Wakes},
    waits::WaitGraph,
};
use crate::{
    clock::SystemClock,
    envelope::Encryption,
    hub::{Hub, Signal},
    memory::MemoryTier,
    options::{BusSettings, Policy, Settings, TierChoice, TierPolicy},
    policy::{
        coherence::{Coherence, Trust},
        revisions::Revisions,
        ring::Ring,
    },
    stats::{Count, Since},
};

/// The place of the memory tier in every list of tiers; stores follow in their order.
pub(crate) const MEMORY: usize = 0;

/// A set of tiers, a bit for each place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct TierSet(u32);

/// More store tiers than anybody stacks; the set of tiers has a bit for each.
pub(crate) const STORES_MAX: usize = 16;

impl TierSet {
    pub(crate) const ALL: Self = Self(u32::MAX);

    pub(crate) fn has(self, place: usize) -> bool {
        self.0 & (1 << place) != 0
    }
}

/// What the caches of a process share.
pub(crate) struct Core {
    pub(crate) clock: Arc<dyn Clock>,
    /// The clock is the system's.
    ticks: bool,
    pub(crate) rng: Arc<dyn Rng>,
    pub(crate) settings: Settings,
    /// What stores hold is encrypted with this.
    pub(crate) encryption: Option<Encryption>,
    pub(crate) memory: Option<MemoryTier>,
    /// The store tiers, fastest first.
    pub(crate) tiers: Vec<Tier>,
    /// The names of all tiers by place, memory's included.
    pub(crate) tier_names: Vec<Arc<str>>,
    /// Which store tier draws versions; without one the node draws them itself.
    pub(crate) authority: Option<usize>,
    pub(crate) coherence: Coherence,
    pub(crate) barriers: Barriers,
    /// The bus, if there is one.
    pub(crate) sync: Option<Sync>,
    /// What this node invalidated lately.
    pub(crate) ring: Mutex<Ring>,
    /// What the origin numbered, where this process alone writes it.
    revisions: Mutex<Revisions>,
    /// Who waits for other processes' leases.
    pub(crate) wakes: Wakes,
    /// The node's own sequence, for stacks without an authority.
    pub(crate) sequence: AtomicU64,
    pub(crate) flights: Arc<Flights>,
    pub(crate) waits: WaitGraph,
    pub(crate) key_locks: KeyLocks,
    pub(crate) hub: Arc<Hub>,
    pub(crate) spaces: RwLock<Registry>,
    /// How many writes and invalidations may be under way.
    pub(crate) writes: Arc<Semaphore>,
    /// What a cache's policy is unless it is given one.
    pub(crate) policy: Policy,
    /// How many loads may run without leases.
    pub(crate) unleased: Semaphore,
    /// How many dead entries may be removed at once.
    sweeps: Arc<Semaphore>,
    pub(crate) tasks: TaskTracker,
    /// What the tasks pass before they run.
    gate: Gate,
    /// Where all work runs, whichever runtime a caller is on: that of the builder.
    pub(crate) runtime: Handle,
    /// Held by whoever shuts down; a second caller waits for the first.
    pub(crate) shutting_down: tokio::sync::Mutex<bool>,
    pub(crate) ending: CancellationToken,
    pub(crate) since: Since,
}

/// What a core is made of.
pub(crate) struct Parts {
    /// Unless it is given, the system's.
    pub(crate) clock: Option<Arc<dyn Clock>>,
    pub(crate) rng: Arc<dyn Rng>,
    pub(crate) settings: Settings,
    pub(crate) encryption: Option<Encryption>,
    pub(crate) memory: Option<MemoryTier>,
    pub(crate) tiers: Vec<Tier>,
    pub(crate) hub: Arc<Hub>,
    pub(crate) runtime: Handle,
    pub(crate) policy: Policy,
    pub(crate) bus: Option<(DynBus, BusSettings)>,
    pub(crate) gate: Gate,
}

impl Core {
    pub(crate) fn new(parts: Parts) -> Self {
        let Parts { clock, rng, settings, encryption, memory, tiers, hub, runtime, policy, bus, gate } =
            parts;
        let ticks = clock.is_none();
        let clock = clock.unwrap_or_else(|| Arc::new(SystemClock::new()));
        let names = tiers.iter().map(|tier| Arc::clone(&tier.name));
        let tier_names = std::iter::once("memory".into()).chain(names).collect();
        let authority = authority(&tiers);
        let node = || NodeId(u128::from(rng.next_u64()) << 64 | u128::from(rng.next_u64()));
        let sync =
            bus.map(|(bus, settings)| Sync::new(bus, settings, node(), authority.map(|at| &tiers[at])));
        let barriers = Barriers::new(&tiers, authority);
        let coherence = Coherence::new(authority.map_or(1, |at| tiers[at].capabilities.sequences));
        let since = Since::default();
        since.set(clock.wall());
        // Above whatever an earlier process may have stamped in a store that keeps no sequence of its own.
        let sequence = AtomicU64::new(clock.wall().as_millis() << 10);
        Self {
            encryption,
            memory,
            tiers,
            tier_names,
            authority,
            coherence,
            barriers,
            sync,
            ring: Mutex::new(Ring::new(settings.replay_max)),
            revisions: Mutex::new(Revisions::new(settings.revisions_max)),
            wakes: Wakes::new(),
            sequence,
            flights: Arc::new(Flights::new(settings.flights_max, settings.coalesce)),
            waits: WaitGraph::default(),
            key_locks: KeyLocks::new(),
            hub,
            spaces: RwLock::default(),
            writes: Arc::new(Semaphore::new(settings.writes_max)),
            policy,
            unleased: Semaphore::new(settings.unleased_loads_max),
            sweeps: Arc::new(Semaphore::new(SWEEPS_MAX)),
            tasks: TaskTracker::new(),
            gate,
            runtime,
            shutting_down: tokio::sync::Mutex::new(false),
            ending: CancellationToken::new(),
            since,
            clock,
            ticks,
            rng,
            settings,
        }
    }

    #[inline]
    pub(crate) fn is_closed(&self) -> bool {
        self.hub.signals.has(Signal::Closed)
    }

    /// The monotonic clock. The system's is read without a call: every hit asks.
    #[inline]
    pub(crate) fn now(&self) -> Moment {
        if self.ticks { SystemClock::tick() } else { self.clock.now() }
    }

    /// The monotonic clock, also just after the process was stopped for a while.
    fn awake(&self) -> Moment {
        if self.ticks { SystemClock::awake() } else { self.clock.now() }
    }

    /// Whether no news can have been lost. A stack without a bus never asks the clock: it has no news to miss.
    #[inline]
    pub(crate) fn is_sound(&self) -> bool {
        let until = self.coherence.sound_until();
        until == Moment::NEVER || self.awake() < until
    }

    /// For how much longer no news can have been lost; `None` if none ever can.
    fn sound_for(&self) -> Option<Duration> {
        let until = self.coherence.sound_until();
        (until != Moment::NEVER).then(|| self.awake().until(until))
    }

    /// How many loads run without leases.
    pub(crate) fn unleased_loads(&self) -> usize {
        self.settings.unleased_loads_max.saturating_sub(self.unleased.available_permits())
    }

    /// How far what memory holds may be served.
    #[inline]
    pub(crate) fn trust(&self) -> Trust {
        if self.is_sound() { Trust::Sound } else { self.coherence.trust(self.awake()) }
    }

    /// An error once the stack was shut down.
    pub(crate) fn check_open(&self) -> Result<()> {
        match self.is_closed() {
            false => Ok(()),
            true => Err(Error::new(ErrorKind::Closed, "the stack was shut down; build a new one")),
        }
    }

    /// The tiers that a choice names.
    pub(crate) fn tier_set(&self, choice: &TierChoice) -> Result<TierSet> {
        if *choice == TierChoice::All {
            return Ok(TierSet::ALL);
        }
        let names: Vec<&str> = self.tier_names.iter().map(|name| &**name).collect();
        if let Some(unknown) = choice.unknown(&names) {
            let text =
                format!("there is no tier `{}`; there are: {}", unknown.escape_debug(), names.join(", "));
            return Err(Error::new(ErrorKind::Invalid, text));
        }
        let bit = |(place, name): (usize, &&str)| u32::from(choice.includes(name)) << place;
        Ok(TierSet(names.iter().enumerate().map(bit).sum()))
    }

    /// What differs in tiers, by place instead of by name.
    pub(crate) fn places_of(&self, tiers: &BTreeMap<String, TierPolicy>) -> Result<Vec<(usize, TierPolicy)>> {
        let place_of = |(name, tier): (&String, &TierPolicy)| {
            self.tier_set(&TierChoice::Only(vec![name.clone()]))?;
            if tier.ttl.is_some_and(|ttl| ttl.is_zero()) {
                let text =
                    format!("a ttl of zero in tier `{name}` cannot be meant; leave the tier out of the call");
                return Err(Error::new(ErrorKind::Invalid, text));
            }
            seal::fraction("jitter", tier.jitter, 0.0)?;
            let place = self.tier_names.iter().position(|tier| **tier == **name);
            Ok((place.expect("the name is one of the tiers'"), *tier))
        };
        tiers.iter().map(place_of).collect()
    }

    /// The store tier in this place of the list of all tiers.
    pub(crate) fn store(&self, place: usize) -> &Tier {
        &self.tiers[place - 1]
    }

    /// The places of the store tiers, fastest first.
    pub(crate) fn store_places(&self) -> std::ops::RangeInclusive<usize> {
        1..=self.tiers.len()
    }

    /// The place of the authority, if a store is it.
    pub(crate) fn authority_place(&self) -> Option<usize> {
        self.authority.map(|index| index + 1)
    }

    /// The node's own next version.
    pub(crate) fn next_version(&self) -> Version {
        Version::new(self.sequence.fetch_add(1, Ordering::AcqRel) + 1)
    }

    /// The node's own current version.
    pub(crate) fn current_version(&self) -> Version {
        Version::new(self.sequence.load(Ordering::Acquire))
    }

    pub(crate) fn token(&self) -> Token {
        ablate!(RepeatedTokens => return Token(1));
        Token(u128::from(self.rng.next_u64()) << 64 | u128::from(self.rng.next_u64()))
    }

    pub(crate) fn count(&self, space: &Space, what: Count, n: u64) {
        if self.settings.statistics {
            space.counts.add(what, n);
        }
    }

    pub(crate) fn tell(&self, event: impl FnOnce() -> Event) {
        self.hub.tell(event);
    }

    /// The namespaces there are.
    pub(crate) fn spaces(&self) -> Vec<Arc<Space>> {
        self.spaces.read().expect("no panics under this lock").all().to_vec()
    }

    pub(crate) fn space(&self, id: u32) -> Option<Arc<Space>> {
        self.spaces.read().expect("no panics under this lock").get(id).cloned()
    }

    /// The namespace that a key belongs to, if this process has it.
    pub(crate) fn scope_of(self: &Arc<Self>, key: &Key) -> Option<Scope> {
        let space = self.spaces.read().expect("no panics under this lock").of(key).cloned()?;
        Some(Scope { core: Arc::clone(self), space })
    }
}

/// What a caller gets whose work was lost with its runtime.
pub(crate) fn runtime_gone() -> Error {
    Error::new(ErrorKind::Unavailable, "the runtime was shut down before the work ended")
}

/// The first store that other processes share and that has a sequence; else the last that has one.
fn authority(tiers: &[Tier]) -> Option<usize> {
    let sequenced = |tier: &Tier| tier.capabilities.sequence;
    let shared = tiers.iter().position(|tier| sequenced(tier) && tier.capabilities.shared);
    shared.or_else(|| tiers.iter().rposition(sequenced))
}
