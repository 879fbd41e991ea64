//! Limits: of values, of the server's memory, of lives.

mod support;

use std::time::Duration;

use bytes::Bytes;
use larder_core::{
    Condition, ErrorKind, Fill, Filled, Found, Grant, LeaseFor, Stamp, Store, Stored, Token, Version, Write,
    Written,
};
use larder_redis::RedisSettings;
use larder_testkit::{RedisOptions, RedisServer};
use support::{KEEP, ask, connect, fill, get, granted, key, remove, set};

fn large(text: &str, bytes: usize) -> Write {
    Write { bytes: Bytes::from(vec![b'x'; bytes]), ..support::write(text) }
}

#[tokio::test]
async fn a_value_above_the_limit_is_refused_and_the_old_one_removed() {
    let redis = RedisServer::start().await;
    let store = connect(RedisSettings::new(redis.url()).with_max_value_bytes(100)).await;
    assert_eq!(store.capabilities().max_value_bytes, Some(100));
    let before = set(&store, "u:1").await;
    let written = store.write(vec![large("u:1", 101), large("u:2", 100)]).await.expect("it answers");
    let [Written::Rejected(why), Written::Stored(_)] = &written[..] else { panic!("{written:?}") };
    assert_eq!(why.kind(), ErrorKind::Rejected);
    assert!(why.to_string().contains("101 bytes") && why.to_string().contains("100"), "{why}");
    assert!(matches!(get(&store, "u:1").await, Ok(Found::Miss)));
    assert!(remove(&store, "u:1").await > before);
}

#[tokio::test]
async fn a_fill_above_the_limit_gives_its_lease_back() {
    let redis = RedisServer::start().await;
    let store = connect(RedisSettings::new(redis.url()).with_max_value_bytes(100)).await;
    let grant = granted(&store, "u:1", 1).await;
    let too_large = |token| Fill {
        key: key("u:1"),
        lease: grant.to(Token(token)),
        version: grant.version,
        bytes: Bytes::from(vec![b'x'; 101]),
        keep: KEEP,
        tags: Vec::new(),
    };
    let filled = store.fill(vec![too_large(2)]).await.expect("it answers");
    assert!(matches!(&filled[..], [Filled::Refused]), "without the lease nothing is touched: {filled:?}");
    let filled = store.fill(vec![too_large(1)]).await.expect("it answers");
    assert!(matches!(&filled[..], [Filled::Rejected(_)]), "{filled:?}");
    granted(&store, "u:1", 3).await;
}

#[tokio::test]
async fn a_condition_that_does_not_hold_protects_the_old_value_from_a_too_large_one() {
    let redis = RedisServer::start().await;
    let store = connect(RedisSettings::new(redis.url()).with_max_value_bytes(100)).await;
    set(&store, "u:1").await;
    let other = Stored { version: Version::new(99), bytes: Bytes::new() };
    let wrong = Write { condition: Condition::IfUnchanged(other), ..large("u:1", 101) };
    assert!(matches!(&store.write(vec![wrong]).await.expect("it answers")[..], [Written::Unchanged]));
    let older = Write { stamp: Stamp::Exactly(Version::ZERO), ..large("u:1", 101) };
    assert!(matches!(&store.write(vec![older]).await.expect("it answers")[..], [Written::Unchanged]));
    let unleased = Write {
        condition: Condition::IfLeased(Grant { version: Version::ZERO }.to(Token(1))),
        ..large("u:1", 101)
    };
    assert!(matches!(&store.write(vec![unleased]).await.expect("it answers")[..], [Written::Unchanged]));
    assert!(matches!(get(&store, "u:1").await, Ok(Found::Hit(_))));
}

#[tokio::test]
async fn a_full_server_rejects_values_keeps_answering_reads_and_still_removes() {
    let redis = RedisServer::start().await;
    let store = connect(redis.url()).await;
    let version = set(&store, "u:1").await;
    let grant = granted(&store, "u:2", 1).await;
    redis.command(&["CONFIG", "SET", "maxmemory", "1"]).await.expect("it obeys");
    assert!(matches!(get(&store, "u:1").await, Ok(Found::Hit(_))));
    assert!(matches!(ask(&store, "u:3", LeaseFor::Miss, 5).await, Found::Miss), "no room for a lease");
    let Filled::Rejected(why) = fill(&store, "u:2", 1, grant.version).await else {
        panic!("there is no room")
    };
    assert!(why.to_string().contains("OOM") && why.to_string().contains("maxmemory"), "{why}");
    assert!(remove(&store, "u:9").await > version, "a removal needs no room");
    let written = store.write(vec![support::write("u:1")]).await.expect("it answers");
    assert!(matches!(&written[..], [Written::Rejected(_)]), "{written:?}");
    assert!(matches!(get(&store, "u:1").await, Ok(Found::Miss)), "the outdated value is gone");
    redis.command(&["CONFIG", "SET", "maxmemory", "0"]).await.expect("it obeys");
    assert!(set(&store, "u:1").await > version);
    granted(&store, "u:2", 9).await;
}

#[tokio::test]
async fn an_evicting_server_only_ever_loses_entries() {
    let redis = RedisOptions::default().with_max_memory(3 << 20, "allkeys-lru").start().await;
    let store = connect(redis.url()).await;
    let mut last = Version::ZERO;
    for n in 0..200 {
        match &store.write(vec![large(&format!("u:{n}"), 50_000)]).await.expect("it answers")[..] {
            [Written::Stored(version)] => {
                assert!(*version > last, "versions rise although the sequence may be evicted");
                last = *version;
            }
            other => panic!("{other:?}"),
        }
    }
    assert!(matches!(get(&store, "u:199").await, Ok(Found::Hit(_))));
}

#[tokio::test]
async fn lives_are_whole_milliseconds_of_at_most_ten_years() {
    let redis = RedisServer::start().await;
    let store = connect(redis.url()).await;
    let ttl = async || -> i64 {
        redis.command(&["PTTL", "larder:{0}v:u:1"]).await.expect("it answers").parse().expect("a number")
    };
    let lasting = |keep| Write { keep, ..support::write("u:1") };
    store.write(vec![lasting(Duration::MAX)]).await.expect("it answers");
    let ten_years_ms = 10 * 365 * 24 * 3_600 * 1_000_i64;
    let left = ttl().await;
    assert!(left > ten_years_ms - 60_000 && left <= ten_years_ms, "{left}");
    for short in [Duration::ZERO, Duration::from_nanos(1)] {
        store.write(vec![lasting(short)]).await.expect("it answers");
        assert!(ttl().await < 2);
    }
    assert!(store.renew(key("u:1"), Token(1), Duration::MAX).await.is_ok());
}
