//! Caches with a memory of their own over one Redis, and the redis crate alone: each as its documentation sets it up
//! for several processes.

use std::{convert::Infallible, future::Future, hint::black_box, sync::Arc, time::Duration};

use amalgam::provider::{Backplane as Bus, RedisBackplane as PubSub}; // tidy-ok: backplane
use amalgam::{
    CacheBuilder, EntryOptions,
    provider::{
        DistributedCache, DistributedLocker, DistributedSerializer, PostcardSerializer,
        RedisDistributedCache, RedisDistributedLocker,
    },
};
use larder::{BusSettings, Cache, CacheKey, Error, Memory, Policy, Stack};
use larder_core::{Found, Key, Read, Store};
use larder_redis::{RedisBus, RedisSettings, RedisStore};
use redis::aio::MultiplexedConnection;
use serde::{Deserialize, Serialize};

use crate::measure::Who;

/// The redis crate: one connection that many tasks share.
pub(crate) const BARE: Who = Who { name: "redis", how: "GET, SET" };
/// Larder: memory, Redis, its bus.
pub(crate) const LARDER: Who = Who { name: "larder", how: "get, get_or_load, set" };
/// Larder's store alone: what is there under a key, neither decoded nor kept.
pub(crate) const STORE: Who = LARDER.by("the store's read");
/// amalgam-cache: memory, Redis, its bus and locker.
pub(crate) const AMALGAM: Who = Who { name: "amalgam-cache", how: "try_get, get_or_set, set" };

/// So that nothing ends while it is measured.
const TTL: Duration = Duration::from_secs(3_600);

/// What is cached: some two hundred and fifty bytes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Item {
    id: u64,
    text: String,
}

impl Item {
    /// The value of an id.
    pub(crate) fn of(id: u64) -> Self {
        Self { id, text: format!("{id:0240}") }
    }
}

/// Reads from the Redis that all of them share.
pub(crate) trait Reads: Send + Sync + 'static {
    /// Whether there is a value.
    fn get(&self, key: &str) -> impl Future<Output = bool> + Send;
}

/// Loads and writes too.
pub(crate) trait Remote: Reads {
    /// Whether a value was there or could be loaded.
    fn load(&self, key: &str, id: u64) -> impl Future<Output = bool> + Send;

    /// Writes one.
    fn set(&self, key: &str, id: u64) -> impl Future<Output = bool> + Send;
}

/// One process' cache.
pub(crate) struct Larder(pub(crate) Cache<str, Item>);

impl Larder {
    /// Room for `entries` in memory.
    pub(crate) async fn connect(url: &str, entries: u64) -> Self {
        Self(stack(url, entries, BusSettings::new()).await.1)
    }
}

/// Larder as a service has it that runs in several processes.
pub(crate) async fn stack<K: CacheKey + ?Sized + 'static>(
    url: &str,
    entries: u64,
    bus_settings: BusSettings,
) -> (Stack, Cache<K, Item>) {
    let store = RedisStore::connect(RedisSettings::new(url)).await.expect("the server runs");
    let bus = RedisBus::connect(RedisSettings::new(url)).await.expect("the server runs");
    let memory = Memory::max_entries(entries);
    let built = Stack::builder().memory(memory).store(store).bus_with(bus, bus_settings).build().await;
    let stack = built.expect("the settings are the defaults");
    let cache = stack.cache("product").policy(Policy::ttl(TTL)).build();
    let cache = cache.expect("a store is there, and the policy is plain");
    (stack, cache)
}

impl Reads for Larder {
    async fn get(&self, key: &str) -> bool {
        black_box(self.0.get(key).await).is_ok_and(|answer| answer.is_hit())
    }
}

impl Remote for Larder {
    async fn load(&self, key: &str, id: u64) -> bool {
        let loaded = self.0.get_or_load(key, move |_| async move { Ok::<_, Error>(Item::of(id)) }).await;
        black_box(loaded).is_ok_and(|value| value.is_some())
    }

    async fn set(&self, key: &str, id: u64) -> bool {
        self.0.set(key, Item::of(id)).await.is_ok()
    }
}

/// The same store without the rest.
pub(crate) struct StoreAlone(RedisStore);

impl StoreAlone {
    /// What Larder's caches wrote through `url`.
    pub(crate) async fn connect(url: &str) -> Self {
        Self(RedisStore::connect(RedisSettings::new(url)).await.expect("the server runs"))
    }
}

impl Reads for StoreAlone {
    async fn get(&self, key: &str) -> bool {
        let key = Key::from_escaped(format!("product:{key}")).expect("a short key");
        let found = self.0.read(vec![Read { key, lease: None }]).await.expect("the server runs");
        matches!(black_box(&found[0]), Found::Hit(_))
    }
}

/// One process' cache.
pub(crate) struct Amalgam(amalgam::Cache<Item>);

impl Amalgam {
    /// Room for `entries` in memory.
    pub(crate) async fn connect(url: &str, entries: u64) -> Self {
        let store = RedisDistributedCache::connect(url).await.expect("the server runs");
        let bus = PubSub::connect(url).await.expect("the server runs");
        let locker = RedisDistributedLocker::connect(url).await.expect("the server runs");
        let built = CacheBuilder::new()
            .default_options(EntryOptions::new(TTL))
            .max_capacity(entries)
            .distributed(Arc::new(store) as Arc<dyn DistributedCache>)
            .serializer(Arc::new(PostcardSerializer) as Arc<dyn DistributedSerializer<Item>>)
            .backplane(Arc::new(bus) as Arc<dyn Bus>) // tidy-ok: backplane
            .distributed_locker(Arc::new(locker) as Arc<dyn DistributedLocker>)
            .try_build();
        Self(built.expect("as its example has it"))
    }
}

impl Reads for Amalgam {
    async fn get(&self, key: &str) -> bool {
        black_box(self.0.try_get(key).await).is_ok_and(|found| found.is_some())
    }
}

impl Remote for Amalgam {
    async fn load(&self, key: &str, id: u64) -> bool {
        let load = move |_| async move { Ok::<_, Infallible>(Item::of(id)) };
        black_box(self.0.get_or_set(key, load).await).is_ok()
    }

    async fn set(&self, key: &str, id: u64) -> bool {
        self.0.set(key, Item::of(id)).await.is_ok()
    }
}

/// The redis crate: a value is its bytes.
pub(crate) struct Bare(MultiplexedConnection);

impl Bare {
    /// One connection, which does not wait to fill its packets.
    pub(crate) async fn connect(url: &str) -> Self {
        let info: redis::ConnectionInfo = url.parse().expect("the server's own url");
        let tcp = info.tcp_settings().clone().set_nodelay(true);
        let client = redis::Client::open(info.set_tcp_settings(tcp)).expect("the server's own url");
        Self(client.get_multiplexed_async_connection().await.expect("the server runs"))
    }
}

impl Reads for Bare {
    async fn get(&self, key: &str) -> bool {
        let mut command = redis::cmd("GET");
        let found: Option<Vec<u8>> = command
            .arg(format!("bare:{key}"))
            .query_async(&mut self.0.clone())
            .await
            .expect("the server runs");
        black_box(found).is_some()
    }
}

impl Remote for Bare {
    async fn load(&self, key: &str, id: u64) -> bool {
        self.get(key).await || self.set(key, id).await
    }

    async fn set(&self, key: &str, id: u64) -> bool {
        let mut command = redis::cmd("SET");
        command.arg(format!("bare:{key}")).arg(Item::of(id).text).arg("EX").arg(TTL.as_secs());
        command.exec_async(&mut self.0.clone()).await.is_ok()
    }
}
