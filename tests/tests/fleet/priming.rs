//! Values that processes send each other, and values that they refresh for all, while the bus fails.

use std::time::Duration;

use larder_promises::fleet::{Watch, until};
use larder_testkit::Way;

use crate::three;

const KEYS: u64 = 6;
const PRIME: &[&str] = &["prime=yes"];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_one_process_loads_or_sets_the_others_have_without_asking_redis() {
    let (_redis, fleet) = three(PRIME).await;
    let primed = async |node: usize| fleet.nodes[node].stat("primed").await.parse::<u64>().expect("a number");
    for node in [1, 2] {
        // It takes a beat after the one that cleared memory at the start.
        until("values are taken", async || fleet.write(0, "set", KEYS).await && primed(node).await > 0).await;
    }
    // News come in the order in which they were sent: behind this one none of those is on its way any more.
    assert!(fleet.write(0, "set", KEYS + 1).await);
    for node in [1, 2] {
        until("the last is taken", async || {
            fleet.nodes[node].ask(&format!("peek {}", KEYS + 1)).await == "1 plain"
        })
        .await;
    }
    let before = [primed(0).await, primed(1).await, primed(2).await];
    for key in 0..KEYS {
        fleet.read(0, key).await;
    }
    for key in 0..KEYS {
        fleet.write_surely(0, "set", key).await;
    }
    for node in [1, 2] {
        until("a process took what was sent", async || primed(node).await >= before[node] + 2 * KEYS).await;
        for key in 0..KEYS {
            assert_eq!(fleet.read(node, key).await, Some(1));
        }
        assert_eq!(fleet.nodes[node].stat("store").await, "0", "node {node} asked redis");
    }
    assert_eq!(fleet.origin.loads(), KEYS, "each row was loaded once");
    fleet.history.judge();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn values_that_come_late_over_a_slow_or_torn_bus_bring_nothing_old_back() {
    let (_redis, fleet) = three(PRIME).await;
    fleet.heat(0..KEYS).await;
    let watch = Watch::start(&fleet, KEYS);
    let bus = fleet.nodes[2].bus();
    for way in [Way::Requests, Way::Replies] {
        bus.delay(way, Duration::from_millis(300), Duration::from_millis(300));
        fleet.write_for(Duration::from_secs(2), 3, KEYS).await;
        bus.heal().await;
    }
    for _ in 0..5 {
        bus.reset_all();
        fleet.write_for(Duration::from_millis(300), 3, KEYS).await;
    }
    fleet.all_sound().await;
    watch.stop().await;
    fleet.heat(0..KEYS).await;
    fleet.history.judge();
    assert_ne!(fleet.nodes[0].stat("primed").await, "0");
}

/// R13, R21: whoever is at it, everybody serves a value all the time, and the new one soon.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_value_that_one_process_refreshes_the_others_take_and_nobody_is_ever_without() {
    for settings in [&[][..], PRIME] {
        let (_redis, fleet) = three(settings).await;
        fleet.heat(0..KEYS).await;
        let loaded = fleet.origin.loads();
        for turn in 0..30_u64 {
            fleet.write_surely(turn as usize % 3, "refresh", turn % KEYS).await;
            for node in &fleet.nodes {
                assert_ne!(node.ask(&format!("known {}", turn % KEYS)).await, "miss");
            }
        }
        for node in &fleet.nodes {
            for key in 0..KEYS {
                until("the new value is there", async || {
                    node.ask(&format!("known {key}")).await == "5 plain"
                })
                .await;
            }
        }
        assert_eq!(fleet.origin.loads() - loaded, 30, "only who refreshes loads");
        fleet.history.judge();
    }
}
