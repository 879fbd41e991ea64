//! K1, K4, K9: the server is killed, stopped, emptied, its connections cut, under readers and writers at three nodes.

use std::time::Duration;

use larder_promises::fleet::{Fleet, Watch, now, until};
use larder_testkit::{RedisOptions, RedisServer};

use crate::NODE;

const KEYS: u64 = 8;
/// K9: by then everything is as it was.
const CONVERGED: Duration = Duration::from_secs(20);

/// What is done to a server while the fleet works; a fault lasts for as long as the fleet is made to write through it.
async fn under(redis: RedisServer, fault: impl AsyncFn(&RedisServer, &Fleet)) {
    let fleet = Fleet::start(&redis, NODE, 3, &[]).await;
    fleet.heat(0..KEYS).await;
    let watch = Watch::start(&fleet, KEYS);
    fleet.remove_for(Duration::from_millis(300), 3, KEYS).await;
    fleet.history.happened("the server fails");
    fault(&redis, &fleet).await;
    fleet.history.happened("the server is back");
    let healed = now();
    for node in 0..3 {
        for key in 0..KEYS {
            fleet.write_surely(node, "remove", key).await;
        }
    }
    fleet.all_sound().await;
    for node in &fleet.nodes {
        until("nothing is owed any more", async || node.stat("journal").await == "0").await;
    }
    let took = healed.elapsed();
    assert!(took < CONVERGED, "it took {took:?} until all was well");
    fleet.remove_for(Duration::from_millis(500), 3, KEYS).await;
    watch.stop().await;
    fleet.heat(0..KEYS).await;
    fleet.history.judge();
}

async fn say(redis: &RedisServer, command: &[&str]) {
    redis.command(command).await.expect("the server answers");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_killed_and_comes_back_empty_brings_nothing_old_back() {
    under(RedisServer::start().await, async |redis, fleet| {
        redis.kill();
        fleet.remove_for(Duration::from_millis(500), 3, KEYS).await;
        redis.restart().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_killed_and_comes_back_with_its_data_brings_nothing_old_back() {
    under(RedisOptions::default().with_persistence().start().await, async |redis, fleet| {
        redis.kill();
        fleet.remove_for(Duration::from_millis(500), 3, KEYS).await;
        redis.restart().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_stands_still_for_five_seconds_leaves_nothing_old() {
    under(RedisServer::start().await, async |redis, fleet| {
        redis.pause();
        fleet.remove_for(Duration::from_secs(5), 3, KEYS).await;
        redis.resume();
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_emptied_brings_nothing_old_back() {
    under(RedisServer::start().await, async |redis, fleet| {
        for _ in 0..3 {
            redis.wipe().await;
            fleet.remove_for(Duration::from_millis(300), 3, KEYS).await;
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_forgets_its_scripts_is_told_them_again() {
    under(RedisServer::start().await, async |redis, fleet| {
        for _ in 0..10 {
            say(redis, &["SCRIPT", "FLUSH"]).await;
            fleet.remove_for(Duration::from_millis(100), 3, KEYS).await;
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_that_an_operator_kills_are_built_anew() {
    under(RedisServer::start().await, async |redis, fleet| {
        for _ in 0..5 {
            say(redis, &["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"]).await;
            say(redis, &["CLIENT", "KILL", "TYPE", "pubsub"]).await;
            fleet.remove_for(Duration::from_millis(200), 3, KEYS).await;
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_refuses_writes_for_lack_of_memory_leaves_nothing_old() {
    under(RedisServer::start().await, async |redis, fleet| {
        say(redis, &["CONFIG", "SET", "maxmemory", "1"]).await;
        fleet.remove_for(Duration::from_secs(1), 3, KEYS).await;
        say(redis, &["CONFIG", "SET", "maxmemory", "0"]).await;
    })
    .await;
}
