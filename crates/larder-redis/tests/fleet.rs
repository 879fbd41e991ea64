//! A fleet's books: members, barriers, and what happens when they are lost.

mod support;

use std::time::Duration;

use bytes::Bytes;
use larder_core::{Barrier, Beat, NodeId, Raise, Raised, Store, first_number};
use larder_redis::{RedisSettings, RedisStore};
use larder_testkit::{RedisOptions, RedisServer};
use support::{KEEP, connect, granted, remove, set, until};

const MINUTE: Duration = Duration::from_secs(60);

fn beat(node: u128, number: u64) -> Beat {
    Beat { node: NodeId(node), number, proven: number / 2, ttl: MINUTE }
}

fn raise(names: &[&str]) -> Raise {
    let barriers = names.iter().map(|name| (Bytes::copy_from_slice(name.as_bytes()), Bytes::new()));
    Raise { barriers: barriers.collect(), expected: None, keep: KEEP, news: None }
}

async fn raised(store: &RedisStore, raise: Raise) -> Barrier {
    match store.raise(raise).await.expect("it answers") {
        Raised::At(at) => at,
        Raised::Unchanged => panic!("nothing else was expected"),
    }
}

fn now_number() -> u64 {
    let since = std::time::UNIX_EPOCH.elapsed().expect("after 1970").as_millis();
    first_number(larder_core::Timestamp::from_millis(
        u64::try_from(since).expect("before the year 500000000"),
    ))
}

#[tokio::test]
async fn a_young_history_is_above_whatever_an_older_one_drew() {
    let redis = RedisServer::start().await;
    let before = now_number();
    let store = connect(redis.url()).await;
    let (version, at) = (set(&store, "u:1").await.get(), raised(&store, raise(&["t"])).await.get());
    let after = now_number() + 1_024;
    assert!(before < version && version < after, "{before} < {version} < {after}");
    assert!(before < at && at < after, "{before} < {at} < {after}");
    redis.wipe().await;
    until("the clock is beyond what the old history drew", async || (now_number() > after).then_some(()))
        .await;
    let stranger = connect(redis.url()).await;
    assert!(remove(&stranger, "u:1").await.get() > version);
    assert!(raised(&stranger, raise(&["t"])).await.get() > at);
}

#[tokio::test]
async fn a_beat_is_one_command_however_many_partitions() {
    let redis = RedisServer::start().await;
    let store = connect(RedisSettings::new(redis.url()).with_partitions(256)).await;
    store.beat(beat(1, 1)).await.expect("it answers");
    redis.command(&["CONFIG", "RESETSTAT"]).await.expect("it resets");
    let pulse = store.beat(beat(1, 2)).await.expect("it answers");
    assert_eq!(pulse.sequences.len(), 256);
    let stats = redis.command(&["INFO", "commandstats"]).await.expect("it answers");
    assert!(stats.contains("cmdstat_evalsha:calls=1,"), "{stats}");
    assert!(!stats.contains("cmdstat_eval:"), "{stats}");
}

#[tokio::test]
async fn whoever_falls_silent_is_forgotten_and_large_numbers_stay_whole() {
    let redis = RedisServer::start().await;
    let store = connect(redis.url()).await;
    let brief = Beat { ttl: Duration::from_millis(30), ..beat(1, u64::MAX) };
    store.beat(brief).await.expect("it answers");
    store.beat(beat(2, u64::MAX)).await.expect("it answers");
    until("the silent one is forgotten", async || {
        let members = store.members().await.expect("it answers");
        (members.len() == 1).then_some(())
    })
    .await;
    let members = store.members().await.expect("it answers");
    assert_eq!((members[0].node, members[0].beat, members[0].proven), (NodeId(2), u64::MAX, u64::MAX / 2));
    let mut pace = tokio::time::interval(Duration::from_millis(3));
    for node in 3..40 {
        store.beat(Beat { ttl: Duration::from_millis(1), ..beat(node, 1) }).await.expect("it answers");
        pace.tick().await;
    }
    let kept: u64 = redis.command(&["HLEN", "larder:{0}m"]).await.expect("a hash").parse().expect("a number");
    assert!(kept < 6, "joining prunes: {kept}");
}

#[tokio::test]
async fn losing_the_books_or_a_part_of_them_is_noticed() {
    let redis = RedisServer::start().await;
    let (store, other) = (connect(redis.url()).await, connect(redis.url()).await);
    let mut at = raised(&store, raise(&["t"])).await;
    other.beat(beat(2, 1)).await.expect("it answers");
    for damage in [
        &["DEL", "larder:{0}b"][..],
        &["HSET", "larder:{0}b", "n", "7"],
        &["HDEL", "larder:{0}b", "id"],
        &["HSET", "larder:{0}b", "n", "?"],
    ] {
        let tip = store.beat(beat(1, 1)).await.expect("it answers").barriers;
        let (lineage, others) = (store.lineage(), other.lineage());
        redis.command(damage).await.expect("it is damaged");
        let known = store.barriers(vec![Bytes::from_static(b"t")]).await.expect("it answers");
        assert!(known.tip.number >= tip.number && known.tip.history != tip.history, "{damage:?}");
        assert_eq!(known.floor.get(), known.tip.number, "{damage:?}");
        assert_eq!(known.found, [None], "{damage:?}");
        assert_ne!(store.lineage(), lineage, "{damage:?}");
        assert_eq!(other.beat(beat(2, 2)).await.expect("it answers").barriers, known.tip, "{damage:?}");
        assert_ne!(other.lineage(), others, "{damage:?}");
        let next = raised(&store, raise(&["t"])).await;
        assert!(next > at);
        at = next;
    }
    store.beat(beat(1, 2)).await.expect("it answers");
    let lineage = store.lineage();
    redis.command(&["DEL", "larder:{0}m"]).await.expect("it is deleted");
    other.beat(beat(2, 3)).await.expect("it answers");
    assert_eq!(store.members().await.expect("it answers").len(), 1);
    assert_ne!(store.lineage(), lineage, "a list without those who live is no list of those who live");
}

#[tokio::test]
async fn beyond_the_bound_all_barriers_become_one_floor() {
    let redis = RedisServer::start().await;
    let store = connect(RedisSettings::new(redis.url()).with_barriers_max(300)).await;
    let names: Vec<String> = (0..300).map(|n| format!("tag-{n}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let first = raised(&store, raise(&names)).await;
    let asked = || vec![Bytes::from_static(b"tag-7"), Bytes::from_static(b"one-more")];
    let known = store.barriers(asked()).await.expect("it answers");
    assert!(known.floor < first && known.found[0].as_ref().is_some_and(|standing| standing.at == first));
    let last = raised(&store, raise(&["one-more"])).await;
    let known = store.barriers(asked()).await.expect("it answers");
    assert_eq!((known.floor, known.found), (last, vec![None, None]));
    assert_eq!(known.tip.number, last.get());
}

#[tokio::test]
async fn barriers_that_no_longer_matter_are_forgotten_step_by_step() {
    let redis = RedisServer::start().await;
    let store = connect(redis.url()).await;
    let names: Vec<String> = (0..2_000).map(|n| format!("tag-{n}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    raised(&store, Raise { keep: Duration::from_millis(1), ..raise(&names) }).await;
    raised(&store, raise(&["lasting"])).await;
    for _ in 0..200 {
        raised(&store, raise(&["lasting"])).await;
    }
    let kept: u64 = redis.command(&["HLEN", "larder:{0}b"]).await.expect("a hash").parse().expect("a number");
    assert!(kept < 100, "{kept} fields");
    let known = store.barriers(vec![Bytes::from_static(b"lasting")]).await.expect("it answers");
    assert!(known.found[0].is_some());
}

#[tokio::test]
async fn signs_of_life_and_barriers_need_no_free_memory() {
    let redis = RedisOptions::default().with_max_memory(2 << 20, "noeviction").start().await;
    let store = connect(redis.url()).await;
    store.beat(beat(1, 1)).await.expect("it answers");
    let at = raised(&store, raise(&["t"])).await;
    redis.command(&["CONFIG", "SET", "maxmemory", "1"]).await.expect("it is full now");
    store.beat(beat(1, 2)).await.expect("it answers");
    store.beat(beat(2, 1)).await.expect("it answers");
    assert_eq!(store.members().await.expect("it answers").len(), 2);
    assert!(raised(&store, raise(&["t", "new"])).await > at);
    redis.command(&["DEL", "larder:{0}s", "larder:{0}b", "larder:{0}m"]).await.expect("it answers");
    store.beat(beat(1, 3)).await.expect("it answers");
    raised(&store, raise(&["t"])).await;
    remove(&store, "u:1").await;
}

#[tokio::test]
async fn a_lease_is_its_token_its_grant_and_a_mark_once_somebody_else_asked() {
    let redis = RedisServer::start().await;
    let store = connect(redis.url()).await;
    granted(&store, "u:1", 7).await;
    let lease = redis.command(&["STRLEN", "larder:{0}l:u:1"]).await.expect("a string");
    assert_eq!(lease, "24");
    let held = support::ask(&store, "u:1", larder_core::LeaseFor::Miss, 8).await;
    assert!(matches!(held, larder_core::Found::Held));
    assert_eq!(redis.command(&["STRLEN", "larder:{0}l:u:1"]).await.expect("a string"), "25");
    let ends_in: i64 =
        redis.command(&["PTTL", "larder:{0}l:u:1"]).await.expect("it ends").parse().expect("a number");
    assert!(ends_in > 0, "a mark does not make it last");
    assert!(store.renew(support::key("u:1"), larder_core::Token(7), KEEP).await.expect("it answers"));
    assert!(store.release(support::key("u:1"), larder_core::Token(7)).await.expect("it answers"));
    // What somebody else put in its place is honoured, and left as it is.
    redis.command(&["SET", "larder:{0}l:u:1", "0123456789abcdef"]).await.expect("it obeys");
    let held = support::ask(&store, "u:1", larder_core::LeaseFor::Miss, 8).await;
    assert!(matches!(held, larder_core::Found::Held));
    assert_eq!(redis.command(&["STRLEN", "larder:{0}l:u:1"]).await.expect("a string"), "16");
}
