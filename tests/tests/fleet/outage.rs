//! K1, K4, K9: the server is killed, stopped, emptied, its connections cut, under readers and writers at three nodes.

use std::{io::Write, time::Duration};

use larder_promises::fleet::{Fleet, Watch, now, until};
use larder_testkit::{RedisOptions, RedisServer, Way};

use crate::NODE;

const KEYS: u64 = 8;
/// K9: by then everything is as it was.
const CONVERGED: Duration = Duration::from_secs(20);
const MANY: u64 = u64::MAX;

/// What is done to a server while the fleet works; a fault lasts for as long as the fleet is made to write through it.
async fn under(redis: RedisServer, fault: impl AsyncFn(&RedisServer, &Fleet)) -> (RedisServer, Fleet) {
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
    (redis, fleet)
}

/// Every node noticed once that the server was away, and once that it was back.
async fn all_noticed_once(fleet: &Fleet) {
    for node in &fleet.nodes {
        let once =
            [("bus_down", 1..=3), ("bus_up", 2..=4), ("cleared_joined", 2..=4), ("tier_closed", 1..=3)];
        node.told(&once).await;
        // A probe that fails opens the breaker again.
        node.told(&[
            ("tier_open", 1..=9),
            ("invalidation_journaled", 1..=MANY),
            ("invalidation_replayed", 1..=MANY),
        ])
        .await;
    }
}

/// Nobody took the server for dead.
async fn nobody_was_away(fleet: &Fleet) {
    for node in &fleet.nodes {
        node.told(&[("bus_down", 0..=2), ("tier_open", 0..=1)]).await;
    }
}

async fn say(redis: &RedisServer, command: &[&str]) {
    redis.command(command).await.expect("the server answers");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_killed_and_comes_back_empty_brings_nothing_old_back() {
    let (_redis, fleet) = under(RedisServer::start().await, async |redis, fleet| {
        redis.kill();
        fleet.write_for(Duration::from_millis(500), 3, KEYS).await;
        redis.restart().await;
    })
    .await;
    all_noticed_once(&fleet).await;
    for node in &fleet.nodes {
        node.told(&[("lineage_changed", 1..=MANY)]).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_killed_and_comes_back_with_its_data_brings_nothing_old_back() {
    let (_redis, fleet) =
        under(RedisOptions::default().with_persistence().start().await, async |redis, fleet| {
            redis.kill();
            fleet.write_for(Duration::from_millis(500), 3, KEYS).await;
            redis.restart().await;
        })
        .await;
    all_noticed_once(&fleet).await;
    for node in &fleet.nodes {
        node.told(&[("lineage_changed", 1..=MANY)]).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_stands_still_for_five_seconds_leaves_nothing_old() {
    let (_redis, fleet) = under(RedisServer::start().await, async |redis, fleet| {
        redis.pause();
        fleet.write_for(Duration::from_secs(5), 3, KEYS).await;
        redis.resume();
    })
    .await;
    all_noticed_once(&fleet).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_emptied_brings_nothing_old_back() {
    let (_redis, fleet) = under(RedisServer::start().await, async |redis, fleet| {
        for _ in 0..3 {
            redis.wipe().await;
            fleet.write_for(Duration::from_millis(300), 3, KEYS).await;
        }
    })
    .await;
    nobody_was_away(&fleet).await;
    for node in &fleet.nodes {
        node.told(&[("lineage_changed", 1..=MANY)]).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_forgets_its_scripts_is_told_them_again() {
    let (_redis, fleet) = under(RedisServer::start().await, async |redis, fleet| {
        for _ in 0..10 {
            say(redis, &["SCRIPT", "FLUSH"]).await;
            fleet.write_for(Duration::from_millis(100), 3, KEYS).await;
        }
    })
    .await;
    nobody_was_away(&fleet).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_that_an_operator_kills_are_built_anew() {
    let (_redis, fleet) = under(RedisServer::start().await, async |redis, fleet| {
        for _ in 0..5 {
            say(redis, &["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"]).await;
            say(redis, &["CLIENT", "KILL", "TYPE", "pubsub"]).await;
            fleet.write_for(Duration::from_millis(200), 3, KEYS).await;
        }
    })
    .await;
    for node in &fleet.nodes {
        node.told(&[("bus_down", 5..=7), ("bus_up", 6..=8), ("lineage_changed", 0..=0)]).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_refuses_writes_for_lack_of_memory_leaves_nothing_old() {
    let (_redis, fleet) = under(RedisServer::start().await, async |redis, fleet| {
        say(redis, &["CONFIG", "SET", "maxmemory", "1"]).await;
        fleet.write_for(Duration::from_secs(1), 3, KEYS).await;
        say(redis, &["CONFIG", "SET", "maxmemory", "0"]).await;
    })
    .await;
    nobody_was_away(&fleet).await;
    for node in &fleet.nodes {
        node.told(&[("write_rejected", 1..=MANY), ("lineage_changed", 0..=0)]).await;
    }
}

/// Row 12: what a server evicts is anything, also the numbers of its sequence and of barriers.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_12_a_server_that_evicts_what_it_likes_leaves_nothing_old() {
    let (_redis, fleet) = under(RedisServer::start().await, async |redis, fleet| {
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
    nobody_was_away(&fleet).await;
    for node in &fleet.nodes {
        node.told(&[("lineage_changed", 1..=MANY)]).await;
    }
}

/// Row 17: the server cannot save to its disk, and so refuses all writes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_17_a_server_that_refuses_writes_since_it_cannot_save_leaves_nothing_old() {
    let (_redis, fleet) = under(RedisServer::start().await, async |redis, fleet| {
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
    for node in &fleet.nodes {
        node.told(&[("tier_failed", 1..=MANY), ("invalidation_journaled", 1..=MANY), ("bus_down", 0..=2)])
            .await;
    }
}

/// Row 23: there is no connection left for those that lost theirs.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_23_a_server_without_a_connection_to_spare_leaves_nothing_old() {
    let (_redis, fleet) = under(RedisServer::start().await, async |redis, fleet| {
        // Whoever raises the number again must have been there before.
        let mut operator = std::net::TcpStream::connect(redis.address()).expect("a connection");
        let mut order = |line: &str| operator.write_all(line.as_bytes()).expect("the server reads it");
        order("CONFIG SET maxclients 1\r\n");
        let before: u64 =
            fleet.nodes.iter().map(|node| node.store().accepted() + node.bus().accepted()).sum();
        for node in &fleet.nodes {
            node.store().reset_all();
            node.bus().reset_all();
        }
        fleet.write_for(Duration::from_secs(2), 3, KEYS).await;
        let tried: u64 = fleet.nodes.iter().map(|node| node.store().accepted() + node.bus().accepted()).sum();
        let tried = tried - before;
        // Three connections of each node, at first after some milliseconds, then twice or four times a second.
        assert!(tried < 3 * 3 * 16, "they tried {tried} times to connect in two seconds");
        assert!(redis.command(&["PING"]).await.is_err(), "there was a connection to spare");
        order("CONFIG SET maxclients 1000\r\n");
        until("there is a connection to spare", async || redis.command(&["PING"]).await.is_ok()).await;
    })
    .await;
    all_noticed_once(&fleet).await;
}

/// Row 10: a node reaches the bus, but not the store.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_10_a_node_without_the_store_is_told_by_the_bus_and_tells_it() {
    let (_redis, fleet) = under(RedisServer::start().await, async |_, fleet| {
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
    let [others @ .., cut] = &fleet.nodes[..] else { panic!("there are three") };
    cut.told(&[("tier_open", 1..=9), ("tier_closed", 1..=3), ("bus_down", 0..=2)]).await;
    cut.told(&[("invalidation_journaled", 1..=MANY), ("invalidation_replayed", 1..=MANY)]).await;
    for node in others {
        node.told(&[("bus_down", 0..=2), ("tier_open", 0..=1)]).await;
    }
}

/// Row 4: the way from a node to the store is slow: a little, beyond its timeout, a byte a second.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_4_a_slow_way_to_the_store_fails_no_read_and_leaves_nothing_old() {
    under(RedisServer::start().await, async |_, fleet| {
        let slow = fleet.nodes[2].store();
        let none = Duration::ZERO;
        let (little, much) = (Duration::from_millis(200), Duration::from_secs(2));
        for slowness in [0, 1, 2] {
            match slowness {
                0 => slow.delay(Way::Replies, little, none),
                1 => slow.delay(Way::Replies, much, none),
                _ => slow.limit(Way::Replies, 1),
            }
            fleet.write_for(Duration::from_millis(1_500), 3, KEYS).await;
            slow.heal().await;
        }
    })
    .await;
}

/// Row 13: the server became a replica of another. Nothing that it refuses counts as done.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_13_a_server_that_only_reads_is_never_believed_to_have_written() {
    let (_redis, fleet) = under(RedisServer::start().await, async |redis, fleet| {
        // Nobody is there: it keeps what it has.
        say(redis, &["REPLICAOF", "127.0.0.1", "1"]).await;
        assert_eq!(fleet.write_for(Duration::from_millis(1_500), 3, KEYS).await, 0);
        say(redis, &["REPLICAOF", "NO", "ONE"]).await;
    })
    .await;
    for node in &fleet.nodes {
        node.told(&[("invalidation_journaled", 1..=MANY), ("invalidation_replayed", 1..=MANY)]).await;
    }
}

/// Row 6: requests arrive, and no answer comes back.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_6_what_was_executed_without_an_answer_is_owed_and_repeated_to_no_harm() {
    let (_redis, fleet) = under(RedisServer::start().await, async |_, fleet| {
        let deaf = &fleet.nodes[2];
        deaf.store().black_hole(Way::Replies);
        for (verb, key) in [("remove", KEYS), ("set", KEYS + 1)] {
            assert!(!fleet.write(2, verb, key).await, "nobody told it so");
            until("it is owed", async || deaf.stat("journal").await != "0").await;
        }
        assert_eq!(
            deaf.ask(&format!("peek {}", KEYS + 1)).await,
            "miss",
            "what may not be stored is not kept"
        );
        fleet.write_for(Duration::from_secs(1), 2, KEYS).await;
        deaf.store().heal().await;
        for node in 0..3 {
            until("all know the row", async || fleet.read(node, KEYS).await == Some(1)).await;
            until("all know the row", async || fleet.read(node, KEYS + 1).await == Some(1)).await;
        }
    })
    .await;
    let [others @ .., deaf] = &fleet.nodes[..] else { panic!("there are three") };
    deaf.told(&[("invalidation_journaled", 2..=MANY), ("invalidation_replayed", 1..=MANY)]).await;
    for node in others {
        node.told(&[("invalidation_journaled", 0..=0), ("tier_open", 0..=1)]).await;
    }
}
