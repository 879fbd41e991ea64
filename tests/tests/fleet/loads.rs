//! K6 over processes: one load in the fleet, whatever becomes of who does it.

use larder_promises::fleet::{Fleet, Node, now, until};
use larder_testkit::RedisServer;
use std::{sync::Arc, time::Duration};
use tokio::{task::JoinHandle, time::timeout};

use crate::three;

/// Callers at each node.
const CALLERS: u64 = 10_000;
/// What a dead holder may delay others by, and a machine that does much else.
const SOON: Duration = Duration::from_secs(20);

/// What became of a crowd.
#[derive(Debug)]
struct Crowd {
    answered: u64,
    least: u64,
    most: u64,
    errors: u64,
}

fn crowd(node: &Arc<Node>, key: u64, callers: u64) -> JoinHandle<Crowd> {
    let node = Arc::clone(node);
    tokio::spawn(async move {
        let answer = node.ask(&format!("crowd {key} {callers}")).await;
        let numbers: Vec<u64> = answer.split(' ').filter_map(|number| number.parse().ok()).collect();
        match numbers[..] {
            [answered, least, most, errors] => Crowd { answered, least, most, errors },
            _ => Crowd { answered: 0, least: 0, most: 0, errors: callers },
        }
    })
}

async fn all_wait(fleet: &Fleet, nodes: &[usize], callers: u64) {
    for &node in nodes {
        until("all callers wait", async || {
            fleet.nodes[node].stat("coalesced").await.parse::<u64>().expect("a number") >= callers - 1
        })
        .await;
    }
}

/// Crowds at every node, of which one loads; answers which.
async fn gather(fleet: &Fleet, key: u64, callers: u64) -> (Vec<JoinHandle<Crowd>>, usize) {
    let crowds = fleet.nodes.iter().map(|node| crowd(node, key, callers)).collect();
    timeout(SOON, fleet.origin.arrived(1)).await.expect("somebody loads");
    all_wait(fleet, &[0, 1, 2], callers).await;
    (crowds, fleet.history.loaders(key)[0])
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn thirty_thousand_callers_in_three_processes_share_one_load() {
    let (_redis, fleet) = three(&[]).await;
    let gate = fleet.origin.shut();
    let (crowds, _) = gather(&fleet, 7, CALLERS).await;
    gate.add_permits(1);
    for crowd in crowds {
        let crowd = crowd.await.expect("it answers");
        assert_eq!((crowd.answered, crowd.least, crowd.most, crowd.errors), (CALLERS, 0, 0, 0));
    }
    assert_eq!(fleet.origin.loads(), 1, "one load in the fleet, not {:?}", fleet.history.loaders(7));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_holder_of_a_lease_is_killed_midway_and_one_other_loads() {
    let (_redis, fleet) = three(&[]).await;
    let gate = fleet.origin.shut();
    let (crowds, holder) = gather(&fleet, 7, CALLERS).await;
    fleet.nodes[holder].process.kill();
    timeout(SOON, fleet.origin.arrived(2)).await.expect("another goes on when the lease has run out");
    fleet.origin.open();
    gate.add_permits(2);
    for (node, crowd) in crowds.into_iter().enumerate() {
        let crowd = crowd.await.expect("it answers");
        if node != holder {
            assert_eq!((crowd.answered, crowd.errors), (CALLERS, 0), "at node {node}");
        }
    }
    assert_eq!(fleet.origin.loads(), 2, "at most two loads, not {:?}", fleet.history.loaders(7));
}

/// The holder loads, is stopped, and goes on when another has long filled; answers who it was. With `removed`, the
/// row is removed meanwhile.
async fn late_fill(fleet: &Fleet, key: u64, removed: bool) -> usize {
    let gate = fleet.origin.shut();
    let crowds: Vec<_> = fleet.nodes.iter().map(|node| crowd(node, key, 10)).collect();
    timeout(SOON, fleet.origin.arrived(1)).await.expect("somebody loads");
    let holder = fleet.history.loaders(key)[0];
    let other = (holder + 1) % 3;
    fleet.nodes[holder].process.pause();
    fleet.origin.open();
    if removed {
        assert!(fleet.write(other, "remove", key).await);
    } else {
        assert_eq!(fleet.origin.change(key), 1);
    }
    // The loads of the others read what is there now.
    for node in [other, (holder + 2) % 3] {
        until("the others have loaded", async || fleet.read(node, key).await == Some(1)).await;
    }
    gate.add_permits(1);
    fleet.nodes[holder].process.resume();
    for (node, crowd) in crowds.into_iter().enumerate() {
        let crowd = crowd.await.expect("it answers");
        assert_eq!((crowd.answered, crowd.errors), (10, 0), "at node {node}");
        let own = if node == holder { 0 } else { crowd.most };
        assert!(crowd.least <= crowd.most && crowd.most <= 1 && crowd.most >= own, "{crowd:?}");
    }
    holder
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_holder_that_was_stopped_past_its_lease_does_not_fill() {
    for removed in [false, true] {
        let redis = RedisServer::start().await;
        let fleet = Fleet::start(&redis, crate::NODE, 3, &[]).await;
        let holder = late_fill(&fleet, 7, removed).await;
        for node in [0, 1, 2] {
            // While the stopped node's own breaker is open it knows nothing; until a beat has come back in time it
            // marks what it knows.
            until("the node is sure of the row", async || {
                let known = fleet.nodes[node].ask("known 7").await;
                assert!(!known.starts_with('0'), "removed {removed}: node {node} of holder {holder}");
                known == "1 plain"
            })
            .await;
        }
        assert!(fleet.nodes[holder].seen("fill_fenced").await > 0, "it says so");
        fleet.history.judge();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn others_go_on_when_the_holders_loader_hangs() {
    let (_redis, fleet) = three(&["load_limit_ms=1500"]).await;
    // Nobody ever opens this gate.
    let gate = fleet.origin.shut();
    let crowd_of = |node: usize| crowd(&fleet.nodes[node], 7, 100);
    let hanging = crowd_of(0);
    timeout(SOON, fleet.origin.arrived(1)).await.expect("it loads");
    fleet.origin.open();
    let began = now();
    let others = [crowd_of(1), crowd_of(2)];
    for other in others {
        let crowd = other.await.expect("it answers");
        assert_eq!((crowd.answered, crowd.errors), (100, 0), "{crowd:?}");
    }
    assert!(began.elapsed() < SOON);
    assert_eq!(hanging.await.expect("it answers").errors, 100, "their load was ended by its limit");
    assert!(fleet.origin.loads() <= 3, "one load a node at most: {:?}", fleet.history.loaders(7));
    drop(gate);
}
