//! Single flight: who shares a load, who does not, and what becomes of loads whose callers or loaders fail.

use std::sync::{Arc, Mutex};

use larder::{
    Answer, BoxError, Cache, ErrorKind, Loaded, Policy, ReadOptions, Settings, hours, millis, secs,
};
use larder_core::Event;
use larder_testkit::{Fault, Op, Recorder, When};

use crate::support::{
    Fleet, Origin, Watch, get, load, memory_only, memory_with, no_loader, numbers, quiet, sleep,
};

/// Starts a load in a task of its own.
fn spawn_load(
    cache: &Cache<u64, u64>,
    key: u64,
    loader: impl FnOnce(larder::LoadContext<u64>) -> crate::support::Loading + Send + 'static,
) -> tokio::task::JoinHandle<larder::Result<Option<Arc<u64>>>> {
    let cache = cache.clone();
    tokio::spawn(async move { cache.get_or_load(&key, loader).await })
}

#[tokio::test(start_paused = true)]
async fn a_thousand_callers_share_one_load_and_the_flight_table_is_empty_after_it() {
    let (stack, origin) = (memory_only().await, Origin::default());
    let cache = stack.cache::<u64, u64>("n").build().unwrap();
    let callers: Vec<_> = (0..1_000).map(|_| spawn_load(&cache, 1, origin.slow(7, secs(1)))).collect();
    sleep(millis(1)).await;
    assert_eq!(stack.stats().flights, 1);
    for caller in callers {
        assert_eq!(caller.await.unwrap().unwrap().as_deref(), Some(&7));
    }
    assert_eq!((origin.calls(), stack.stats().flights), (1, 0));
    assert_eq!((cache.stats().loads, cache.stats().coalesced), (1, 999));
}

#[tokio::test(start_paused = true)]
async fn plain_reads_share_one_look_into_the_store() {
    let fleet = Fleet::new();
    let (one, two) = (fleet.node(Policy::default()).await, fleet.node(Policy::default()).await);
    one.cache.set(&1, 7).await.unwrap();
    two.faults.delay(Op::Read, millis(10));
    let reads = futures_util::future::join_all((0..100).map(|_| two.cache.get(&1))).await;
    assert!(reads.into_iter().all(|answer| answer.unwrap().as_value() == Some(&7)));
    assert_eq!((two.faults.calls(Op::Read), two.cache.stats().coalesced), (1, 99));
}

#[tokio::test(start_paused = true)]
async fn a_caller_that_comes_just_as_a_load_lands_finds_its_value_instead_of_loading_again() {
    let (cache, origin) = (numbers(Policy::default()).await, Origin::default());
    for key in 0..200 {
        let first = spawn_load(&cache, key, origin.gives(7));
        for _ in 0..key % 7 {
            tokio::task::yield_now().await;
        }
        let second = spawn_load(&cache, key, origin.gives(8));
        let values = (first.await.unwrap().unwrap(), second.await.unwrap().unwrap());
        assert_eq!((values.0.as_deref(), values.1.as_deref()), (Some(&7), Some(&7)));
    }
    assert_eq!(origin.calls(), 200);
}

#[tokio::test(start_paused = true)]
async fn a_caller_that_comes_after_an_invalidation_never_joins_a_load_from_before_it() {
    for what in ["remove", "set", "expire", "clear", "remove_many", "clear all"] {
        let fleet = Fleet::new();
        let (node, origin) = (fleet.node(Policy::default()).await, Origin::default());
        let old = spawn_load(&node.cache, 1, origin.slow(7, secs(1)));
        sleep(millis(10)).await;
        match what {
            "remove" => drop(node.cache.remove(&1).await.unwrap()),
            "set" => node.cache.set(&1, 100).await.unwrap(),
            "expire" => drop(node.cache.expire(&1).await.unwrap()),
            "clear" => drop(node.cache.clear().await.unwrap()),
            "remove_many" => drop(node.cache.remove_many(&[1]).await.unwrap()),
            _ => drop(node.stack.clear().await.unwrap()),
        }
        let watch = Watch::start();
        let new = load(&node.cache, 1, origin.gives(8)).await;
        assert_eq!(new, if what == "set" { 100 } else { 8 }, "{what}");
        assert!(watch.elapsed() < millis(200), "{what}: {:?}", watch.elapsed());
        assert_eq!(old.await.unwrap().unwrap().as_deref(), Some(&7), "{what}: its own callers get it");
        quiet(&node.stack).await;
        assert_eq!(get(&node.cache, 1).await, Some(new), "{what}: and nobody else");
        let other = fleet.node(Policy::default()).await;
        assert_eq!(get(&other.cache, 1).await, Some(new), "{what}: nor does the store");
        assert!(node.cache.stats().fenced >= 1, "{what}");
    }
}

#[tokio::test(start_paused = true)]
async fn with_memory_alone_a_load_from_before_a_removal_is_not_kept_either() {
    let (cache, origin) = (numbers(Policy::default()).await, Origin::default());
    let old = spawn_load(&cache, 1, origin.slow(7, secs(1)));
    sleep(millis(10)).await;
    cache.remove(&1).await.unwrap();
    assert_eq!(old.await.unwrap().unwrap().as_deref(), Some(&7));
    assert_eq!(cache.get(&1).await.unwrap(), Answer::Miss);
}

#[tokio::test(start_paused = true)]
async fn the_first_caller_may_leave_and_the_others_get_the_value() {
    let (cache, origin) = (numbers(Policy::default()).await, Origin::default());
    let first = spawn_load(&cache, 1, origin.slow(7, secs(1)));
    sleep(millis(10)).await;
    let second = spawn_load(&cache, 1, no_loader());
    sleep(millis(10)).await;
    first.abort();
    assert_eq!(second.await.unwrap().unwrap().as_deref(), Some(&7));
    assert_eq!(origin.calls(), 1);
}

#[tokio::test(start_paused = true)]
async fn when_all_callers_leave_the_load_goes_on_and_is_kept() {
    let (stack, origin) = (memory_only().await, Origin::default());
    let cache = stack.cache::<u64, u64>("n").build().unwrap();
    let caller = spawn_load(&cache, 1, origin.slow(7, secs(1)));
    sleep(millis(10)).await;
    caller.abort();
    quiet(&stack).await;
    assert_eq!(load(&cache, 1, no_loader()).await, 7);
}

#[tokio::test(start_paused = true)]
async fn when_all_callers_leave_the_load_is_ended_if_the_policy_says_so() {
    let fleet = Fleet::new();
    let node = fleet.node(Policy::default().abort_abandoned(true)).await;
    let (origin, ended) = (Origin::default(), Arc::new(Mutex::new(false)));
    let told = Arc::clone(&ended);
    let loader = origin.runs(move |context| {
        let watching = context.clone();
        tokio::spawn(async move {
            watching.ended().await;
            *told.lock().unwrap() = true;
        });
        Box::pin(std::future::pending())
    });
    let caller = spawn_load(&node.cache, 1, loader);
    sleep(millis(10)).await;
    caller.abort();
    let watch = Watch::start();
    quiet(&node.stack).await;
    assert!(watch.elapsed() < millis(50) && *ended.lock().unwrap());
    let other = fleet.node(Policy::default()).await;
    assert_eq!(load(&other.cache, 1, origin.gives(8)).await, 8);
    assert!(watch.elapsed() < millis(200), "the lease was given back");
}

#[tokio::test(start_paused = true)]
async fn what_a_batch_refreshes_is_loaded_though_the_batch_waited_for_nothing_but_what_another_loads() {
    let stack = memory_only().await;
    let policy = Policy::ttl(secs(1)).stale_while_revalidate(hours(1)).abort_abandoned(true);
    let (cache, origin) = (stack.cache::<u64, u64>("n").policy(policy).build().unwrap(), Origin::default());
    cache.set(&1, 7).await.unwrap();
    sleep(secs(2)).await;
    let other = spawn_load(&cache, 2, origin.slow(8, millis(100)));
    sleep(millis(1)).await;
    let load = async |keys: Vec<u64>| {
        assert_eq!(keys, [1]);
        sleep(millis(500)).await;
        Ok::<_, larder::Error>(std::collections::HashMap::from([(1, 9)]))
    };
    let watch = Watch::start();
    let batch = cache.get_many_or_load(&[1, 2], load).await.unwrap();
    assert_eq!((batch[0].as_deref(), batch[1].as_deref()), (Some(&7), Some(&8)));
    assert!(watch.elapsed() < millis(100), "it waits for what another loads alone");
    sleep(millis(500)).await;
    assert_eq!(cache.peek(&1).unwrap().as_value(), Some(&9));
    drop(other);
}

#[tokio::test(start_paused = true)]
async fn a_load_that_fails_answers_what_another_found_meanwhile_though_what_it_was_to_replace_is_over() {
    let stack = memory_only().await;
    let policy = Policy::ttl(secs(1)).stale_if_error(secs(5));
    let (cache, origin) = (stack.cache::<u64, u64>("n").policy(policy).build().unwrap(), Origin::default());
    for (ttl, answered) in [(hours(1), Some(8)), (secs(1), None)] {
        cache.set(&1, 7).await.unwrap();
        sleep(secs(2)).await;
        let failing = origin.runs(|_| {
            Box::pin(async {
                sleep(secs(20)).await;
                Err("it is down".into())
            })
        });
        let first = spawn_load(&cache, 1, failing);
        sleep(secs(1)).await;
        let forced = ReadOptions::new().force_fresh(true).ttl(ttl);
        cache.get_or_load_with(&1, &forced, origin.gives(8)).await.unwrap();
        assert_eq!(first.await.unwrap().ok().flatten().as_deref(), answered.as_ref());
    }
}

#[tokio::test(start_paused = true)]
async fn a_panicking_loader_is_an_error_for_its_callers_and_nothing_else() {
    let (stack, origin) = (memory_only().await, Origin::default());
    let cache = stack.cache::<u64, u64>("n").build().unwrap();
    let slow_panic = origin.runs(|_| {
        Box::pin(async {
            sleep(secs(1)).await;
            panic!("a loader's own fault")
        })
    });
    let mut callers = vec![spawn_load(&cache, 1, slow_panic)];
    sleep(millis(1)).await;
    callers.extend((0..9).map(|_| spawn_load(&cache, 1, no_loader())));
    let other = spawn_load(&cache, 2, origin.slow(8, secs(2)));
    for caller in callers {
        let error = caller.await.unwrap().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::LoadPanicked);
        assert!(!format!("{error:?}").contains("own fault"), "the text may hold a value");
    }
    assert_eq!(load(&cache, 1, origin.gives(7)).await, 7);
    assert_eq!(other.await.unwrap().unwrap().as_deref(), Some(&8));
    let before_any_future = cache.get_or_load(&3, |_| -> crate::support::Loading { panic!("at once") }).await;
    assert_eq!(before_any_future.unwrap_err().kind(), ErrorKind::LoadPanicked);
    let batch = cache.get_many_or_load(&[3, 4], |_: Vec<u64>| {
        let answer: Result<std::collections::HashMap<u64, u64>, BoxError> = Err("never".into());
        panic!("{}", answer.is_ok());
        #[expect(unreachable_code, reason = "it names the future's type")]
        std::future::ready(answer)
    });
    assert_eq!(batch.await.unwrap_err().kind(), ErrorKind::LoadPanicked);
    assert_eq!(quiet(&stack).await.flights, 0);
    assert_eq!(load(&cache, 3, origin.gives(9)).await, 9);
}

#[tokio::test(start_paused = true)]
async fn a_loader_that_panics_serves_the_fallback_if_there_is_one() {
    let (cache, origin) = (numbers(Policy::ttl(secs(10)).stale_if_error(hours(1))).await, Origin::default());
    load(&cache, 1, origin.gives(7)).await;
    sleep(secs(11)).await;
    assert_eq!(load(&cache, 1, origin.panics()).await, 7);
}

#[tokio::test(start_paused = true)]
async fn a_loader_that_asks_for_its_own_key_gets_an_error_instead_of_waiting_for_itself() {
    let fleet = Fleet::new();
    let (node, origin) = (fleet.node(Policy::default()).await, Origin::default());
    let (inner, watch) = (node.cache.clone(), Watch::start());
    let error = node
        .cache
        .get_or_load(
            &1,
            origin.runs(move |_| {
                Box::pin(async move {
                    Ok(Loaded::value(*inner.get_or_load(&1, no_loader()).await?.expect("a value")))
                })
            }),
        )
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::LoadFailed, "the loader passed it on");
    let source = std::error::Error::source(&error).expect("the inner error");
    assert_eq!(source.downcast_ref::<larder::Error>().map(larder::Error::kind), Some(ErrorKind::Reentrant));
    assert!(watch.elapsed() < millis(100));
    let inner = node.cache.clone();
    let loader = origin.runs(move |_| {
        Box::pin(async move { Ok(Loaded::value(inner.get(&2).await?.as_value().copied().unwrap_or(9))) })
    });
    assert_eq!(load(&node.cache, 2, loader).await, 9, "a plain look is a miss, not a circle");
}

#[tokio::test(start_paused = true)]
async fn a_circle_of_loads_is_an_error_however_long_it_is() {
    let (cache, origin) = (numbers(Policy::default().load_limit(secs(20))).await, Origin::default());
    fn around(cache: Cache<u64, u64>, origin: Origin, key: u64) -> crate::support::Loading {
        Box::pin(async move {
            let next = (key + 1) % 4;
            let (inner, next_origin) = (cache.clone(), origin.clone());
            let loader = origin.runs(move |_| around(inner, next_origin, next));
            Ok(Loaded::value(*cache.get_or_load(&next, loader).await?.expect("a value")))
        })
    }
    let (inner, inner_origin) = (cache.clone(), origin.clone());
    let error =
        cache.get_or_load(&0, origin.runs(move |_| around(inner, inner_origin, 0))).await.unwrap_err();
    let mut source: Option<&(dyn std::error::Error + 'static)> = Some(&error);
    let mut kinds = Vec::new();
    while let Some(error) = source {
        kinds.extend(error.downcast_ref::<larder::Error>().map(larder::Error::kind));
        source = error.source();
    }
    assert_eq!(kinds.last(), Some(&ErrorKind::Reentrant), "{kinds:?}");
    assert_eq!(origin.calls(), 4);
}

#[tokio::test(start_paused = true)]
async fn two_loads_that_come_to_wait_for_each_other_do_not_wait_for_ever() {
    let (cache, origin, watch) =
        (numbers(Policy::default().load_limit(secs(20))).await, Origin::default(), Watch::start());
    let crossing = |own: u64, other: u64| {
        let (cache, inner) = (cache.clone(), cache.clone());
        let loader = origin.runs(move |_| {
            Box::pin(async move {
                sleep(millis(100)).await;
                let value = inner.get_or_load(&other, |_| async { Ok::<u64, BoxError>(1) }).await;
                Ok(Loaded::value(value.map_or(1_000, |value| *value.expect("a value") + own)))
            })
        });
        async move { cache.get_or_load(&own, loader).await }
    };
    let (one, two) = tokio::join!(crossing(1, 2), crossing(2, 1));
    let values = [*one.unwrap().unwrap(), *two.unwrap().unwrap()];
    assert!(values.contains(&1_000), "one of them was told: {values:?}");
    assert!(watch.elapsed() < secs(1));
}

#[tokio::test(start_paused = true)]
async fn loads_may_use_other_keys_side_by_side() {
    let (cache, origin) = (numbers(Policy::default()).await, Origin::default());
    let (inner, parts) = (cache.clone(), origin.clone());
    let sum = origin.runs(move |_| {
        Box::pin(async move {
            let keys: Vec<u64> = (2..12).collect();
            let loads = keys.iter().map(|n| inner.get_or_load(n, parts.slow(*n, secs(1))));
            let values = futures_util::future::try_join_all(loads).await?;
            Ok(Loaded::value(values.iter().map(|value| **value.as_ref().expect("a value")).sum()))
        })
    });
    let watch = Watch::start();
    assert_eq!(load(&cache, 1, sum).await, 65);
    assert_eq!(watch.elapsed(), secs(1));
}

#[tokio::test(start_paused = true)]
async fn beyond_its_bound_the_flight_table_shares_no_more_and_at_twice_the_bound_it_refuses() {
    let stack = memory_with(Settings::new().with_flights_max(4)).await;
    let recorder = Recorder::new();
    stack.observe(recorder.clone()).keep();
    let (cache, origin) = (stack.cache::<u64, u64>("n").build().unwrap(), Origin::default());
    let mut callers: Vec<_> = (0..6).map(|n| spawn_load(&cache, n, origin.slow(n, secs(1)))).collect();
    sleep(millis(1)).await;
    callers.push(spawn_load(&cache, 5, origin.slow(5, secs(1))));
    callers.push(spawn_load(&cache, 5, origin.slow(5, secs(1))));
    sleep(millis(1)).await;
    assert_eq!((origin.calls(), stack.stats().flights), (8, 8), "key 5 is loaded three times");
    assert_eq!(cache.get_or_load(&9, no_loader()).await.unwrap_err().kind(), ErrorKind::Overloaded);
    assert_eq!(
        cache
            .get_many_or_load(&[0, 9], |_| async {
                Err::<std::collections::HashMap<u64, u64>, BoxError>("".into())
            })
            .await
            .unwrap_err()
            .kind(),
        ErrorKind::Overloaded
    );
    let joiner = spawn_load(&cache, 0, no_loader());
    for (place, caller) in callers.into_iter().enumerate() {
        assert_eq!(caller.await.unwrap().unwrap().as_deref(), Some(&(place as u64).min(5)));
    }
    assert_eq!(joiner.await.unwrap().unwrap().as_deref(), Some(&0));
    recorder.wait_for_many(4, |event| matches!(event, Event::Uncoalesced { .. })).await;
    assert_eq!((cache.stats().uncoalesced, quiet(&stack).await.flights), (4, 0));
    assert_eq!(load(&cache, 9, origin.gives(9)).await, 9);
}

#[tokio::test(start_paused = true)]
async fn a_forced_load_and_an_ordinary_one_do_not_wait_for_each_other_but_forced_ones_share() {
    let (cache, origin) = (numbers(Policy::default()).await, Origin::default());
    load(&cache, 1, origin.gives(7)).await;
    let forced = ReadOptions::new().force_fresh(true);
    let loads = (0..10).map(|_| cache.get_or_load_with(&1, &forced, origin.slow(8, secs(1))));
    let (forced, plain) =
        tokio::join!(futures_util::future::join_all(loads), cache.get_or_load(&1, no_loader()));
    assert_eq!(plain.unwrap().as_deref(), Some(&7));
    assert!(forced.into_iter().all(|lookup| lookup.unwrap().answer.as_value() == Some(&8)));
    assert_eq!(origin.calls(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_hanging_store_does_not_keep_a_load_from_its_callers() {
    let fleet = Fleet::new();
    let (node, origin, watch) = (fleet.node(Policy::default()).await, Origin::default(), Watch::start());
    node.faults.inject(Op::Read, When::Always, Fault::HangAfter);
    let callers: Vec<_> = (0..50).map(|n| spawn_load(&node.cache, n % 5, origin.gives(7))).collect();
    for caller in callers {
        assert_eq!(caller.await.unwrap().unwrap().as_deref(), Some(&7));
    }
    assert!(watch.elapsed() < millis(300), "once, side by side: {:?}", watch.elapsed());
    assert_eq!(origin.calls(), 5);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn callers_on_several_threads_load_each_key_once() {
    let stack =
        larder::Stack::builder().memory(larder::Memory::max_entries(1_000_000)).build().await.unwrap();
    let (cache, origin) = (stack.cache::<u64, u64>("n").build().unwrap(), Origin::default());
    let callers: Vec<_> = (0..4)
        .map(|_| {
            let (cache, origin) = (cache.clone(), origin.clone());
            tokio::spawn(async move {
                for key in 0..3_000 {
                    assert_eq!(load(&cache, key, origin.gives(key)).await, key);
                }
            })
        })
        .collect();
    for caller in callers {
        caller.await.unwrap();
    }
    assert_eq!((origin.calls(), stack.stats().flights), (3_000, 0));
}
