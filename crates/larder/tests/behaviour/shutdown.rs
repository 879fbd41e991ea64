//! Ending a stack.

use larder::{ErrorKind, Policy, WarmOptions, millis, secs};
use larder_core::Event;
use larder_testkit::Op;

use crate::support::{Fleet, Origin, Watch, get, load, memory_only, no_loader, sleep};

#[tokio::test(start_paused = true)]
async fn shutdown_waits_for_what_is_under_way_and_closes_the_stores_once() {
    let fleet = Fleet::new();
    let (node, origin) = (fleet.node(Policy::default()).await, Origin::default());
    let (cache, slow) = (node.cache.clone(), origin.slow(7, secs(2)));
    let loading = tokio::spawn(async move { cache.get_or_load(&1, slow).await });
    sleep(millis(10)).await;
    let watch = Watch::start();
    node.stack.shutdown(secs(5)).await.unwrap();
    assert_eq!(watch.elapsed(), millis(1_990));
    assert_eq!(loading.await.unwrap().unwrap().as_deref(), Some(&7));
    assert_eq!(get(&fleet.node(Policy::default()).await.cache, 1).await, Some(7), "it was stored");
    node.stack.shutdown(secs(5)).await.unwrap();
    assert_eq!(node.faults.calls(Op::Close), 1);
}

#[tokio::test(start_paused = true)]
async fn shutdown_ends_what_takes_longer_than_its_limit() {
    let fleet = Fleet::new();
    let (node, origin) = (fleet.node(Policy::default()).await, Origin::default());
    let (cache, never) = (node.cache.clone(), origin.never());
    let loading = tokio::spawn(async move { cache.get_or_load(&1, never).await });
    sleep(millis(10)).await;
    let watch = Watch::start();
    assert_eq!(node.stack.shutdown(secs(1)).await.unwrap_err().kind(), ErrorKind::Timeout);
    assert_eq!(watch.elapsed(), secs(1));
    let error = loading.await.unwrap().unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Unavailable | ErrorKind::Closed), "{error}");
    assert_eq!((node.faults.calls(Op::Close), node.stack.stats().flights), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn shutdown_tries_once_more_what_a_store_is_owed_and_counts_what_it_still_does_not_take() {
    for is_back in [true, false] {
        let fleet = Fleet::new();
        let (node, other) = (fleet.node(Policy::default()).await, fleet.node(Policy::default()).await);
        for key in [1, 2] {
            node.cache.set(&key, 7).await.unwrap();
            node.faults.fail(Op::Remove);
            assert!(node.cache.remove(&key).await.is_err());
        }
        if is_back {
            node.faults.heal();
        }
        let watch = Watch::start();
        let ended = node.stack.shutdown(secs(5)).await;
        assert!(watch.elapsed() < secs(1));
        let left = [get(&other.cache, 1).await, get(&other.cache, 2).await];
        let lost = |event: &Event| matches!(event, Event::InvalidationsLost { tier, keys: 2 } if &**tier == "shared");
        if is_back {
            ended.unwrap();
            assert_eq!((left, node.recorder.count("invalidations_lost")), ([None, None], 0));
        } else {
            let error = ended.unwrap_err();
            assert_eq!((error.kind(), error.tier()), (ErrorKind::Unavailable, Some("shared")));
            assert!(error.to_string().contains("owed 2 invalidations"), "{error}");
            assert_eq!(left, [Some(7), Some(7)]);
            node.recorder.wait_for(lost).await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_store_that_does_not_close_is_an_error_and_holds_nothing_up_for_ever() {
    let fleet = Fleet::new();
    let node = fleet.node(Policy::default()).await;
    node.faults.hang(Op::Close);
    let watch = Watch::start();
    let error = node.stack.shutdown(secs(1)).await.unwrap_err();
    assert_eq!((error.kind(), error.tier()), (ErrorKind::Timeout, Some("shared")));
    assert!(watch.elapsed() <= secs(6));
}

#[tokio::test(start_paused = true)]
async fn after_shutdown_every_call_says_closed() {
    let fleet = Fleet::new();
    let node = fleet.node(Policy::default().negative_ttl(secs(1))).await;
    node.cache.set(&1, 7).await.unwrap();
    node.stack.shutdown(secs(1)).await.unwrap();
    let (cache, options) = (&node.cache, larder::ReadOptions::new());
    let many =
        |_: Vec<u64>| async { Ok::<_, larder::BoxError>(std::collections::HashMap::<u64, u64>::new()) };
    let errors = [
        cache.get(&1).await.map(drop),
        cache.get_with(&1, &options).await.map(drop),
        cache.get_or_load(&1, no_loader()).await.map(drop),
        cache.get_or_load_with(&1, &options, no_loader()).await.map(drop),
        cache.get_many(&[1]).await.map(drop),
        cache.get_many_or_load(&[1], many).await.map(drop),
        cache.require(&1).await.map(drop),
        cache.has(&1).await.map(drop),
        cache.ttl(&1).await.map(drop),
        cache.inspect(&1).await.map(drop),
        cache.set(&1, 8).await,
        cache.set_many([(1, 8)]).await,
        cache.set_absent(&1).await,
        cache.remove(&1).await.map(drop),
        cache.remove_many(&[1]).await.map(drop),
        cache.expire(&1).await.map(drop),
        cache.expire_many(&[1]).await.map(drop),
        cache.clear().await.map(drop),
        cache.warm([], &WarmOptions::new(), |_| {}).await.map(drop),
        node.stack.clear().await.map(drop),
    ];
    for (place, error) in errors.into_iter().enumerate() {
        assert_eq!(error.unwrap_err().kind(), ErrorKind::Closed, "call {place}");
    }
    assert!(!cache.peek(&1).unwrap().is_hit(), "memory was let go");
}

#[tokio::test(start_paused = true)]
async fn a_stack_with_nothing_to_do_ends_at_once() {
    let stack = memory_only().await;
    let cache = stack.cache::<u64, u64>("n").build().unwrap();
    load(&cache, 1, Origin::default().gives(7)).await;
    let watch = Watch::start();
    stack.shutdown(secs(10)).await.unwrap();
    assert_eq!(watch.elapsed(), secs(0));
}
