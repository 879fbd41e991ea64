//! Callers that leave: at every await, all at once, and with their runtime.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use larder::{BoxError, Cache, ErrorKind, Memory, Policy, ReadOptions, Settings, Stack, millis, secs};
use larder_core::{Found, LeaseFor, LeaseRequest, Read, Store, Token};
use larder_testkit::{Op, PausedClock, poll_then_drop};

use crate::support::{Fleet, Node, Origin, Watch, get, key, load, quiet, sleep};

/// What a caller was about to do when it left.
const CALLS: [&str; 12] = [
    "get",
    "get_or_load",
    "forced",
    "get_many",
    "get_many_or_load",
    "set",
    "set_many",
    "remove",
    "expire",
    "clear",
    "inspect",
    "warm",
];

async fn call(what: &str, cache: &Cache<u64, u64>, origin: &Origin) {
    let after = millis(5);
    let many = move |keys: Vec<u64>| async move {
        sleep(after).await;
        Ok::<_, BoxError>(keys.into_iter().map(|key| (key, 7)).collect())
    };
    let forced = ReadOptions::new().force_fresh(true);
    match what {
        "get" => drop(cache.get(&1).await.unwrap()),
        "get_or_load" => drop(cache.get_or_load(&1, origin.slow(7, after)).await.unwrap()),
        "forced" => drop(cache.get_or_load_with(&1, &forced, origin.slow(7, after)).await.unwrap()),
        "get_many" => drop(cache.get_many(&[1, 2, 3]).await.unwrap()),
        "get_many_or_load" => drop(cache.get_many_or_load(&[1, 2, 3], many).await.unwrap()),
        "set" => cache.set(&1, 7).await.unwrap(),
        "set_many" => cache.set_many([(1, 7), (2, 7)]).await.unwrap(),
        "remove" => drop(cache.remove(&1).await.unwrap()),
        "expire" => drop(cache.expire(&1).await.unwrap()),
        "clear" => drop(cache.clear().await.unwrap()),
        "inspect" => drop(cache.inspect(&1).await.unwrap()),
        "warm" => {
            let entries = [1, 2, 3].map(|n| larder::WarmEntry::new(n, origin.slow(7, after)));
            assert!(cache.warm(entries, &larder::WarmOptions::new(), |_| {}).await.unwrap() >= 1);
        }
        other => panic!("{other}"),
    }
}

async fn nobody_holds_the_lease(fleet: &Fleet, node: &Node) {
    assert_eq!(quiet(&node.stack).await.flights, 0);
    let lease = LeaseRequest { when: LeaseFor::Refresh, token: Token(42), ttl: millis(1) };
    let found = fleet.shared.read(vec![Read { key: key(1), lease: Some(lease) }]).await.unwrap();
    assert!(matches!(found[..], [Found::Granted(_)]), "{found:?}");
    sleep(millis(2)).await;
}

#[tokio::test(start_paused = true)]
async fn row_115_a_caller_may_leave_any_call_at_any_await() {
    for what in CALLS {
        for holds in [false, true] {
            let mut ended = false;
            for polls in 1..=200 {
                let fleet = Fleet::new();
                let (node, origin) = (fleet.node(Policy::ttl(secs(60))).await, Origin::default());
                Op::ALL.into_iter().for_each(|op| node.faults.delay(op, millis(1)));
                if holds {
                    node.cache.set(&1, 6).await.unwrap();
                }
                ended = poll_then_drop(call(what, &node.cache, &origin), polls).await.is_some();
                nobody_holds_the_lease(&fleet, &node).await;
                let watch = Watch::start();
                let value = load(&node.cache, 1, origin.gives(7)).await;
                assert!(value == 7 || (holds && value == 6), "{what}, {polls} polls: {value}");
                assert!(watch.elapsed() < secs(1), "{what}, {polls} polls: {:?}", watch.elapsed());
                node.cache.set(&1, 8).await.unwrap();
                assert_eq!(get(&node.cache, 1).await, Some(8), "{what}, {polls} polls");
                assert_eq!(get(&fleet.node(Policy::default()).await.cache, 1).await, Some(8));
                if ended {
                    break;
                }
            }
            assert!(ended, "{what} takes more than 200 polls");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn what_a_caller_began_to_write_is_done_though_it_left() {
    let fleet = Fleet::new();
    let node = fleet.node(Policy::default()).await;
    Op::ALL.into_iter().for_each(|op| node.faults.delay(op, millis(10)));
    assert!(poll_then_drop(node.cache.set(&1, 7), 1).await.is_none());
    sleep(millis(100)).await;
    assert_eq!(get(&node.cache, 1).await, Some(7));
    assert!(poll_then_drop(node.cache.remove(&1), 1).await.is_none());
    sleep(millis(100)).await;
    assert_eq!(
        (get(&node.cache, 1).await, get(&fleet.node(Policy::default()).await.cache, 1).await),
        (None, None)
    );
}

#[tokio::test(start_paused = true)]
async fn a_caller_that_leaves_changes_nobody_elses_answer() {
    let fleet = Fleet::new();
    let (node, origin) = (fleet.node(Policy::default()).await, Origin::default());
    for polls in 1..20 {
        node.cache.remove(&1).await.unwrap();
        let leaving = poll_then_drop(node.cache.get_or_load(&1, origin.slow(7, millis(5))), polls);
        let staying = node.cache.get_or_load(&1, origin.slow(7, millis(5)));
        let (_, stayed) = tokio::join!(leaving, staying);
        assert_eq!(stayed.unwrap().as_deref(), Some(&7));
    }
    assert_eq!(origin.calls(), 19);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_117_a_hundred_thousand_callers_of_one_cold_key_share_one_load_though_the_first_thousand_leave() {
    let stack = Stack::builder().memory(Memory::max_entries(10)).build().await.unwrap();
    let cache: Cache<u64, u64> = stack.cache("n").build().unwrap();
    let (gate, loads) = (Arc::new(tokio::sync::Semaphore::new(0)), Arc::new(AtomicU64::new(0)));
    let caller = |count: Arc<AtomicU64>, panics: bool| {
        let (cache, gate) = (cache.clone(), Arc::clone(&gate));
        tokio::spawn(async move {
            let loader = move |_| async move {
                count.fetch_add(1, Ordering::SeqCst);
                drop(gate.acquire().await);
                assert!(!panics, "the loader panics once");
                Ok::<u64, BoxError>(7)
            };
            cache.get_or_load(&1, loader).await
        })
    };
    let panicking = Arc::new(AtomicU64::new(0));
    let first: Vec<_> = (0..1_000).map(|_| caller(Arc::clone(&panicking), true)).collect();
    while cache.stats().coalesced < 999 {
        tokio::task::yield_now().await;
    }
    first.iter().for_each(tokio::task::JoinHandle::abort);
    gate.add_permits(1);
    while stack.stats().flights > 0 {
        tokio::task::yield_now().await;
    }
    gate.forget_permits(1);
    assert_eq!(panicking.load(Ordering::SeqCst), 1, "one load for the thousand, and it panicked");
    let rest: Vec<_> = (0..99_000).map(|_| caller(Arc::clone(&loads), false)).collect();
    while cache.stats().coalesced < 999 + 98_999 {
        tokio::task::yield_now().await;
    }
    gate.add_permits(1);
    for caller in rest {
        assert_eq!(caller.await.unwrap().unwrap().as_deref(), Some(&7));
    }
    assert_eq!((loads.load(Ordering::SeqCst), stack.stats().flights), (1, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn when_the_leader_leaves_midway_a_hundred_thousand_are_still_answered_by_its_load() {
    let stack = Stack::builder().memory(Memory::max_entries(10)).build().await.unwrap();
    let cache: Cache<u64, u64> = stack.cache("n").build().unwrap();
    let (gate, loads) = (Arc::new(tokio::sync::Semaphore::new(0)), Arc::new(AtomicU64::new(0)));
    let callers: Vec<_> = (0..100_000)
        .map(|_| {
            let (cache, gate, loads) = (cache.clone(), Arc::clone(&gate), Arc::clone(&loads));
            tokio::spawn(async move {
                let loader = move |_| async move {
                    loads.fetch_add(1, Ordering::SeqCst);
                    drop(gate.acquire().await);
                    Ok::<u64, BoxError>(7)
                };
                cache.get_or_load(&1, loader).await
            })
        })
        .collect();
    while cache.stats().coalesced < 99_999 {
        tokio::task::yield_now().await;
    }
    callers[..1_000].iter().for_each(tokio::task::JoinHandle::abort);
    gate.add_permits(1);
    let mut answered = 0;
    for (place, caller) in callers.into_iter().enumerate() {
        match caller.await {
            Ok(value) => {
                assert_eq!(value.unwrap().as_deref(), Some(&7));
                answered += 1;
            }
            Err(left) => assert!(left.is_cancelled() && place < 1_000),
        }
    }
    assert_eq!((answered, loads.load(Ordering::SeqCst)), (99_000, 1));
}

#[test]
fn row_116_callers_may_be_on_another_runtime_and_one_that_ended_is_an_error_not_a_hang() {
    let builders =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let callers = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (stack, cache) = builders.block_on(async {
        let stack = Stack::builder().memory(Memory::max_entries(10)).build().await.unwrap();
        let cache: Cache<u64, u64> = stack.cache("n").build().unwrap();
        (stack, cache)
    });
    let own = callers();
    own.block_on(async {
        assert_eq!(load(&cache, 1, Origin::default().gives(7)).await, 7);
        cache.set(&2, 8).await.unwrap();
    });
    drop(own);
    assert_eq!(callers().block_on(get(&cache, 2)), Some(8), "what it did outlives the caller's runtime");
    let waiting = {
        let cache = cache.clone();
        std::thread::spawn(move || callers().block_on(cache.get_or_load(&4, Origin::default().never())))
    };
    while stack.stats().flights == 0 {
        std::thread::yield_now();
    }
    drop(builders);
    assert_eq!(waiting.join().unwrap().unwrap_err().kind(), ErrorKind::Unavailable);
    let own = callers();
    let load = own.block_on(cache.get_or_load(&5, Origin::default().gives(7)));
    assert_eq!(load.unwrap_err().kind(), ErrorKind::Unavailable);
    assert_eq!((own.block_on(get(&cache, 2)), stack.stats().flights), (Some(8), 0));
    own.block_on(cache.remove(&2)).expect("memory needs no runtime");
    assert!(!cache.peek(&2).unwrap().is_hit());
}

#[tokio::test(start_paused = true)]
async fn a_stack_is_built_on_a_runtime_or_says_so() {
    let built = std::thread::spawn(|| {
        futures_util::FutureExt::now_or_never(Stack::builder().memory(Memory::max_entries(1)).build())
    });
    let error = built.join().unwrap().expect("at once").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
    assert!(error.to_string().contains("tokio runtime"));
}

#[tokio::test(start_paused = true)]
async fn when_the_last_handle_goes_the_work_ends() {
    let origin = Origin::default();
    let ended = Arc::new(AtomicU64::new(0));
    let stack = Stack::builder().memory(Memory::max_entries(10)).clock(PausedClock::new());
    let stack = stack.settings(Settings::new()).build().await.unwrap();
    let cache: Cache<u64, u64> = stack.cache("n").build().unwrap();
    let told = Arc::clone(&ended);
    let loader = origin.runs(move |context| {
        tokio::spawn(async move {
            context.ended().await;
            told.store(1, Ordering::SeqCst);
        });
        Box::pin(std::future::pending())
    });
    assert!(poll_then_drop(cache.get_or_load(&1, loader), 1).await.is_none());
    sleep(millis(1)).await;
    drop((cache, stack));
    sleep(secs(31)).await;
    assert_eq!(ended.load(Ordering::SeqCst), 1, "by its limit at the latest");
}

#[tokio::test(start_paused = true)]
async fn a_clear_reaches_the_stores_of_nested_namespaces_though_its_own_never_leaves_memory() {
    let fleet = Fleet::new();
    let node = fleet.node(Policy::default()).await;
    let outer: Cache<u64, u64> = node.stack.cache("outer").build_in_memory().unwrap();
    let inner: Cache<u64, u64> = node.stack.cache("outer:inner").build().unwrap();
    inner.set(&1, 7).await.unwrap();
    Op::ALL.into_iter().for_each(|op| node.faults.delay(op, millis(10)));
    assert!(poll_then_drop(outer.clear(), 1).await.is_none(), "it waits for the store");
    sleep(millis(200)).await;
    assert_eq!(get(&inner, 1).await, None, "what a caller began is done although it left");
}
