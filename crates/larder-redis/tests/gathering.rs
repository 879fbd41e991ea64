//! Gathering: together where that saves work, alone where it does not, and everybody gets their own answer.

mod support;

use std::sync::Arc;

use larder_core::{ErrorKind, Found, Read, Store};
use larder_redis::{RedisSettings, RedisStore};
use larder_testkit::{RedisServer, poll_then_drop};
use support::{connect, get, key, set, value_of};

async fn calls(redis: &RedisServer, command: &str) -> u64 {
    let stats = redis.command(&["INFO", "commandstats"]).await.expect("it answers");
    let line = stats.lines().find_map(|line| line.strip_prefix(&format!("cmdstat_{command}:calls=")));
    line.map_or(0, |line| line.split(',').next().and_then(|n| n.parse().ok()).expect("a number"))
}

async fn expect_own(store: &RedisStore, text: &str) {
    match get(store, text).await {
        Ok(Found::Hit(hit)) => assert_eq!(hit.bytes, value_of(text)),
        other => panic!("{text}: {other:?}"),
    }
}

#[tokio::test]
async fn many_reads_at_once_are_few_commands() {
    let redis = RedisServer::start().await;
    let store = connect(redis.url()).await;
    for n in 0..64 {
        set(&store, &format!("u:{n}")).await;
    }
    redis.command(&["CONFIG", "RESETSTAT"]).await.expect("it resets");
    let mut readers = tokio::task::JoinSet::new();
    for task in 0..64 {
        let store = store.clone();
        readers.spawn(async move {
            for round in 0..20 {
                expect_own(&store, &format!("u:{}", (task + round) % 64)).await;
            }
        });
    }
    readers.join_all().await;
    let (gets, mgets) = (calls(&redis, "get").await, calls(&redis, "mget").await);
    assert!(gets + mgets <= 64 * 20 / 8, "{gets} GET and {mgets} MGET for 1280 reads");
}

#[tokio::test]
async fn a_lone_read_is_a_plain_get() {
    let redis = RedisServer::start().await;
    let store = connect(redis.url()).await;
    set(&store, "u:1").await;
    redis.command(&["CONFIG", "RESETSTAT"]).await.expect("it resets");
    for _ in 0..10 {
        expect_own(&store, "u:1").await;
    }
    assert_eq!((calls(&redis, "get").await, calls(&redis, "mget").await), (10, 0));
}

#[tokio::test]
async fn a_large_batch_is_cut_and_answered_in_order() {
    let redis = RedisServer::start().await;
    for partitions in [1, 8] {
        let settings =
            RedisSettings::new(redis.url()).with_prefix(format!("p{partitions}")).with_partitions(partitions);
        let store = connect(settings).await;
        let names: Vec<String> = (0..2_000).map(|n| format!("u:{n}")).collect();
        let (stored, missing): (Vec<_>, Vec<_>) = names.iter().enumerate().partition(|(n, _)| n % 3 != 0);
        store.write(stored.iter().map(|(_, text)| support::write(text)).collect()).await.expect("it answers");
        let reads = names.iter().map(|text| Read { key: key(text), lease: None }).collect();
        let found = store.read(reads).await.expect("it answers");
        for &(at, text) in &stored {
            assert!(matches!(&found[at], Found::Hit(hit) if hit.bytes == value_of(text)), "{text}");
        }
        assert!(missing.iter().all(|&(at, _)| matches!(found[at], Found::Miss)));
    }
}

/// Leaves a read at each of its polls, while others read as well: each gets their own key's value all the same.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reads_that_are_left_midway_shift_nobodys_answer() {
    let redis = RedisServer::start().await;
    let store = Arc::new(connect(redis.url()).await);
    for n in 0..16 {
        set(&store, &format!("u:{n}")).await;
    }
    let mut others = tokio::task::JoinSet::new();
    for task in 0..8 {
        let store = Arc::clone(&store);
        others.spawn(async move {
            for round in 0..300 {
                expect_own(&store, &format!("u:{}", (task * 5 + round) % 16)).await;
            }
        });
    }
    for round in 0..300 {
        let text = format!("u:{}", round % 16);
        if let Some(found) = poll_then_drop(get(&store, &text), round % 4 + 1).await {
            assert!(matches!(found, Ok(Found::Hit(hit)) if hit.bytes == value_of(&text)));
        }
        let several = ["u:1", "u:2", "u:nothing"].map(|text| Read { key: key(text), lease: None });
        drop(poll_then_drop(store.read(several.to_vec()), round % 3 + 1).await);
        expect_own(&store, &text).await;
    }
    others.join_all().await;
}

#[tokio::test]
async fn scripts_that_are_left_midway_shift_nobodys_answer() {
    let redis = RedisServer::start().await;
    let store = connect(redis.url()).await;
    for polls in 1..12 {
        let text = format!("u:{polls}");
        let write = || store.write(vec![support::write(&text)]);
        drop(poll_then_drop(write(), polls).await);
        drop(poll_then_drop(store.remove(vec![key("u:other").into()]), polls).await);
        drop(poll_then_drop(store.ping(), polls).await);
        drop(poll_then_drop(store.clear(support::prefix("none")), polls).await);
        set(&store, &text).await;
        expect_own(&store, &text).await;
    }
}

#[tokio::test]
async fn a_store_that_is_closed_answers_everybody_who_waits() {
    let redis = RedisServer::start().await;
    let limit = std::time::Duration::from_millis(500);
    let store = connect(RedisSettings::new(redis.url()).with_command_timeout(limit)).await;
    redis.pause();
    let readers: Vec<_> = (0..32)
        .map(|n| {
            let store = store.clone();
            tokio::spawn(async move { get(&store, &format!("u:{n}")).await })
        })
        .collect();
    tokio::task::yield_now().await;
    store.close().await.expect("closing works");
    store.close().await.expect("twice too");
    assert_eq!(get(&store, "u:1").await.expect_err("it is closed").kind(), ErrorKind::Closed);
    for reader in readers {
        let failed = reader.await.expect("no panic").expect_err("nothing was answered");
        assert!(matches!(failed.kind(), ErrorKind::Closed | ErrorKind::Timeout), "{failed}");
    }
    redis.resume();
}

#[test]
fn a_store_that_outlives_its_runtime_answers_everybody_too() {
    let runtime = || tokio::runtime::Runtime::new().expect("a runtime can be made");
    let (first, second) = (runtime(), runtime());
    let (redis, store) = first.block_on(async {
        let redis = RedisServer::start().await;
        let store = connect(redis.url()).await;
        set(&store, "u:1").await;
        (redis, store)
    });
    second.block_on(expect_own(&store, "u:1"));
    drop(first);
    let all = async {
        for _ in 0..3 {
            let several = ["u:1", "u:2"].map(|text| Read { key: key(text), lease: None });
            store.read(several.to_vec()).await.expect_err("nobody sends it");
            get(&store, "u:1").await.expect_err("nobody sends it");
            store.ping().await.expect_err("nobody sends it");
        }
        store.read(vec![Read { key: key("u:1"), lease: None }]).await.expect_err("nobody sends it").kind()
    };
    let kind =
        second.block_on(async { tokio::time::timeout(support::PATIENCE, all).await.expect("nobody waits") });
    assert_eq!(kind, ErrorKind::Closed);
    drop(redis);
}
