//! Warming and memoising.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicU64, Ordering},
};

use larder::{
    Args, BoxError, Cache, ErrorKind, Event, LoadCause, Loaded, Policy, WarmEntry, WarmOptions, millis, secs,
};

use crate::support::{Fleet, Origin, Watch, get, load, memory_only, no_loader, numbers, sleep};

#[tokio::test(start_paused = true)]
async fn the_most_wanted_are_warmed_first_a_few_at_once_with_progress() {
    let cache = numbers(Policy::default()).await;
    let (begun, running, most) =
        (Arc::new(Mutex::new(Vec::new())), Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let entry = |n: u64| {
        let (begun, running, most) = (Arc::clone(&begun), Arc::clone(&running), Arc::clone(&most));
        let loader = move |context: larder::LoadContext<u64>| async move {
            assert_eq!(context.cause(), LoadCause::Warm);
            begun.lock().unwrap().push(n);
            most.fetch_max(running.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            sleep(secs(1)).await;
            running.fetch_sub(1, Ordering::SeqCst);
            Ok::<u64, BoxError>(n)
        };
        WarmEntry::new(n, loader).priority(i32::try_from(n % 10).unwrap())
    };
    let (mut seen, watch) = (Vec::new(), Watch::start());
    let options = WarmOptions::new().concurrency(5);
    let warmed = cache.warm((0..50).map(entry), &options, |progress| seen.push(progress)).await.unwrap();
    assert_eq!((warmed, cache.len(), most.load(Ordering::SeqCst), watch.elapsed()), (50, 50, 5, secs(10)));
    let order = begun.lock().unwrap().clone();
    assert!(order.windows(2).all(|pair| pair[0] % 10 >= pair[1] % 10), "{order:?}");
    assert_eq!(order[..5], [9, 19, 29, 39, 49], "equal ones in the order given");
    assert!(
        seen.iter()
            .enumerate()
            .all(|(place, step)| step.completed == place + 1 && step.total == 50 && step.ok)
    );
    assert!(seen.iter().any(|step| step.key == "n:9"));
    assert_eq!(cache.stats().warmed, 50);
}

#[tokio::test(start_paused = true)]
async fn the_first_failure_ends_the_warming_unless_it_is_to_go_on() {
    let fleet = Fleet::new();
    let (node, origin) = (fleet.node(Policy::default()).await, Origin::default());
    let entries = |origin: &Origin| {
        let bad = WarmEntry::new(0, origin.fails()).priority(1);
        let good: Vec<_> = (1..10).map(|n| WarmEntry::new(n, origin.gives(n))).collect();
        std::iter::once(bad).chain(good)
    };
    let one = WarmOptions::new().concurrency(1);
    let error = node.cache.warm(entries(&origin), &one, |_| {}).await.unwrap_err();
    assert_eq!((error.kind(), error.key(), origin.calls()), (ErrorKind::LoadFailed, Some("n:0"), 1));
    let mut failed = Vec::new();
    let going_on = one.continue_on_error(true);
    let warmed = node.cache.warm(entries(&origin), &going_on, |step| {
        if !step.ok {
            failed.push(step.key);
        }
    });
    assert_eq!((warmed.await.unwrap(), failed), (9, vec!["n:0".to_owned()]));
    assert_eq!(get(&fleet.node(Policy::default()).await.cache, 9).await, Some(9));
    node.recorder.wait_for_many(9, |event| matches!(event, Event::Warmed { ok: true, .. })).await;
    assert_eq!(
        node.cache.warm([], &WarmOptions::new().concurrency(0), |_| {}).await.unwrap_err().kind(),
        ErrorKind::Invalid
    );
}

#[tokio::test(start_paused = true)]
async fn what_is_there_already_is_not_loaded_again_and_lives_end_apart() {
    let (cache, origin) = (numbers(Policy::ttl(secs(100)).jitter(0.2)).await, Origin::default());
    cache.set(&0, 7).await.unwrap();
    let entries = (0..20).map(|n| WarmEntry::new(n, origin.gives(n)));
    assert_eq!(cache.warm(entries, &WarmOptions::new(), |_| {}).await.unwrap(), 20);
    assert_eq!((origin.calls(), load(&cache, 0, no_loader()).await), (19, 7));
    let mut ends = Vec::new();
    for n in 0..20 {
        ends.push(cache.ttl(&n).await.unwrap().unwrap());
    }
    ends.sort_unstable();
    ends.dedup();
    assert!(ends.len() > 15, "{ends:?}");
}

#[tokio::test(start_paused = true)]
async fn an_entry_whose_loader_finds_nothing_is_warmed_only_if_absences_are_remembered() {
    for (policy, expected) in [(Policy::default(), 0), (Policy::default().negative_ttl(secs(9)), 1)] {
        let (cache, origin) = (numbers(policy).await, Origin::default());
        let entry = WarmEntry::new(1, origin.answers(Loaded::absent()));
        assert_eq!(cache.warm([entry], &WarmOptions::new(), |_| {}).await.unwrap(), expected);
        assert_eq!(cache.len(), expected as u64);
    }
}

#[tokio::test(start_paused = true)]
async fn a_wrapped_function_remembers_by_its_arguments_and_shares_its_loads() {
    let stack = memory_only().await;
    let calls = Arc::new(AtomicU64::new(0));
    let cache: Cache<Args<(String, String)>, String> = stack.cache("wrapped").build().unwrap();
    let counting = Arc::clone(&calls);
    let join = cache.wrap(move |(a, b): (String, String)| {
        counting.fetch_add(1, Ordering::SeqCst);
        async move {
            sleep(millis(5)).await;
            Ok::<_, BoxError>(format!("{a}|{b}"))
        }
    });
    let pair = |a: &str, b: &str| (a.to_owned(), b.to_owned());
    let callers = (0..20).map(|_| join(pair("a:b", "c")));
    for answer in futures_util::future::join_all(callers).await {
        assert_eq!(answer.unwrap().as_deref().map(String::as_str), Some("a:b|c"));
    }
    assert_eq!(join(pair("a", "b:c")).await.unwrap().as_deref().map(String::as_str), Some("a|b:c"));
    assert_eq!(calls.load(Ordering::SeqCst), 2);
}

#[tokio::test(start_paused = true)]
async fn a_wrapped_function_may_resolve_its_own_key_and_a_resolver_that_panics_is_an_error() {
    let cache = numbers(Policy::default()).await;
    let calls = Arc::new(AtomicU64::new(0));
    let counting = Arc::clone(&calls);
    let find = cache.wrap_by(
        |(id, secret): &(u64, &'static str)| {
            assert!(!secret.is_empty(), "a resolver's own fault");
            *id
        },
        move |(id, _)| {
            counting.fetch_add(1, Ordering::SeqCst);
            async move { Ok::<u64, BoxError>(id * 10) }
        },
    );
    assert_eq!(find((1, "a")).await.unwrap().as_deref(), Some(&10));
    assert_eq!(find((1, "b")).await.unwrap().as_deref(), Some(&10));
    assert_eq!(calls.load(Ordering::SeqCst), 1, "the secret is not in the key");
    assert_eq!(find((2, "")).await.unwrap_err().kind(), ErrorKind::Rejected);
    assert_eq!(get(&cache, 1).await, Some(10));
}
