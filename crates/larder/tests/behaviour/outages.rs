//! Stores that fail: reads go on, writes say what they reached, and what is owed is paid.

use larder::{
    Answer, ErrorKind, Memory, Policy, Reach, ReadOptions, Settings, Stack, StaleReason, TierSettings,
    TierState, WriteMode, WriteOptions, hours, millis, secs,
};
use larder_core::Event;
use larder_testkit::{Fault, Faulty, MemoryStore, Op, PausedClock, When};

use crate::{
    bus,
    support::{Fleet, Node, Origin, Watch, get, load, no_loader, plain_capabilities, quiet, sleep},
};

fn state(node: &Node) -> (TierState, u64, u64) {
    let tier = node.stack.stats().tiers.remove(0);
    (tier.state, tier.breaker_trips, tier.journal)
}

/// Opens the breaker and lets everything fail.
async fn cut_off(node: &Node) {
    node.faults.fail_all();
    for n in 1_000..1_005 {
        get(&node.cache, n).await;
    }
    assert_eq!(state(node).0, TierState::Open);
}

#[tokio::test(start_paused = true)]
async fn no_failure_of_a_store_fails_a_read_or_a_load() {
    let faults = [
        Fault::Error,
        Fault::ErrorAfter,
        Fault::Hang,
        Fault::HangAfter,
        Fault::Delay(secs(1)),
        Fault::DelayAfter(secs(1)),
        Fault::Partial(0.5),
    ];
    for fault in faults {
        for op in [None, Some(Op::Read), Some(Op::Fill), Some(Op::Renew), Some(Op::Release)] {
            let fleet = Fleet::new();
            let (node, origin) = (fleet.node(Policy::ttl(secs(60))).await, Origin::default());
            match op {
                Some(op) => node.faults.inject(op, When::Always, fault),
                None => node.faults.inject_all(&When::Always, fault),
            }
            for n in 0..20 {
                let watch = Watch::start();
                assert_eq!(load(&node.cache, n, origin.gives(n)).await, n, "{fault:?} {op:?}");
                assert!(watch.elapsed() <= millis(510), "{fault:?} {op:?}: {:?}", watch.elapsed());
                assert_eq!(load(&node.cache, n, no_loader()).await, n, "{fault:?} {op:?}: memory kept it");
            }
            let batch: Vec<u64> = (100..120).collect();
            let many = |keys: Vec<u64>| async move {
                Ok::<_, std::io::Error>(keys.into_iter().map(|n| (n, n)).collect())
            };
            let values = node.cache.get_many_or_load(&batch, many).await.unwrap();
            assert!(
                values.iter().zip(&batch).all(|(value, n)| value.as_deref() == Some(n)),
                "{fault:?} {op:?}"
            );
            assert_eq!(quiet(&node.stack).await.flights, 0);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_hanging_store_delays_one_reader_by_its_timeout_and_the_next_not_at_all() {
    let fleet = Fleet::new();
    let (node, origin) = (fleet.node(Policy::default()).await, Origin::default());
    node.faults.hang(Op::Read);
    let watch = Watch::start();
    load(&node.cache, 1, origin.gives(7)).await;
    assert_eq!(watch.elapsed(), millis(250));
    for n in 2..50 {
        load(&node.cache, n, origin.gives(7)).await;
    }
    assert_eq!(watch.elapsed(), millis(250));
    let tier = node.stack.stats().tiers.remove(0);
    assert_eq!((tier.timeouts, tier.failures, tier.state), (1, 1, TierState::Open));
    assert!(tier.skipped >= 48);
    assert!(tier.degraded_for.is_some_and(|left| left > millis(500) && left <= secs(1)), "{tier:?}");
    assert_eq!(tier.latency.max, millis(250));
}

#[tokio::test(start_paused = true)]
async fn the_breaker_opens_probes_and_closes_and_tells_so() {
    let fleet = Fleet::new();
    let node = fleet.node(Policy::default()).await;
    cut_off(&node).await;
    let calls = node.faults.calls(Op::Read);
    get(&node.cache, 1).await;
    assert_eq!(node.faults.calls(Op::Read), calls, "skipped");
    sleep(secs(1)).await;
    get(&node.cache, 1).await;
    assert_eq!(
        (node.faults.calls(Op::Read), state(&node)),
        (calls + 1, (TierState::Open, 2, 0)),
        "one probe"
    );
    sleep(secs(1)).await;
    get(&node.cache, 1).await;
    assert_eq!(node.faults.calls(Op::Read), calls + 1, "the pause has doubled");
    node.faults.heal();
    sleep(secs(1)).await;
    get(&node.cache, 1).await;
    assert_eq!(state(&node), (TierState::Closed, 2, 0));
    let changed = |event: &Event| matches!(event, Event::TierChanged { .. });
    let states: Vec<TierState> = node
        .recorder
        .wait_for_many(3, changed)
        .await
        .into_iter()
        .map(|event| match event {
            Event::TierChanged { state, tier } if &*tier == "shared" => state,
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(states, [TierState::Open, TierState::Open, TierState::Closed]);
    assert!(node.recorder.count("tier_skipped") >= 2);
    assert_eq!(node.recorder.count("tier_failed"), 6);
    assert_eq!(node.stack.stats().tiers[0].degraded_for, None);
}

#[tokio::test(start_paused = true)]
async fn what_is_loaded_during_an_outage_replaces_what_memory_held_before_it() {
    let fleet = Fleet::new();
    let policy = Policy::ttl(secs(10)).stale_while_revalidate(hours(1));
    let (node, origin) = (fleet.node(policy).await, Origin::default());
    for n in 100..120 {
        node.cache.set(&n, 0).await.unwrap();
    }
    load(&node.cache, 5, origin.gives(0)).await;
    cut_off(&node).await;
    sleep(secs(11)).await;
    assert_eq!(load(&node.cache, 5, origin.gives(8)).await, 0, "stale, at once");
    sleep(millis(300)).await;
    assert_eq!(load(&node.cache, 5, no_loader()).await, 8);
    let forced = ReadOptions::new().force_fresh(true);
    node.cache.get_or_load_with(&5, &forced, origin.gives(9)).await.unwrap();
    assert_eq!(load(&node.cache, 5, no_loader()).await, 9);
}

#[tokio::test(start_paused = true)]
async fn a_failed_removal_is_an_error_and_owed_and_the_copy_is_not_read_until_it_is_paid() {
    for fault in [Fault::Error, Fault::ErrorAfter, Fault::Hang] {
        let fleet = Fleet::new();
        let (node, origin) = (fleet.node(Policy::default()).await, Origin::default());
        node.cache.set_many([(1, 7), (2, 7)]).await.unwrap();
        node.faults.inject(Op::Remove, When::Always, fault);
        let error = node.cache.remove(&1).await.unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::Unavailable | ErrorKind::Timeout), "{error}");
        assert_eq!((error.tier(), error.key(), state(&node).2), (Some("shared"), Some("n:1"), 1));
        assert_eq!(
            node.cache.get(&1).await.unwrap(),
            Answer::Miss,
            "{fault:?}: neither memory nor the store"
        );
        assert!(!node.cache.has(&1).await.unwrap());
        assert_eq!(load(&node.cache, 1, origin.gives(8)).await, 8, "{fault:?}");
        node.recorder.wait_for(|event| matches!(event, Event::InvalidationJournaled { tier, keys: 1 } if &**tier == "shared")).await;
        node.faults.heal();
        sleep(secs(3)).await;
        node.recorder
            .wait_for(
                |event| matches!(event, Event::InvalidationReplayed { tier, keys: 1 } if &**tier == "shared"),
            )
            .await;
        assert_eq!(state(&node).2, 0);
        let other = fleet.node(Policy::default()).await;
        assert_ne!(get(&other.cache, 1).await, Some(7), "{fault:?}");
        assert_eq!(get(&other.cache, 2).await, Some(7));
    }
}

#[tokio::test(start_paused = true)]
async fn an_expiry_of_what_is_owed_a_removal_brings_nothing_back() {
    let fleet = Fleet::new();
    let policy = Policy::ttl(hours(1)).stale_if_error(hours(1));
    let (node, other) = (fleet.node(policy.clone()).await, fleet.node(policy).await);
    node.cache.set(&1, 7).await.unwrap();
    node.faults.fail(Op::Write);
    node.cache.set(&1, 8).await.unwrap_err();
    assert_eq!(state(&node).2, 1);
    node.faults.heal();
    node.cache.expire(&1).await.unwrap();
    // The other first: this node pays before it reads.
    assert_eq!((get(&other.cache, 1).await, get(&node.cache, 1).await), (None, None));
    assert_eq!(state(&node).2, 0);
}

#[tokio::test(start_paused = true)]
async fn a_removal_while_the_tier_is_skipped_is_owed_too() {
    let fleet = Fleet::new();
    let node = fleet.node(Policy::default()).await;
    node.cache.set(&1, 7).await.unwrap();
    cut_off(&node).await;
    assert_eq!(node.cache.remove(&1).await.unwrap_err().kind(), ErrorKind::Unavailable);
    let reached = node.cache.remove_with(&1, WriteMode::BestEffort).await.unwrap();
    assert_eq!((reached.store, state(&node).2), (Reach::Journaled, 1));
    node.faults.heal();
    sleep(secs(5)).await;
    assert_eq!((state(&node).2, get(&node.cache, 1).await), (0, None));
}

#[tokio::test(start_paused = true)]
async fn a_failed_clear_or_expiry_is_owed_like_a_removal() {
    let fleet = Fleet::new();
    let node = fleet.node(Policy::default()).await;
    node.cache.set_many([(1, 7), (2, 7)]).await.unwrap();
    node.faults.fail(Op::Raise);
    assert_eq!(node.cache.clear().await.unwrap_err().kind(), ErrorKind::Unavailable);
    assert_eq!((get(&node.cache, 1).await, get(&node.cache, 2).await, state(&node).2), (None, None, 1));
    node.faults.heal();
    sleep(secs(3)).await;
    let other = fleet.node(Policy::default()).await;
    assert_eq!((get(&other.cache, 1).await, state(&node).2), (None, 0));
    node.cache.set(&3, 7).await.unwrap();
    [Op::Read, Op::Write, Op::Remove].into_iter().for_each(|op| node.faults.fail(op));
    assert_eq!(node.cache.expire(&3).await.unwrap_err().kind(), ErrorKind::Unavailable);
    assert_eq!(get(&node.cache, 3).await, None);
    node.faults.heal();
    sleep(secs(3)).await;
    assert_eq!((get(&other.cache, 3).await, state(&node).2), (None, 0));
}

/// Who reads the old copy while a clear is owed may keep it no longer than until that is paid.
#[tokio::test(start_paused = true)]
async fn a_clear_that_is_paid_is_told_to_peers() {
    let fleet = bus::Fleet::without_barriers();
    let (one, two) = (fleet.node().await, fleet.node().await);
    one.cache.set(&1, 7).await.unwrap();
    one.faults.fail(Op::Clear);
    one.cache.clear().await.unwrap_err();
    bus::arrive().await;
    assert_eq!(get(&two.cache, 1).await, Some(7), "the store still has it");
    one.faults.heal();
    sleep(secs(3)).await;
    assert_eq!(get(&two.cache, 1).await, None);
}

#[tokio::test(start_paused = true)]
async fn a_clear_that_hangs_holds_up_no_reader() {
    let fleet = Fleet::new();
    let (node, origin) = (fleet.node(Policy::default()).await, Origin::default());
    node.faults.fail(Op::Raise);
    node.cache.clear().await.unwrap_err();
    node.faults.heal();
    node.faults.hang(Op::Raise);
    for n in 0..100 {
        let watch = Watch::start();
        assert_eq!(load(&node.cache, n, origin.gives(7)).await, 7);
        assert!(watch.elapsed() <= millis(500), "{:?}", watch.elapsed());
        sleep(millis(100)).await;
    }
}

/// Else nobody could ask the store for as long as its answer is waited for.
#[tokio::test(start_paused = true)]
async fn a_clear_that_hangs_is_not_what_tries_whether_the_store_is_well_again() {
    let clock = PausedClock::new();
    let store = MemoryStore::new(clock.clone()).with_capabilities(plain_capabilities());
    let (store, faults) = Faulty::new(store, 1);
    let builder = Stack::builder().memory(Memory::max_entries(10)).clock(clock);
    let stack = builder.store_with(store, TierSettings::new().with_name("store")).build().await.unwrap();
    let cache = stack.cache::<u64, u64>("n").build().unwrap();
    cache.set(&1, 7).await.unwrap();
    faults.fail_all();
    for n in 1_000..1_005 {
        get(&cache, n).await;
    }
    cache.clear().await.unwrap_err();
    assert_eq!(stack.stats().tiers[0].state, TierState::Open);
    faults.heal();
    faults.hang(Op::Clear);
    sleep(millis(1_300)).await;
    assert_eq!(stack.stats().tiers[0].state, TierState::Closed);
    cache.set(&2, 7).await.unwrap();
    assert!(faults.injected(Op::Clear) > 0, "it has been tried");
}

#[tokio::test(start_paused = true)]
async fn beyond_its_bound_the_journal_owes_everything_and_forgets_nothing() {
    let fleet = Fleet::new();
    let settings = Settings::new().with_journal_max(3);
    let node = fleet.node_with(Policy::default(), |stack| stack.settings(settings)).await;
    node.cache.set_many((0..10).map(|n| (n, n))).await.unwrap();
    node.faults.fail(Op::Remove);
    for n in 0..4 {
        node.cache.remove(&n).await.unwrap_err();
    }
    assert_eq!(state(&node).2, 1);
    let past_memory = ReadOptions::new().read_tiers(larder::TierChoice::Only(vec!["shared".into()]));
    for n in 0..10 {
        let lookup = node.cache.get_with(&n, &past_memory).await.unwrap();
        assert_eq!(lookup.answer, Answer::Miss, "nothing of the store is believed");
    }
    node.faults.heal();
    sleep(secs(5)).await;
    assert_eq!(state(&node).2, 0);
    let other = fleet.node(Policy::default()).await;
    assert_eq!((get(&other.cache, 0).await, get(&other.cache, 9).await), (None, None));
}

#[tokio::test(start_paused = true)]
async fn a_write_that_fails_is_an_error_and_neither_the_old_nor_the_new_value_is_served() {
    for fault in [Fault::Error, Fault::ErrorAfter, Fault::Hang, Fault::HangAfter, Fault::Partial(1.0)] {
        let fleet = Fleet::new();
        let node = fleet.node(Policy::default()).await;
        node.cache.set(&1, 7).await.unwrap();
        node.faults.inject(Op::Write, When::Always, fault);
        let error = node.cache.set(&1, 8).await.unwrap_err();
        assert!(
            matches!(error.kind(), ErrorKind::Unavailable | ErrorKind::Timeout | ErrorKind::Rejected),
            "{error}"
        );
        assert_eq!(get(&node.cache, 1).await, None, "{fault:?}");
        assert_eq!(node.cache.stats().write_failures, 1);
        node.faults.heal();
        sleep(secs(5)).await;
        assert_eq!((get(&node.cache, 1).await, state(&node).2), (None, 0), "{fault:?}");
        node.cache.set(&1, 9).await.unwrap();
        assert_eq!(get(&fleet.node(Policy::default()).await.cache, 1).await, Some(9));
    }
}

#[tokio::test(start_paused = true)]
async fn a_best_effort_write_succeeds_while_any_tier_keeps_it() {
    let fleet = Fleet::new();
    let settings = Settings::new().with_write_mode(WriteMode::BestEffort);
    let node = fleet.node_with(Policy::default(), |stack| stack.settings(settings)).await;
    node.cache.set(&1, 7).await.unwrap();
    node.faults.fail(Op::Write);
    node.cache.set(&1, 8).await.unwrap();
    assert_eq!((get(&node.cache, 1).await, node.cache.stats().write_failures), (Some(8), 1));
    assert_eq!(
        get(&fleet.node(Policy::default()).await.cache, 1).await,
        Some(7),
        "other nodes wait for the debt"
    );
    let strict = WriteOptions::new().mode(WriteMode::Strict);
    node.cache.set_with(&1, 9, &strict).await.unwrap_err();
    let shared = WriteOptions::new().tiers(larder::TierChoice::Only(vec!["shared".into()]));
    node.cache.set_with(&1, 9, &shared).await.unwrap_err();
    node.faults.heal();
    sleep(secs(3)).await;
    assert_eq!(get(&fleet.node(Policy::default()).await.cache, 1).await, None);
}

#[tokio::test(start_paused = true)]
async fn of_a_batch_that_fails_in_part_each_key_is_served_or_not_by_what_became_of_it() {
    let fleet = Fleet::new();
    let node = fleet.node(Policy::default()).await;
    node.faults.inject(Op::Write, When::Always, Fault::Partial(0.5));
    node.cache.set_many((0..100).map(|n| (n, n))).await.unwrap_err();
    node.faults.heal();
    let other = fleet.node(Policy::default()).await;
    let mut kept = 0;
    for n in 0..100 {
        let (here, there) = (node.cache.peek(&n).unwrap().as_value().copied(), get(&other.cache, n).await);
        assert_eq!(here, there, "key {n}");
        kept += u64::from(there.is_some());
    }
    assert!((20..80).contains(&kept), "{kept}");
    node.faults.inject(Op::Remove, When::Always, Fault::Partial(0.5));
    node.cache.remove_many(&(0..100).collect::<Vec<_>>()).await.unwrap_err();
    for n in 0..100 {
        assert_eq!(get(&node.cache, n).await, None);
    }
    node.faults.heal();
    sleep(secs(3)).await;
    assert_eq!(
        (
            state(&node).2,
            fleet
                .node(Policy::default())
                .await
                .cache
                .get_many(&(0..100).collect::<Vec<_>>())
                .await
                .unwrap()
                .iter()
                .filter(|answer| answer.is_hit())
                .count()
        ),
        (0, 0)
    );
}

#[tokio::test(start_paused = true)]
async fn loads_without_leases_are_few_at_once_and_told_so_and_the_rest_fall_back_or_are_refused() {
    let fleet = Fleet::new();
    let settings = Settings::new().with_unleased_loads_max(2);
    let policy = Policy::ttl(secs(10)).stale_if_error(hours(1));
    let node = fleet.node_with(policy, |stack| stack.settings(settings)).await;
    let origin = Origin::default();
    node.cache.set(&9, 90).await.unwrap();
    sleep(secs(11)).await;
    cut_off(&node).await;
    let told = origin.runs(|context| {
        assert!(context.is_uncoordinated());
        Box::pin(async {
            sleep(secs(5)).await;
            Ok(larder::Loaded::value(7))
        })
    });
    let watch = Watch::start();
    let options = ReadOptions::new();
    let (first, second, refused, fallback) = tokio::join!(
        node.cache.get_or_load(&1, told),
        node.cache.get_or_load(&2, origin.slow(7, secs(5))),
        async {
            sleep(millis(10)).await;
            let refused = node.cache.get_or_load(&3, no_loader()).await.unwrap_err();
            (refused.kind(), watch.elapsed())
        },
        async {
            sleep(millis(10)).await;
            node.cache.get_or_load_with(&9, &options, no_loader()).await.unwrap()
        },
    );
    assert!(first.unwrap().is_some() && second.unwrap().is_some());
    assert_eq!(refused, (ErrorKind::Overloaded, millis(1_010)));
    assert_eq!(
        (fallback.answer.as_value(), fallback.stale.unwrap().reason),
        (Some(&90), StaleReason::LoadFailed)
    );
    assert_eq!(load(&node.cache, 3, origin.gives(7)).await, 7, "there is room again");
}

#[tokio::test(start_paused = true)]
async fn a_second_store_that_fails_does_not_cost_the_first_its_value() {
    let clock = PausedClock::new();
    let local = MemoryStore::new(clock.clone()).with_capabilities(plain_capabilities());
    let (local, faults) = Faulty::new(local, 1);
    let stack = Stack::builder()
        .memory(Memory::max_entries(10))
        .store_with(local, TierSettings::new().with_name("local"))
        .store_with(MemoryStore::new(clock.clone()), TierSettings::new().with_name("shared"))
        .clock(clock)
        .build()
        .await
        .unwrap();
    let (cache, origin) = (stack.cache::<u64, u64>("n").build().unwrap(), Origin::default());
    faults.fail_all();
    assert_eq!(load(&cache, 1, origin.gives(7)).await, 7);
    assert_eq!(cache.set(&2, 8).await.unwrap_err().tier(), Some("local"));
    cache.set_with(&3, 9, &WriteOptions::new().mode(WriteMode::BestEffort)).await.unwrap();
    let copies = async |key| {
        let copies = cache.inspect(&key).await.unwrap().copies;
        copies.iter().map(|copy| copy.tier.to_string()).collect::<Vec<_>>()
    };
    assert_eq!(
        (copies(1).await, copies(3).await),
        (vec!["memory".to_owned(), "shared".into()], vec!["memory".to_owned(), "shared".into()])
    );
    faults.heal();
    sleep(secs(5)).await;
    assert_eq!(stack.stats().tiers[0].journal, 0);
    assert_eq!(get(&cache, 2).await, Some(8), "the shared store took it");
}

#[tokio::test(start_paused = true)]
async fn a_health_check_sees_for_itself_whatever_the_breaker_says() {
    let fleet = Fleet::new();
    let node = fleet.node(Policy::default()).await;
    cut_off(&node).await;
    node.faults.heal();
    let health = node.stack.health().await.remove(0);
    assert!(health.is_healthy() && &*health.tier == "shared");
    node.faults.hang(Op::Ping);
    let health = node.stack.health().await.remove(0);
    let error = health.error.expect("it hangs");
    assert_eq!(
        (error.kind(), error.tier(), health.latency),
        (ErrorKind::Timeout, Some("shared"), millis(250))
    );
}
