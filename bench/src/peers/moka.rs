//! moka: both of its kinds, without a TTL and with one for each entry.

use std::{
    convert::Infallible,
    hint::black_box,
    sync::Arc,
    time::{Duration, Instant},
};

use moka::{Expiry, future, sync};

use super::{Asks, Gets, Hasher, Loads, Puts, TTL, Writes, here};
use crate::{
    measure::Who,
    workload::{Key, Value},
};

/// The synchronous `get`.
pub(crate) const SYNC: Who = Who { name: "moka", how: "sync get" };
/// The same, with a TTL for each entry.
pub(crate) const SYNC_TIMED: Who = Who { name: "moka", how: "sync get, Expiry" };
/// The asynchronous `get`.
pub(crate) const FUTURE: Who = Who { name: "moka", how: "future get" };
/// The same, with a TTL for each entry.
pub(crate) const FUTURE_TIMED: Who = Who { name: "moka", how: "future get, Expiry" };
/// The asynchronous get-or-load.
pub(crate) const LOADING: Who = Who { name: "moka", how: "future try_get_with_by_ref" };
/// The same, with a TTL for each entry.
pub(crate) const LOADING_TIMED: Who = Who { name: "moka", how: "future try_get_with_by_ref, Expiry" };

/// The same life for every entry, given to each one by itself.
struct Lives;

impl<K> Expiry<K, Arc<Value>> for Lives {
    fn expire_after_create(&self, _: &K, _: &Arc<Value>, _: Instant) -> Option<Duration> {
        Some(TTL)
    }
}

/// `moka::sync`, with a faster hash than its default, as its documentation advises.
pub(crate) struct Sync<K: Key>(sync::Cache<K, Arc<Value>, Hasher>);

impl<K: Key> Sync<K> {
    /// Room for `entries`, which live until they are evicted.
    pub(crate) fn plain(entries: u64) -> Self {
        Self(sync::Cache::builder().max_capacity(entries).build_with_hasher(Hasher::default()))
    }

    /// Room for `entries`, each with a TTL.
    pub(crate) fn timed(entries: u64) -> Self {
        let builder = sync::Cache::builder().max_capacity(entries).expire_after(Lives);
        Self(builder.build_with_hasher(Hasher::default()))
    }
}

impl<K: Key> Gets<K> for Sync<K> {
    #[inline]
    fn get(&self, key: &K::Asked) -> bool {
        black_box(self.0.get(key)).is_some()
    }
}

impl<K: Key> Puts<K> for Sync<K> {
    fn put(&self, key: &K::Asked, id: u64) {
        self.0.insert(K::owned(key), Arc::new(Value::of(id)));
    }

    fn holds(&self) -> u64 {
        self.0.run_pending_tasks();
        self.0.entry_count()
    }
}

/// `moka::future`, likewise.
pub(crate) struct Future<K: Key>(future::Cache<K, Arc<Value>, Hasher>);

impl<K: Key> Future<K> {
    /// Room for `entries`, which live until they are evicted.
    pub(crate) fn plain(entries: u64) -> Self {
        Self(future::Cache::builder().max_capacity(entries).build_with_hasher(Hasher::default()))
    }

    /// Room for `entries`, each with a TTL.
    pub(crate) fn timed(entries: u64) -> Self {
        let builder = future::Cache::builder().max_capacity(entries).expire_after(Lives);
        Self(builder.build_with_hasher(Hasher::default()))
    }
}

impl<K: Key> Puts<K> for Future<K> {
    fn put(&self, key: &K::Asked, id: u64) {
        here(self.write(key, id));
    }

    fn holds(&self) -> u64 {
        here(self.0.run_pending_tasks());
        self.0.entry_count()
    }
}

impl<K: Key> Asks<K> for Future<K> {
    #[inline]
    async fn ask(&self, key: &K::Asked) -> bool {
        black_box(self.0.get(key).await).is_some()
    }
}

/// By reference, which spares the caller an owned key.
impl<K: Key> Loads<K> for Future<K>
where
    K::Asked: ToOwned<Owned = K>,
{
    #[inline]
    async fn load<L, F>(&self, key: &K::Asked, loader: L) -> bool
    where
        L: FnOnce() -> F + Send + 'static,
        F: std::future::Future<Output = Value> + Send + 'static,
    {
        let load = async { Ok::<_, Infallible>(Arc::new(loader().await)) };
        black_box(self.0.try_get_with_by_ref(key, load).await).is_ok()
    }
}

impl<K: Key> Writes<K> for Future<K> {
    async fn write(&self, key: &K::Asked, id: u64) {
        self.0.insert(K::owned(key), Arc::new(Value::of(id))).await;
    }
}
