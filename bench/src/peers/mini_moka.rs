//! mini-moka: the concurrent one; it is asked with keys as it owns them, since it accepts no others.

use std::{hint::black_box, sync::Arc};

use mini_moka::sync::{Cache, ConcurrentCacheExt};

use super::{Hasher, Puts, TTL};
use crate::{
    measure::{Contender, Who, lap},
    workload::{Key, Sequence, Value},
};

/// Without a TTL.
pub(crate) const PLAIN: Who = Who { name: "mini-moka", how: "get" };
/// With one for all entries.
pub(crate) const TIMED: Who = Who { name: "mini-moka", how: "get, time_to_live" };

/// With a faster hash than its default, as moka's documentation advises.
pub(crate) struct MiniMoka<K: Key>(Cache<K, Arc<Value>, Hasher>);

impl<K: Key> MiniMoka<K> {
    /// Room for `entries`, which live until they are evicted.
    pub(crate) fn plain(entries: u64) -> Self {
        Self(Cache::builder().max_capacity(entries).build_with_hasher(Hasher::default()))
    }

    /// Room for `entries`, which have a TTL.
    pub(crate) fn timed(entries: u64) -> Self {
        let builder = Cache::builder().max_capacity(entries).time_to_live(TTL);
        Self(builder.build_with_hasher(Hasher::default()))
    }

    /// The contender; making the keys that it is asked with is not charged to it.
    pub(crate) fn contender(self: Arc<Self>, who: Who, sequence: &Sequence<K>) -> Contender {
        let keys: Vec<K> = (0..sequence.len()).map(|at| K::owned(sequence.at(at))).collect();
        let found = move |key: &&K| black_box(self.0.get(*key)).is_some();
        Contender::new(who, move |questions| lap(|| keys[questions].iter().filter(&found).count()))
    }
}

impl<K: Key> Puts<K> for MiniMoka<K> {
    fn put(&self, key: &K::Asked, id: u64) {
        self.0.insert(K::owned(key), Arc::new(Value::of(id)));
    }

    fn holds(&self) -> u64 {
        self.0.sync();
        self.0.entry_count()
    }
}
