//! A cluster of three primaries: news of keys and tags reach the other processes, everywhere is everywhere, and a
//! primary that dies takes nothing along.

use std::time::Duration;

use larder_promises::fleet::{BOUND, Fleet, PATIENCE, Watch, now, until};
use larder_testkit::RedisCluster;

use crate::NODE;

const KEYS: u64 = 40;

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
