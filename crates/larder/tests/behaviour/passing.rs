//! Callers on a node that may have missed news, while loads from before are under way.

use std::collections::HashMap;

use larder::{
    BusSettings, Cache, ErrorKind, Lookup, Partition, Policy, ReadOptions, StaleReason, TierHits, hours,
    millis, secs,
};

use crate::{
    bus::{Fleet, Node, Way},
    support::{Loading, Origin, Watch, quiet, sleep},
};

/// A node that hears nobody and cannot ask the store either, for so long.
async fn cut_off(partition: Partition, since: std::time::Duration) -> Node {
    let node = Fleet::new(Way::Published).node_with(BusSettings::new().with_partition(partition)).await;
    node.leg.set_deaf(true);
    node.faults.fail_all();
    sleep(since).await;
    node
}

type Reader = tokio::task::JoinHandle<larder::Result<Lookup<u64>>>;

/// Starts a read in a task of its own, and lets it begin.
async fn begin(
    cache: &Cache<u64, u64>,
    key: u64,
    options: &ReadOptions,
    loader: impl FnOnce(larder::LoadContext<u64>) -> Loading + Send + 'static,
) -> Reader {
    let (cache, options) = (cache.clone(), options.clone());
    let reader = tokio::spawn(async move { cache.get_or_load_with(&key, &options, loader).await });
    sleep(millis(1)).await;
    reader
}

async fn nobody(_: Vec<u64>) -> larder::Result<HashMap<u64, u64>> {
    panic!("nothing is loaded before the loads from before have ended")
}

/// How many reads were counted.
fn reads(cache: &Cache<u64, u64>) -> u64 {
    let stats = cache.stats();
    stats.tiers.iter().map(TierHits::all_hits).sum::<u64>() + stats.misses + stats.coalesced
}

#[tokio::test(start_paused = true)]
async fn nobody_waits_for_hanging_loads_from_before_longer_than_its_deadline() {
    let node = cut_off(Partition::Coherent, secs(5)).await;
    let by_policy = Policy::ttl(hours(1)).hard_timeout(millis(300));
    let impatient: Cache<u64, u64> = node.stack.cache("impatient").policy(by_policy).build().unwrap();
    let deadline = ReadOptions::new().deadline(millis(300));
    for (cache, options) in [(&node.cache, deadline), (&impatient, ReadOptions::new())] {
        let (patient, origin) = (ReadOptions::new().deadline(hours(1)), Origin::default());
        for key in [1, 2] {
            begin(cache, key, &patient, origin.never()).await.abort();
        }
        assert_eq!((origin.calls(), cache.stats().misses), (2, 2));
        let began = Watch::start();
        // Nobody loads 3 yet, and 2 is asked for twice.
        let many = cache.get_many_or_load_with(&[1, 2, 3, 2], &options, nobody);
        let one = cache.get_or_load_with(&1, &options, origin.never());
        let (many, one) = tokio::join!(many, one);
        assert_eq!(
            (many.unwrap_err().kind(), one.unwrap_err().kind()),
            (ErrorKind::Timeout, ErrorKind::Timeout)
        );
        assert_eq!(began.elapsed(), millis(300));
        let stats = cache.stats();
        assert_eq!((stats.coalesced, stats.misses, reads(cache)), (4, 3, 7), "{stats:?}");
        // Who leaves earlier counts no less.
        let leaves = cache.get_many_or_load_with(&[1, 3], &options, nobody);
        assert!(tokio::time::timeout(millis(10), leaves).await.is_err());
        let stats = cache.stats();
        assert_eq!((stats.coalesced, stats.misses, reads(cache)), (5, 4, 9), "{stats:?}");
        assert_eq!((origin.calls(), node.stack.stats().flights), (2, 2), "nobody began another");
        assert_eq!(quiet(&node.stack).await.flights, 0, "they end at the load limit");
    }
}

#[tokio::test(start_paused = true)]
async fn after_its_soft_timeout_a_batch_takes_what_is_at_hand_as_a_single_reader_does() {
    let node = cut_off(Partition::Available, millis(0)).await;
    let policy = Policy::ttl(secs(2)).stale_if_error(hours(1));
    let cache: Cache<u64, u64> = node.stack.cache("brief").policy(policy).build().unwrap();
    for key in [1, 2] {
        cache.set(&key, 7).await.unwrap_err();
        crate::support::load(&cache, key, Origin::default().gives(7)).await;
    }
    sleep(secs(5)).await;
    let any = cache.get_with(&2, &ReadOptions::new().allow_stale(true)).await.unwrap();
    assert_eq!(any.stale.map(|stale| stale.reason), Some(StaleReason::CutOff), "whatever was allowed");
    let (patient, origin) = (ReadOptions::new(), Origin::default());
    let before = begin(&cache, 1, &patient, origin.slow(8, secs(10))).await;
    let soft = ReadOptions::new().soft_timeout(millis(100));
    let began = Watch::start();
    let single = cache.get_or_load_with(&1, &soft, origin.never()).await.unwrap();
    assert_eq!((single.answer.as_value(), began.elapsed()), (Some(&7), millis(100)));
    assert_eq!(single.stale.map(|stale| stale.reason), Some(StaleReason::CutOff));
    let (began, before_it) = (Watch::start(), cache.stats());
    let batch = cache.get_many_or_load_with(&[1], &soft, nobody).await.unwrap();
    assert_eq!((batch[0].as_value(), began.elapsed()), (Some(&7), millis(100)));
    let stats = cache.stats();
    assert_eq!((stats.coalesced, stats.misses), (before_it.coalesced + 1, before_it.misses), "it waited");
    // What can be loaded meanwhile is.
    let load = async |keys: Vec<u64>| {
        sleep(secs(1)).await;
        Ok::<_, larder::Error>(keys.into_iter().map(|key| (key, 9)).collect::<HashMap<_, _>>())
    };
    let batch = cache.get_many_or_load_with(&[1, 3], &soft, load).await.unwrap();
    let values: Vec<_> = batch.iter().map(|answer| answer.as_value().copied()).collect();
    assert_eq!(values, [Some(7), Some(9)]);
    assert_eq!(before.await.unwrap().unwrap().answer.as_value(), Some(&8));
    assert_eq!(quiet(&node.stack).await.flights, 0);
}

#[tokio::test(start_paused = true)]
async fn a_load_that_its_callers_left_is_ended_though_others_wait_until_it_is_over() {
    let node = cut_off(Partition::Coherent, secs(5)).await;
    let policy = Policy::ttl(hours(1)).abort_abandoned(true);
    let cache: Cache<u64, u64> = node.stack.cache("abort").policy(policy).build().unwrap();
    let (options, origin) = (ReadOptions::new(), Origin::default());
    let before = begin(&cache, 1, &options, origin.never()).await;
    let after = begin(&cache, 1, &options, origin.gives(8)).await;
    assert_eq!(origin.calls(), 1);
    let began = Watch::start();
    before.abort();
    assert_eq!(after.await.unwrap().unwrap().answer.as_value(), Some(&8));
    assert!(began.elapsed() < millis(50), "{:?}", began.elapsed());
    assert_eq!((origin.calls(), quiet(&node.stack).await.flights), (2, 0));
}
