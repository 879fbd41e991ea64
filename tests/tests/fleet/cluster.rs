//! A cluster of three primaries: news of keys and tags reach the other processes, everywhere is everywhere, and a
//! primary that dies takes nothing along.

use std::{collections::BTreeSet, time::Duration};

use larder_promises::fleet::{BOUND, Fleet, PATIENCE, Watch, now, until};
use larder_testkit::{FaultProxy, RedisCluster, RedisServer};

use crate::NODE;

const KEYS: u64 = 40;

/// For how long a primary is out of reach.
const CUT: Duration = Duration::from_secs(5);
/// K9: by then everything is as it was.
const CONVERGED: Duration = Duration::from_secs(20);

async fn over(cluster: &RedisCluster) -> Fleet {
    let urls: Vec<String> = cluster.nodes().iter().map(larder_testkit::RedisServer::url).collect();
    Fleet::start_direct(&urls.join(","), NODE, 3, &[]).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn removals_tags_and_everywhere_reach_the_other_processes_over_a_cluster() {
    let cluster = RedisCluster::start().await;
    let fleet = over(&cluster).await;
    fleet.heat(0..KEYS).await;
    for key in 0..KEYS {
        fleet.write_surely(key as usize % 3, "remove", key).await;
    }
    for node in 0..3 {
        for key in 0..KEYS {
            let news = async || fleet.read(node, key).await == Some(fleet.origin.version(key));
            until("the news have arrived", news).await;
        }
    }
    for key in 0..KEYS {
        fleet.write_surely(key as usize % 3, "everywhere", key).await;
        for node in 0..3 {
            fleet.read(node, key).await;
        }
    }
    assert_eq!(fleet.nodes[0].ask("fill 1000 500 team 1").await, "ok");
    for node in &fleet.nodes {
        // Of keys that were written after each other and share a stripe, the earlier count as old.
        let known: u64 = node.ask("sweep 1000 500").await.parse().expect("a number");
        assert!(known >= 450, "{known} of 500");
    }
    assert_eq!(fleet.nodes[1].ask("tag_everywhere team").await, "ok");
    for node in &fleet.nodes {
        assert_eq!(node.ask("sweep 1000 500").await, "0");
    }
    fleet.history.judge();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_primary_of_a_cluster_that_dies_takes_nothing_along_that_was_acknowledged() {
    let cluster = RedisCluster::start_with_replicas().await;
    let fleet = over(&cluster).await;
    fleet.heat(0..KEYS).await;
    let watch = Watch::start(&fleet, KEYS);
    assert!(fleet.write_for(Duration::from_millis(300), 3, KEYS).await > 0);
    // Replicas lag. What was lost is repeated first: until then peers may read it.
    fleet.history.forgive(PATIENCE);
    // The one that keeps the barriers and the list of the nodes.
    cluster.nodes()[2].kill();
    fleet.history.happened("a primary is dead");
    let died = now();
    fleet.settled(KEYS).await;
    let took = died.elapsed();
    assert!(took < CONVERGED, "it took {took:?} until all was well");
    let role = cluster.replicas()[2].command(&["ROLE"]).await.expect("it answers");
    assert!(role.starts_with("master"), "it is {role}");
    fleet.history.forgive(BOUND);
    fleet.write_for(BOUND + Duration::from_secs(1), 3, KEYS).await;
    watch.stop().await;
    fleet.heat(0..KEYS).await;
    fleet.history.judge();
}

/// The rows that a primary keeps.
async fn rows_of(primary: &RedisServer) -> BTreeSet<u64> {
    let keys = primary.command(&["KEYS", "*v:row:*"]).await.expect("it answers");
    keys.lines().map(|key| key.rsplit(':').next().and_then(|row| row.parse().ok()).expect("a row")).collect()
}

/// Rows 5 and 8 for a part of the store: no node reaches one of the primaries, and nothing tells them so. The other
/// primaries do, so nothing takes its place.
///
/// To a node the cluster is one store with one breaker. While that is open it asks no primary: it loads, and owes what is
/// invalidated, also of the others' keys.
async fn out_of_reach(primary: usize) {
    let cluster = RedisCluster::start().await;
    let leg = FaultProxy::start(cluster.nodes()[primary].address()).await;
    cluster.announce(primary, leg.address()).await;
    let mut urls: Vec<String> = cluster.nodes().iter().map(RedisServer::url).collect();
    urls[primary] = cluster.nodes()[primary].url_through(leg.address());
    let fleet = Fleet::start_direct(&urls.join(","), NODE, 3, &[]).await;
    fleet.heat(0..KEYS).await;
    let there = rows_of(&cluster.nodes()[primary]).await;
    assert!(there.len() > 3 && there.len() < KEYS as usize - 3, "{there:?}");
    let watch = Watch::start(&fleet, KEYS);
    assert!(fleet.write_for(Duration::from_millis(300), 3, KEYS).await > 0);
    leg.faults().partition();
    fleet.history.happened("a primary is out of reach");
    let (cut, reads) = (now(), fleet.history.reads().0);
    let mut owed = BTreeSet::new();
    while cut.elapsed() < CUT {
        for key in 0..KEYS {
            let at = key as usize % 3;
            if fleet.write(at, "remove", key).await {
                assert!(!there.contains(&key), "nobody can have removed {key}");
                owed.remove(&key);
            } else {
                owed.insert(key);
                let read = fleet.read(at, key).await;
                assert_eq!(read, Some(fleet.origin.version(key)), "{at} reads what it owes of {key}");
            }
        }
    }
    assert!(owed.is_superset(&there) && owed.len() > there.len(), "of the others' keys: {owed:?}, {there:?}");
    let reads = fleet.history.reads().0 - reads;
    assert!(reads > 100, "{reads} reads in {CUT:?}");
    for node in &fleet.nodes {
        assert_ne!(node.stat("journal").await, "0");
    }
    leg.faults().heal().await;
    fleet.history.happened("it is back");
    let healed = now();
    for (at, node) in fleet.nodes.iter().enumerate() {
        until("nothing is owed any more", async || node.stat("journal").await == "0").await;
        for key in 0..KEYS {
            let is_newest = async || fleet.read(at, key).await == Some(fleet.origin.version(key));
            until("what was owed is done", is_newest).await;
        }
    }
    // It has nothing but what the store has.
    let newcomer = Fleet::start_direct(&urls.join(","), NODE, 1, &[]).await;
    for key in owed {
        let known = newcomer.nodes[0].ask(&format!("known {key}")).await;
        let is_newest = known == format!("{} plain", fleet.origin.version(key));
        assert!(is_newest || known == "miss", "the store has {known} of {key}");
    }
    drop(newcomer);
    fleet.settled(KEYS).await;
    let took = healed.elapsed();
    assert!(took < CONVERGED, "it took {took:?} until all was well");
    fleet.write_for(BOUND, 3, KEYS).await;
    watch.stop().await;
    fleet.heat(0..KEYS).await;
    fleet.history.judge();
    for node in &fleet.nodes {
        // A probe that meets another primary closes the breaker for a while.
        node.told(&[("bus_down", 1..=3), ("bus_up", 2..=4), ("tier_closed", 1..=20)]).await;
        node.told(&[("invalidation_journaled", 1..=u64::MAX), ("invalidation_replayed", 1..=u64::MAX)]).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_8_a_primary_out_of_reach_keeps_nothing_old_of_its_keys() {
    out_of_reach(0).await;
}

/// The one that keeps the barriers and the list of the nodes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_8_a_primary_out_of_reach_that_keeps_the_books_leaves_nothing_old() {
    out_of_reach(2).await;
}
