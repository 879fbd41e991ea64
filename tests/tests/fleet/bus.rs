//! K4: the bus of one node is cut, and nobody serves what is older than an acknowledged write beyond the bound.

use std::time::Duration;

use larder_promises::fleet::{BOUND, Watch, until};
use larder_testkit::{ProxyFaults, Way};

use crate::three;

const KEYS: u64 = 6;

/// The third node's bus fails so while the others write; then it is whole again.
async fn bus_fails_by(fault: impl Fn(&ProxyFaults)) {
    let (_redis, fleet) = three(&[]).await;
    fleet.heat(0..KEYS).await;
    let watch = Watch::start(&fleet, KEYS);
    let cut = &fleet.nodes[2];
    fault(cut.bus());
    fleet.history.happened("the bus of node 2 fails");
    // Old copies could be seen for longer than the bound, if there were any.
    fleet.write_for(BOUND * 2, 2, KEYS).await;
    cut.bus().heal().await;
    fleet.history.happened("the bus of node 2 is whole");
    fleet.all_sound().await;
    fleet.write_for(Duration::from_millis(500), 2, KEYS).await;
    watch.stop().await;
    fleet.heat(0..KEYS).await;
    fleet.history.judge();
    assert!(fleet.history.reads().0 > 100, "{:?}", fleet.history.reads());
    // Row 9: what did not come was missed, by what the store says; who hears well lost nothing by it.
    cut.told(&[("cleared_gap", 1..=u64::MAX), ("tier_open", 0..=1)]).await;
    for node in &fleet.nodes[..2] {
        node.told(&[("bus_down", 0..=2), ("tier_open", 0..=1)]).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bus_that_is_silently_cut_for_a_node_leaves_nothing_old_beyond_the_bound() {
    bus_fails_by(ProxyFaults::partition).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bus_that_delivers_one_way_only_leaves_nothing_old_beyond_the_bound() {
    bus_fails_by(|bus| bus.black_hole(Way::Replies)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bus_that_is_slow_leaves_nothing_old_beyond_the_bound() {
    bus_fails_by(|bus| bus.delay(Way::Replies, Duration::from_millis(700), Duration::from_millis(600))).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bus_that_is_reset_again_and_again_leaves_nothing_old() {
    let (_redis, fleet) = three(&[]).await;
    fleet.heat(0..KEYS).await;
    let watch = Watch::start(&fleet, KEYS);
    for _ in 0..15 {
        fleet.nodes[2].bus().reset_all();
        fleet.write_for(Duration::from_millis(300), 2, KEYS).await;
    }
    until("the node noticed", async || fleet.nodes[2].seen("bus_down").await > 0).await;
    fleet.all_sound().await;
    watch.stop().await;
    fleet.heat(0..KEYS).await;
    fleet.history.judge();
}
