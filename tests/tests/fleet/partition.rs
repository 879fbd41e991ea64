//! K13 and K9: a node is cut off from everything, or stopped, and an invalidation everywhere still means everywhere.

use std::time::Duration;

use larder_promises::fleet::{BOUND, Fleet, Watch, now, until};

use crate::three;

/// A second for soundness, a tenth on top; the rest is for a machine that does much else.
const SOON: Duration = Duration::from_secs(5);
const KEYS: u64 = 6;

/// Removes everywhere; answers how long it took. A server that has no time for us is no fault of the fleet.
async fn everywhere(fleet: &Fleet, node: usize, key: u64) -> Duration {
    loop {
        let began = now();
        if fleet.write(node, "everywhere", key).await {
            return began.elapsed();
        }
        assert!(began.elapsed() < BOUND * 5, "an error must not take so long either");
    }
}

async fn cut_off(settings: &[&str]) {
    let (_redis, fleet) = three(settings).await;
    fleet.heat(0..KEYS).await;
    let watch = Watch::start(&fleet, KEYS);
    let cut = &fleet.nodes[2];
    cut.store().partition();
    cut.bus().partition();
    fleet.history.happened("node 2 is cut off");
    for key in 0..KEYS {
        let took = everywhere(&fleet, key as usize % 2, key).await;
        assert!(took < SOON, "with a silent peer it took {took:?}");
    }
    until("the node noticed", async || cut.stat("sound").await == "false").await;
    assert!(fleet.nodes[0].seen("everywhere_reached").await > 0);
    cut.store().heal().await;
    cut.bus().heal().await;
    fleet.history.happened("node 2 is back");
    fleet.all_sound().await;
    for key in 0..KEYS {
        let took = everywhere(&fleet, key as usize % 3, key).await;
        assert!(took < SOON, "in a healthy fleet it took {took:?}");
    }
    watch.stop().await;
    fleet.heat(0..KEYS).await;
    fleet.history.judge();
    cut.told(&[("bus_down", 1..=3), ("bus_up", 2..=4), ("cleared_joined", 2..=4)]).await;
    for node in &fleet.nodes[..2] {
        node.told(&[("bus_down", 0..=2), ("tier_open", 0..=1)]).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_is_cut_off_serves_nothing_unmarked_from_before_a_removal_everywhere() {
    cut_off(&[]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_coherent_node_that_is_cut_off_serves_nothing_from_before_a_removal_everywhere() {
    cut_off(&["partition=coherent"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_is_stopped_for_longer_than_its_lease_wakes_up_without_its_memory() {
    let (_redis, fleet) = three(&[]).await;
    for _ in 0..3 {
        fleet.heat(0..KEYS).await;
        fleet.nodes[2].process.pause();
        fleet.history.happened("node 2 is stopped");
        for key in 0..KEYS {
            let took = everywhere(&fleet, 0, key).await;
            assert!(took < SOON, "with a stopped peer it took {took:?}");
        }
        fleet.nodes[2].process.resume();
        fleet.history.happened("node 2 goes on");
        for key in 0..KEYS {
            fleet.read(2, key).await;
        }
        fleet.all_sound().await;
    }
    fleet.history.judge();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_node_delays_a_removal_everywhere_once_and_is_forgotten() {
    let (_redis, fleet) = three(&[]).await;
    fleet.heat(0..KEYS).await;
    fleet.nodes[2].process.kill();
    for key in 0..KEYS {
        let took = everywhere(&fleet, key as usize % 2, key).await;
        assert!(took < SOON, "with a dead peer it took {took:?}");
    }
    until("the dead is forgotten", async || everywhere(&fleet, 0, 0).await < Duration::from_millis(900))
        .await;
    fleet.history.judge();
}
