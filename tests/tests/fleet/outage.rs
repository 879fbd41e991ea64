//! K1, K4, K9: the server is killed, stopped, emptied, its connections cut, under readers and writers at three nodes.

use std::{io::Write, time::Duration};

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
    fleet.write_for(Duration::from_millis(300), 3, KEYS).await;
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
    fleet.write_for(Duration::from_millis(500), 3, KEYS).await;
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
        fleet.write_for(Duration::from_millis(500), 3, KEYS).await;
        redis.restart().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_killed_and_comes_back_with_its_data_brings_nothing_old_back() {
    under(RedisOptions::default().with_persistence().start().await, async |redis, fleet| {
        redis.kill();
        fleet.write_for(Duration::from_millis(500), 3, KEYS).await;
        redis.restart().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_stands_still_for_five_seconds_leaves_nothing_old() {
    under(RedisServer::start().await, async |redis, fleet| {
        redis.pause();
        fleet.write_for(Duration::from_secs(5), 3, KEYS).await;
        redis.resume();
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_emptied_brings_nothing_old_back() {
    under(RedisServer::start().await, async |redis, fleet| {
        for _ in 0..3 {
            redis.wipe().await;
            fleet.write_for(Duration::from_millis(300), 3, KEYS).await;
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_forgets_its_scripts_is_told_them_again() {
    under(RedisServer::start().await, async |redis, fleet| {
        for _ in 0..10 {
            say(redis, &["SCRIPT", "FLUSH"]).await;
            fleet.write_for(Duration::from_millis(100), 3, KEYS).await;
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
            fleet.write_for(Duration::from_millis(200), 3, KEYS).await;
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_refuses_writes_for_lack_of_memory_leaves_nothing_old() {
    under(RedisServer::start().await, async |redis, fleet| {
        say(redis, &["CONFIG", "SET", "maxmemory", "1"]).await;
        fleet.write_for(Duration::from_secs(1), 3, KEYS).await;
        say(redis, &["CONFIG", "SET", "maxmemory", "0"]).await;
    })
    .await;
}

/// Row 12: what a server evicts is anything, also the numbers of its sequence and of barriers.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_12_a_server_that_evicts_what_it_likes_leaves_nothing_old() {
    under(RedisServer::start().await, async |redis, fleet| {
        for policy in ["allkeys-lru", "allkeys-random"] {
            say(redis, &["CONFIG", "SET", "maxmemory-policy", policy]).await;
            for _ in 0..5 {
                // Less than an empty server takes: all that can go goes.
                say(redis, &["CONFIG", "SET", "maxmemory", "1"]).await;
                fleet.write_for(Duration::from_millis(150), 3, KEYS).await;
                say(redis, &["CONFIG", "SET", "maxmemory", "0"]).await;
                fleet.write_for(Duration::from_millis(150), 3, KEYS).await;
            }
        }
        let evicted = redis.command(&["INFO", "stats"]).await.expect("the server answers");
        let count = evicted.lines().find_map(|line| line.strip_prefix("evicted_keys:"));
        assert_ne!(count.map(str::trim), Some("0"), "nothing was evicted");
    })
    .await;
}

/// Row 17: the server cannot save to its disk, and so refuses all writes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_17_a_server_that_refuses_writes_since_it_cannot_save_leaves_nothing_old() {
    under(RedisServer::start().await, async |redis, fleet| {
        let folder = redis.command(&["CONFIG", "GET", "dir"]).await.expect("the server answers");
        let in_the_way = std::path::Path::new(folder.lines().last().expect("a folder")).join("dump.rdb");
        std::fs::create_dir(&in_the_way).expect("there is none yet");
        say(redis, &["CONFIG", "SET", "save", "3600 1"]).await;
        until("the server refuses writes", async || {
            drop(redis.command(&["BGSAVE"]).await);
            redis.command(&["SET", "probe", "1"]).await.is_err()
        })
        .await;
        fleet.write_for(Duration::from_secs(1), 3, KEYS).await;
        std::fs::remove_dir(&in_the_way).expect("it is empty");
        say(redis, &["CONFIG", "SET", "save", ""]).await;
    })
    .await;
}

/// Row 23: there is no connection left for those that lost theirs.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_23_a_server_without_a_connection_to_spare_leaves_nothing_old() {
    under(RedisServer::start().await, async |redis, fleet| {
        // Whoever raises the number again must have been there before.
        let mut operator = std::net::TcpStream::connect(redis.address()).expect("a connection");
        let mut order = |line: &str| operator.write_all(line.as_bytes()).expect("the server reads it");
        order("CONFIG SET maxclients 1\r\n");
        for node in &fleet.nodes {
            node.store().reset_all();
            node.bus().reset_all();
        }
        fleet.write_for(Duration::from_secs(2), 3, KEYS).await;
        assert!(redis.command(&["PING"]).await.is_err(), "there was a connection to spare");
        order("CONFIG SET maxclients 1000\r\n");
        until("there is a connection to spare", async || redis.command(&["PING"]).await.is_ok()).await;
    })
    .await;
}

/// Row 10: a node reaches the bus, but not the store.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_10_a_node_without_the_store_is_told_by_the_bus_and_tells_it() {
    under(RedisServer::start().await, async |_, fleet| {
        let cut = &fleet.nodes[2];
        cut.store().partition();
        fleet.history.happened("node 2 reaches the bus alone");
        let acknowledged = fleet.write(2, "remove", 0).await;
        assert!(!acknowledged, "nobody executed it");
        until("it is owed", async || cut.stat("journal").await != "0").await;
        fleet.write_for(Duration::from_secs(2), 3, KEYS).await;
        cut.store().heal().await;
    })
    .await;
}
