//! Events and statistics.

use std::{collections::BTreeSet, sync::mpsc};

use larder::{
    Cache, Event, Eviction, LoadCause, Loaded, Memory, Policy, ReadOptions, Settings, Stack, StaleReason,
    Validator, hours, millis, secs,
};
use larder_core::{Found, LeaseFor, LeaseRequest, Read, Rng, Store, Token};
use larder_testkit::{Fault, Op, PausedClock, Recorder, SeededRng, When};

use crate::support::{
    Fleet, Node, Origin, get, key, load, memory_only, memory_with, no_loader, numbers, quiet, sleep,
};

/// Every kind there is but those about breakers, journals and lineages, which outages show.
const KINDS: [&str; 23] = [
    "absence_stored",
    "cleared",
    "coalesced",
    "evicted",
    "expired",
    "fill_fenced",
    "filled",
    "hit",
    "lease_lost",
    "load_failed",
    "load_started",
    "load_succeeded",
    "load_timed_out",
    "miss",
    "not_modified",
    "payload_rejected",
    "removed",
    "set",
    "stale_served",
    "tier_failed",
    "uncoalesced",
    "warmed",
    "write_rejected",
];

#[tokio::test(start_paused = true)]
async fn every_kind_of_event_is_told_when_its_time_comes() {
    let fleet = Fleet::new();
    let policy = Policy::ttl(secs(10))
        .negative_ttl(secs(5))
        .stale_while_revalidate(secs(10))
        .stale_if_error(hours(1))
        .load_limit(secs(3));
    let small = Memory::max_entries(8).with_eviction(Eviction::Fifo).with_shards(1);
    let settings = Settings::new().with_flights_max(1);
    let node = fleet.node_with(policy.clone(), |stack| stack.memory(small).settings(settings)).await;
    let (cache, origin) = (&node.cache, Origin::default());
    load(cache, 1, origin.answers(Loaded::value(7).validator(Validator::etag("a")))).await;
    load(cache, 1, no_loader()).await;
    let (one, two, other) = tokio::join!(
        cache.get_or_load(&2, origin.slow(7, millis(5))),
        cache.get_or_load(&2, no_loader()),
        cache.get_or_load(&3, origin.slow(7, millis(5))),
    );
    drop((one.unwrap(), two.unwrap(), other.unwrap()));
    cache.get_or_load(&4, origin.answers(Loaded::absent())).await.unwrap();
    sleep(secs(11)).await;
    load(cache, 1, origin.answers(Loaded::not_modified())).await;
    quiet(&node.stack).await;
    cache.get_or_load(&5, origin.never()).await.unwrap_err();
    let (_, removed) = tokio::join!(cache.get_or_load(&6, origin.slow(7, millis(50))), async {
        sleep(millis(10)).await;
        cache.remove(&6).await
    });
    removed.unwrap();
    cache.expire(&1).await.unwrap();
    cache
        .warm([larder::WarmEntry::new(20, origin.gives(7))], &larder::WarmOptions::new(), |_| {})
        .await
        .unwrap();
    cache.set_many((30..50).map(|n| (n, n))).await.unwrap();
    get(cache, 30).await;
    fleet.shared.plant_foreign(&key(60));
    get(cache, 60).await;
    let lease = LeaseRequest { when: LeaseFor::Miss, token: Token(42), ttl: secs(60) };
    assert!(matches!(
        fleet.shared.read(vec![Read { key: key(61), lease: Some(lease) }]).await.unwrap()[..],
        [Found::Granted(_)]
    ));
    load(cache, 61, origin.gives(7)).await;
    node.faults.inject(Op::Fill, When::Nth(1), Fault::Partial(1.0));
    load(cache, 62, origin.gives(7)).await;
    node.faults.inject(Op::Read, When::Nth(1), Fault::Error);
    get(cache, 63).await;
    cache.clear().await.unwrap();
    node.recorder
        .wait_for(|event| matches!(event, Event::Cleared { namespace } if &**namespace == "n"))
        .await;
    let seen: BTreeSet<&str> = node.recorder.names().into_iter().collect();
    let missing: Vec<&&str> = KINDS.iter().filter(|kind| !seen.contains(**kind)).collect();
    assert!(missing.is_empty(), "{missing:?} were not told");
}

#[tokio::test(start_paused = true)]
async fn events_carry_what_happened_and_where_and_never_a_value() {
    let fleet = Fleet::new();
    let node = fleet.node(Policy::ttl(secs(10)).negative_ttl(secs(5)).stale_if_error(hours(1))).await;
    let (cache, origin) = (&node.cache, Origin::default());
    load(cache, 1, origin.slow(987_654_321, millis(20))).await;
    load(cache, 1, no_loader()).await;
    cache.get_or_load(&2, origin.answers(Loaded::absent())).await.unwrap();
    sleep(secs(13)).await;
    load(cache, 1, origin.fails()).await;
    node.recorder.wait_for(|event| matches!(event, Event::StaleServed { .. })).await;
    let this = |k: &larder::Key, n: u64| *k == key(n);
    let once = |wanted: &dyn Fn(&Event) -> bool| {
        let events = node.recorder.events();
        assert_eq!(events.iter().filter(|event| wanted(event)).count(), 1, "{events:#?}");
    };
    once(
        &|event| matches!(event, Event::LoadStarted { key, cause: LoadCause::Miss, namespace } if this(key, 1) && &**namespace == "n"),
    );
    once(
        &|event| matches!(event, Event::LoadSucceeded { key, took, absent: false, .. } if this(key, 1) && *took == millis(20)),
    );
    once(
        &|event| matches!(event, Event::Hit { key, tier, absent: false, life: larder::Life::Fresh, .. } if this(key, 1) && &**tier == "memory"),
    );
    once(&|event| matches!(event, Event::AbsenceStored { key, ttl, .. } if this(key, 2) && *ttl == secs(5)));
    once(&|event| matches!(event, Event::LoadStarted { key, cause: LoadCause::Stale, .. } if this(key, 1)));
    once(
        &|event| matches!(event, Event::LoadFailed { key, error, .. } if this(key, 1) && error.kind() == larder::ErrorKind::LoadFailed),
    );
    once(
        &|event| matches!(event, Event::StaleServed { key, reason: StaleReason::LoadFailed, age, .. } if this(key, 1) && age.as_secs() == 3),
    );
    assert!(!format!("{:?}", node.recorder.events()).contains("987654321"));
}

#[tokio::test(start_paused = true)]
async fn row_118_observers_that_block_or_panic_hurt_neither_the_stack_nor_each_other() {
    let stack = memory_with(Settings::new().with_events_max(4)).await;
    let (release, gate) = mpsc::channel::<()>();
    let recorder = Recorder::new();
    let blocked = stack.observe(move |_: &Event| {
        let _ = gate.recv();
    });
    stack.observe(|_: &Event| panic!("an observer's own fault")).keep();
    let watching = stack.observe(recorder.clone());
    let cache: Cache<u64, u64> = stack.cache("n").build().unwrap();
    for n in 0..20 {
        cache.set(&n, n).await.unwrap();
        recorder.wait_for_many(n as usize + 1, |event| matches!(event, Event::Set { .. })).await;
    }
    assert!(stack.stats().events_missed >= 15);
    drop(watching);
    cache.set(&1, 1).await.unwrap();
    drop((release, blocked));
    assert_eq!(recorder.count("set"), 20, "an observation that was dropped is over");
}

#[tokio::test(start_paused = true)]
async fn an_observer_may_use_the_cache_it_observes() {
    let stack = memory_only().await;
    let cache: Cache<u64, u64> = stack.cache("n").build().unwrap();
    let (inner, (seen, sightings)) = (cache.clone(), mpsc::channel());
    stack
        .observe(move |event: &Event| {
            if matches!(event, Event::Set { .. }) {
                seen.send(inner.peek(&1).unwrap().is_hit()).unwrap();
            }
        })
        .keep();
    cache.set(&1, 7).await.unwrap();
    cache.set(&1, 7).await.unwrap();
    assert!([sightings.recv().unwrap(), sightings.recv().unwrap()][1]);
}

#[tokio::test(start_paused = true)]
async fn statistics_say_what_each_namespace_asked_of_each_tier_and_start_anew_when_reset() {
    let fleet = Fleet::new();
    let node =
        fleet.node(Policy::ttl(secs(10)).negative_ttl(secs(60)).stale_while_revalidate(secs(10))).await;
    let (cache, origin) = (&node.cache, Origin::default());
    let idle: Cache<u64, u64> = node.stack.cache("idle").build().unwrap();
    assert_eq!(
        (node.stack.stats().hit_ratio(), idle.stats().hit_ratio(), idle.stats().tier_hit_ratio("memory")),
        (0.0, 0.0, 0.0)
    );
    load(cache, 1, origin.gives(7)).await;
    for _ in 0..3 {
        load(cache, 1, no_loader()).await;
    }
    cache.get_or_load(&2, origin.answers(Loaded::absent())).await.unwrap();
    cache.get_or_load(&2, no_loader()).await.unwrap();
    fleet.node(Policy::default()).await.cache.set(&3, 9).await.unwrap();
    get(cache, 3).await;
    sleep(secs(11)).await;
    get(cache, 1).await;
    let stats = cache.stats();
    let memory = &stats.tiers[0];
    assert_eq!(
        (memory.hits, memory.absent_hits, memory.stale_hits, memory.misses, memory.fills),
        (3, 1, 1, 3, 1)
    );
    let shared = &stats.tiers[1];
    assert_eq!(
        (shared.hits, shared.absent_hits, shared.stale_hits, shared.misses, shared.fills),
        (1, 0, 0, 2, 0)
    );
    assert_eq!((stats.misses, stats.loads, stats.stale_served, stats.absences_stored), (2, 2, 1, 1));
    assert_eq!(
        (stats.hit_ratio(), stats.tier_hit_ratio("shared"), stats.tier_hits("memory")),
        (0.75, 1.0 / 3.0, 5)
    );
    let stack = node.stack.stats();
    assert_eq!(stack.hit_ratio(), 0.75);
    assert!(stack.tiers[0].latency.count >= 5 && stack.memory_entries == 3 && stack.memory_weight > 0);
    let since = stack.since;
    sleep(secs(1)).await;
    node.stack.reset_stats();
    let anew = node.stack.stats();
    assert_eq!((anew.namespaces[0].misses, anew.tiers[0].latency.count, anew.hit_ratio()), (0, 0, 0.0));
    assert_eq!((since.until(anew.since), anew.memory_entries), (secs(12), 3));
}

#[tokio::test(start_paused = true)]
async fn statistics_that_are_switched_off_count_nothing() {
    let stack = Stack::builder().memory(Memory::max_entries(2).with_shards(1)).clock(PausedClock::new());
    let stack = stack.settings(Settings::new().with_statistics(false)).build().await.unwrap();
    let cache: Cache<u64, u64> = stack.cache("n").policy(Policy::ttl(secs(1))).build().unwrap();
    for n in 0..10 {
        load(&cache, n, Origin::default().gives(n)).await;
        get(&cache, n).await;
        cache.set(&n, n).await.unwrap();
    }
    sleep(secs(2)).await;
    assert_eq!(cache.stats(), stack.cache::<u64, u64>("m").build().unwrap().stats().named("n"));
}

trait Named {
    fn named(self, name: &str) -> Self;
}

impl Named for larder::NamespaceStats {
    fn named(mut self, name: &str) -> Self {
        self.name = name.into();
        self
    }
}

#[tokio::test(start_paused = true)]
async fn a_capture_counts_what_its_future_caused_and_nothing_else() {
    let stack = memory_only().await;
    let cache: Cache<u64, u64> = stack.cache("n").build().unwrap();
    let (origin, busy) = (Origin::default(), cache.clone());
    let noise = tokio::spawn(async move {
        for n in 100..200 {
            load(&busy, n, Origin::default().slow(n, millis(1))).await;
        }
    });
    let captured = stack.capture(async {
        load(&cache, 1, origin.slow(7, millis(20))).await;
        load(&cache, 1, no_loader()).await;
        cache.set(&2, 8).await.unwrap();
        cache.remove(&2).await.unwrap();
        "done"
    });
    let captured = captured.await;
    noise.await.unwrap();
    let stats = captured.stats;
    assert_eq!((captured.output, stats.loads, stats.misses, stats.tier_hits("memory")), ("done", 1, 1, 1));
    assert_eq!((stats.sets, stats.removes, cache.stats().loads), (1, 1, 101));
}

/// Reads at random, alone and together, with stores and loaders that fail, and answers how many reads there were.
async fn read_at_random(node: &Node, rng: &SeededRng) -> u64 {
    let (origin, mut reads) = (Origin::default(), 0);
    for _ in 0..400 {
        let n = rng.below(8);
        match rng.below(12) {
            0 => drop(node.cache.remove_with(&n, larder::WriteMode::BestEffort).await),
            1 => sleep(millis(rng.below(6_000))).await,
            2 => node.faults.inject(Op::Read, When::Nth(1), Fault::Error),
            3 => drop(node.cache.expire(&n).await),
            4 => {
                reads += 3;
                drop(node.cache.get_many(&[n, n, n + 1]).await);
            }
            5 => {
                reads += 1;
                drop(node.cache.get_or_load(&n, origin.fails()).await);
            }
            6 => {
                reads += 5;
                let callers = (0..5).map(|_| node.cache.get_or_load(&n, origin.slow(7, millis(3))));
                futures_util::future::join_all(callers).await;
            }
            7 => {
                reads += 1;
                drop(node.cache.get(&n).await);
            }
            8 => {
                reads += 1;
                let forced = ReadOptions::new().force_fresh(true);
                drop(node.cache.get_or_load_with(&n, &forced, origin.gives(7)).await);
            }
            9 => {
                reads += 1;
                let any = ReadOptions::new().allow_stale(true);
                drop(node.cache.get_or_load_with(&n, &any, origin.gives(7)).await);
            }
            10 => {
                reads += 3;
                let many = |keys: Vec<u64>| async move {
                    Ok::<_, std::io::Error>(keys.into_iter().map(|n| (n, n)).collect())
                };
                drop(node.cache.get_many_or_load(&[n, n + 1, n + 2], many).await);
            }
            _ => {
                reads += 1;
                drop(node.cache.get_or_load(&n, origin.answers(Loaded::absent())).await);
            }
        }
        // A caller that shares a refresh which then brings no answer flies itself, and counts as both.
        quiet(&node.stack).await;
    }
    reads
}

#[tokio::test(start_paused = true)]
async fn i14_every_read_is_one_hit_of_one_tier_or_one_miss_or_shared() {
    let policies = [
        Policy::ttl(secs(3)),
        Policy::ttl(secs(3)).stale_while_revalidate(secs(3)),
        Policy::ttl(secs(3)).stale_if_error(secs(6)).negative_ttl(secs(2)),
        Policy::ttl(secs(3)).stale_while_revalidate(secs(1)).stale_if_error(secs(6)).refresh_ahead(0.5),
        Policy::ttl(secs(3)).stale_if_error(secs(6)).soft_timeout(millis(1)).hard_timeout(millis(2)),
        Policy::forever().sliding(true),
    ];
    for (place, policy) in policies.into_iter().enumerate() {
        for seed in 0..8 {
            let (fleet, rng) = (Fleet::new(), SeededRng::new(seed));
            let chance = SeededRng::new(rng.next_u64());
            let node = fleet.node_with(policy.clone(), |stack| stack.rng(chance)).await;
            let reads = read_at_random(&node, &rng).await;
            quiet(&node.stack).await;
            let stats = node.cache.stats();
            let hits: u64 = stats.tiers.iter().map(larder::TierHits::all_hits).sum();
            assert_eq!(
                hits + stats.misses + stats.coalesced,
                reads,
                "policy {place}, seed {seed}: {stats:?}"
            );
            node.cache.clear().await.unwrap();
            node.recorder.wait_for(|event| matches!(event, Event::Cleared { .. })).await;
            for (name, count) in [
                ("miss", stats.misses),
                ("hit", hits),
                ("coalesced", stats.coalesced),
                ("stale_served", stats.stale_served),
            ] {
                assert_eq!(node.recorder.count(name) as u64, count, "policy {place}, seed {seed}: {name}");
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn dead_entries_and_evictions_are_counted_once() {
    let stack = Stack::builder().memory(Memory::max_entries(10).with_shards(1)).clock(PausedClock::new());
    let stack = stack.build().await.unwrap();
    let cache: Cache<u64, u64> = stack.cache("n").policy(Policy::ttl(secs(1))).build().unwrap();
    for n in 0..25 {
        cache.set(&n, n).await.unwrap();
    }
    assert_eq!((cache.stats().evictions, cache.len()), (15, 10));
    sleep(secs(2)).await;
    assert_eq!((cache.stats().expirations, cache.len()), (10, 0));
    let other = numbers(Policy::ttl(secs(1))).await;
    other.set(&1, 1).await.unwrap();
    other.clear().await.unwrap();
    sleep(secs(2)).await;
    assert_eq!((other.stats().expirations, other.stats().clears), (0, 1), "what was cleared did not expire");
}

#[tokio::test(start_paused = true)]
async fn whoever_listens_hears_which_keys_left_memory_for_space() {
    let recorder = Recorder::new();
    let stack = Stack::builder()
        .memory(Memory::max_entries(2).with_eviction(larder::Eviction::Fifo))
        .clock(PausedClock::new())
        .observer(recorder.clone())
        .build()
        .await
        .unwrap();
    let cache = stack.cache::<u64, u64>("n").build().unwrap();
    for key in 1..=3 {
        cache.set(&key, 7).await.unwrap();
    }
    let event = recorder.wait_for(|event| matches!(event, Event::Evicted { .. })).await;
    let Event::Evicted { entries, keys, .. } = event else { unreachable!("it was waited for") };
    assert_eq!((entries, keys.iter().map(ToString::to_string).collect()), (1, vec!["n:1".to_owned()]));
}
