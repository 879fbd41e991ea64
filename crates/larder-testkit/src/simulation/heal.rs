//! After the last fault: everything recovers by itself within its time, and nothing is left behind.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use larder::{ReadOptions, TierChoice, TierState};

use super::{
    check::Invariant,
    gate::Gate,
    node::Node,
    plan::Verb,
    rates,
    tally::Counted,
    world::{Phase, World},
};

/// How long recovery may take, where nothing that began before takes longer by right.
pub(crate) const RECOVERY: Duration = Duration::from_secs(20);

/// Looks whether everything recovers, and whether anything is left behind once nobody reads.
pub(crate) async fn recover(world: &Arc<World>) {
    look_around(world).await;
    let found = rates::after_recovery(world).await;
    stranger_reads_all(world).await;
    world.end_work();
    is_quiet(world).await;
    stop(world).await;
    rates::compare_with_fresh(world, found).await;
}

/// Lets readers read on for as long as recovery may take, then looks whether all nodes are well.
pub(crate) async fn look_around(world: &Arc<World>) {
    tokio::time::sleep(RECOVERY).await;
    if !world.has_failed() {
        for node in world.nodes() {
            call_stores(world, &node).await;
            is_well(world, &node);
        }
    }
    // A loader that hung when the last fault ended is ended by its limit, and not before.
    tokio::time::sleep(world.plan.policy.load_limit.saturating_sub(RECOVERY)).await;
    if world.has_failed() {
        return;
    }
    for node in world.nodes() {
        reads_all(world, &node).await;
    }
}

/// A breaker closes by the first call after its pause, and where all have what they ask for in memory nobody may have called.
async fn call_stores(world: &World, node: &Node) {
    if node.stack.stats().tiers.iter().all(|tier| tier.degraded_for != Some(Duration::ZERO)) {
        return;
    }
    let (cache, id) = node.cache(world, 0);
    node.tally.add(Counted::Read, 1);
    let options = ReadOptions::new().read_tiers(TierChoice::Except(vec!["memory".to_owned()]));
    // What it finds is nobody's answer.
    drop(cache.get_with(&id, &options).await);
}

/// Breakers are closed and debts are paid, also those that come of what the store lost.
fn is_well(world: &World, node: &Node) {
    for tier in node.stack.stats().tiers {
        if tier.state != TierState::Closed || tier.journal > 0 {
            let what = format!(
                "the breaker of `{}` is {:?} and {} debts are open, 20 s after the last fault",
                tier.name, tier.state, tier.journal
            );
            world.violate(Invariant::Liveness, None, node.index, what);
            return;
        }
    }
    world.take_note_of_payment(node);
}

/// Every key can be read, by the rules of any other read.
async fn reads_all(world: &Arc<World>, node: &Arc<Node>) {
    for key in 0..world.plan.keys {
        read(world, node, key).await;
    }
}

async fn read(world: &Arc<World>, node: &Arc<Node>, key: u32) -> Option<u64> {
    let (cache, id) = node.cache(world, key);
    let ticket = world.begin(node, key);
    let loader = super::origin::Loader {
        node: node.index,
        tally: Arc::clone(&node.tally),
        purpose: super::check::Purpose::Read,
        called: world.checker().called(),
        dice: u64::from(key),
    };
    let loading = Arc::clone(world);
    let answer =
        cache.get_or_load(&id, move |context| super::origin::load(loading, loader, key, context)).await;
    let answer = answer.map(|value| value.map_or(larder::Answer::Absent, larder::Answer::Value));
    world.end(node, Verb::Load, key, ticket, (&answer, false), super::check::Story::default());
    match answer {
        Ok(larder::Answer::Value(value)) => Some(value.version),
        Ok(_) => None,
        Err(error) => {
            let what = format!("a read fails 20 s after the last fault: {error}");
            world.violate(Invariant::Liveness, Some(key), node.index, what);
            None
        }
    }
}

/// A node that never saw anything reads what the shared store holds: nothing from before an invalidation that the
/// store acknowledged and did not lose.
async fn stranger_reads_all(world: &Arc<World>) {
    if world.has_failed() {
        return;
    }
    let acked: Vec<u64> = (0..world.plan.keys).map(|key| world.checker().acked(key)).collect();
    if let Some(old) = world.bury(0) {
        old.gate.shut();
    }
    let Some(stranger) = Node::boot(world, 0, Arc::new(Gate::default())).await else { return };
    let stranger = Arc::new(stranger);
    for key in 0..world.plan.keys {
        let version = read(world, &stranger, key).await;
        let floor = acked[key as usize];
        if version.is_some_and(|version| version < floor && !world.checker().is_dangling(key, version)) {
            let what = format!("the store still holds v{}, v{floor} was acknowledged", version.unwrap_or(0));
            world.violate(Invariant::Liveness, Some(key), 0, what);
        }
    }
    world.adopt(stranger);
}

/// No flight is left once nobody reads.
async fn is_quiet(world: &Arc<World>) {
    tokio::time::sleep(world.plan.policy.load_limit + Duration::from_secs(5)).await;
    for node in world.nodes() {
        let stats = node.stack.stats();
        let swept = stats.namespaces.iter().map(|namespace| namespace.swept).sum();
        world.swept.fetch_add(swept, Ordering::Relaxed);
        if stats.flights > 0 {
            let what = format!("{} flights are left although nobody reads", stats.flights);
            world.violate(Invariant::Resources, None, node.index, what);
        }
        if let Some(what) = node.tally.disagrees(&stats) {
            world.violate(Invariant::Accounting, None, node.index, what);
        }
    }
}

/// Every node stops in order, and leaves no task.
async fn stop(world: &Arc<World>) {
    for node in world.nodes() {
        if let Err(error) = node.stack.shutdown(Duration::from_secs(10)).await {
            world.violate(
                Invariant::Resources,
                None,
                node.index,
                format!("it does not stop in order: {error}"),
            );
        }
    }
    debug_assert_eq!(world.phase(), Phase::Over);
}
