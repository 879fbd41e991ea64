//! The tracking bus under a whole stack: what others change in Redis, by whatever means, is served from memory no more.

use std::time::Duration;

use larder::{
    Cache, KeyPattern, Memory, Policy, Refreshed, Stack, TagMatch, TierSettings, WriteOptions, minutes, secs,
};
use larder_promises::fleet::{BOUND, now, until};
use larder_redis::{RedisSettings, RedisStore, TrackingBus};
use larder_testkit::RedisServer;

struct Node {
    _stack: Stack,
    cache: Cache<u64, u64>,
}

impl Node {
    /// A node that is told by the server itself.
    async fn told_by(redis: &RedisServer, partitions: u16) -> Self {
        let settings = || RedisSettings::new(redis.url()).with_partitions(partitions);
        let bus = TrackingBus::connect(settings()).await.expect("a server runs");
        let builder = Stack::builder().memory(Memory::max_entries(1_000)).bus(bus);
        let tier = TierSettings::new().with_timeout(secs(5));
        let store = RedisStore::connect(settings()).await.expect("a server runs");
        let stack = builder.store_with(store, tier).build().await.expect("a valid stack");
        let cache = stack.cache("row").policy(Policy::ttl(minutes(5))).build().expect("a valid cache");
        Self { _stack: stack, cache }
    }

    async fn set(&self, key: u64, value: u64) {
        let tagged = WriteOptions::new().tags(["t"]);
        self.cache.set_with(&key, value, &tagged).await.expect("it is set");
    }

    async fn get(&self, key: u64) -> Option<u64> {
        self.cache.get(&key).await.expect("a read does not fail").as_value().copied()
    }

    /// Until memory has it, though the server tells of what this node itself changed and read.
    async fn warm(&self, key: u64, value: u64) {
        until("memory has it", async || {
            assert_eq!(self.get(key).await, Some(value));
            self.cache.peek(&key).expect("a key").as_value().is_some()
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_another_node_invalidates_is_served_no_more_within_the_bound() {
    let redis = RedisServer::start().await;
    for partitions in [1, 16] {
        let (one, two) = (Node::told_by(&redis, partitions).await, Node::told_by(&redis, partitions).await);
        for verb in ["remove", "expire", "tag", "expired tag", "prefix", "pattern", "all", "clear"] {
            one.set(17, 7).await;
            two.warm(17, 7).await;
            let began = now();
            let cache = &one.cache;
            match verb {
                "remove" => cache.remove(&17).await.map(drop),
                "expire" => cache.expire(&17).await.map(drop),
                "tag" => cache.invalidate_tag("t").await.map(drop),
                "expired tag" => cache.expire_tags(&["t"], TagMatch::Any).await.map(drop),
                "prefix" => cache.remove_prefix("1").await.map(drop),
                "pattern" => {
                    let pattern = KeyPattern::parse("*7").expect("a pattern");
                    cache.remove_matching(&pattern).await.map(drop)
                }
                "all" => cache.expire_all().await.map(drop),
                _ => cache.clear().await.map(drop),
            }
            .expect("it is invalidated");
            until("the peer hears of it", async || two.get(17).await.is_none()).await;
            assert!(began.elapsed() < BOUND, "{verb}: {:?}", began.elapsed());
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_an_operator_deletes_or_empties_is_served_no_more_and_memory_goes_on() {
    let redis = RedisServer::start().await;
    let node = Node::told_by(&redis, 1).await;
    for command in [&["DEL", "larder:{0}v:row:17"][..], &["FLUSHALL"]] {
        node.set(17, 7).await;
        node.warm(17, 7).await;
        redis.command(command).await.expect("the server answers");
        until("it is gone", async || node.get(17).await.is_none()).await;
    }
    // What is set before the node knows that everything is gone goes with it.
    until("what is set stays", async || {
        node.set(18, 8).await;
        node.get(18).await == Some(8)
    })
    .await;
    node.warm(18, 8).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peers_refresh_replaces_the_copy() {
    let redis = RedisServer::start().await;
    let (one, two) = (Node::told_by(&redis, 1).await, Node::told_by(&redis, 1).await);
    one.set(17, 7).await;
    two.warm(17, 7).await;
    let refreshed = one.cache.refresh(&17, |_| async { Ok::<_, std::io::Error>(8) }).await;
    assert!(matches!(refreshed.expect("it is loaded anew"), Refreshed::Done(_)), "nobody else was at it");
    until("the peer has the new value", async || two.get(17).await == Some(8)).await;
    // It stays: nothing old comes back.
    let mut look = tokio::time::interval(Duration::from_millis(50));
    for _ in 0..10 {
        look.tick().await;
        assert_eq!(two.get(17).await, Some(8));
    }
}
