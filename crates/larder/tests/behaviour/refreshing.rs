//! Refreshing on request: what is served until then, who hears of it, and what becomes of it when something fails.

use larder::{
    Cache, ErrorKind, Loaded, Memory, Policy, ReadOptions, Refreshed, Settings, Stack, TierSettings, hours,
    millis, minutes, secs,
};
use larder_core::{Event, Found, LeaseFor, LeaseRequest, Read, Store, Token};
use larder_testkit::{Fault, Op, PausedClock, When};

use crate::{
    bus::{Fleet, Node, Way, arrive},
    support::{self, Origin, Watch, get, key, load, memory_only, memory_with, no_loader, quiet, sleep},
};

const STORED: [Way; 2] = [Way::Announced, Way::Published];

fn done(value: u64) -> Refreshed<u64> {
    Refreshed::Done(Some(value.into()))
}

/// The version of each copy that a node knows.
async fn versions(cache: &Cache<u64, u64>) -> Vec<u64> {
    cache.inspect(&1).await.unwrap().copies.iter().map(|copy| copy.version.get()).collect()
}

/// Two nodes of a fleet, the first of which has loaded a seven.
async fn one_with_seven(way: Way) -> (Node, Node, Origin) {
    let fleet = Fleet::new(way);
    let (one, two, origin) = (fleet.node().await, fleet.node().await, Origin::default());
    assert_eq!(load(&one.cache, 1, origin.gives(7)).await, 7);
    (one, two, origin)
}

/// The same, and both hold it.
async fn both_with_seven(way: Way) -> (Node, Node, Origin) {
    let (one, two, origin) = one_with_seven(way).await;
    assert_eq!(load(&two.cache, 1, no_loader()).await, 7);
    (one, two, origin)
}

#[tokio::test(start_paused = true)]
async fn r7_r13_r21_a_refresh_replaces_the_value_everywhere_and_the_old_one_is_served_until_then() {
    for way in STORED {
        let (one, two, origin) = both_with_seven(way).await;
        let before = versions(&one.cache).await;
        let (refreshed, ()) = tokio::join!(one.cache.refresh(&1, origin.slow(8, secs(20))), async {
            for _ in 0..19 {
                sleep(secs(1)).await;
                assert_eq!(load(&one.cache, 1, no_loader()).await, 7, "{way:?}");
                assert_eq!(load(&two.cache, 1, no_loader()).await, 7, "{way:?}");
                assert_eq!(get(&two.cache, 1).await, Some(7), "{way:?}");
            }
        });
        assert_eq!(refreshed.unwrap(), done(8));
        assert_eq!(one.cache.peek(&1).unwrap().as_value(), Some(&8), "{way:?}");
        arrive().await;
        assert_eq!(
            two.cache.peek(&1).unwrap().as_value(),
            Some(&8),
            "{way:?}: it was read behind everybody's back"
        );
        let after = versions(&one.cache).await;
        assert!(after.iter().min() > before.iter().max(), "{way:?}: {before:?} {after:?}");
        assert_eq!((after.len(), origin.calls()), (2, 2));
        one.recorder.wait_for(|event| matches!(event, Event::Refreshed { .. })).await;
        assert_eq!((one.cache.stats().refreshes, one.cache.stats().misses), (1, 1));
        // Nothing was lost on the way, as far as beats can tell.
        sleep(secs(5)).await;
        assert_eq!(two.recorder.count("bus_gap"), 0, "{way:?}");
        assert_eq!(two.cache.peek(&1).unwrap().as_value(), Some(&8), "{way:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_peer_serves_its_copy_for_as_long_as_the_new_value_cannot_be_read() {
    for way in STORED {
        let (one, two, origin) = both_with_seven(way).await;
        two.faults.inject(Op::Read, When::Always, Fault::Error);
        assert_eq!(one.cache.refresh(&1, origin.gives(8)).await.unwrap(), done(8));
        for _ in 0..20 {
            sleep(millis(100)).await;
            assert_eq!(load(&two.cache, 1, no_loader()).await, 7, "{way:?}");
        }
        two.faults.heal();
        sleep(secs(10)).await;
        assert_eq!(two.cache.peek(&1).unwrap().as_value(), Some(&8), "{way:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_holds_no_copy_reads_nothing_and_keeps_no_older_one_that_is_on_its_way() {
    for way in STORED {
        let (one, two, origin) = one_with_seven(way).await;
        two.faults.reset_counts();
        assert_eq!(one.cache.refresh(&1, origin.gives(8)).await.unwrap(), done(8));
        arrive().await;
        assert_eq!(two.faults.calls(Op::Read), 0, "{way:?}");
        // Its answer was given before the refresh, and comes after it: it reads once more.
        two.faults.inject(Op::Read, When::Nth(1), Fault::DelayAfter(millis(60)));
        let (overtaken, refreshed) = tokio::join!(load(&two.cache, 1, no_loader()), async {
            sleep(millis(10)).await;
            one.cache.refresh(&1, origin.gives(9)).await.unwrap()
        });
        assert_eq!((overtaken, refreshed), (9, done(9)), "{way:?}");
        assert_eq!(load(&two.cache, 1, no_loader()).await, 9, "{way:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_older_read_of_the_refreshing_node_does_not_come_back_after_it() {
    let fleet = Fleet::new(Way::Announced);
    let (one, two) = (fleet.node().await, fleet.node().await);
    let origin = Origin::default();
    assert_eq!(load(&two.cache, 1, origin.gives(7)).await, 7);
    one.faults.inject(Op::Read, When::Nth(1), Fault::DelayAfter(millis(60)));
    let (overtaken, refreshed) = tokio::join!(load(&one.cache, 1, no_loader()), async {
        sleep(millis(10)).await;
        one.cache.refresh(&1, origin.gives(8)).await.unwrap()
    });
    assert_eq!((overtaken, refreshed), (8, done(8)));
    assert_eq!(load(&one.cache, 1, no_loader()).await, 8);
}

#[tokio::test(start_paused = true)]
async fn r7_who_finds_somebody_at_it_is_told_at_once_and_loads_nothing() {
    for way in STORED {
        let fleet = Fleet::new(way);
        let (one, two) = (fleet.node().await, fleet.node().await);
        let origin = Origin::default();
        let (first, ()) = tokio::join!(one.cache.refresh(&1, origin.slow(7, secs(10))), async {
            sleep(secs(1)).await;
            let watch = Watch::start();
            for cache in [&one.cache, &two.cache] {
                assert_eq!(cache.refresh(&1, no_loader()).await.unwrap(), Refreshed::AlreadyRefreshing);
            }
            assert_eq!(watch.elapsed(), millis(0), "{way:?}");
            assert_eq!(one.cache.refresh(&2, origin.gives(9)).await.unwrap(), done(9), "another key is free");
        });
        assert_eq!(first.unwrap(), done(7));
        assert_eq!(
            two.cache.refresh(&1, origin.gives(8)).await.unwrap(),
            done(8),
            "{way:?}: and then it is free"
        );
        assert_eq!(one.cache.stats().coalesced, 0);
    }
    let cache = support::numbers(Policy::default()).await;
    let origin = Origin::default();
    let (first, second) = tokio::join!(cache.refresh(&1, origin.slow(7, secs(1))), async {
        sleep(millis(1)).await;
        cache.refresh(&1, no_loader()).await
    });
    assert_eq!((first.unwrap(), second.unwrap()), (done(7), Refreshed::AlreadyRefreshing), "memory alone");
}

#[tokio::test(start_paused = true)]
async fn a_load_that_began_before_the_call_never_satisfies_it() {
    let fleet = Fleet::new(Way::Announced);
    let (one, two) = (fleet.node().await, fleet.node().await);
    let origin = Origin::default();
    let (loaded, ()) = tokio::join!(load(&one.cache, 1, origin.slow(7, secs(1))), async {
        sleep(millis(10)).await;
        for cache in [&one.cache, &two.cache] {
            assert_eq!(cache.refresh(&1, no_loader()).await.unwrap(), Refreshed::AlreadyRefreshing);
        }
    });
    assert_eq!(loaded, 7);
    // Memory alone grants no leases: there the refresh loads beside the older load, which then changes nothing.
    let cache = support::numbers(Policy::default()).await;
    let (loaded, refreshed) = tokio::join!(load(&cache, 1, origin.slow(7, secs(1))), async {
        sleep(millis(10)).await;
        cache.refresh(&1, origin.gives(8)).await.unwrap()
    });
    assert_eq!((loaded, refreshed, get(&cache, 1).await), (7, done(8), Some(8)));
}

#[tokio::test(start_paused = true)]
async fn an_invalidation_during_a_refresh_wins_and_its_result_is_kept_nowhere() {
    for way in STORED {
        for what in ["remove", "set", "clear", "expire"] {
            let fleet = Fleet::new(way);
            let (one, two, three) = (fleet.node().await, fleet.node().await, fleet.node().await);
            let origin = Origin::default();
            assert_eq!(load(&one.cache, 1, origin.gives(7)).await, 7);
            let (refreshed, ()) = tokio::join!(one.cache.refresh(&1, origin.slow(8, secs(1))), async {
                sleep(millis(100)).await;
                match what {
                    "remove" => _ = two.cache.remove(&1).await.unwrap(),
                    "set" => two.cache.set(&1, 100).await.unwrap(),
                    "clear" => _ = two.cache.clear().await.unwrap(),
                    _ => _ = two.cache.expire(&1).await.unwrap(),
                }
            });
            assert_eq!(refreshed.unwrap(), done(8), "{way:?} {what}: its own caller gets it");
            arrive().await;
            let expected = (what == "set").then_some(100);
            for cache in [&one.cache, &two.cache, &three.cache] {
                assert_eq!(get(cache, 1).await, expected, "{way:?} {what}");
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_invalidation_before_the_store_has_the_new_value_wins_too() {
    let (one, two, origin) = one_with_seven(Way::Announced).await;
    one.faults.delay(Op::Write, millis(100));
    let (refreshed, ()) = tokio::join!(one.cache.refresh(&1, origin.gives(8)), async {
        sleep(millis(50)).await;
        two.cache.remove(&1).await.unwrap();
    });
    assert_eq!(refreshed.unwrap(), done(8));
    for cache in [&one.cache, &two.cache] {
        assert_eq!(get(cache, 1).await, None);
    }
}

#[tokio::test(start_paused = true)]
async fn other_keys_that_are_invalidated_meanwhile_do_not_keep_the_new_value_out() {
    for stack in [memory_only().await, Fleet::new(Way::Announced).node().await.stack] {
        let cache: Cache<u64, u64> = stack.cache("others").policy(Policy::ttl(hours(1))).build().unwrap();
        let origin = Origin::default();
        assert_eq!(load(&cache, 1, origin.gives(7)).await, 7);
        let stripe = support::key_in("others", 1).stripe();
        let neighbour = (2..).find(|n| support::key_in("others", *n).stripe() == stripe).unwrap();
        let (refreshed, ()) = tokio::join!(cache.refresh(&1, origin.slow(8, secs(1))), async {
            sleep(millis(100)).await;
            cache.remove(&neighbour).await.unwrap();
        });
        assert_eq!(refreshed.unwrap(), done(8));
        assert_eq!(cache.peek(&1).unwrap().as_value(), Some(&8));
    }
}

#[tokio::test(start_paused = true)]
async fn r19_r21_a_loader_that_fails_panics_or_hangs_leaves_the_old_value_and_the_lease_is_free_again() {
    let fleet = support::Fleet::new();
    let policy = Policy::ttl(hours(1)).load_limit(secs(5));
    let (one, two) = (fleet.node(policy.clone()).await, fleet.node(policy).await);
    let origin = Origin::default();
    assert_eq!(load(&one.cache, 1, origin.gives(7)).await, 7);
    let kind = |refreshed: larder::Result<Refreshed<u64>>| refreshed.unwrap_err().kind();
    assert_eq!(kind(one.cache.refresh(&1, origin.fails()).await), ErrorKind::LoadFailed);
    assert_eq!(kind(one.cache.refresh(&1, origin.panics()).await), ErrorKind::LoadPanicked);
    let watch = Watch::start();
    assert_eq!(kind(one.cache.refresh(&1, origin.never()).await), ErrorKind::Timeout);
    assert!(watch.elapsed() < millis(5_100), "{:?}", watch.elapsed());
    for node in [&one, &two] {
        let lookup = node.cache.get_with(&1, &ReadOptions::new()).await.unwrap();
        assert_eq!((lookup.answer.as_value(), lookup.stale), (Some(&7), None));
    }
    quiet(&one.stack).await;
    assert_eq!(two.cache.refresh(&1, origin.gives(8)).await.unwrap(), done(8));
}

#[tokio::test(start_paused = true)]
async fn a_caller_that_leaves_does_not_stop_the_refresh() {
    let fleet = Fleet::new(Way::Announced);
    let (node, origin) = (fleet.node().await, Origin::default());
    let refresh = node.cache.refresh(&1, origin.slow(8, secs(1)));
    assert!(tokio::time::timeout(millis(10), refresh).await.is_err());
    sleep(secs(2)).await;
    assert_eq!(load(&node.cache, 1, no_loader()).await, 8);
}

#[tokio::test(start_paused = true)]
async fn r15_r18_while_the_shared_store_is_down_a_refresh_loads_for_this_node_alone_and_its_loader_is_told() {
    for way in STORED {
        let (one, two, origin) = both_with_seven(way).await;
        for op in [Op::Read, Op::Fill, Op::Write] {
            one.faults.fail(op);
        }
        let told = |context: larder::LoadContext<u64>| -> support::Loading {
            assert!(context.is_uncoordinated());
            Box::pin(async { Ok(Loaded::value(8)) })
        };
        assert_eq!(one.cache.refresh(&1, origin.runs(told)).await.unwrap(), done(8), "{way:?}");
        assert_eq!(one.cache.peek(&1).unwrap().as_value(), Some(&8), "{way:?}");
        arrive().await;
        assert_eq!(
            load(&two.cache, 1, no_loader()).await,
            7,
            "{way:?}: who cannot read the new one keeps the old"
        );
    }
}

/// There is no moment at which the store has the new value and peers will not hear of it.
#[tokio::test(start_paused = true)]
async fn r13_the_store_takes_the_new_value_and_tells_of_it_in_one_write() {
    let (one, two, origin) = both_with_seven(Way::Announced).await;
    one.faults.reset_counts();
    assert_eq!(one.cache.refresh(&1, origin.gives(8)).await.unwrap(), done(8));
    assert_eq!((one.faults.calls(Op::Fill), one.faults.calls(Op::Write)), (0, 1));
    // The last thing that the node ever does: its answer does not reach it any more.
    one.faults.inject(Op::Write, When::Always, Fault::HangAfter);
    let refresh = one.cache.refresh(&1, origin.gives(9));
    assert!(tokio::time::timeout(millis(10), refresh).await.is_err());
    one.leg.cut();
    arrive().await;
    assert_eq!(two.cache.peek(&1).unwrap().as_value(), Some(&9));
}

#[tokio::test(start_paused = true)]
async fn a_write_of_which_nobody_knows_whether_it_was_done_is_told_and_peers_take_what_is_there() {
    for way in STORED {
        for (fault, there) in [(Fault::Error, 7), (Fault::ErrorAfter, 8)] {
            let (one, two, origin) = both_with_seven(way).await;
            one.faults.inject(Op::Write, When::Always, fault);
            assert_eq!(one.cache.refresh(&1, origin.gives(8)).await.unwrap(), done(8));
            arrive().await;
            assert_eq!(one.cache.peek(&1).unwrap().as_value(), Some(&8), "{way:?}");
            assert_eq!(two.cache.peek(&1).unwrap().as_value(), Some(&there), "{way:?}");
            let lookup = two.cache.get_with(&1, &ReadOptions::new()).await.unwrap();
            assert_eq!((lookup.answer.as_value(), lookup.stale), (Some(&there), None), "{way:?}");
        }
    }
}

/// R20: its lease is gone, since its process stood still for too long, and another's refresh came before.
#[tokio::test(start_paused = true)]
async fn a_refresh_that_lost_its_lease_stores_nothing_and_tells_nobody() {
    for way in STORED {
        let (one, two, origin) = both_with_seven(way).await;
        one.faults.inject(Op::Renew, When::Always, Fault::Error);
        let (late, ()) = tokio::join!(one.cache.refresh(&1, origin.slow(8, secs(10))), async {
            sleep(secs(5)).await;
            assert_eq!(two.cache.refresh(&1, origin.gives(9)).await.unwrap(), done(9), "{way:?}");
        });
        assert_eq!(late.unwrap(), done(8), "{way:?}: its own caller gets it");
        arrive().await;
        for node in [&one, &two] {
            assert_eq!(load(&node.cache, 1, no_loader()).await, 9, "{way:?}");
        }
        assert_eq!(one.recorder.count("refreshed"), 0, "{way:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn r6_an_origin_that_answers_nothing_ends_the_old_value_as_the_policy_says() {
    for negative in [None, Some(minutes(1))] {
        let fleet = support::Fleet::new();
        let policy = Policy::ttl(hours(1));
        let policy = negative.map_or(policy.clone(), |ttl| policy.negative_ttl(ttl));
        let (node, origin) = (fleet.node(policy).await, Origin::default());
        assert_eq!(load(&node.cache, 1, origin.gives(7)).await, 7);
        let refreshed = node.cache.refresh(&1, origin.answers(Loaded::absent())).await.unwrap();
        assert_eq!(refreshed, Refreshed::Done(None));
        let answer = node.cache.get(&1).await.unwrap();
        assert_eq!(answer.is_hit(), negative.is_some(), "{answer:?}");
        assert_eq!(answer.as_value(), None);
    }
}

#[tokio::test(start_paused = true)]
async fn without_a_shared_store_peers_expire_their_copy_and_load_for_themselves() {
    let fleet = Fleet::new(Way::Alone);
    let (one, two) = (fleet.node().await, fleet.node().await);
    sleep(secs(1)).await;
    let origin = Origin::default();
    for node in [&one, &two] {
        assert_eq!(load(&node.cache, 1, origin.gives(7)).await, 7);
    }
    assert_eq!(one.cache.refresh(&1, origin.gives(8)).await.unwrap(), done(8));
    arrive().await;
    assert_eq!(load(&one.cache, 1, no_loader()).await, 8);
    assert_eq!(load(&two.cache, 1, origin.gives(9)).await, 9);
}

#[tokio::test(start_paused = true)]
async fn a_storm_of_refreshes_is_reloaded_in_batches_and_a_key_once() {
    let fleet = Fleet::new(Way::Published);
    let (one, two) = (fleet.node().await, fleet.node().await);
    let origin = Origin::default();
    for n in 0..200 {
        assert_eq!(load(&one.cache, n, origin.gives(7)).await, 7);
        assert_eq!(load(&two.cache, n, no_loader()).await, 7);
    }
    two.faults.reset_counts();
    two.faults.delay(Op::Read, millis(100));
    for round in 0..5 {
        for n in 0..200 {
            assert!(one.cache.refresh(&n, origin.gives(100 + round)).await.unwrap().is_done());
        }
    }
    sleep(secs(5)).await;
    for n in 0..200 {
        assert_eq!(two.cache.peek(&n).unwrap().as_value(), Some(&104));
    }
    assert!(two.faults.calls(Op::Read) <= 30, "{}", two.faults.calls(Op::Read));
}

#[tokio::test(start_paused = true)]
async fn a_loader_that_refreshes_its_own_key_is_told() {
    let stack = memory_with(Settings::new()).await;
    let cache: Cache<u64, u64> = stack.cache("n").build().unwrap();
    let inner = cache.clone();
    let refreshed = cache
        .refresh(&1, move |_| async move {
            inner.refresh(&1, no_loader()).await.map(|refreshed| refreshed.value().as_deref().copied())
        })
        .await;
    let error = refreshed.unwrap_err();
    let cause = std::error::Error::source(&error).unwrap().to_string();
    assert!(cause.contains("asks for a key whose load waits for it"), "{cause}");
}

#[tokio::test(start_paused = true)]
async fn the_origin_may_say_that_nothing_changed() {
    let fleet = support::Fleet::new();
    let (node, origin) = (fleet.node(Policy::ttl(minutes(10))).await, Origin::default());
    assert_eq!(load(&node.cache, 1, origin.gives(7)).await, 7);
    sleep(minutes(6)).await;
    assert_eq!(node.cache.refresh(&1, origin.answers(Loaded::not_modified())).await.unwrap(), done(7));
    sleep(minutes(6)).await;
    assert_eq!(load(&node.cache, 1, no_loader()).await, 7);
}

#[tokio::test(start_paused = true)]
async fn r4_an_entry_of_infinite_life_never_expires_and_r12_a_copy_lives_no_longer_than_what_is_left() {
    let fleet = support::Fleet::new();
    let forever = fleet.node(Policy::forever()).await;
    let other: Cache<u64, u64> = forever.stack.cache("short").policy(Policy::ttl(secs(60))).build().unwrap();
    let origin = Origin::default();
    assert_eq!(load(&forever.cache, 1, origin.gives(7)).await, 7);
    assert_eq!(load(&other, 1, origin.gives(8)).await, 8);
    sleep(secs(50)).await;
    let peer = fleet.node(Policy::ttl(secs(60))).await;
    let short: Cache<u64, u64> = peer.stack.cache("short").policy(Policy::ttl(secs(60))).build().unwrap();
    assert_eq!(load(&short, 1, no_loader()).await, 8);
    assert_eq!(short.ttl(&1).await.unwrap(), Some(secs(10)), "what the store's copy had left");
    sleep(secs(10)).await;
    assert!(!short.peek(&1).unwrap().is_hit());
    sleep(hours(2)).await;
    assert_eq!(load(&forever.cache, 1, no_loader()).await, 7);
}

#[tokio::test(start_paused = true)]
async fn a_holder_that_died_keeps_others_from_refreshing_no_longer_than_its_lease() {
    let fleet = support::Fleet::new();
    let node = fleet.node(Policy::ttl(hours(1))).await;
    let lease = Some(LeaseRequest { when: LeaseFor::Miss, token: Token(42), ttl: secs(2) });
    let found = fleet.shared.read(vec![Read { key: key(1), lease }]).await.unwrap();
    assert!(matches!(found[..], [Found::Granted(_)]));
    assert_eq!(node.cache.refresh(&1, no_loader()).await.unwrap(), Refreshed::AlreadyRefreshing);
    sleep(secs(2)).await;
    assert_eq!(node.cache.refresh(&1, Origin::default().gives(7)).await.unwrap(), done(7));
}

#[tokio::test(start_paused = true)]
async fn every_tier_holds_the_new_value() {
    let clock = PausedClock::new();
    let mut local = larder_core::Capabilities::none();
    (local.leases, local.scan) = (true, true);
    let near = larder_testkit::MemoryStore::new(clock.clone()).with_capabilities(local);
    let plain =
        larder_testkit::MemoryStore::new(clock.clone()).with_capabilities(support::plain_capabilities());
    let stack = Stack::builder()
        .memory(Memory::max_entries(100))
        .store_with(plain, TierSettings::new().with_name("plain"))
        .store_with(near, TierSettings::new().with_name("near"))
        .store_with(larder_testkit::MemoryStore::new(clock.clone()), TierSettings::new().with_name("shared"))
        .clock(clock)
        .build()
        .await
        .unwrap();
    let cache: Cache<u64, u64> = stack.cache("n").policy(Policy::ttl(hours(1))).build().unwrap();
    let origin = Origin::default();
    assert_eq!(load(&cache, 1, origin.gives(7)).await, 7);
    assert_eq!(cache.refresh(&1, origin.gives(8)).await.unwrap(), done(8));
    let copies = cache.inspect(&1).await.unwrap().copies;
    assert!(copies.len() == 4 && copies.iter().all(|copy| copy.version == copies[0].version), "{copies:?}");
    for tier in ["memory", "plain", "near", "shared"] {
        let options = ReadOptions::new().read_tiers(larder::TierChoice::Only(vec![tier.into()]));
        assert_eq!(cache.get_with(&1, &options).await.unwrap().answer.as_value(), Some(&8), "{tier}");
    }
}
