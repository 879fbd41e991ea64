//! amalgam-cache: memory only, as its builder makes it; keys are text, entries always have a TTL.

use std::{convert::Infallible, future::Future, hint::black_box, sync::Arc};

use amalgam::{BlockingCache, Cache, CacheBuilder, EntryOptions};

use super::{Asks, Gets, Loads, Puts, TTL, Writes, here};
use crate::{
    measure::Who,
    workload::{Key, Value},
};

/// The asynchronous read.
pub(crate) const GET: Who = Who { name: "amalgam-cache", how: "try_get" };
/// The read of its synchronous face, which its documentation measures as the fastest.
pub(crate) const BLOCKING: Who = Who { name: "amalgam-cache", how: "blocking try_get" };
/// The get-or-load.
pub(crate) const LOADING: Who = Who { name: "amalgam-cache", how: "get_or_set" };

fn builder(entries: u64) -> CacheBuilder<Arc<Value>> {
    CacheBuilder::new().default_options(EntryOptions::new(TTL)).max_capacity(entries)
}

/// The cache, asked with `try_get`.
pub(crate) struct Get {
    cache: Cache<Arc<Value>>,
    room: u64,
}

impl Get {
    /// Room for `entries`.
    pub(crate) fn new(entries: u64) -> Self {
        Self {
            cache: builder(entries).try_build().expect("the defaults and a capacity are valid"),
            room: entries,
        }
    }
}

impl<K: Key<Asked = str>> Puts<K> for Get {
    fn put(&self, key: &str, id: u64) {
        here(<Self as Writes<K>>::write(self, key, id));
    }

    /// It does not say: what it finds of the ids it has room for.
    fn holds(&self) -> u64 {
        let found = |id: &u64| here(<Self as Asks<K>>::ask(self, K::of(*id).borrow()));
        (0..self.room).filter(found).count() as u64
    }
}

impl<K: Key<Asked = str>> Asks<K> for Get {
    #[inline]
    async fn ask(&self, key: &str) -> bool {
        black_box(self.cache.try_get(key).await).is_ok_and(|found| found.is_some())
    }
}

impl<K: Key<Asked = str>> Loads<K> for Get {
    #[inline]
    async fn load<L, F>(&self, key: &str, loader: L) -> bool
    where
        L: FnOnce() -> F + Send + 'static,
        F: Future<Output = Value> + Send + 'static,
    {
        let load = |_| async { Ok::<_, Infallible>(Arc::new(loader().await)) };
        black_box(self.cache.get_or_set(key, load).await).is_ok()
    }
}

impl<K: Key<Asked = str>> Writes<K> for Get {
    async fn write(&self, key: &str, id: u64) {
        self.cache.set(key, Arc::new(Value::of(id))).await.expect("memory takes every write");
    }
}

/// The synchronous face.
pub(crate) struct Blocking(BlockingCache<Arc<Value>>);

impl Blocking {
    /// Room for `entries`, of which those below `filled` are there.
    pub(crate) fn filled<K: Key<Asked = str>>(entries: u64, filled: u64) -> Arc<Self> {
        let cache =
            BlockingCache::from_builder(builder(entries)).expect("the defaults and a capacity are valid");
        for id in 0..filled {
            let put = cache.set(K::of(id).borrow(), Arc::new(Value::of(id))).execute();
            put.expect("memory takes every write");
        }
        Arc::new(Self(cache))
    }
}

impl<K: Key<Asked = str>> Gets<K> for Blocking {
    #[inline]
    fn get(&self, key: &str) -> bool {
        black_box(self.0.try_get(key).execute()).is_ok_and(|found| found.is_some())
    }
}
