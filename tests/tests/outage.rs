//! K8 and the beginnings of K9: Redis is killed, stopped and started again under load, and no read fails.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use larder::{
    Cache, ClearReason, Error, ErrorKind, Event, Policy, Stack, TierSettings, TierState, WriteMode, millis,
    minutes, secs,
};
use larder_promises::{Bench, Origin, Shape, plain};
use larder_redis::{RedisBus, RedisSettings, RedisStore};
use larder_testkit::{Recorder, SeededRng};

/// The tier's timeout in these tests; also the most that an outage may add to a read.
const TIMEOUT: Duration = millis(250);

async fn node(bench: &Bench, recorder: &Recorder, policy: Policy) -> (Stack, Cache<u64, String>) {
    let settings = RedisSettings::new(bench.redis().url()).with_lazy(true);
    let store = RedisStore::connect(settings).await.expect("Redis answers");
    let stack = Stack::builder()
        .memory(larder::Memory::max_entries(50))
        .store_with(store, TierSettings::new().with_timeout(TIMEOUT))
        .observer(recorder.clone())
        .build()
        .await
        .expect("builds");
    let cache = stack.cache("row").policy(policy).build().expect("builds");
    (stack, cache)
}

#[expect(clippy::disallowed_methods, reason = "what is measured here is real time on a real server")]
fn now() -> Instant {
    Instant::now()
}

/// Waits until it holds, for a minute at most.
async fn until(holds: impl Fn() -> bool) {
    let held = async {
        let mut look = tokio::time::interval(millis(2));
        while !holds() {
            look.tick().await;
        }
    };
    tokio::time::timeout(secs(60), held).await.expect("it holds within a minute");
}

/// Readers that read without pause until they are stopped; each answer is timed.
struct Load {
    reading: Arc<AtomicBool>,
    readers: Vec<tokio::task::JoinHandle<()>>,
    took: Arc<Mutex<Vec<Duration>>>,
    answered: Arc<AtomicU64>,
}

impl Load {
    fn start(bench: &Arc<Bench>, cache: &Cache<u64, String>) -> Self {
        let (reading, took, answered) = (
            Arc::new(AtomicBool::new(true)),
            Arc::<Mutex<Vec<Duration>>>::default(),
            Arc::<AtomicU64>::default(),
        );
        let readers = (0..8).map(|seed| {
            let (bench, cache) = (Arc::clone(bench), cache.clone());
            let (reading, took, answered) = (Arc::clone(&reading), Arc::clone(&took), Arc::clone(&answered));
            tokio::spawn(async move {
                let rng = SeededRng::new(seed);
                while reading.load(Ordering::SeqCst) {
                    let began = now();
                    bench.read(&cache, rng.below(400)).await.expect("no read fails, whatever Redis does");
                    took.lock().expect("no panics here").push(began.elapsed());
                    answered.fetch_add(1, Ordering::SeqCst);
                    tokio::task::yield_now().await;
                }
            })
        });
        Self { readers: readers.collect(), reading, took, answered }
    }

    /// Lets this many more reads happen; answers the 99th percentile and the longest of them.
    async fn more(&self, reads: u64) -> (Duration, Duration) {
        self.took.lock().expect("no panics here").clear();
        let until = self.answered.load(Ordering::SeqCst) + reads;
        self::until(|| self.answered.load(Ordering::SeqCst) >= until).await;
        let mut took = self.took.lock().expect("no panics here").clone();
        took.sort_unstable();
        (took[took.len() * 99 / 100], took[took.len() - 1])
    }

    async fn stop(self) {
        self.reading.store(false, Ordering::SeqCst);
        for reader in self.readers {
            reader.await.expect("no read failed");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn k8_killing_redis_under_load_fails_no_read_and_hits_come_back_after_it_restarts() {
    let bench = Arc::new(Bench::new(Shape::MemoryRedis).await);
    let recorder = Recorder::new();
    let (stack, cache) = node(&bench, &recorder, plain()).await;
    let load = Load::start(&bench, &cache);
    let (well, _) = load.more(4_000).await;

    bench.redis().kill();
    let (ill, longest) = load.more(4_000).await;
    assert!(ill <= well + TIMEOUT + millis(50), "p99 rose from {well:?} to {ill:?}");
    assert!(longest <= TIMEOUT * 2 + millis(500), "one read took {longest:?}");
    recorder.wait_for(|event| matches!(event, Event::TierChanged { state: TierState::Open, .. })).await;

    bench.redis().restart().await;
    recorder.wait_for(|event| matches!(event, Event::TierChanged { state: TierState::Closed, .. })).await;
    let hits = || stack.stats().namespaces[0].tier_hits("redis");
    let before = hits();
    until(|| hits() >= before + 100).await;
    load.stop().await;
    stack.shutdown(secs(5)).await.expect("ends in order");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn k8_a_redis_that_hangs_costs_a_timeout_once_and_not_every_time() {
    let bench = Arc::new(Bench::new(Shape::MemoryRedis).await);
    let recorder = Recorder::new();
    let (stack, cache) = node(&bench, &recorder, plain()).await;
    bench.read(&cache, 1).await.expect("reads");
    bench.redis().pause();
    let began = now();
    for key in 100..160 {
        bench.read(&cache, key).await.expect("reads go on");
    }
    let took = began.elapsed();
    // A probe a second, doubling, may each cost one more.
    assert!(took < TIMEOUT * 3 + millis(700), "60 cold reads took {took:?}");
    assert!(stack.stats().tiers[0].skipped > 50);
    bench.redis().resume();
    recorder.wait_for(|event| matches!(event, Event::TierChanged { state: TierState::Open, .. })).await;
    let mut cold = 1_000..;
    while stack.stats().tiers[0].state != TierState::Closed {
        bench.read(&cache, cold.next().expect("numbers do not end")).await.expect("reads go on");
    }
    stack.shutdown(secs(5)).await.expect("ends in order");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn k8_an_invalidation_that_redis_did_not_execute_is_an_error_and_its_old_copy_is_never_read() {
    let bench = Arc::new(Bench::new(Shape::MemoryRedis).await);
    let recorder = Recorder::new();
    let (stack, cache) = node(&bench, &recorder, plain()).await;
    bench.read(&cache, 1).await.expect("cached in both tiers");
    bench.read(&cache, 2).await.expect("cached in both tiers");
    bench.redis().pause();
    let version = bench.origin.change(1);
    let error = cache.remove(&1).await.expect_err("never Ok for what was not executed");
    assert!(matches!(error.kind(), ErrorKind::Timeout | ErrorKind::Unavailable), "{error}");
    assert_eq!(error.tier(), Some("redis"));
    let changed = bench.origin.change(2);
    let reached = cache.remove_with(&2, WriteMode::BestEffort).await.expect("owed");
    assert_eq!(reached.store, larder::Reach::Journaled);
    assert_eq!(
        bench.read(&cache, 1).await.expect("reads go on"),
        version,
        "not the old one, while Redis is away"
    );

    bench.redis().resume();
    recorder.wait_for(|event| matches!(event, Event::InvalidationReplayed { .. })).await;
    until(|| stack.stats().tiers[0].journal == 0).await;
    let (other, rows) = bench.node(plain()).await;
    assert_ne!(Bench::known(&rows, 1).await, Some(0), "the old copy is gone from Redis, for every node");
    assert_eq!(bench.read(&rows, 2).await.expect("reads"), changed);
    stack.shutdown(secs(5)).await.expect("ends in order");
    other.shutdown(secs(5)).await.expect("ends in order");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_that_comes_back_empty_or_older_serves_nothing_from_before_an_invalidation() {
    let bench = Arc::new(Bench::new(Shape::MemoryRedis).await);
    let recorder = Recorder::new();
    let (stack, cache) = node(&bench, &recorder, plain()).await;
    for turn in 0..20 {
        let version = bench.origin.change(turn % 3);
        cache.set(&(turn % 3), Origin::row(turn % 3, version)).await.expect("set");
    }
    bench.redis().wipe().await;
    for key in 0..3 {
        let version = bench.origin.change(key);
        cache.remove(&key).await.expect("the emptied server executes it");
        assert_eq!(bench.read(&cache, key).await.expect("reads"), version);
        assert_eq!(bench.read(&cache, key).await.expect("reads"), version);
    }
    recorder.wait_for(|event| matches!(event, Event::LineageChanged { .. })).await;
    // What was invalidated lately is invalidated again.
    until(|| stack.stats().tiers[0].journal == 0).await;
    for key in 0..3 {
        bench.read(&cache, key).await.expect("reads");
    }
    let loads = bench.origin.loads();
    for key in 0..3 {
        bench.read(&cache, key).await.expect("reads");
    }
    assert_eq!(bench.origin.loads(), loads, "entries are kept again, although the sequence had begun anew");
    stack.shutdown(secs(5)).await.expect("ends in order");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_loader_learns_that_nobody_coordinates_it_and_stale_values_bridge_an_outage_of_the_origin() {
    let bench = Arc::new(Bench::new(Shape::MemoryRedis).await);
    let recorder = Recorder::new();
    let policy = Policy::ttl(minutes(5)).stale_if_error(minutes(5));
    let (stack, cache) = node(&bench, &recorder, policy).await;
    bench.read(&cache, 1).await.expect("cached");
    bench.redis().kill();
    let told = Arc::new(AtomicBool::new(false));
    let seen = Arc::clone(&told);
    let loaded = cache.get_or_load(&9, move |context| async move {
        seen.store(context.is_uncoordinated(), Ordering::SeqCst);
        Ok::<_, Error>("9".to_owned())
    });
    assert!(loaded.await.expect("loads without Redis").is_some() && told.load(Ordering::SeqCst));
    let _ = cache.expire(&1).await;
    let down = cache.get_or_load(&1, |_| async { Err::<String, _>("the database is down") });
    assert!(down.await.expect("the stale value bridges it").is_some());
    let lost =
        stack.shutdown(secs(5)).await.expect_err("the expiry was not executed, and nobody will repeat it");
    assert_eq!((lost.kind(), lost.tier()), (ErrorKind::Unavailable, Some("redis")));
}

/// Row 21: nobody listens when the stack is built; the server comes later.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_21_a_lazy_stack_serves_before_its_server_comes_and_takes_it_up_when_it_does() {
    let bench = Arc::new(Bench::new(Shape::MemoryRedis).await);
    bench.redis().kill();
    let (recorder, settings) = (Recorder::new(), RedisSettings::new(bench.redis().url()).with_lazy(true));
    let store = RedisStore::connect(settings.clone()).await.expect("it need not answer yet");
    let bus = RedisBus::connect(settings.clone()).await.expect("it need not answer yet");
    let builder = Stack::builder().memory(larder::Memory::max_entries(50)).observer(recorder.clone());
    let builder = builder.store_with(store, TierSettings::new().with_timeout(TIMEOUT)).bus(bus);
    let stack = builder.build().await.expect("builds");
    let cache = stack.cache("row").policy(plain()).build().expect("builds");
    for key in 0..20 {
        bench.read(&cache, key).await.expect("reads go on");
    }
    assert!(cache.remove(&1).await.is_err(), "nobody executed it");
    assert_eq!(recorder.count("bus_up"), 0);
    let eager = settings.with_lazy(false);
    let refused = RedisStore::connect(eager).await.expect_err("nobody listens");
    assert_eq!(refused.kind(), ErrorKind::Unavailable);

    bench.redis().restart().await;
    recorder.wait_for(|event| matches!(event, Event::BusUp { .. })).await;
    let joined = |event: &Event| matches!(event, Event::MemoryCleared { reason: ClearReason::Joined });
    recorder.wait_for(joined).await;
    recorder.wait_for(|event| matches!(event, Event::TierChanged { state: TierState::Closed, .. })).await;
    until(|| stack.stats().tiers[0].journal == 0).await;
    for key in 100..120 {
        bench.read(&cache, key).await.expect("reads go on");
    }
    let (other, rows) = bench.node(plain()).await;
    let known = async |key| Bench::known(&rows, key).await == Some(0);
    assert!(known(100).await && known(119).await, "what is read now is in Redis");
    assert_eq!((recorder.count("bus_up"), recorder.count("bus_down")), (1, 0));
    stack.shutdown(secs(5)).await.expect("ends in order");
    other.shutdown(secs(5)).await.expect("ends in order");
}
