//! Going through the keys of a tag, over a real server: what stands is listed, and what an invalidation left goes.

use std::collections::BTreeSet;

use larder::{Cache, Cursor, Memory, Policy, Stack, TierSettings, WriteOptions, minutes, secs};
use larder_promises::fleet::until;
use larder_redis::{RedisBus, RedisSettings, RedisStore};
use larder_testkit::RedisServer;

async fn node(redis: &RedisServer, partitions: u16) -> (Stack, Cache<u64, u64>) {
    let settings = || RedisSettings::new(redis.url()).with_partitions(partitions).with_tag_index(true);
    let store = RedisStore::connect(settings()).await.expect("a server runs");
    let bus = RedisBus::connect(settings()).await.expect("a server runs");
    let builder = Stack::builder().memory(Memory::max_entries(10_000)).bus(bus);
    let tier = TierSettings::new().with_timeout(secs(5));
    let stack = builder.store_with(store, tier).build().await.expect("a valid stack");
    let cache = stack.cache("row").policy(Policy::ttl(minutes(5))).build().expect("a valid cache");
    (stack, cache)
}

async fn set(cache: &Cache<u64, u64>, key: u64, tags: &[&str]) {
    let options = WriteOptions::new().tags(tags.iter().copied());
    cache.set_with(&key, key, &options).await.expect("it is set");
}

async fn listed(cache: &Cache<u64, u64>, tag: &str) -> BTreeSet<String> {
    let (mut keys, mut from) = (BTreeSet::new(), Cursor::START);
    loop {
        let page = cache.keys_of_tag(tag, from, 100).await.expect("it is listed");
        keys.extend(page.keys.iter().map(ToString::to_string));
        match page.next {
            Some(next) => from = next,
            None => return keys,
        }
    }
}

fn texts(keys: impl IntoIterator<Item = u64>) -> BTreeSet<String> {
    keys.into_iter().map(|key| format!("row:{key}")).collect()
}

/// How many values the server holds.
async fn values(redis: &RedisServer) -> usize {
    redis
        .command(&["KEYS", "*v:*"])
        .await
        .expect("it answers")
        .lines()
        .filter(|line| line.contains("v:"))
        .count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tag_lists_what_bears_it_and_stands_and_going_through_it_frees_what_is_dead() {
    for partitions in [1, 16] {
        let redis = RedisServer::start().await;
        let ((_one_stack, one), (_two_stack, two)) =
            (node(&redis, partitions).await, node(&redis, partitions).await);
        for key in 0..500 {
            set(&one, key, &["a", "b"]).await;
        }
        assert_eq!(listed(&two, "a").await, texts(0..500));
        for key in 0..10 {
            set(&two, key, &["b"]).await;
        }
        for key in 10..20 {
            two.remove(&key).await.expect("it is removed");
        }
        assert_eq!(
            listed(&one, "a").await,
            texts(20..500),
            "what bears it no more, or is gone, is not listed"
        );
        assert_eq!(values(&redis).await, 490);
        two.invalidate_tag("a").await.expect("it is invalidated");
        set(&two, 20, &["a"]).await;
        until("all that was dead is gone, and nothing else", async || {
            assert_eq!(listed(&two, "a").await, texts([20]));
            values(&redis).await == 11
        })
        .await;
        assert_eq!(
            listed(&two, "b").await,
            texts(0..10),
            "an entry with both tags is gone from the other one too"
        );
        let swept = one.stats().swept + two.stats().swept;
        assert_eq!(swept, 479);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_that_meets_a_dead_entry_has_it_removed_and_no_peer_clears_its_memory() {
    let redis = RedisServer::start().await;
    let ((one_stack, one), (two_stack, two)) = (node(&redis, 1).await, node(&redis, 1).await);
    set(&one, 1, &["a"]).await;
    set(&one, 2, &[]).await;
    one.invalidate_tag("a").await.expect("it is invalidated");
    let clears = |stack: &Stack| stack.stats().bus.expect("there is one").gaps;
    let before = (clears(&one_stack), clears(&two_stack));
    until("it is removed", async || {
        assert!(!two.get(&1).await.expect("a read does not fail").is_hit());
        values(&redis).await == 1
    })
    .await;
    // Nobody answers for what it did not hear of: it would clear its memory first.
    for cache in [&one, &two] {
        assert!(cache.remove_everywhere(&3).await.expect("it is removed").everywhere);
    }
    assert_eq!(
        (clears(&one_stack), clears(&two_stack)),
        before,
        "nothing was drawn that they do not hear of"
    );
}
