//! Maps that never forget: bare concurrent ones, and one that nobody may change, the limit of what a cache can reach.

use std::{hint::black_box, sync::Arc};

use dashmap::DashMap;
use hashbrown::HashMap;

use super::{Gets, Hasher, Puts};
use crate::{
    measure::Who,
    workload::{Key, Value},
};

/// The immutable map, the value seen in place.
pub(crate) const BORROWED: Who = Who { name: "hashbrown", how: "immutable map, borrowed" };
/// The immutable map, the value's `Arc` cloned.
pub(crate) const CLONED: Who = Who { name: "hashbrown", how: "immutable map, Arc cloned" };
/// A map of locked shards.
pub(crate) const DASHMAP: Who = Who { name: "dashmap", how: "bare map" };
/// A map without locks.
pub(crate) const PAPAYA: Who = Who { name: "papaya", how: "bare map" };

fn immutable<K: Key>(entries: u64) -> HashMap<K, Arc<Value>, Hasher> {
    (0..entries).map(|id| (K::of(id), Arc::new(Value::of(id)))).collect()
}

/// Asked for the value itself.
pub(crate) struct Borrowed<K: Key>(HashMap<K, Arc<Value>, Hasher>);

impl<K: Key> Borrowed<K> {
    /// All ids below `entries`.
    pub(crate) fn filled(entries: u64) -> Arc<Self> {
        Arc::new(Self(immutable(entries)))
    }
}

impl<K: Key> Gets<K> for Borrowed<K> {
    #[inline]
    fn get(&self, key: &K::Asked) -> bool {
        black_box(self.0.get(key).map(|value| value.id)).is_some()
    }
}

/// Asked for the value's `Arc`.
pub(crate) struct Cloned<K: Key>(HashMap<K, Arc<Value>, Hasher>);

impl<K: Key> Cloned<K> {
    /// All ids below `entries`.
    pub(crate) fn filled(entries: u64) -> Arc<Self> {
        Arc::new(Self(immutable(entries)))
    }
}

impl<K: Key> Gets<K> for Cloned<K> {
    #[inline]
    fn get(&self, key: &K::Asked) -> bool {
        black_box(self.0.get(key).cloned()).is_some()
    }
}

/// dashmap, with the fast hash.
pub(crate) struct Dash<K: Key>(DashMap<K, Arc<Value>, Hasher>);

impl<K: Key> Dash<K> {
    /// An empty one.
    pub(crate) fn new() -> Self {
        Self(DashMap::with_hasher(Hasher::default()))
    }
}

impl<K: Key> Gets<K> for Dash<K> {
    #[inline]
    fn get(&self, key: &K::Asked) -> bool {
        black_box(self.0.get(key).map(|value| Arc::clone(&value))).is_some()
    }
}

impl<K: Key> Puts<K> for Dash<K> {
    fn put(&self, key: &K::Asked, id: u64) {
        self.0.insert(K::owned(key), Arc::new(Value::of(id)));
    }

    fn holds(&self) -> u64 {
        self.0.len() as u64
    }
}

/// papaya, with the fast hash; pinned for each question, as unrelated requests would.
pub(crate) struct Papaya<K: Key>(papaya::HashMap<K, Arc<Value>, Hasher>);

impl<K: Key> Papaya<K> {
    /// An empty one.
    pub(crate) fn new() -> Self {
        Self(papaya::HashMap::with_hasher(Hasher::default()))
    }
}

impl<K: Key> Gets<K> for Papaya<K> {
    #[inline]
    fn get(&self, key: &K::Asked) -> bool {
        black_box(self.0.pin().get(key).cloned()).is_some()
    }
}

impl<K: Key> Puts<K> for Papaya<K> {
    fn put(&self, key: &K::Asked, id: u64) {
        self.0.pin().insert(K::owned(key), Arc::new(Value::of(id)));
    }

    fn holds(&self) -> u64 {
        self.0.len() as u64
    }
}
