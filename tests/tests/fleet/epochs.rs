//! One number that all nodes share and their keys bear: whoever raises it, nobody reads what was before.

use std::time::Duration;

use larder_promises::fleet::{Fleet, Watch, until};
use larder_testkit::RedisServer;

use crate::three;

const KEYS: u64 = 6;
const RAISES: u64 = 24;

async fn epoch(fleet: &Fleet, node: usize) -> u64 {
    fleet.nodes[node].ask("epoch").await.parse().expect("a number")
}

/// How many keys the server holds that bear this epoch.
async fn stored(redis: &RedisServer, epoch: u64) -> usize {
    let keys = redis.command(&["KEYS", &format!("*row:,{epoch}:*")]).await.expect("it answers");
    keys.lines().filter(|line| line.contains("row:")).count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_epoch_that_one_node_raises_all_go_on_to_though_the_bus_of_one_is_cut_and_nobody_reads_what_was_before()
 {
    let (redis, fleet) = three(&["epoch=1"]).await;
    fleet.heat(0..KEYS).await;
    let watch = Watch::start(&fleet, KEYS);
    let mut pace = tokio::time::interval(Duration::from_millis(100));
    for turn in 0..RAISES {
        match turn {
            8 => fleet.nodes[2].bus().partition(),
            16 => fleet.nodes[2].bus().heal().await,
            _ => {}
        }
        // Changes a row and raises the epoch of all: a node that acknowledged it reads no older one.
        assert!(fleet.write(turn as usize % 3, "raise_epoch", turn % KEYS).await, "turn {turn}");
        pace.tick().await;
    }
    fleet.all_sound().await;
    for node in 0..3 {
        until("all have gone on", async || epoch(&fleet, node).await == 1 + RAISES).await;
    }
    watch.stop().await;
    fleet.heat(0..KEYS).await;
    fleet.history.judge();
    assert!(fleet.history.reads().0 > 100, "{:?}", fleet.history.reads());

    assert!(stored(&redis, 1).await > 0 && stored(&redis, 1 + RAISES).await > 0);
    let left: u64 = fleet.nodes[1].ask("clean_up 1").await.parse().expect("a number");
    assert_eq!((left > 0, stored(&redis, 1).await), (true, 0));
    assert!(stored(&redis, 1 + RAISES).await > 0, "of the current one nothing is gone");
}
