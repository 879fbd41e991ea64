//! Who is measured: each cache behind two small traits, used as its documentation says is fastest.

pub(crate) mod larder;
pub(crate) mod maps;
pub(crate) mod moka;
pub(crate) mod quick_cache;

use std::{
    future::Future,
    ops::Range,
    sync::{Arc, LazyLock},
    time::{Duration, Instant},
};

use tokio::runtime::{Builder, Runtime};

use crate::{
    measure::{Contender, Who, lap, lap_async},
    workload::{Key, Sequence},
};

/// How long entries live where they are given a life: longer than any run.
pub(crate) const TTL: Duration = Duration::from_secs(3_600);

/// The hash of those who let one choose: the fastest of the well-known ones, and what Larder uses itself.
pub(crate) type Hasher = foldhash::fast::RandomState;

/// A cache that answers at once.
pub(crate) trait Gets<K: Key>: Send + Sync + 'static {
    /// Whether there is a value. It is got as a caller would get it, and dropped.
    fn get(&self, key: &K::Asked) -> bool;
}

/// A cache that can be filled.
pub(crate) trait Puts<K: Key>: Send + Sync + 'static {
    /// Puts the value of `id`.
    fn put(&self, key: &K::Asked, id: u64);

    /// How many entries it holds, once all that was put off is done.
    fn holds(&self) -> u64;
}

/// Puts all ids below `entries`.
pub(crate) fn fill<K: Key, C: Puts<K>>(cache: C, entries: u64) -> Arc<C> {
    (0..entries).for_each(|id| cache.put(K::of(id).asked(), id));
    Arc::new(cache)
}

/// A cache that answers a future.
pub(crate) trait Asks<K: Key>: Send + Sync + 'static {
    /// Whether there is a value; it may be loaded.
    fn ask(&self, key: &K::Asked) -> impl Future<Output = bool> + Send;
}

/// A contender that answers at once.
pub(crate) fn getting<K: Key>(who: Who, cache: &Arc<impl Gets<K>>, sequence: &Arc<Sequence<K>>) -> Contender {
    let (cache, sequence) = (Arc::clone(cache), Arc::clone(sequence));
    Contender::new(who, move |questions| lap(|| questions.filter(|&at| cache.get(sequence.at(at))).count()))
}

/// A contender that is awaited in one task, on a runtime of the thread that asks.
pub(crate) fn asking<K: Key>(who: Who, cache: &Arc<impl Asks<K>>, sequence: &Arc<Sequence<K>>) -> Contender {
    let (cache, sequence) = (Arc::clone(cache), Arc::clone(sequence));
    Contender::new(who, move |questions| here(lap_async(ask_all(&*cache, &*sequence, questions))))
}

/// A contender that is awaited in one task, on a runtime of many threads.
pub(crate) fn spawned<K: Key>(who: Who, cache: &Arc<impl Asks<K>>, sequence: &Arc<Sequence<K>>) -> Contender {
    let (cache, sequence) = (Arc::clone(cache), Arc::clone(sequence));
    Contender::new(who, move |questions| {
        let (cache, sequence) = (Arc::clone(&cache), Arc::clone(&sequence));
        elsewhere(async move { lap_async(ask_all(&*cache, &*sequence, questions)).await })
    })
}

async fn ask_all<K: Key>(cache: &impl Asks<K>, sequence: &Sequence<K>, questions: Range<usize>) -> usize {
    let mut hits = 0;
    for at in questions {
        hits += usize::from(cache.ask(sequence.at(at)).await);
    }
    hits
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
