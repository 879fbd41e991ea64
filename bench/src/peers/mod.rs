//! Who is measured: each cache behind two small traits, used as its documentation says is fastest.

pub(crate) mod amalgam;
pub(crate) mod cached;
pub(crate) mod contenders;
pub(crate) mod foyer;
pub(crate) mod larder;
pub(crate) mod maps;
pub(crate) mod mini_moka;
pub(crate) mod moka;
pub(crate) mod quick_cache;
pub(crate) mod remote;

use std::{
    future::Future,
    sync::{Arc, LazyLock},
    time::{Duration, Instant},
};

use tokio::runtime::{Builder, Runtime};

use crate::workload::{Key, Value};

/// How long entries live where they are given a life: longer than any run.
pub(crate) const TTL: Duration = Duration::from_secs(3_600);

/// The hash of those who let one choose: the fastest of the well-known ones, and what Larder uses itself.
pub(crate) type Hasher = foldhash::fast::RandomState;

/// A cache that answers at once.
pub(crate) trait Gets<K: Key>: Send + Sync + 'static {
    /// Whether there is a value. It is got as a caller would get it, and dropped.
    fn get(&self, key: &K::Asked) -> bool;
}

/// A cache that loads what it does not hold.
pub(crate) trait Loads<K: Key>: Send + Sync + 'static {
    /// Whether there is a value, after `loader` has run if there was none.
    fn load<L, F>(&self, key: &K::Asked, loader: L) -> impl Future<Output = bool> + Send
    where
        L: FnOnce() -> F + Send + 'static,
        F: Future<Output = Value> + Send + 'static;
}

/// Asks by get-or-load, with a loader that is ready at once and hardly ever needed.
pub(crate) struct Loading<C>(pub(crate) Arc<C>);

impl<K: Key, C: Loads<K>> Asks<K> for Loading<C> {
    #[inline]
    async fn ask(&self, key: &K::Asked) -> bool {
        self.0.load(key, || async { Value::of(0) }).await
    }
}

/// A cache that is written to by awaiting it.
pub(crate) trait Writes<K: Key>: Send + Sync + 'static {
    /// Puts the value of `id`.
    fn write(&self, key: &K::Asked, id: u64) -> impl Future<Output = ()> + Send;
}

/// A cache that can be filled.
pub(crate) trait Puts<K: Key>: Send + Sync + 'static {
    /// Puts the value of `id`.
    fn put(&self, key: &K::Asked, id: u64);

    /// Puts all ids below `entries`.
    fn put_below(self: &Arc<Self>, entries: u64)
    where
        Self: Sized,
    {
        (0..entries).for_each(|id| self.put(K::of(id).borrow(), id));
    }

    /// How many entries it holds, once all that was put off is done.
    fn holds(&self) -> u64;
}

/// Puts all ids below `entries`.
pub(crate) fn fill<K: Key, C: Puts<K>>(cache: C, entries: u64) -> Arc<C> {
    let cache = Arc::new(cache);
    cache.put_below(entries);
    cache
}

/// Puts all ids below `entries` from a task, for caches whose writes are tasks themselves.
pub(crate) fn write_below<K: Key, C: Writes<K>>(cache: &Arc<C>, entries: u64) {
    let cache = Arc::clone(cache);
    elsewhere(async move {
        for id in 0..entries {
            let key = K::of(id);
            cache.write(key.borrow(), id).await;
        }
    });
}

/// A cache that answers a future.
pub(crate) trait Asks<K: Key>: Send + Sync + 'static {
    /// Whether there is a value; it may be loaded.
    fn ask(&self, key: &K::Asked) -> impl Future<Output = bool> + Send;
}

/// Where stacks and other caches with work of their own are built, and where spawned contenders run.
static HOUSE: LazyLock<Runtime> = LazyLock::new(|| {
    Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("the system grants two threads")
});

thread_local! {
    static OWN: Runtime =
        Builder::new_current_thread().enable_all().build().expect("the system grants a runtime");
}

/// Runs a future on this thread's own runtime.
pub(crate) fn here<R>(future: impl Future<Output = R>) -> R {
    OWN.with(|runtime| runtime.block_on(future))
}

/// Runs a future as a task of the runtime that has threads of its own.
pub(crate) fn elsewhere<R: Send + 'static>(future: impl Future<Output = R> + Send + 'static) -> R {
    HOUSE.block_on(HOUSE.spawn(future)).expect("what is measured does not panic")
}

/// The time, asked of the system.
#[expect(clippy::disallowed_methods, reason = "what callers of caches without a TTL do, and are charged for")]
fn system_now() -> Instant {
    Instant::now()
}
