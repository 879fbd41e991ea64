//! Reading: one key and many, with options and without, and looking without touching.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
};

use larder::{
    Answer, Cache, ErrorKind, Eviction, Life, Loaded, Memory, Policy, ReadOptions, Stack, StaleReason,
    TierChoice, hours, millis, minutes, secs,
};
use larder_testkit::{MemoryStore, Op, PausedClock, SeededRng};

use crate::support::{self, Fleet, Origin, get, load, memory_only, no_loader, numbers, quiet, sleep};

fn only(tier: &str) -> TierChoice {
    TierChoice::Only(vec![tier.into()])
}

#[tokio::test(start_paused = true)]
async fn a_miss_is_loaded_once_and_fills_every_tier() {
    let fleet = Fleet::new();
    let (node, origin) = (fleet.node(Policy::default()).await, Origin::default());
    assert_eq!(load(&node.cache, 1, origin.gives(7)).await, 7);
    assert_eq!(load(&node.cache, 1, no_loader()).await, 7);
    let copies = node.cache.inspect(&1).await.unwrap().copies;
    let tiers: Vec<&str> = copies.iter().map(|copy| &*copy.tier).collect();
    assert_eq!((origin.calls(), tiers), (1, vec!["memory", "shared"]));
    assert!(copies.iter().all(|copy| copy.life == Life::Fresh && copy.fresh_for == minutes(5)));
}

#[tokio::test(start_paused = true)]
async fn a_hit_in_a_slower_tier_fills_the_faster_one_and_is_not_asked_twice() {
    let fleet = Fleet::new();
    let (one, two) = (fleet.node(Policy::default()).await, fleet.node(Policy::default()).await);
    load(&one.cache, 1, Origin::default().gives(7)).await;
    assert_eq!(two.cache.peek(&1).unwrap(), Answer::Miss);
    assert_eq!((get(&two.cache, 1).await, get(&two.cache, 1).await), (Some(7), Some(7)));
    assert_eq!(two.faults.calls(Op::Read), 1);
    assert!(two.cache.peek(&1).unwrap().is_hit());
    assert_eq!(two.stack.stats().namespaces[0].tier_hits("shared"), 1);
}

#[tokio::test(start_paused = true)]
async fn a_value_an_absence_and_a_miss_are_three_different_answers() {
    let cache = numbers(Policy::default().negative_ttl(secs(30))).await;
    cache.set(&1, 7).await.unwrap();
    cache.set_absent(&2).await.unwrap();
    let answers = [cache.get(&1).await.unwrap(), cache.get(&2).await.unwrap(), cache.get(&3).await.unwrap()];
    assert_eq!(answers, [Answer::Value(Arc::new(7)), Answer::Absent, Answer::Miss]);
    assert_eq!(cache.require(&1).await.unwrap().as_deref(), Some(&7));
    assert_eq!(cache.require(&2).await.unwrap(), None);
    let missing = cache.require(&3).await.unwrap_err();
    assert_eq!((missing.kind(), missing.key()), (ErrorKind::Missing, Some("n:3")));
}

#[tokio::test(start_paused = true)]
async fn read_tiers_are_asked_and_no_others() {
    let fleet = Fleet::new();
    let node = fleet.node(Policy::default()).await;
    node.cache.set(&1, 7).await.unwrap();
    let lookup = node.cache.get_with(&1, &ReadOptions::new().read_tiers(only("shared"))).await.unwrap();
    assert_eq!(lookup.tier.as_deref(), Some("shared"));
    let lookup = node.cache.get_with(&1, &ReadOptions::new().read_tiers(TierChoice::None)).await.unwrap();
    assert_eq!((lookup.answer, lookup.tier), (Answer::Miss, None));
    let calls = node.faults.calls(Op::Read);
    let lookup = node.cache.get_with(&2, &ReadOptions::new().read_tiers(only("memory"))).await.unwrap();
    assert_eq!((lookup.answer, node.faults.calls(Op::Read)), (Answer::Miss, calls));
    let unknown = ReadOptions::new().read_tiers(only("disk"));
    let error = node.cache.get_with(&1, &unknown).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
    assert!(error.to_string().contains("memory, shared"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn what_is_loaded_is_kept_in_the_tiers_to_write_and_no_others() {
    let fleet = Fleet::new();
    let (node, origin) = (fleet.node(Policy::default()).await, Origin::default());
    for (key, choice, tiers) in [
        (1, only("memory"), vec!["memory"]),
        (2, only("shared"), vec!["shared"]),
        (3, TierChoice::None, vec![]),
        (4, TierChoice::Except(vec!["memory".into()]), vec!["shared"]),
    ] {
        let options = ReadOptions::new().write_tiers(choice);
        let lookup = node.cache.get_or_load_with(&key, &options, origin.gives(7)).await.unwrap();
        assert!(lookup.loaded && lookup.tier.is_none());
        let copies = node.cache.inspect(&key).await.unwrap().copies;
        assert_eq!(copies.iter().map(|copy| &*copy.tier).collect::<Vec<_>>(), tiers, "key {key}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_deadline_ends_the_wait_and_the_value_is_found_later() {
    let fleet = Fleet::new();
    let (node, origin) = (fleet.node(Policy::default()).await, Origin::default());
    let options = ReadOptions::new().deadline(millis(50));
    let late = node.cache.get_or_load_with(&1, &options, origin.slow(7, secs(1))).await.unwrap_err();
    assert_eq!((late.kind(), late.key()), (ErrorKind::Timeout, Some("n:1")));
    quiet(&node.stack).await;
    assert_eq!((get(&node.cache, 1).await, origin.calls()), (Some(7), 1));
    let zero = ReadOptions::new().deadline(secs(0));
    assert_eq!(node.cache.get_with(&1, &zero).await.unwrap_err().kind(), ErrorKind::Invalid);
}

#[tokio::test(start_paused = true)]
async fn a_forced_load_asks_the_origin_although_tiers_are_fresh_and_replaces_them() {
    let fleet = Fleet::new();
    let (node, origin) = (fleet.node(Policy::default()).await, Origin::default());
    load(&node.cache, 1, origin.gives(7)).await;
    let forced = ReadOptions::new().force_fresh(true);
    let lookup = node.cache.get_or_load_with(&1, &forced, origin.gives(8)).await.unwrap();
    assert_eq!((lookup.answer, lookup.loaded), (Answer::Value(Arc::new(8)), true));
    assert_eq!((get(&node.cache, 1).await, origin.calls()), (Some(8), 2));
    let other = fleet.node(Policy::default()).await;
    assert_eq!(get(&other.cache, 1).await, Some(8));
}

#[tokio::test(start_paused = true)]
async fn a_forced_load_that_finds_nothing_ends_the_old_value() {
    let fleet = Fleet::new();
    let (node, origin) = (fleet.node(Policy::default()).await, Origin::default());
    load(&node.cache, 1, origin.gives(7)).await;
    let forced = ReadOptions::new().force_fresh(true);
    let lookup = node.cache.get_or_load_with(&1, &forced, origin.answers(Loaded::absent())).await.unwrap();
    assert_eq!(lookup.answer, Answer::Absent);
    assert_eq!(node.cache.get(&1).await.unwrap(), Answer::Miss);
    assert!(!node.cache.has(&1).await.unwrap());
}

#[tokio::test(start_paused = true)]
async fn stale_values_are_taken_or_refused_as_the_call_says() {
    let policy = Policy::ttl(secs(10)).stale_if_error(minutes(1));
    let (cache, origin) = (numbers(policy).await, Origin::default());
    load(&cache, 1, origin.gives(7)).await;
    sleep(secs(20)).await;
    let any = ReadOptions::new().allow_stale(true);
    let lookup = cache.get_or_load_with(&1, &any, origin.slow(8, secs(1))).await.unwrap();
    let stale = lookup.stale.expect("past its time");
    assert_eq!(
        (lookup.answer.as_value(), stale.reason, stale.age),
        (Some(&7), StaleReason::Allowed, secs(10))
    );
    let fresh_only = ReadOptions::new().allow_stale(false);
    let lookup = cache.get_or_load_with(&1, &fresh_only, no_loader()).await.unwrap();
    assert_eq!((lookup.answer.as_value(), lookup.stale), (Some(&8), None), "it joined the refresh");
    sleep(secs(20)).await;
    let error = cache.get_or_load_with(&1, &fresh_only, origin.fails()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::LoadFailed);
    assert_eq!(cache.get_with(&1, &fresh_only.only_if_cached(true)).await.unwrap().answer, Answer::Miss);
}

#[tokio::test(start_paused = true)]
async fn only_if_cached_never_loads() {
    let fleet = Fleet::new();
    let (one, two) = (fleet.node(Policy::default()).await, fleet.node(Policy::default()).await);
    let cached = ReadOptions::new().only_if_cached(true);
    assert_eq!(one.cache.get_or_load_with(&1, &cached, no_loader()).await.unwrap().answer, Answer::Miss);
    two.cache.set(&1, 7).await.unwrap();
    let lookup = one.cache.get_or_load_with(&1, &cached, no_loader()).await.unwrap();
    assert_eq!((lookup.answer.as_value(), lookup.tier.as_deref()), (Some(&7), Some("shared")));
}

#[tokio::test(start_paused = true)]
async fn many_keys_are_read_in_their_order_with_one_call_to_the_store() {
    let fleet = Fleet::new();
    let (one, two) = (fleet.node(Policy::default()).await, fleet.node(Policy::default()).await);
    one.cache.set_many((0..100).map(|n| (n, n * 2))).await.unwrap();
    get(&two.cache, 5).await;
    two.faults.reset_counts();
    let keys: Vec<u64> = (0..102).rev().collect();
    let answers = two.cache.get_many(&keys).await.unwrap();
    let values: Vec<Option<u64>> = answers.iter().map(|answer| answer.as_value().copied()).collect();
    let expected: Vec<Option<u64>> = keys.iter().map(|n| (*n < 100).then_some(n * 2)).collect();
    assert_eq!((values, two.faults.calls(Op::Read)), (expected, 1));
    assert!(two.cache.get_many(&[]).await.unwrap().is_empty());
    let too_many: Vec<u64> = (0..100_001).collect();
    assert_eq!(two.cache.get_many(&too_many).await.unwrap_err().kind(), ErrorKind::Rejected);
}

/// A loader of many keys that writes down what it was asked for and answers tenfold, but for keys above 90.
fn tenfold(
    asked: &Arc<Mutex<Vec<Vec<u64>>>>,
    after: std::time::Duration,
) -> impl FnOnce(Vec<u64>) -> futures_util::future::BoxFuture<'static, Result<HashMap<u64, u64>, std::io::Error>>
+ Send
+ 'static {
    let asked = Arc::clone(asked);
    move |keys| {
        asked.lock().unwrap().push(keys.clone());
        Box::pin(async move {
            sleep(after).await;
            Ok(keys.into_iter().filter(|key| *key <= 90).map(|key| (key, key * 10)).collect())
        })
    }
}

#[tokio::test(start_paused = true)]
async fn one_loader_call_gets_all_missing_keys_once_and_what_it_leaves_out_does_not_exist() {
    let fleet = Fleet::new();
    let node = fleet.node(Policy::default().negative_ttl(secs(30))).await;
    let asked = Arc::default();
    node.cache.set(&2, 1).await.unwrap();
    let values = node.cache.get_many_or_load(&[3, 2, 99, 3, 1], tenfold(&asked, millis(1))).await.unwrap();
    let values: Vec<Option<u64>> = values.into_iter().map(|value| value.as_deref().copied()).collect();
    assert_eq!(values, [Some(30), Some(1), None, Some(30), Some(10)]);
    assert_eq!(*asked.lock().unwrap(), [vec![3, 99, 1]]);
    assert_eq!(node.cache.get(&99).await.unwrap(), Answer::Absent);
    assert_eq!(node.stack.stats().namespaces[0].loads, 1);
}

#[tokio::test(start_paused = true)]
async fn overlapping_batches_share_what_another_is_loading() {
    let cache = memory_only().await.cache::<u64, u64>("n").build().unwrap();
    let asked = Arc::default();
    let first = cache.get_many_or_load(&[1, 2, 3], tenfold(&asked, secs(1)));
    let second = cache.get_many_or_load(&[2, 3, 4], tenfold(&asked, secs(1)));
    let third = cache.get_or_load(&4, no_loader());
    let (first, second, third) = tokio::join!(first, second, third);
    assert_eq!(first.unwrap().len() + second.unwrap().len(), 6);
    assert_eq!(third.unwrap().as_deref(), Some(&40));
    assert_eq!(*asked.lock().unwrap(), [vec![1, 2, 3], vec![4]]);
}

#[tokio::test(start_paused = true)]
async fn a_batch_answers_stale_values_at_once_and_refreshes_them_with_the_missing_ones() {
    let policy = Policy::ttl(secs(10)).stale_while_revalidate(minutes(1));
    let cache = numbers(policy).await;
    let asked = Arc::default();
    cache.set_many([(1, 1), (2, 2)]).await.unwrap();
    sleep(secs(5)).await;
    cache.set(&3, 3).await.unwrap();
    sleep(secs(6)).await;
    let values = cache.get_many_or_load(&[1, 2, 3, 4], tenfold(&asked, millis(5))).await.unwrap();
    let values: Vec<u64> = values.into_iter().map(|value| *value.unwrap()).collect();
    assert_eq!(values, [1, 2, 3, 40], "stale ones as they were, the missing one loaded");
    assert_eq!(*asked.lock().unwrap(), [vec![1, 2, 4]]);
    assert_eq!((get(&cache, 1).await, get(&cache, 2).await), (Some(10), Some(20)));
}

#[tokio::test(start_paused = true)]
async fn a_failing_batch_is_everybodys_error_but_for_those_with_a_fallback() {
    let cache = numbers(Policy::ttl(secs(10)).stale_if_error(minutes(1))).await;
    cache.set(&1, 7).await.unwrap();
    sleep(secs(11)).await;
    let failing = |_| async { Err::<HashMap<u64, u64>, _>(std::io::Error::other("down")) };
    let error = cache.get_many_or_load(&[1, 2], failing).await.unwrap_err();
    assert_eq!((error.kind(), error.key()), (ErrorKind::LoadFailed, Some("n:2")));
    let values = cache.get_many_or_load(&[1], failing).await.unwrap();
    assert_eq!(values[0].as_deref(), Some(&7));
}

#[tokio::test(start_paused = true)]
async fn looking_disturbs_neither_eviction_nor_statistics() {
    let memory = Memory::max_entries(2).with_eviction(Eviction::Lru).with_shards(1);
    let stack = Stack::builder().memory(memory).clock(PausedClock::new()).build().await.unwrap();
    let cache = stack.cache::<u64, u64>("n").build().unwrap();
    cache.set(&1, 10).await.unwrap();
    cache.set(&2, 20).await.unwrap();
    let before = cache.stats();
    for _ in 0..3 {
        assert!(cache.has(&1).await.unwrap());
        assert!(cache.peek(&1).unwrap().is_hit());
        assert_eq!(cache.peek_with(&1, |value| value + 1).unwrap(), Some(11));
        assert_eq!(cache.ttl(&1).await.unwrap(), Some(minutes(5)));
        assert_eq!(cache.inspect(&1).await.unwrap().copies.len(), 1);
        assert_eq!((cache.len(), cache.keys().len()), (2, 2));
    }
    assert_eq!(cache.stats(), before);
    cache.set(&3, 30).await.unwrap();
    assert_eq!(cache.peek(&1).unwrap(), Answer::Miss, "it was looked at, not used, so it left first");
    assert!(cache.peek(&2).unwrap().is_hit());
    assert_eq!(cache.stats().evictions, 1);
}

#[tokio::test(start_paused = true)]
async fn ttl_and_inspect_tell_what_each_tier_holds_and_for_how_long() {
    let fleet = Fleet::new();
    let policy = Policy::ttl(secs(60)).stale_while_revalidate(secs(30)).stale_if_error(minutes(10));
    let node = fleet.node(policy).await;
    let loader = Origin::default().answers_after(Loaded::value(7).tags(["team:7"]), millis(20));
    load(&node.cache, 1, loader).await;
    sleep(secs(70)).await;
    assert_eq!(node.cache.ttl(&1).await.unwrap(), Some(secs(0)));
    let inspection = node.cache.inspect(&1).await.unwrap();
    assert!(inspection.is_stale());
    for copy in &inspection.copies {
        assert_eq!((copy.life, copy.fresh_for), (Life::Stale, secs(0)), "{copy:?}");
        assert_eq!((copy.stale_for, copy.fallback_for), (secs(20), minutes(9) + secs(50)), "{copy:?}");
        assert_eq!((copy.load_time, copy.tags.as_slice()), (millis(20), &["team:7".to_owned()][..]));
        assert_eq!(copy.stored_bytes.is_some(), &*copy.tier == "shared");
    }
    assert_eq!(node.cache.ttl(&2).await.unwrap(), None);
    assert!(node.cache.inspect(&2).await.unwrap().copies.is_empty());
    sleep(minutes(10)).await;
    assert_eq!((node.cache.ttl(&1).await.unwrap(), node.cache.has(&1).await.unwrap()), (None, false));
}

/// What memory does not keep raises a floor, and there is no memory here.
#[tokio::test(start_paused = true)]
async fn without_memory_the_keys_of_a_stripe_do_not_make_each_other_old() {
    let mut seen = HashMap::new();
    let (one, other) = (1_u64..).find_map(|n| Some((seen.insert(support::key(n).stripe(), n)?, n))).unwrap();
    let clock = PausedClock::new();
    let stack = Stack::builder()
        .store(MemoryStore::new(clock.clone()))
        .clock(clock)
        .rng(SeededRng::unpredictable())
        .build()
        .await
        .unwrap();
    let cache: Cache<u64, u64> = stack.cache("n").policy(Policy::ttl(hours(1))).build().unwrap();
    let origin = Origin::default();
    for elsewhere in 0..5 {
        for key in [one, other] {
            assert_eq!(load(&cache, key, origin.gives(7)).await, 7);
            cache.set(&(1_000_000 + elsewhere), 1).await.unwrap();
        }
    }
    assert_eq!(origin.calls(), 2);
}
