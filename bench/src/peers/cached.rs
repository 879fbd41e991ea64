//! cached: its sharded LRU, with and without a TTL.

use std::{hint::black_box, sync::Arc};

use cached::{ShardedLruCache, ShardedLruTtlCache};

use super::{Gets, Puts, TTL};
use crate::{
    measure::Who,
    workload::{Key, Value},
};

/// Without a TTL.
pub(crate) const PLAIN: Who = Who { name: "cached", how: "sharded LRU" };
/// With one for all entries.
pub(crate) const TIMED: Who = Who { name: "cached", how: "sharded LRU + TTL" };

/// The LRU; its own hash is ahash, which its documentation recommends.
pub(crate) struct Plain<K: Key>(ShardedLruCache<K, Arc<Value>>);

impl<K: Key> Plain<K> {
    /// Room for `entries`.
    pub(crate) fn new(entries: usize) -> Self {
        Self(ShardedLruCache::new(entries))
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
        drop(self.0.set(K::owned(key), Arc::new(Value::of(id))));
    }

    fn holds(&self) -> u64 {
        self.0.len() as u64
    }
}

/// The LRU with a TTL.
pub(crate) struct Timed<K: Key>(ShardedLruTtlCache<K, Arc<Value>>);

impl<K: Key> Timed<K> {
    /// Room for `entries`.
    pub(crate) fn new(entries: usize) -> Self {
        Self(ShardedLruTtlCache::new(entries, TTL))
    }
}

impl<K: Key> Gets<K> for Timed<K> {
    #[inline]
    fn get(&self, key: &K::Asked) -> bool {
        black_box(self.0.get(key)).is_some()
    }
}

impl<K: Key> Puts<K> for Timed<K> {
    fn put(&self, key: &K::Asked, id: u64) {
        drop(self.0.set(K::owned(key), Arc::new(Value::of(id))));
    }

    fn holds(&self) -> u64 {
        self.0.len() as u64
    }
}
