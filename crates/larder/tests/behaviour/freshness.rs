//! How entries age: lives, windows, throttles, early refreshes, and what loaders decide.

use larder::{
    Answer, ErrorKind, Life, LoadCause, Loaded, Memory, Moment, Policy, ReadOptions, Stack, StaleReason,
    TierPolicy, Validator, hours, millis, minutes, secs,
};
use larder_core::Event;
use larder_testkit::{MockClock, Op, SeededRng};

use crate::support::{Fleet, Origin, Watch, get, load, no_loader, numbers, quiet, sleep};

#[tokio::test(start_paused = true)]
async fn a_value_is_served_until_its_ttl_ends_and_not_a_moment_longer() {
    let (cache, origin) = (numbers(Policy::ttl(secs(10))).await, Origin::default());
    load(&cache, 1, origin.gives(7)).await;
    sleep(millis(9_999)).await;
    assert_eq!(load(&cache, 1, no_loader()).await, 7);
    sleep(millis(1)).await;
    assert_eq!(get(&cache, 1).await, None);
    assert_eq!(load(&cache, 1, origin.gives(8)).await, 8);
}

#[tokio::test(start_paused = true)]
async fn each_tier_may_have_a_ttl_of_its_own() {
    let fleet = Fleet::new();
    let policy = Policy::ttl(minutes(5)).tier("memory", TierPolicy::ttl(secs(10)));
    let node = fleet.node(policy).await;
    load(&node.cache, 1, Origin::default().gives(7)).await;
    let fresh: Vec<_> =
        node.cache.inspect(&1).await.unwrap().copies.iter().map(|copy| copy.fresh_for).collect();
    assert_eq!(fresh, [secs(10), minutes(5)]);
    sleep(secs(11)).await;
    assert_eq!(load(&node.cache, 1, no_loader()).await, 7, "from the store");
    assert_eq!(
        node.cache.inspect(&1).await.unwrap().copies[0].fresh_for,
        secs(10),
        "memory's own span again"
    );
}

#[tokio::test(start_paused = true)]
async fn a_stale_value_is_served_at_once_while_one_refresh_runs_behind_it() {
    let policy = Policy::ttl(secs(10)).stale_while_revalidate(secs(30));
    let (cache, origin) = (numbers(policy).await, Origin::default());
    load(&cache, 1, origin.gives(7)).await;
    sleep(secs(15)).await;
    for _ in 0..5 {
        let lookup = cache.get_or_load_with(&1, &ReadOptions::new(), origin.slow(8, secs(1))).await.unwrap();
        let stale = lookup.stale.expect("past its time");
        assert_eq!((lookup.answer.as_value(), lookup.loaded), (Some(&7), false));
        assert_eq!((stale.reason, stale.age), (StaleReason::Revalidating, secs(5)));
    }
    sleep(millis(1_001)).await;
    assert_eq!((load(&cache, 1, no_loader()).await, origin.calls()), (8, 2));
    assert_eq!((cache.stats().refreshes, cache.stats().stale_served), (1, 5));
    sleep(secs(41)).await;
    assert_eq!(load(&cache, 1, origin.gives(9)).await, 9, "past the window it waits for the load");
}

#[tokio::test(start_paused = true)]
async fn a_store_holds_a_stale_value_as_long_as_its_windows_last() {
    let fleet = Fleet::new();
    let policy = Policy::ttl(secs(10)).stale_while_revalidate(secs(30));
    let (one, two) = (fleet.node(policy.clone()).await, fleet.node(policy).await);
    let origin = Origin::default();
    load(&one.cache, 1, origin.gives(7)).await;
    sleep(secs(15)).await;
    let lookup = two.cache.get_or_load_with(&1, &ReadOptions::new(), origin.slow(8, secs(1))).await.unwrap();
    assert_eq!(lookup.stale.expect("stale").reason, StaleReason::Revalidating);
    quiet(&two.stack).await;
    assert_eq!((load(&two.cache, 1, no_loader()).await, origin.calls()), (8, 2));
}

#[tokio::test(start_paused = true)]
async fn a_failing_load_serves_the_old_value_and_the_next_attempt_waits_ten_seconds() {
    let policy = Policy::ttl(secs(10)).stale_if_error(hours(1));
    let (cache, origin) = (numbers(policy).await, Origin::default());
    load(&cache, 1, origin.gives(7)).await;
    sleep(secs(20)).await;
    let options = ReadOptions::new();
    let lookup = cache.get_or_load_with(&1, &options, origin.fails()).await.unwrap();
    let stale = lookup.stale.expect("stale");
    assert_eq!(
        (lookup.answer.as_value(), stale.reason, stale.age),
        (Some(&7), StaleReason::LoadFailed, secs(10))
    );
    sleep(millis(9_999)).await;
    let lookup = cache.get_or_load_with(&1, &options, no_loader()).await.unwrap();
    assert_eq!(lookup.stale.expect("stale").reason, StaleReason::Rearmed);
    sleep(millis(1)).await;
    assert_eq!(load(&cache, 1, origin.gives(8)).await, 8);
    assert_eq!(origin.calls(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_fallback_ends_with_its_window_however_often_it_was_rearmed() {
    let policy = Policy::ttl(secs(10)).stale_if_error(secs(30));
    let (cache, origin) = (numbers(policy).await, Origin::default());
    load(&cache, 1, origin.gives(7)).await;
    for _ in 0..5 {
        sleep(secs(7)).await;
        assert_eq!(load(&cache, 1, origin.fails()).await, 7);
    }
    sleep(secs(5)).await;
    let error = cache.get_or_load(&1, origin.fails()).await.unwrap_err();
    assert_eq!((error.kind(), error.key()), (ErrorKind::LoadFailed, Some("n:1")));
    let source = std::error::Error::source(&error).expect("the loader's own error");
    assert_eq!(source.to_string(), "the origin is down");
}

#[tokio::test(start_paused = true)]
async fn absences_are_remembered_for_their_own_ttl_and_only_if_the_policy_says_so() {
    let cache = numbers(Policy::ttl(minutes(5)).negative_ttl(secs(30))).await;
    let origin = Origin::default();
    assert_eq!(cache.get_or_load(&1, origin.answers(Loaded::absent())).await.unwrap(), None);
    assert_eq!(cache.get_or_load(&1, no_loader()).await.unwrap(), None);
    sleep(secs(30)).await;
    assert_eq!(load(&cache, 1, origin.gives(7)).await, 7);
    let forgetful = numbers(Policy::ttl(minutes(5))).await;
    for _ in 0..2 {
        assert_eq!(forgetful.get_or_load(&1, origin.answers(Loaded::absent())).await.unwrap(), None);
    }
    assert_eq!((origin.calls(), forgetful.len()), (4, 0));
}

#[tokio::test(start_paused = true)]
async fn an_absence_is_remembered_in_a_tier_no_longer_than_the_tier_keeps_anything() {
    let policy = Policy::ttl(minutes(5)).negative_ttl(secs(30)).tier("memory", TierPolicy::ttl(secs(2)));
    let fleet = Fleet::new();
    let (one, two) = (fleet.node(policy.clone()).await, fleet.node(policy).await);
    let origin = Origin::default();
    let absent = || origin.answers(Loaded::absent());
    assert_eq!(one.cache.get_or_load(&1, absent()).await.unwrap(), None);
    two.cache.remove(&1).await.unwrap();
    sleep(secs(1)).await;
    assert_eq!(one.cache.get(&1).await.unwrap(), Answer::Absent, "without a bus nobody tells it");
    sleep(secs(1)).await;
    assert_eq!(load(&one.cache, 1, Origin::default().gives(7)).await, 7);
    one.cache.remove(&1).await.unwrap();
    let longer = ReadOptions::new().negative_ttl(secs(5));
    assert!(one.cache.get_or_load_with(&1, &longer, absent()).await.unwrap().answer.is_hit());
    two.cache.remove(&1).await.unwrap();
    sleep(secs(4)).await;
    assert_eq!(one.cache.get(&1).await.unwrap(), Answer::Absent, "this call said so");
}

#[tokio::test(start_paused = true)]
async fn an_absence_replaces_the_value_that_was_there_in_every_tier() {
    for negative in [None, Some(secs(30))] {
        let fleet = Fleet::new();
        let mut policy = Policy::ttl(secs(10)).stale_while_revalidate(secs(60)).stale_if_error(hours(1));
        policy.negative_ttl = negative;
        let (one, two) = (fleet.node(policy.clone()).await, fleet.node(policy).await);
        let origin = Origin::default();
        load(&one.cache, 1, origin.gives(7)).await;
        sleep(secs(15)).await;
        assert_eq!(load(&one.cache, 1, origin.answers(Loaded::absent())).await, 7, "stale, at once");
        quiet(&one.stack).await;
        sleep(millis(10)).await;
        let expected = if negative.is_some() { Answer::Absent } else { Answer::Miss };
        assert_eq!(one.cache.get(&1).await.unwrap(), expected);
        assert_eq!(two.cache.get(&1).await.unwrap(), expected);
        assert_eq!(
            one.cache.get_or_load(&1, origin.fails()).await.is_ok(),
            negative.is_some(),
            "nothing to fall back on"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn jitter_spreads_lives_within_its_bounds_and_agrees_between_tiers() {
    let fleet = Fleet::new();
    let policy = Policy::ttl(secs(100)).jitter(0.1);
    let node = fleet.node_with(policy, |stack| stack.rng(SeededRng::new(3))).await;
    let (mut shortest, mut longest) = (hours(1), secs(0));
    for n in 0..200 {
        node.cache.set(&n, n).await.unwrap();
        let copies = node.cache.inspect(&n).await.unwrap().copies;
        assert_eq!(copies[0].fresh_for, copies[1].fresh_for);
        shortest = shortest.min(copies[0].fresh_for);
        longest = longest.max(copies[0].fresh_for);
    }
    assert!(shortest >= secs(90) && shortest < secs(92), "{shortest:?}");
    assert!(longest <= secs(110) && longest > secs(108), "{longest:?}");
}

#[tokio::test(start_paused = true)]
async fn refresh_ahead_reloads_behind_a_fresh_value_once_its_fraction_has_passed() {
    let fleet = Fleet::new();
    let node = fleet.node(Policy::ttl(secs(100)).refresh_ahead(0.8)).await;
    let origin = Origin::default();
    load(&node.cache, 1, origin.gives(7)).await;
    sleep(millis(79_999)).await;
    assert_eq!(load(&node.cache, 1, no_loader()).await, 7);
    sleep(millis(1)).await;
    let cause = std::sync::Arc::new(std::sync::Mutex::new(None));
    let told = std::sync::Arc::clone(&cause);
    let loader = origin.runs(move |context| {
        *told.lock().unwrap() = Some((context.cause(), context.previous().map(|value| **value)));
        Box::pin(async { Ok(Loaded::value(8)) })
    });
    assert_eq!(load(&node.cache, 1, loader).await, 7);
    quiet(&node.stack).await;
    assert_eq!(*cause.lock().unwrap(), Some((LoadCause::RefreshAhead, Some(7))));
    assert_eq!((load(&node.cache, 1, no_loader()).await, origin.calls()), (8, 2));
    let copies = node.cache.inspect(&1).await.unwrap().copies;
    assert!(
        copies.iter().all(|copy| copy.fresh_for > secs(99)),
        "a whole new life in both tiers: {copies:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn refresh_ahead_reloads_what_is_due_together_with_what_a_batch_is_missing() {
    let fleet = Fleet::new();
    let node = fleet.node(Policy::ttl(secs(100)).refresh_ahead(0.8)).await;
    load(&node.cache, 1, Origin::default().gives(7)).await;
    sleep(secs(90)).await;
    let tenfold = |keys: Vec<u64>| async move {
        Ok::<_, std::io::Error>(keys.into_iter().map(|key| (key, key * 10)).collect())
    };
    let values = node.cache.get_many_or_load(&[1, 2], tenfold).await.unwrap();
    assert_eq!(values.iter().map(|value| value.as_deref().copied()).collect::<Vec<_>>(), [Some(7), Some(20)]);
    quiet(&node.stack).await;
    assert_eq!(load(&node.cache, 1, no_loader()).await, 10);
}

#[tokio::test(start_paused = true)]
async fn a_refresh_ahead_that_fails_leaves_the_fresh_value_and_waits_before_the_next() {
    let policy = Policy::ttl(secs(100)).refresh_ahead(0.5);
    let (cache, origin) = (numbers(policy).await, Origin::default());
    load(&cache, 1, origin.gives(7)).await;
    sleep(secs(60)).await;
    assert_eq!(load(&cache, 1, origin.fails()).await, 7);
    sleep(secs(9)).await;
    let lookup = cache.get_or_load_with(&1, &ReadOptions::new(), no_loader()).await.unwrap();
    assert_eq!((lookup.answer.as_value(), lookup.stale), (Some(&7), None));
    sleep(secs(2)).await;
    load(&cache, 1, origin.gives(8)).await;
    sleep(millis(1)).await;
    assert_eq!((get(&cache, 1).await, origin.calls()), (Some(8), 3));
}

#[tokio::test(start_paused = true)]
async fn xfetch_refreshes_some_readers_early_near_the_end_and_none_at_the_beginning() {
    let policy = Policy::ttl(secs(100)).early_refresh_beta(1.0);
    let fleet = Fleet::new();
    let node = fleet.node_with(policy, |stack| stack.rng(SeededRng::new(11))).await;
    let origin = Origin::default();
    let early = |node: &crate::support::Node| node.stack.stats().namespaces[0].refreshes;
    for n in 0..100 {
        load(&node.cache, n, origin.slow(n, millis(500))).await;
    }
    for n in 0..100 {
        load(&node.cache, n, origin.slow(n, millis(500))).await;
    }
    assert_eq!(early(&node), 0, "half a minute before the end half a second is nothing");
    sleep(secs(100) - millis(50_000) - millis(1_000)).await;
    for _ in 0..50 {
        load(&node.cache, 99, origin.slow(99, millis(500))).await;
    }
    quiet(&node.stack).await;
    assert_eq!(early(&node), 0);
    sleep(millis(50_500)).await;
    for _ in 0..10 {
        load(&node.cache, 99, origin.slow(99, millis(500))).await;
    }
    quiet(&node.stack).await;
    assert!(early(&node) >= 1, "half a second before the end one in three goes early");
}

#[tokio::test(start_paused = true)]
async fn a_sliding_value_lives_as_long_as_it_is_read() {
    let fleet = Fleet::new();
    let node = fleet.node(Policy::ttl(secs(10)).sliding(true)).await;
    load(&node.cache, 1, Origin::default().gives(7)).await;
    for _ in 0..10 {
        sleep(secs(8)).await;
        assert_eq!(load(&node.cache, 1, no_loader()).await, 7);
    }
    sleep(secs(10)).await;
    assert_eq!(get(&node.cache, 1).await, None);
}

#[tokio::test(start_paused = true)]
async fn a_sliding_value_that_is_read_from_a_store_lives_on_there_too() {
    let fleet = Fleet::new();
    let policy = Policy::ttl(secs(10)).sliding(true);
    let (one, two) = (fleet.node(policy.clone()).await, fleet.node(policy).await);
    load(&one.cache, 1, Origin::default().gives(7)).await;
    let options = ReadOptions::new().read_tiers(larder::TierChoice::Only(vec!["shared".into()]));
    for _ in 0..10 {
        sleep(secs(8)).await;
        let lookup = two.cache.get_with(&1, &options).await.unwrap();
        assert_eq!((lookup.answer.as_value(), lookup.stale), (Some(&7), None));
    }
    sleep(secs(10)).await;
    assert_eq!((get(&two.cache, 1).await, get(&one.cache, 1).await), (None, None));
}

#[tokio::test(start_paused = true)]
async fn after_the_soft_timeout_the_old_value_is_taken_and_the_load_goes_on() {
    let policy = Policy::ttl(secs(10)).stale_if_error(hours(1)).soft_timeout(millis(100));
    let (cache, origin) = (numbers(policy).await, Origin::default());
    load(&cache, 1, origin.gives(7)).await;
    sleep(secs(20)).await;
    let began = Watch::start();
    let lookup = cache.get_or_load_with(&1, &ReadOptions::new(), origin.slow(8, secs(3))).await.unwrap();
    assert_eq!(
        (lookup.answer.as_value(), lookup.stale.unwrap().reason),
        (Some(&7), StaleReason::SoftTimeout)
    );
    assert_eq!(began.elapsed().as_millis(), 100);
    sleep(secs(3)).await;
    assert_eq!((load(&cache, 1, no_loader()).await, origin.calls()), (8, 2));
    assert_eq!(load(&cache, 2, origin.slow(9, secs(1))).await, 9, "without an old value it waits");
}

#[tokio::test(start_paused = true)]
async fn after_the_hard_timeout_the_caller_gets_a_typed_error_or_the_old_value_and_the_load_goes_on() {
    let policy = Policy::ttl(secs(10)).stale_if_error(hours(1)).hard_timeout(millis(100));
    let (cache, origin) = (numbers(policy).await, Origin::default());
    let error = cache.get_or_load(&1, origin.slow(7, secs(1))).await.unwrap_err();
    assert_eq!((error.kind(), error.key()), (ErrorKind::Timeout, Some("n:1")));
    sleep(secs(1)).await;
    assert_eq!((load(&cache, 1, no_loader()).await, origin.calls()), (7, 1));
    sleep(secs(20)).await;
    let lookup = cache.get_or_load_with(&1, &ReadOptions::new(), origin.slow(8, secs(1))).await.unwrap();
    assert_eq!(
        (lookup.answer.as_value(), lookup.stale.unwrap().reason),
        (Some(&7), StaleReason::HardTimeout)
    );
    sleep(secs(1)).await;
    assert_eq!(load(&cache, 1, no_loader()).await, 8);
}

#[tokio::test(start_paused = true)]
async fn a_loader_that_never_ends_is_ended_by_its_limit_and_the_lease_is_free() {
    let fleet = Fleet::new();
    let node = fleet.node(Policy::default().load_limit(secs(5))).await;
    let (origin, began) = (Origin::default(), Watch::start());
    let error = node.cache.get_or_load(&1, origin.never()).await.unwrap_err();
    assert_eq!((error.kind(), began.elapsed().as_secs()), (ErrorKind::Timeout, 5));
    let began = Watch::start();
    let other = fleet.node(Policy::default()).await;
    assert_eq!(load(&other.cache, 1, origin.gives(7)).await, 7);
    assert!(began.elapsed() < millis(100), "the lease was given back");
    let names = node
        .recorder
        .wait_for_many(2, |event| matches!(event, Event::LoadTimedOut { .. } | Event::LoadFailed { .. }))
        .await;
    assert_eq!(names.iter().map(Event::name).collect::<Vec<_>>(), ["load_timed_out", "load_failed"]);
    assert_eq!(node.cache.stats().load_timeouts, 1);
}

#[tokio::test(start_paused = true)]
async fn what_should_not_be_stored_is_returned_and_kept_nowhere() {
    let fleet = Fleet::new();
    let node = fleet.node(Policy::default()).await;
    let cache = node.stack.cache::<u64, u64>("even").should_store(|value| value % 2 == 0).build().unwrap();
    let origin = Origin::default();
    assert_eq!((load(&cache, 1, origin.gives(7)).await, load(&cache, 2, origin.gives(8)).await), (7, 8));
    assert_eq!((cache.has(&1).await.unwrap(), cache.has(&2).await.unwrap()), (false, true));
    assert_eq!(load(&cache, 3, origin.answers(Loaded::value(6).unstored())).await, 6);
    assert_eq!(load(&cache, 4, origin.answers(Loaded::value(6).ttl(secs(0)))).await, 6);
    assert_eq!((cache.has(&3).await.unwrap(), cache.has(&4).await.unwrap()), (false, false));
    let panicking = node.stack.cache::<u64, u64>("p").should_store(|_| panic!("a predicate's own fault"));
    let panicking = panicking.build().unwrap();
    assert_eq!(load(&panicking, 1, origin.gives(7)).await, 7);
    assert!(panicking.has(&1).await.unwrap());
    let began = Watch::start();
    assert_eq!(load(&cache, 1, origin.gives(8)).await, 8);
    assert!(began.elapsed() < millis(50), "the lease of what was not stored was given back");
}

#[tokio::test(start_paused = true)]
async fn the_loader_may_decide_the_life_of_what_it_loaded_and_beats_the_call_which_beats_the_policy() {
    let fleet = Fleet::new();
    let node = fleet.node(Policy::ttl(minutes(5))).await;
    let origin = Origin::default();
    let loaded =
        Loaded::value(7).ttl(secs(3)).stale_while_revalidate(secs(4)).stale_if_error(secs(5)).tags(["t"]);
    load(&node.cache, 1, origin.answers(loaded)).await;
    for copy in node.cache.inspect(&1).await.unwrap().copies {
        assert_eq!((copy.fresh_for, copy.stale_for, copy.fallback_for), (secs(3), secs(7), secs(8)));
        assert_eq!(copy.tags, ["t"]);
    }
    let options = ReadOptions::new().ttl(secs(20)).negative_ttl(secs(2));
    node.cache.get_or_load_with(&2, &options, origin.gives(7)).await.unwrap();
    node.cache.get_or_load_with(&3, &options, origin.answers(Loaded::value(7).ttl(secs(9)))).await.unwrap();
    assert_eq!(node.cache.ttl(&2).await.unwrap(), Some(secs(20)));
    assert_eq!(node.cache.ttl(&3).await.unwrap(), Some(secs(9)));
    let bad = origin.answers(Loaded::value(7).tags(["x".repeat(300)]));
    assert_eq!(node.cache.get_or_load(&4, bad).await.unwrap_err().kind(), ErrorKind::Rejected);
}

#[tokio::test(start_paused = true)]
async fn the_call_says_how_long_an_absence_is_remembered_whatever_it_says_of_values() {
    let (cache, origin) = (numbers(Policy::default()).await, Origin::default());
    let options = ReadOptions::new().ttl(hours(1)).negative_ttl(secs(2));
    cache.get_or_load_with(&1, &options, origin.answers(Loaded::absent())).await.unwrap();
    assert_eq!(cache.ttl(&1).await.unwrap(), Some(secs(2)));
}

#[tokio::test(start_paused = true)]
async fn what_is_not_modified_gets_a_new_life_and_keeps_its_labels() {
    let fleet = Fleet::new();
    let policy = Policy::ttl(secs(10)).stale_while_revalidate(minutes(1));
    let (one, two) = (fleet.node(policy.clone()).await, fleet.node(policy).await);
    let origin = Origin::default();
    let first = Loaded::value(7).tags(["t"]).validator(Validator::etag("v1"));
    load(&one.cache, 1, origin.answers(first)).await;
    sleep(secs(15)).await;
    let conditional = || {
        origin.runs(|context| {
            assert_eq!(context.validator(), Some(&Validator::etag("v1")));
            assert_eq!(context.previous().map(|value| **value), Some(7));
            Box::pin(async { Ok(Loaded::not_modified()) })
        })
    };
    for cache in [&one.cache, &two.cache] {
        assert_eq!(load(cache, 1, conditional()).await, 7);
        quiet(&one.stack).await;
        quiet(&two.stack).await;
        for copy in cache.inspect(&1).await.unwrap().copies {
            assert_eq!((copy.life, copy.tags.as_slice()), (Life::Fresh, &["t".to_owned()][..]), "{copy:?}");
        }
        sleep(secs(15)).await;
    }
    assert_eq!((one.cache.stats().not_modified, two.cache.stats().not_modified), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn not_modified_without_anything_to_compare_is_an_error() {
    let (cache, origin) = (numbers(Policy::default()).await, Origin::default());
    let error = cache.get_or_load(&1, origin.answers(Loaded::not_modified())).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::LoadFailed);
    assert!(error.to_string().contains("not modified"));
    assert!(cache.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_copy_keeps_the_life_its_entry_has_left_and_never_outlives_it() {
    let fleet = Fleet::new();
    let policy = Policy::ttl(secs(60)).stale_if_error(secs(60));
    let (one, two) = (fleet.node(policy.clone()).await, fleet.node(policy).await);
    load(&one.cache, 1, Origin::default().gives(7)).await;
    sleep(secs(59)).await;
    assert_eq!(get(&two.cache, 1).await, Some(7));
    assert_eq!(two.cache.inspect(&1).await.unwrap().copies[0].fresh_for, secs(1));
    sleep(secs(1)).await;
    let lookup = two.cache.get_with(&1, &ReadOptions::new()).await.unwrap();
    assert!(lookup.stale.is_some(), "a copy made a second before the end ends with it");
    sleep(secs(60)).await;
    assert_eq!(get(&two.cache, 1).await, None);
}

#[tokio::test(start_paused = true)]
async fn a_wall_clock_that_is_off_or_steps_never_lengthens_a_life() {
    for skew_ms in [-86_400_000, -5_000, 5_000, 86_400_000] {
        let fleet = Fleet::new();
        let one = fleet.node(Policy::ttl(secs(60))).await;
        let there = fleet.clock.skewed(skew_ms);
        let two = fleet.node_with(Policy::ttl(secs(60)), |stack| stack.clock(there.clone())).await;
        load(&one.cache, 1, Origin::default().gives(7)).await;
        let got = get(&two.cache, 1).await;
        assert_eq!(got.is_some(), skew_ms < 60_000, "{skew_ms}");
        if got.is_some() {
            assert!(two.cache.ttl(&1).await.unwrap().unwrap() <= secs(60));
        }
        there.step_wall(-3_600_000);
        fleet.clock.step_wall(3_600_000);
        assert_eq!(get(&one.cache, 1).await, Some(7), "memory does not look at the wall");
        sleep(secs(60)).await;
        assert_eq!((one.cache.peek(&1).unwrap(), two.cache.peek(&1).unwrap()), (Answer::Miss, Answer::Miss));
    }
}

#[tokio::test]
async fn spans_without_end_do_not_overflow() {
    let (clock, forever) = (MockClock::new(), Policy::forever().stale_if_error(std::time::Duration::MAX));
    let stack = Stack::builder().memory(Memory::max_entries(100)).clock(clock.clone()).build().await.unwrap();
    let (cache, origin) = (stack.cache("n").policy(forever).build().unwrap(), Origin::default());
    load(&cache, 1, origin.gives(7)).await;
    let long = ReadOptions::new().ttl(std::time::Duration::MAX);
    cache.get_or_load_with(&2, &long, origin.gives(8)).await.unwrap();
    let tiny = ReadOptions::new().ttl(std::time::Duration::from_nanos(1)).stale_if_error(secs(0));
    cache.get_or_load_with(&3, &tiny, origin.gives(9)).await.unwrap();
    assert_eq!(cache.ttl(&3).await.unwrap(), Some(millis(1)), "rounded up");
    clock.advance(hours(24 * 365));
    assert_eq!((get(&cache, 1).await, get(&cache, 2).await, get(&cache, 3).await), (Some(7), Some(8), None));
    clock.advance_to(Moment::from_millis(u64::MAX - 1));
    assert_eq!(load(&cache, 4, origin.gives(7)).await, 7);
    assert_eq!(get(&cache, 4).await, Some(7), "at the end of time sums saturate");
}

#[tokio::test(start_paused = true)]
async fn a_dead_entry_leaves_memory_by_itself() {
    let (cache, origin) = (numbers(Policy::ttl(secs(1))).await, Origin::default());
    for n in 0..500 {
        load(&cache, n, origin.gives(n)).await;
    }
    sleep(secs(3)).await;
    assert_eq!((cache.len(), cache.stats().expirations), (0, 500));
}

#[tokio::test(start_paused = true)]
async fn plain_reads_of_a_stale_entry_answer_it_and_refresh_nothing() {
    let fleet = Fleet::new();
    let node =
        fleet.node(Policy::ttl(secs(10)).stale_while_revalidate(secs(30)).stale_if_error(minutes(5))).await;
    node.cache.set(&1, 7).await.unwrap();
    for (after, reason) in [(15, StaleReason::Revalidating), (35, StaleReason::Allowed)] {
        sleep(secs(after)).await;
        let lookup = node.cache.get_with(&1, &ReadOptions::new()).await.unwrap();
        assert_eq!((lookup.answer.as_value(), lookup.stale.unwrap().reason), (Some(&7), reason));
    }
    assert_eq!((node.cache.stats().loads, node.faults.calls(Op::Fill)), (0, 0));
}
