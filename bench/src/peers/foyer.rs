//! foyer: in memory, and the hybrid cache whose disk is never asked.

use std::{convert::Infallible, future::Future, hint::black_box, io, sync::Arc, time::Instant};

use foyer::{
    BlockEngineConfig, Cache, CacheBuilder, Code, DeviceBuilder, FsDeviceBuilder, HybridCache,
    HybridCacheBuilder, S3FifoConfig, StorageKey,
};
use tempfile::TempDir;

use super::{Asks, Gets, Hasher, Loads, Puts, TTL, elsewhere, system_now};
use crate::{
    measure::Who,
    workload::{Key, Value},
};

/// The memory cache.
pub(crate) const PLAIN: Who = Who { name: "foyer", how: "get" };
/// The memory cache, and a look at the clock.
pub(crate) const TIMED: Who = Who { name: "foyer", how: "get, Instant in the value" };
/// The memory cache's get-or-load.
pub(crate) const LOADING: Who = Who { name: "foyer", how: "get_or_fetch" };
/// The hybrid cache.
pub(crate) const HYBRID: Who = Who { name: "foyer", how: "hybrid get" };
/// The hybrid cache's get-or-load.
pub(crate) const HYBRID_LOADING: Who = Who { name: "foyer", how: "hybrid get_or_fetch" };

/// The hybrid cache's disk: enough to open it, since nothing is evicted to it.
const DISK_BYTES: usize = 64 << 20;

/// S3-FIFO, whose hits take a shared lock only, and a faster hash than the default. Its entry is a counted handle already;
/// the `Arc` inside is not touched by a hit.
fn memory<K: Key, V: Send + Sync + 'static>(entries: usize) -> Cache<K, V, Hasher> {
    let builder = CacheBuilder::new(entries).with_eviction_config(S3FifoConfig::default());
    builder.with_hash_builder(Hasher::default()).build()
}

/// The memory cache.
pub(crate) struct Plain<K: Key>(Cache<K, Arc<Value>, Hasher>);

impl<K: Key> Plain<K> {
    /// Room for `entries`.
    pub(crate) fn new(entries: usize) -> Self {
        Self(memory(entries))
    }
}

impl<K: Key> Gets<K> for Plain<K> {
    #[inline]
    fn get(&self, key: &K::Asked) -> bool {
        black_box(self.0.get(key)).is_some()
    }
}

impl<K: Key> Loads<K> for Plain<K>
where
    K::Asked: ToOwned<Owned = K>,
{
    #[inline]
    async fn load<L, F>(&self, key: &K::Asked, loader: L) -> bool
    where
        L: FnOnce() -> F + Send + 'static,
        F: Future<Output = Value> + Send + 'static,
    {
        let fetch = || async { Ok::<_, Infallible>(Arc::new(loader().await)) };
        black_box(self.0.get_or_fetch(key, fetch).await).is_ok()
    }
}

impl<K: Key> Puts<K> for Plain<K> {
    fn put(&self, key: &K::Asked, id: u64) {
        self.0.insert(K::owned(key), Arc::new(Value::of(id)));
    }

    fn holds(&self) -> u64 {
        self.0.entries() as u64
    }
}

/// With the moment of death beside each value.
pub(crate) struct Timed<K: Key>(Cache<K, (Instant, Arc<Value>), Hasher>);

impl<K: Key> Timed<K> {
    /// Room for `entries`.
    pub(crate) fn new(entries: usize) -> Self {
        Self(memory(entries))
    }
}

impl<K: Key> Gets<K> for Timed<K> {
    #[inline]
    fn get(&self, key: &K::Asked) -> bool {
        black_box(self.0.get(key).filter(|entry| entry.value().0 > system_now())).is_some()
    }
}

impl<K: Key> Puts<K> for Timed<K> {
    fn put(&self, key: &K::Asked, id: u64) {
        self.0.insert(K::owned(key), (system_now() + TTL, Arc::new(Value::of(id))));
    }

    fn holds(&self) -> u64 {
        self.0.entries() as u64
    }
}

/// A value that could go to disk.
#[derive(Debug)]
struct Stored(Arc<Value>);

impl Code for Stored {
    fn encode(&self, writer: &mut impl io::Write) -> foyer::Result<()> {
        self.0.id.encode(writer)
    }

    fn decode(reader: &mut impl io::Read) -> foyer::Result<Self> {
        Ok(Self(Arc::new(Value::of(u64::decode(reader)?))))
    }

    fn estimated_size(&self) -> usize {
        size_of::<u64>()
    }
}

/// The hybrid cache, with a disk in a temporary folder that is never written, since nothing is evicted.
pub(crate) struct Hybrid<K: Key + StorageKey> {
    cache: HybridCache<K, Stored, Hasher>,
    _folder: TempDir,
}

impl<K: Key + StorageKey> Hybrid<K> {
    /// Room for `entries` in memory.
    pub(crate) fn new(entries: usize) -> Self {
        let folder = tempfile::tempdir().expect("there is room for a temporary folder");
        let device = FsDeviceBuilder::new(folder.path()).with_capacity(DISK_BYTES).build();
        let engine = BlockEngineConfig::new(device.expect("the folder is there"));
        let builder = HybridCacheBuilder::new()
            .memory(entries)
            .with_eviction_config(S3FifoConfig::default())
            .with_hash_builder(Hasher::default())
            .storage()
            .with_engine_config(engine);
        let cache = elsewhere(async move { builder.build().await }).expect("an empty folder opens");
        Self { cache, _folder: folder }
    }
}

impl<K: Key + StorageKey> Puts<K> for Hybrid<K> {
    fn put(&self, key: &K::Asked, id: u64) {
        self.cache.insert(K::owned(key), Stored(Arc::new(Value::of(id))));
    }

    fn holds(&self) -> u64 {
        self.cache.memory().entries() as u64
    }
}

impl<K: Key + StorageKey> Asks<K> for Hybrid<K>
where
    K::Asked: ToOwned<Owned = K>,
{
    #[inline]
    async fn ask(&self, key: &K::Asked) -> bool {
        black_box(self.cache.get(key).await).is_ok_and(|entry| entry.is_some())
    }
}

impl<K: Key + StorageKey> Loads<K> for Hybrid<K>
where
    K::Asked: ToOwned<Owned = K>,
{
    #[inline]
    async fn load<L, F>(&self, key: &K::Asked, loader: L) -> bool
    where
        L: FnOnce() -> F + Send + 'static,
        F: Future<Output = Value> + Send + 'static,
    {
        let fetch = || async { Ok::<_, Infallible>(Stored(Arc::new(loader().await))) };
        black_box(self.cache.get_or_fetch(key, fetch).await).is_ok()
    }
}
