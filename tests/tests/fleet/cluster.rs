//! A cluster of three primaries: news of keys and tags reach the other processes, and everywhere is everywhere.

use larder_promises::fleet::{Fleet, until};
use larder_testkit::RedisCluster;

use crate::NODE;

const KEYS: u64 = 40;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn removals_tags_and_everywhere_reach_the_other_processes_over_a_cluster() {
    let cluster = RedisCluster::start().await;
    let urls: Vec<String> = cluster.nodes().iter().map(larder_testkit::RedisServer::url).collect();
    let fleet = Fleet::start_direct(&urls.join(","), NODE, 3, &[]).await;
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
