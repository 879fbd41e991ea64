//! Stacks over test stores, loaders that count, and what the tests ask of both.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use futures_util::future::BoxFuture;
use larder::{
    BoxError, Cache, Clock, Key, LoadContext, Loaded, Memory, Moment, Namespace, Policy, Settings, Stack,
    StackBuilder, Stats, TierSettings, millis,
};
use larder_core::Capabilities;
use larder_testkit::{Faults, Faulty, MemoryStore, PausedClock, Recorder, SeededRng};

/// What every loader of these tests answers.
pub type Loading<V = u64> = BoxFuture<'static, Result<Loaded<V>, BoxError>>;

/// Nodes over one shared store.
pub struct Fleet {
    pub clock: PausedClock,
    pub shared: MemoryStore,
}

/// One of them, with a cache `n` of numbers.
pub struct Node {
    pub stack: Stack,
    pub cache: Cache<u64, u64>,
    pub faults: Faults,
    pub recorder: Recorder,
}

impl Fleet {
    pub fn new() -> Self {
        let clock = PausedClock::new();
        Self { shared: MemoryStore::new(clock.clone()), clock }
    }

    pub async fn node(&self, policy: Policy) -> Node {
        self.node_with(policy, |stack| stack).await
    }

    /// A node whose builder the test completes.
    pub async fn node_with(&self, policy: Policy, with: impl FnOnce(StackBuilder) -> StackBuilder) -> Node {
        let (store, faults) = Faulty::new(self.shared.clone(), 1);
        let recorder = Recorder::new();
        let builder = Stack::builder()
            .memory(Memory::max_entries(10_000))
            .store_with(store, TierSettings::new().with_name("shared"))
            .clock(self.clock.clone())
            .rng(SeededRng::unpredictable())
            .observer(recorder.clone());
        let stack = with(builder).build().await.expect("a valid stack");
        let cache = stack.cache("n").policy(policy).build().expect("a valid cache");
        Node { stack, cache, faults, recorder }
    }
}

/// A stack with memory alone.
pub async fn memory_only() -> Stack {
    memory_with(Settings::new()).await
}

pub async fn memory_with(settings: Settings) -> Stack {
    let stack = Stack::builder().memory(Memory::max_entries(1_000_000)).clock(PausedClock::new());
    stack.rng(SeededRng::new(7)).settings(settings).build().await.expect("a valid stack")
}

/// A cache of numbers in a stack with memory alone.
pub async fn numbers(policy: Policy) -> Cache<u64, u64> {
    memory_only().await.cache("n").policy(policy).build().expect("a valid cache")
}

/// The store's abilities, without leases and sequence.
pub fn plain_capabilities() -> Capabilities {
    let mut plain = Capabilities::none();
    plain.scan = true;
    plain
}

/// The key of `n` in the cache `n`.
pub fn key(n: u64) -> Key {
    key_in("n", n)
}

pub fn key_in(namespace: &str, n: u64) -> Key {
    let namespace = Namespace::new(namespace).expect("a name");
    Key::from_escaped(format!("{namespace}:{n}")).expect("a key")
}

/// The origin: makes loaders and counts their calls.
#[derive(Clone, Debug, Default)]
pub struct Origin {
    calls: Arc<AtomicU64>,
}

impl Origin {
    pub fn calls(&self) -> u64 {
        self.calls.load(Ordering::SeqCst)
    }

    /// A loader that runs `work`.
    pub fn runs<V: 'static>(
        &self,
        work: impl FnOnce(LoadContext<V>) -> Loading<V> + Send + 'static,
    ) -> impl FnOnce(LoadContext<V>) -> Loading<V> + Send + 'static {
        let calls = Arc::clone(&self.calls);
        move |context| {
            calls.fetch_add(1, Ordering::SeqCst);
            work(context)
        }
    }

    /// A loader that answers `value` after a while.
    pub fn slow(
        &self,
        value: u64,
        after: Duration,
    ) -> impl FnOnce(LoadContext<u64>) -> Loading + Send + 'static {
        self.answers_after(Loaded::value(value), after)
    }

    pub fn gives(&self, value: u64) -> impl FnOnce(LoadContext<u64>) -> Loading + Send + 'static {
        self.answers(Loaded::value(value))
    }

    pub fn answers(&self, loaded: Loaded<u64>) -> impl FnOnce(LoadContext<u64>) -> Loading + Send + 'static {
        self.runs(move |_| Box::pin(async move { Ok(loaded) }))
    }

    pub fn answers_after(
        &self,
        loaded: Loaded<u64>,
        after: Duration,
    ) -> impl FnOnce(LoadContext<u64>) -> Loading + Send + 'static {
        self.runs(move |_| {
            Box::pin(async move {
                sleep(after).await;
                Ok(loaded)
            })
        })
    }

    pub fn fails(&self) -> impl FnOnce(LoadContext<u64>) -> Loading + Send + 'static {
        self.runs(|_| Box::pin(async { Err(BoxError::from("the origin is down")) }))
    }

    pub fn panics(&self) -> impl FnOnce(LoadContext<u64>) -> Loading + Send + 'static {
        self.runs(|_| Box::pin(async { panic!("a loader's own fault") }))
    }

    pub fn never(&self) -> impl FnOnce(LoadContext<u64>) -> Loading + Send + 'static {
        self.runs(|_| Box::pin(std::future::pending()))
    }
}

/// A loader that must not be called.
pub fn no_loader() -> impl FnOnce(LoadContext<u64>) -> Loading + Send + 'static {
    |context| panic!("the loader was called for {}", context.key())
}

/// The value that a load must come to.
pub async fn load(
    cache: &Cache<u64, u64>,
    key: u64,
    loader: impl FnOnce(LoadContext<u64>) -> Loading + Send + 'static,
) -> u64 {
    let loaded = cache.get_or_load(&key, loader).await.expect("a value, not an error");
    *loaded.expect("a value, not an absence")
}

/// What a plain read answers.
pub async fn get(cache: &Cache<u64, u64>, key: u64) -> Option<u64> {
    cache.get(&key).await.expect("an answer").as_value().copied()
}

pub async fn sleep(span: Duration) {
    tokio::time::sleep(span).await;
}

/// Waits until no flight is under way, for ten minutes at most.
pub async fn quiet(stack: &Stack) -> Stats {
    for _ in 0..600_000 {
        sleep(millis(1)).await;
        let stats = stack.stats();
        if stats.flights == 0 {
            return stats;
        }
    }
    panic!("a flight is stuck: {:?}", stack.stats());
}

/// Measures paused time.
pub struct Watch {
    clock: PausedClock,
    began: Moment,
}

impl Watch {
    pub fn start() -> Self {
        let clock = PausedClock::new();
        Self { began: clock.now(), clock }
    }

    pub fn elapsed(&self) -> Duration {
        self.began.until(self.clock.now())
    }
}
