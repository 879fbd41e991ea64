//! K1, K2, K3, K5, K6: what a node promises while everything works, on stacks of every shape over real parts.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use larder::{Policy, SetOutcome, Settings, Stack, hours, minutes, secs};
use larder_promises::{Bench, Origin, Shape, plain};
use larder_testkit::SeededRng;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn k1_reads_on_a_node_never_go_behind_what_it_acknowledged() {
    for shape in Shape::ALL {
        let bench = Arc::new(Bench::new(shape).await);
        let (stack, cache) = bench.node(plain()).await;
        let writing = Arc::new(AtomicBool::new(true));
        let acknowledged: Arc<Vec<AtomicU64>> = Arc::new((0..8).map(|_| AtomicU64::new(0)).collect());
        let checked = Arc::new(AtomicU64::new(0));
        let readers: Vec<_> = (0..4_u64)
            .map(|seed| {
                let (bench, cache) = (Arc::clone(&bench), cache.clone());
                let (writing, acknowledged, checked) =
                    (Arc::clone(&writing), Arc::clone(&acknowledged), Arc::clone(&checked));
                tokio::spawn(async move {
                    let rng = SeededRng::new(seed);
                    while writing.load(Ordering::SeqCst) {
                        let key = rng.below(8);
                        let least = acknowledged[key as usize].load(Ordering::SeqCst);
                        let version = bench.read(&cache, key).await.expect("reads do not fail");
                        assert!(version >= least, "{shape:?}: read {version} of key {key} after {least}");
                        checked.fetch_add(1, Ordering::SeqCst);
                        tokio::task::yield_now().await;
                    }
                })
            })
            .collect();
        write_rows(&bench, &cache, &acknowledged, 600).await;
        // Where a write costs next to nothing, it takes more of them for the readers to run beside it.
        while checked.load(Ordering::SeqCst) <= 600 {
            write_rows(&bench, &cache, &acknowledged, 600).await;
            tokio::task::yield_now().await;
        }
        writing.store(false, Ordering::SeqCst);
        for reader in readers {
            reader.await.expect("no reader saw an older row");
        }
        stack.shutdown(secs(5)).await.expect("ends in order");
    }
}

/// Changes rows and tells the cache by each verb in turn, with no pause in which readers could catch up.
async fn write_rows(
    bench: &Bench,
    cache: &larder::Cache<u64, String>,
    acknowledged: &[AtomicU64],
    writes: u64,
) {
    let rng = SeededRng::new(99);
    for turn in 0..writes {
        let key = rng.below(8);
        let version = bench.origin.change(key);
        match turn % 5 {
            0 => cache.set(&key, Origin::row(key, version)).await.expect("set"),
            1 => drop(cache.remove(&key).await.expect("remove")),
            2 => drop(cache.expire(&key).await.expect("expire")),
            3 => drop(cache.remove_many(&[key, (key + 1) % 8]).await.expect("remove many")),
            _ if turn % 50 == 4 => drop(cache.clear().await.expect("clear")),
            _ => cache.set_many([(key, Origin::row(key, version))]).await.expect("set many"),
        }
        acknowledged[key as usize].fetch_max(version, Ordering::SeqCst);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_versioned_writes_by_several_nodes_the_last_state_is_left_whoever_is_first() {
    const STATES: u64 = 64;
    let bench = Bench::new(Shape::MemoryRedis).await;
    let mut nodes = Vec::new();
    for _ in 0..2 {
        let redis = larder_redis::RedisStore::connect(bench.redis().url()).await.expect("connects");
        let memory = larder::Memory::max_entries(1_000);
        let stack = Stack::builder().memory(memory).store(redis).build().await.expect("builds");
        nodes.push(stack.cache::<u64, String>("row").policy(plain()).build().expect("builds"));
    }
    for key in 0..20 {
        let writes: Vec<_> = (0..STATES)
            .map(|n| {
                // Each of them once, in another order for each key.
                let (state, cache) = ((n * 29 + key * 7) % STATES, nodes[n as usize % 2].clone());
                tokio::spawn(async move { cache.set_versioned(&key, Origin::row(key, state), state).await })
            })
            .collect();
        let mut stored = 0;
        for write in writes {
            let outcome = write.await.expect("no panic").expect("the store answers");
            stored += u64::from(outcome == SetOutcome::Stored);
        }
        assert!((1..=STATES).contains(&stored));
        let last = nodes[0].set_versioned(&key, Origin::row(key, 0), STATES - 1).await.expect("it answers");
        assert_eq!(last, SetOutcome::Superseded);
        assert_eq!(Bench::known(&nodes[0], key).await, Some(STATES - 1));
        let other = nodes[1].set_versioned(&key, Origin::row(key, 0), 1).await.expect("it answers");
        assert_eq!((other, Bench::known(&nodes[1], key).await), (SetOutcome::Superseded, Some(STATES - 1)));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn k2_what_was_loaded_before_an_invalidation_is_given_to_its_callers_and_kept_nowhere() {
    for shape in Shape::ALL {
        for verb in ["remove", "expire", "set", "clear"] {
            let bench = Arc::new(Bench::new(shape).await);
            let (stack, cache) = bench.node(plain()).await;
            let gate = bench.origin.shut();
            let before = tokio::spawn({
                let (bench, cache) = (Arc::clone(&bench), cache.clone());
                async move { bench.read(&cache, 1).await }
            });
            bench.origin.arrived(1).await;
            bench.origin.open();
            let version = bench.origin.change(1);
            invalidate(&cache, verb, 1, version).await;
            gate.add_permits(1);
            let given = before.await.expect("no panic").expect("its caller gets it");
            assert_eq!(given, 0, "{shape:?} {verb}: the load had read the old row");
            let known = Bench::known(&cache, 1).await;
            assert_ne!(known, Some(0), "{shape:?} {verb}: the old row came back");
            if shape.has_redis() {
                // Another node, over the same server, sees no old row either.
                let redis = larder_redis::RedisStore::connect(bench.redis().url()).await.expect("connects");
                let node = Stack::builder().store(redis).build().await.expect("builds");
                let rows = node.cache("row").policy(plain()).build().expect("builds");
                assert_ne!(Bench::known(&rows, 1).await, Some(0), "{shape:?} {verb}: on another node");
            }
            assert_eq!(bench.read(&cache, 1).await.expect("reads"), version, "{shape:?} {verb}");
            stack.shutdown(secs(5)).await.expect("ends in order");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn k3_a_caller_that_comes_after_an_invalidation_does_not_join_the_load_from_before() {
    for shape in Shape::ALL {
        let bench = Arc::new(Bench::new(shape).await);
        let (stack, cache) = bench.node(plain()).await;
        for (key, verb) in ["remove", "expire", "set", "clear"].into_iter().enumerate() {
            let key = key as u64;
            let (gate, loads) = (bench.origin.shut(), bench.origin.loads());
            let before = tokio::spawn({
                let (bench, cache) = (Arc::clone(&bench), cache.clone());
                async move { bench.read(&cache, key).await }
            });
            bench.origin.arrived(loads + 1).await;
            bench.origin.open();
            let version = bench.origin.change(key);
            invalidate(&cache, verb, key, version).await;
            let after = bench.read(&cache, key).await.expect("reads");
            assert_eq!(after, version, "{shape:?} {verb}: the first still waits");
            gate.add_permits(1);
            assert_eq!(before.await.expect("no panic").expect("answered"), 0, "{shape:?} {verb}");
            let later = bench.read(&cache, key).await.expect("reads");
            assert_eq!(later, version, "{shape:?} {verb}: and did not come back");
            let own = u64::from(verb != "set");
            assert_eq!(bench.origin.loads(), loads + 1 + own, "{shape:?} {verb}");
        }
        stack.shutdown(secs(5)).await.expect("ends in order");
    }
}

/// Tells a cache by one of its verbs that a row changed.
async fn invalidate(cache: &larder::Cache<u64, String>, verb: &str, key: u64, version: u64) {
    match verb {
        "remove" => drop(cache.remove(&key).await.expect("remove")),
        "expire" => drop(cache.expire(&key).await.expect("expire")),
        "set" => cache.set(&key, Origin::row(key, version)).await.expect("set"),
        _ => drop(cache.clear().await.expect("clear")),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn k5_no_copy_outlives_its_entry_by_promotion_or_restart() {
    for shape in [Shape::MemoryDisk, Shape::MemoryRedis, Shape::MemoryDiskRedis] {
        let bench = Bench::new(shape).await;
        let policy = Policy::ttl(minutes(5)).stale_while_revalidate(secs(30)).stale_if_error(hours(1));
        let (stack, cache) = bench.node(policy.clone()).await;
        cache.set(&1, Origin::row(1, 0)).await.expect("set");
        let made = cache.inspect(&1).await.expect("inspect").copies;
        stack.shutdown(secs(5)).await.expect("ends in order");

        let (stack, cache) = bench.node(policy).await;
        while cache.inspect(&1).await.expect("inspect").copies.iter().any(|copy| copy.fresh_for == minutes(5))
        {
            tokio::task::yield_now().await;
        }
        assert!(Bench::known(&cache, 1).await.is_some(), "{shape:?}: found again");
        for copy in cache.inspect(&1).await.expect("inspect").copies {
            let first = made.iter().map(|copy| copy.fresh_for).max().expect("there were copies");
            assert!(copy.fresh_for < first, "{shape:?} {}: {:?} of {first:?}", copy.tier, copy.fresh_for);
            assert!(copy.fallback_for <= minutes(65), "{shape:?} {}", copy.tier);
        }
        stack.shutdown(secs(5)).await.expect("ends in order");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn k6_a_thousand_callers_on_two_nodes_share_one_load() {
    let bench = Arc::new(Bench::new(Shape::MemoryRedis).await);
    let (first, one) = bench.node(plain()).await;
    let (second, two) = bench.node(plain()).await;
    let gate = bench.origin.shut();
    let callers: Vec<_> = (0..1_000)
        .map(|n| {
            let (bench, cache) = (Arc::clone(&bench), if n % 2 == 0 { one.clone() } else { two.clone() });
            tokio::spawn(async move { bench.read(&cache, 1).await })
        })
        .collect();
    bench.origin.arrived(1).await;
    gate.add_permits(10);
    for caller in callers {
        assert_eq!(caller.await.expect("no panic").expect("answered"), 0);
    }
    assert_eq!(bench.origin.loads(), 1, "one lease, one load");
    first.shutdown(secs(5)).await.expect("ends in order");
    second.shutdown(secs(5)).await.expect("ends in order");
}

#[test]
fn k6_a_holder_that_dies_delays_others_by_its_lease_at_most() {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let dying = tokio::runtime::Runtime::new().expect("a runtime");
    let bench = runtime.block_on(Bench::new(Shape::MemoryRedis));
    let bench = Arc::new(bench);
    let _gate = bench.origin.shut();
    dying.spawn({
        let bench = Arc::clone(&bench);
        async move {
            let (_stack, cache) = bench.node(plain()).await;
            drop(bench.read(&cache, 1).await);
        }
    });
    runtime.block_on(bench.origin.arrived(1));
    dying.shutdown_timeout(Duration::from_secs(1));
    bench.origin.open();
    runtime.block_on(async {
        let settings = Settings::new().with_lease(secs(2));
        let stack = bench.builder().await.settings(settings).build().await.expect("builds");
        let cache = stack.cache("row").policy(plain()).build().expect("builds");
        let waited = tokio::time::timeout(secs(4), bench.read(&cache, 1)).await;
        assert_eq!(waited.expect("within its lease and a little").expect("loaded"), 0);
        assert_eq!(bench.origin.loads(), 2);
        assert_eq!(Bench::known(&cache, 1).await, Some(0), "and kept");
    });
}
