//! Makes a stack: checks everything that was given, reports all mistakes at once, and starts house-keeping.

use std::sync::Arc;

use larder_core::{
    Bus, Clock, DynBus, DynStore, Error, ErrorKind, Observer, Result, Rng, Store, erase, erase_bus,
};

use tokio::runtime::Handle;

use crate::{
    clock::SystemRng,
    engine::{Core, Gate, Parts, STORES_MAX, Tier, join, start},
    envelope::Encryption,
    hub::Hub,
    memory::{Memory, MemoryTier},
    options::{BusSettings, Policy, Problem, Problems, Settings, TierSettings},
    stack::Stack,
};

/// What a stack is made of, before it is built.
///
/// Tiers are given fastest first; the memory tier comes before all stores, wherever it is given. Nothing is checked
/// until [`build`](Self::build).
#[must_use = "nothing happens until `build`"]
pub struct StackBuilder {
    settings: Settings,
    encryption: Option<Encryption>,
    memory: Option<Memory>,
    stores: Vec<(DynStore, TierSettings)>,
    observers: Vec<Box<dyn Observer>>,
    clock: Option<Arc<dyn Clock>>,
    rng: Option<Arc<dyn Rng>>,
    policy: Policy,
    bus: Option<(DynBus, BusSettings)>,
    gate: Gate,
}

impl std::fmt::Debug for StackBuilder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StackBuilder")
            .field("settings", &self.settings)
            .field("memory", &self.memory)
            .field("stores", &self.stores)
            .finish_non_exhaustive()
    }
}

impl StackBuilder {
    pub(crate) fn new() -> Self {
        let settings = Settings::default();
        Self {
            settings,
            encryption: None,
            memory: None,
            stores: Vec::new(),
            observers: Vec::new(),
            clock: None,
            rng: None,
            policy: Policy::default(),
            bus: None,
            gate: Gate::default(),
        }
    }

    /// Keeps entries in this process' memory, within these bounds. Default: no memory tier.
    pub fn memory(mut self, memory: Memory) -> Self {
        self.memory = Some(memory);
        self
    }

    /// Adds a store below the tiers given so far.
    pub fn store(self, store: impl Store) -> Self {
        self.store_with(store, TierSettings::default())
    }

    /// Adds a store below the tiers given so far, with a name, timeout or breaker of its own.
    pub fn store_with(mut self, store: impl Store, settings: TierSettings) -> Self {
        self.stores.push((erase(store), settings));
        self
    }

    /// Joins the other nodes that use this bus: what one changes, the others do not serve any more.
    ///
    /// Without a bus a node learns of other nodes' changes when its copies' time in memory is over.
    pub fn bus(self, bus: impl Bus) -> Self {
        self.bus_with(bus, BusSettings::default())
    }

    /// The same, with settings.
    pub fn bus_with(mut self, bus: impl Bus, settings: BusSettings) -> Self {
        self.bus = Some((erase_bus(bus), settings));
        self
    }

    /// How the stack behaves. Default: [`Settings::default`].
    pub fn settings(mut self, settings: Settings) -> Self {
        self.settings = settings;
        self
    }

    /// Encrypts what stores hold with AES-256-GCM, remembered absences included. Default: stores hold plain values.
    ///
    /// A stored value that the key did not encrypt for this very key of the cache, or that was changed since, is a
    /// miss and an event (`NotAuthentic`), and so is a plain one, unless
    /// [`Encryption::also_reads_plaintext`](crate::Encryption::also_reads_plaintext). What is not hidden: the keys,
    /// the tags and validators, the times, the size. What is not protected against whoever can write to a store: the
    /// deadlines, and putting back an older value of the same key. The memory tier is not encrypted.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> larder::Result<()> {
    /// use larder::{Memory, SecretKey, Stack};
    ///
    /// let key = SecretKey::new([7; 32]); // yours is random, and from a vault
    /// let stack = Stack::builder().memory(Memory::max_bytes(1 << 20)).encrypt(key).build().await?;
    /// # Ok(())
    /// # }
    /// ```
    #[cfg(feature = "encryption")]
    pub fn encrypt(mut self, with: impl Into<Encryption>) -> Self {
        self.encryption = Some(with.into());
        self
    }

    /// Adds an observer for as long as the stack lives. [`Stack::observe`] adds one for a while.
    pub fn observer(mut self, observer: impl Observer) -> Self {
        self.observers.push(Box::new(observer));
        self
    }

    /// How entries age in caches that are not given a policy of their own. Checked when such a cache is built. Default:
    /// [`Policy::default`].
    pub fn policy(mut self, policy: Policy) -> Self {
        self.policy = policy;
        self
    }

    /// Tells the time. Default: [`SystemClock`](crate::SystemClock).
    pub fn clock(mut self, clock: impl Clock) -> Self {
        self.clock = Some(Arc::new(clock));
        self
    }

    /// Draws random numbers. Default: [`SystemRng`].
    pub fn rng(mut self, rng: impl Rng) -> Self {
        self.rng = Some(Arc::new(rng));
        self
    }

    /// Lets the stack's tasks run only while the gate is open. For simulations.
    #[cfg(feature = "simulation")]
    pub fn task_gate(mut self, gate: Arc<dyn crate::engine::TaskGate>) -> Self {
        self.gate = Some(gate);
        self
    }

    /// Builds the stack. Must be called on a tokio runtime, which must outlive the stack: its work runs there.
    ///
    /// # Errors
    /// `Invalid`, naming every setting that cannot be used and what to do.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// let error = larder::Stack::builder().build().await.unwrap_err();
    /// assert!(error.to_string().contains("has no tier"));
    /// # }
    /// ```
    pub async fn build(self) -> Result<Stack> {
        let Ok(runtime) = Handle::try_current() else {
            return Err(Error::new(
                ErrorKind::Invalid,
                "a stack is built on a tokio runtime; call it from one",
            ));
        };
        let tiers = self.name_tiers();
        let advisories = self.check(&tiers)?;
        let Self { settings, encryption, memory, observers, clock, rng, policy, bus, gate, .. } = self;
        let rng = rng.unwrap_or_else(|| Arc::new(SystemRng::new()));
        let hub = Arc::new(Hub::new(settings.events_max));
        observers.into_iter().for_each(|observer| hub.subscribe(observer).keep());
        let memory = memory.map(|memory| MemoryTier::new(&memory, rng.next_u64()));
        let tiers =
            tiers.into_iter().map(|(name, store, tier)| Tier::new(name, store, &tier, settings.journal_max));
        let tiers = tiers.collect();
        let parts =
            Parts { clock, rng, encryption, memory, tiers, hub, settings, runtime, policy, bus, gate };
        let core = Arc::new(Core::new(parts));
        core.distrust_the_past().await;
        core.learn_of_barriers().await;
        start(&core);
        join(&core).await?;
        for advisory in &advisories {
            tracing::warn!(target: "larder::config", %advisory, "this is probably not meant");
        }
        Ok(Stack::of(core, advisories))
    }

    fn name_tiers(&self) -> Vec<(Arc<str>, DynStore, TierSettings)> {
        let named = |(store, settings): &(DynStore, TierSettings)| {
            let name = settings.name.as_deref().unwrap_or_else(|| Store::name(store));
            (Arc::from(name), store.clone(), settings.clone())
        };
        self.stores.iter().map(named).collect()
    }

    fn check(&self, tiers: &[(Arc<str>, DynStore, TierSettings)]) -> Result<Vec<Problem>> {
        let mut problems = Problems::default();
        self.settings.check(&mut problems);
        problems.fault_if(
            self.memory.is_none() && tiers.is_empty(),
            "stack",
            "has no tier",
            "give it `.memory(Memory::max_bytes(..))`, a `.store(..)`, or both",
        );
        problems.fault_if(tiers.len() > STORES_MAX, "stack", "has more than 16 stores", "leave some out");
        if let Some((bus, settings)) = &self.bus {
            settings.check(&mut problems);
            self.check_bus(bus, settings, &mut problems);
        }
        let mut names = vec!["memory"];
        for (name, store, settings) in tiers {
            check_name(name, &names, &mut problems);
            names.push(name);
            settings.check(name, &mut problems);
            let capabilities = store.capabilities();
            if capabilities.shared && !capabilities.leases {
                let fault = "is shared but grants no leases, so processes do not know of each other's loads";
                problems.advise(
                    format!("tier.{name}"),
                    fault,
                    "put a store with leases below memory, such as Redis",
                );
            }
        }
        if let Some(memory) = &self.memory {
            problems.advise_if(
                memory.max_bytes == Some(0) || memory.max_entries == Some(0),
                "memory",
                "has a bound of zero and keeps nothing",
                "give it room, or leave it out",
            );
        }
        problems.into_result()
    }

    fn check_bus(&self, bus: &DynBus, settings: &BusSettings, problems: &mut Problems) {
        let shares =
            |shared: bool| self.stores.iter().any(|(store, _)| store.capabilities().shared == shared);
        problems.fault_if(
            !settings.listen && (self.memory.is_some() || (shares(true) && shares(false))),
            "bus.listen",
            "is off, and there is a memory tier, or a private store, that would not hear what others change",
            "listen, or leave that tier out",
        );
        let capabilities = bus.capabilities();
        problems.fault_if(
            capabilities.publishes && capabilities.max_message_bytes < MESSAGE_BYTES_MIN,
            "bus",
            "carries messages of less than 1024 bytes",
            "raise its limit: a key alone may have that many",
        );
        let proven_by_a_store = self.stores.iter().any(|(store, _)| store.capabilities().fleet);
        problems.fault_if(
            capabilities.publishes && !settings.publish && !proven_by_a_store,
            "bus.publish",
            "is off, and no store tells how far the others are: this node could never know that it hears them",
            "publish too, or share a store that keeps a fleet's books, such as Redis",
        );
    }
}

/// Less than that has no room for one key.
const MESSAGE_BYTES_MIN: usize = 1_024;

fn check_name(name: &str, taken: &[&str], problems: &mut Problems) {
    let setting = format!("tier.{}", name.escape_debug());
    if taken.contains(&name) {
        problems.fault(setting, "is the name of two tiers", "name one with `TierSettings::with_name`");
    } else if name.is_empty() || name.len() > 64 || name.chars().any(|c| c.is_control() || c.is_whitespace())
    {
        problems.fault(setting, "is not a name", "use 1 to 64 characters without white space");
    }
}
