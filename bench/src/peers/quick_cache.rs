//! quick_cache: the fastest peer, without a TTL of its own.

use std::{convert::Infallible, future::Future, hint::black_box, sync::Arc, time::Instant};

use quick_cache::sync::Cache;

use super::{Gets, Loads, Puts, TTL, system_now};
use crate::{
    measure::Who,
    workload::{Key, Value},
};

/// `get`, nothing more.
pub(crate) const PLAIN: Who = Who { name: "quick_cache", how: "get" };
/// `get`, and a look at the clock.
pub(crate) const TIMED: Who = Who { name: "quick_cache", how: "get, Instant in the value" };
/// The asynchronous get-or-load.
pub(crate) const LOADING: Who = Who { name: "quick_cache", how: "get_or_insert_async" };

/// As it comes: its own hash is the fast one already.
pub(crate) struct Plain<K: Key>(Cache<K, Arc<Value>>);

impl<K: Key> Plain<K> {
    /// Room for `entries`.
    pub(crate) fn new(entries: usize) -> Self {
        Self(Cache::new(entries))
    }
}

impl<K: Key> Gets<K> for Plain<K> {
    #[inline]
    fn get(&self, key: &K::Asked) -> bool {
        black_box(self.0.get(key)).is_some()
    }
}

impl<K: Key> Puts<K> for Plain<K> {
    fn put(&self, key: &K::Asked, id: u64) {
        self.0.insert(K::owned(key), Arc::new(Value::of(id)));
    }

    fn holds(&self) -> u64 {
        self.0.len() as u64
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
        let load = async { Ok::<_, Infallible>(Arc::new(loader().await)) };
        black_box(self.0.get_or_insert_async(key, load).await).is_ok()
    }
}

/// With the moment of death beside each value, which is what its users do for want of a TTL.
pub(crate) struct Timed<K: Key>(Cache<K, (Instant, Arc<Value>)>);

impl<K: Key> Timed<K> {
    /// Room for `entries`.
    pub(crate) fn new(entries: usize) -> Self {
        Self(Cache::new(entries))
    }
}

impl<K: Key> Gets<K> for Timed<K> {
    #[inline]
    fn get(&self, key: &K::Asked) -> bool {
        let found = self.0.get(key).filter(|(dies, _)| *dies > system_now());
        black_box(found.map(|(_, value)| value)).is_some()
    }
}

impl<K: Key> Puts<K> for Timed<K> {
    fn put(&self, key: &K::Asked, id: u64) {
        self.0.insert(K::owned(key), (system_now() + TTL, Arc::new(Value::of(id))));
    }

    fn holds(&self) -> u64 {
        self.0.len() as u64
    }
}
