//! One incarnation of a node: the real engine over its link, with a clock of its own and a gate that can end it.

use std::{
    sync::{Arc, Mutex, atomic::AtomicBool},
    time::Duration,
};

use larder::{BusSettings, Cache, Memory, Result, Settings, Stack, TierSettings};
use larder_core::Capabilities;

use super::{
    bus::SimBus,
    dice::{Dice, mix},
    gate::Gate,
    link::Link,
    tally::Tally,
    value::SimValue,
    world::World,
};
use crate::SeededRng;

/// One incarnation of a node.
pub(crate) struct Node {
    pub(crate) index: usize,
    pub(crate) incarnation: u32,
    pub(crate) gate: Arc<Gate>,
    pub(crate) stack: Stack,
    /// One for each namespace.
    pub(crate) caches: Vec<Cache<u64, SimValue>>,
    /// What it was asked for, and by whom nobody was answered.
    pub(crate) tally: Arc<Tally>,
    /// Since when it owes something to a store, as far as anybody looked.
    owing_since_ms: Mutex<Option<u64>>,
    /// Whether it is being stopped in order.
    pub(crate) leaving: AtomicBool,
}

impl Node {
    /// Starts a node. `None` if it was killed before it was up.
    pub(crate) async fn boot(world: &Arc<World>, index: usize, gate: Arc<Gate>) -> Option<Self> {
        let incarnation = world.checker().reborn(index);
        let stack =
            gate.run(stack(world, index, incarnation, &gate)).await?.expect("a plan is a valid stack");
        let cache = |namespace: u32| {
            let cache = stack.cache(namespace_name(namespace)).policy(world.plan.policy.clone());
            cache.build().expect("a plan is a valid policy")
        };
        let caches = (0..world.plan.namespaces).map(cache).collect();
        Some(Self {
            index,
            incarnation,
            gate,
            stack,
            caches,
            tally: Arc::default(),
            owing_since_ms: Mutex::default(),
            leaving: AtomicBool::default(),
        })
    }

    /// Looks whether it owes something to a store. Answers since when it does.
    pub(crate) fn owes_since(&self, now_ms: u64) -> Option<u64> {
        let owes = self.stack.stats().tiers.iter().any(|tier| tier.journal > 0);
        let mut since = self.owing_since_ms.lock().expect("no panics under this lock");
        *since = owes.then(|| since.unwrap_or(now_ms));
        *since
    }

    /// The cache of a key, and the key in it.
    pub(crate) fn cache(&self, world: &World, key: u32) -> (&Cache<u64, SimValue>, u64) {
        let (namespace, id) = world.plan.place_of(key);
        (&self.caches[namespace as usize], id)
    }
}

async fn stack(world: &Arc<World>, index: usize, incarnation: u32, gate: &Arc<Gate>) -> Result<Stack> {
    let plan = &world.plan;
    let who = [plan.seed, 0x40de, index as u64, u64::from(incarnation)];
    let link = Link::new(Arc::clone(&world.network), index, Dice::of(&who));
    let tier =
        |name: &str| TierSettings::new().with_name(name).with_timeout(Duration::from_millis(plan.timeout_ms));
    let memory = Memory::max_entries(plan.memory_entries).with_shards(2);
    let mut builder = Stack::builder()
        .memory(memory)
        .settings(Settings::new().with_lease(Duration::from_millis(plan.lease_ms)))
        .clock(world.clocks[index].clone())
        .rng(SeededRng::new(mix(&who)))
        .task_gate(gate.clone());
    if let Some(disk) = world.disks.get(index) {
        let mut capabilities = Capabilities::none();
        (capabilities.persistent, capabilities.leases) = (true, true);
        (capabilities.sequence, capabilities.scan) = (true, true);
        builder = builder.store_with(disk.clone().with_capabilities(capabilities), tier("disk"));
    }
    if plan.fleet.has_bus() {
        let bus = SimBus::new(Arc::clone(&world.network), index, Dice::of(&[mix(&who), 0xb05]));
        builder = builder.bus_with(bus, BusSettings::new().with_partition(plan.fleet.partition));
    }
    builder.store_with(link, tier("shared")).build().await
}

/// What a namespace is called.
pub(crate) fn namespace_name(namespace: u32) -> String {
    format!("sim{namespace}")
}
