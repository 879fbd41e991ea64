//! K7 and the caller rows: callers that leave, loaders that panic, hang or go in circles, and a hundred thousand at once.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use larder::{Error, ErrorKind, Policy, millis, minutes, secs};
use larder_promises::{Bench, Origin, Shape, plain};
use larder_testkit::poll_then_drop;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_115_a_caller_that_leaves_at_any_poll_leaves_nothing_behind() {
    for shape in [Shape::MemoryDisk, Shape::MemoryRedis, Shape::MemoryDiskRedis] {
        let bench = Bench::new(shape).await;
        let (stack, cache) = bench.node(plain()).await;
        for polls in 1..40 {
            let key = polls as u64;
            drop(poll_then_drop(bench.read(&cache, key), polls).await);
            drop(poll_then_drop(cache.set(&key, Origin::row(key, 0)), polls).await);
            drop(poll_then_drop(cache.get_many(&[key, key + 1]), polls).await);
            drop(poll_then_drop(cache.expire(&key), polls).await);
            drop(poll_then_drop(cache.remove(&key), polls).await);
            assert_eq!(
                bench.read(&cache, key).await.expect("the next caller is served"),
                0,
                "{shape:?} {polls}"
            );
            assert_eq!(bench.read(&cache, key + 1).await.expect("with its own answer"), 0);
        }
        while stack.stats().flights > 0 {
            tokio::task::yield_now().await;
        }
        stack.shutdown(secs(5)).await.expect("nothing is left running");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_117_a_hundred_thousand_callers_share_one_load_though_the_first_leave_and_the_loader_panics_once()
{
    for shape in [Shape::MemoryDisk, Shape::MemoryRedis] {
        let bench = Arc::new(Bench::new(shape).await);
        let (stack, cache) = bench.node(plain()).await;
        let calls = Arc::new(AtomicU64::new(0));
        let gate = bench.origin.shut();
        let call = || {
            let (cache, calls, origin) = (cache.clone(), Arc::clone(&calls), bench.origin.clone());
            async move {
                let loader = move |_| async move {
                    let call = calls.fetch_add(1, Ordering::SeqCst);
                    let row = origin.load(7).await;
                    assert!(call > 0, "the first call panics");
                    Ok::<_, Error>(row)
                };
                cache.get_or_load(&7, loader).await
            }
        };
        // The loader panics once: everybody who waits gets the error, and the key is free again.
        let unlucky: Vec<_> = (0..1_000).map(|_| tokio::spawn(call())).collect();
        let coalesced = || stack.stats().namespaces[0].coalesced;
        while coalesced() < 999 {
            tokio::task::yield_now().await;
        }
        gate.add_permits(1);
        for caller in unlucky {
            let error = caller.await.expect("no caller panics").expect_err("the loader panicked");
            assert_eq!(error.kind(), ErrorKind::LoadPanicked);
        }
        // The first 1 000 of the next leave midway.
        let leaving: Vec<_> = (0..1_000).map(|_| tokio::spawn(call())).collect();
        bench.origin.arrived(2).await;
        let staying: Vec<_> = (0..100_000).map(|_| tokio::spawn(call())).collect();
        leaving.iter().for_each(|caller| caller.abort());
        while coalesced() < 999 + 100_000 {
            tokio::task::yield_now().await;
        }
        gate.add_permits(1);
        for caller in staying {
            let row = caller.await.expect("no caller panics").expect("answered").expect("a row");
            assert_eq!(Origin::version_in(7, &row), 0);
        }
        assert_eq!(calls.load(Ordering::SeqCst), 2, "{shape:?}: one that panicked, one for everybody");
        stack.shutdown(secs(5)).await.expect("nothing is left running");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_113_a_loader_that_never_ends_is_ended_and_its_lease_is_free_again() {
    let bench = Arc::new(Bench::new(Shape::MemoryRedis).await);
    let (stack, cache) = bench.node(Policy::ttl(minutes(5)).load_limit(millis(200))).await;
    let never = cache.get_or_load(&1, |_| std::future::pending::<Result<String, Error>>()).await;
    assert_eq!(never.expect_err("ended").kind(), ErrorKind::Timeout);
    let (other, rows) = bench.node(plain()).await;
    let next = tokio::time::timeout(secs(2), bench.read(&rows, 1)).await;
    assert_eq!(next.expect("the lease was given back").expect("loaded"), 0);
    stack.shutdown(secs(5)).await.expect("ends in order");
    other.shutdown(secs(5)).await.expect("ends in order");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_114_a_loader_that_asks_for_its_own_key_gets_an_error_and_not_a_deadlock() {
    for shape in Shape::ALL {
        let bench = Bench::new(shape).await;
        let (stack, cache) = bench.node(plain()).await;
        let again = cache.clone();
        let outer = cache.get_or_load(&1, |_| async move {
            let inner = again.get_or_load(&1, |_| async { Ok::<_, Error>(String::new()) }).await;
            inner.map(|row| row.map(|row| row.to_string()))
        });
        let error = tokio::time::timeout(secs(5), outer).await.expect("no deadlock").expect_err("a circle");
        assert_eq!(error.kind(), ErrorKind::LoadFailed, "{shape:?}");
        let source = std::error::Error::source(&error).and_then(|source| source.downcast_ref::<Error>());
        assert_eq!(source.map(Error::kind), Some(ErrorKind::Reentrant), "{shape:?}");
        stack.shutdown(secs(5)).await.expect("ends in order");
    }
}

#[test]
fn row_116_a_callers_runtime_may_end_midway_and_the_load_goes_on_where_the_stack_was_built() {
    let lasting = tokio::runtime::Runtime::new().expect("a runtime");
    let ending = tokio::runtime::Runtime::new().expect("a runtime");
    let bench = Arc::new(lasting.block_on(Bench::new(Shape::Memory)));
    let (stack, cache) = lasting.block_on(bench.node(plain()));
    let gate = bench.origin.shut();
    let leader = ending.spawn({
        let (bench, cache) = (Arc::clone(&bench), cache.clone());
        async move { bench.read(&cache, 1).await }
    });
    lasting.block_on(bench.origin.arrived(1));
    ending.shutdown_background();
    drop(leader);
    gate.add_permits(1);
    lasting.block_on(async {
        assert_eq!(bench.read(&cache, 1).await.expect("shared"), 0);
        assert_eq!(bench.origin.loads(), 1, "the load went on");
        stack.shutdown(secs(5)).await.expect("ends in order");
    });
}

#[test]
fn row_116_a_stack_whose_own_runtime_has_ended_answers_errors_and_does_not_hang() {
    for (shape, forgets) in [(Shape::Memory, Ok(())), (Shape::MemoryDisk, Err(ErrorKind::Unavailable))] {
        without_its_runtime(shape, forgets);
    }
}

/// Memory needs no runtime to forget; a store does.
fn without_its_runtime(shape: Shape, forgets: Result<(), ErrorKind>) {
    let building = tokio::runtime::Runtime::new().expect("a runtime");
    let bench = Arc::new(building.block_on(Bench::new(shape)));
    let (_stack, cache) = building.block_on(bench.node(plain()));
    building.shutdown_background();
    let other = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    other.block_on(async {
        let read = tokio::time::timeout(secs(5), bench.read(&cache, 1)).await.expect("no hang");
        assert_eq!(read.expect_err("nobody can load").kind(), ErrorKind::Unavailable);
        let removed = tokio::time::timeout(secs(5), cache.remove(&1)).await.expect("no hang");
        assert_eq!(removed.map(drop).map_err(|error| error.kind()), forgets);
    });
}
