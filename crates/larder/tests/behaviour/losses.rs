//! News that get lost, and what must not follow from it.

use larder::{
    BusSettings, Cache, ErrorKind, LoadContext, Loaded, Memory, Partition, Policy, Reach, ReadOptions, Stack,
    TierPolicy, TierSettings, hours, millis, secs,
};
use larder_core::{Capabilities, Store};
use larder_testkit::{Fault, Faulty, Leg, MemoryStore, Op, SeededRng, When};

use crate::{
    bus::{Fleet, Node, Way, arrive},
    support::{self, Origin, Watch, get, load, no_loader, sleep},
};

#[tokio::test(start_paused = true)]
async fn a_node_that_could_not_publish_what_only_mattered_then_publishes_again() {
    let fleet = Fleet::new(Way::Published);
    let (one, two) = (fleet.node().await, fleet.node().await);
    one.leg.set_mute(true);
    // It is asked whether it heard, and cannot answer; its next beats tell.
    two.cache.remove_everywhere(&1).await.unwrap();
    one.leg.set_mute(false);
    sleep(secs(10)).await;
    assert_eq!(load(&two.cache, 2, Origin::default().gives(7)).await, 7);
    assert_eq!(one.cache.remove(&2).await.unwrap().bus, Reach::Done);
    arrive().await;
    assert_eq!(get(&two.cache, 2).await, None);
}

#[tokio::test(start_paused = true)]
async fn what_one_publisher_told_in_vain_is_missed_though_another_was_heard_after() {
    let fleet = Fleet::new(Way::Published);
    let (one, two, three) = (fleet.node().await, fleet.node().await, fleet.node().await);
    assert_eq!(load(&one.cache, 1, Origin::default().gives(7)).await, 7);
    one.leg.set_deaf(true);
    two.cache.remove(&1).await.unwrap();
    one.leg.set_deaf(false);
    three.cache.remove(&2).await.unwrap();
    sleep(secs(3)).await;
    assert_eq!(get(&one.cache, 1).await, None);
}

#[tokio::test(start_paused = true)]
async fn what_a_node_cannot_judge_it_does_not_serve_once_somebody_was_told_that_nobody_does() {
    for (partition, cut) in
        [(Partition::Coherent, true), (Partition::default(), true), (Partition::default(), false)]
    {
        let fleet = Fleet::new(Way::Published);
        let one = fleet.node_with(BusSettings::new().with_partition(partition)).await;
        let two = fleet.node().await;
        two.cache.set(&1, 7).await.unwrap();
        one.leg.set_deaf(true);
        one.faults.fail(Op::Beat);
        sleep(secs(2)).await;
        assert!(two.cache.clear_everywhere().await.unwrap().everywhere);
        if !cut {
            one.leg.set_deaf(false);
            one.faults.heal();
            sleep(secs(2)).await;
            one.leg.cut();
            one.leg.mend();
            sleep(secs(2)).await;
        }
        // The entry is still there, and what was raised above it cannot be asked.
        one.faults.fail(Op::Barriers);
        assert_eq!(get(&one.cache, 1).await, None, "{partition:?}, cut off: {cut}");
    }
}

/// What a tier that no other node shares can do.
fn private(scan: bool) -> Capabilities {
    let mut private = Capabilities::none();
    (private.persistent, private.sequence, private.leases, private.scan) = (true, true, true, scan);
    private
}

/// What a shared store can do that keeps a fleet's books and no barriers.
fn without_barriers() -> Capabilities {
    let mut plain = Capabilities::none();
    (plain.shared, plain.sequence, plain.leases) = (true, true, true);
    (plain.scan, plain.fleet) = (true, true);
    plain
}

/// A node with a tier of its own before the shared one.
async fn node_with_private_tier(
    fleet: &Fleet,
    private: Capabilities,
    shared: MemoryStore,
) -> (Stack, Cache<u64, u64>, Leg) {
    let (private, bus) =
        (MemoryStore::new(fleet.clock.clone()).with_capabilities(private), fleet.bus.clone());
    let leg = bus.leg();
    let builder = Stack::builder()
        .memory(Memory::max_entries(100))
        .clock(fleet.clock.clone())
        .rng(SeededRng::unpredictable())
        .bus_with(bus, BusSettings::new())
        .store_with(private, TierSettings::new().with_name("private"))
        .store_with(shared, TierSettings::new().with_name("shared"));
    let stack = builder.build().await.unwrap();
    let cache: Cache<u64, u64> = stack.cache("n").policy(Policy::ttl(hours(1))).build().unwrap();
    sleep(millis(600)).await;
    (stack, cache, leg)
}

/// Else each would tell the others, who pay it to theirs and tell of that, for ever.
#[tokio::test(start_paused = true)]
async fn a_clear_that_is_paid_to_a_tier_of_a_nodes_own_is_told_to_nobody() {
    let fleet = Fleet::new(Way::Published);
    let mut caches = Vec::new();
    for _ in 0..2 {
        let own = MemoryStore::new(fleet.clock.clone()).with_capabilities(private(true));
        let builder = Stack::builder()
            .memory(Memory::max_entries(100))
            .clock(fleet.clock.clone())
            .rng(SeededRng::unpredictable())
            .bus_with(fleet.bus.clone(), BusSettings::new())
            .store_with(own, TierSettings::new().with_name("private"));
        let stack = builder.build().await.unwrap();
        let cache: Cache<u64, u64> = stack.cache("n").policy(Policy::ttl(hours(1))).build().unwrap();
        caches.push(cache);
    }
    sleep(secs(1)).await;
    caches[0].clear().await.unwrap();
    sleep(secs(5)).await;
    caches[1].set(&1, 7).await.unwrap();
    sleep(secs(30)).await;
    assert_eq!(get(&caches[1], 1).await, Some(7));
}

#[tokio::test(start_paused = true)]
async fn a_private_tier_is_as_good_as_the_news_that_its_node_hears() {
    for way in [Way::Announced, Way::Published] {
        let fleet = Fleet::new(way);
        let two = fleet.node().await;
        let shared = match way {
            Way::Announced => fleet.store.clone().announcing_on("news"),
            _ => fleet.store.clone(),
        };
        let (stack, cache, leg) = node_with_private_tier(&fleet, private(false), shared).await;
        for deaf in [false, true] {
            let key = u64::from(deaf);
            assert_eq!(load(&cache, key, Origin::default().gives(7)).await, 7);
            leg.set_deaf(deaf);
            two.cache.remove(&key).await.unwrap();
            sleep(secs(2)).await;
            assert_eq!(get(&cache, key).await, None, "{way:?}, deaf: {deaf}");
            assert_eq!(load(&cache, key, Origin::default().gives(8)).await, 8);
            assert_eq!(stack.stats().tiers.len(), 2);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn what_a_peer_clears_goes_from_private_tiers_too_where_no_store_keeps_barriers() {
    for lists in [true, false] {
        let fleet = Fleet::new(Way::Published);
        let node = async |lists| {
            let shared = fleet.store.clone().with_capabilities(without_barriers());
            node_with_private_tier(&fleet, private(lists), shared).await
        };
        let ((_one, one, _), (_two, two, _)) = (node(lists).await, node(true).await);
        for (key, verb) in [(1, "clear"), (2, "everywhere"), (3, "prefix")] {
            assert_eq!(load(&one, key, Origin::default().gives(7)).await, 7);
            // Nobody but its private tier has it, so that no news name it.
            fleet.store.remove(vec![support::key(key).into()]).await.unwrap();
            match verb {
                "clear" => drop(two.clear().await.unwrap()),
                "everywhere" => assert!(two.clear_everywhere().await.unwrap().everywhere),
                _ => drop(two.remove_prefix("3").await.unwrap()),
            }
            arrive().await;
            for _ in 0..2 {
                assert_eq!(get(&one, key).await, None, "{verb}, lists its keys: {lists}");
                sleep(secs(1)).await;
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_load_from_before_a_tag_was_invalidated_in_vain_is_shared_with_nobody_after() {
    let fleet = Fleet::new(Way::Announced);
    let one = fleet.node().await;
    let slow = |_: LoadContext<u64>| async {
        sleep(secs(1)).await;
        Ok::<_, std::io::Error>(Loaded::value(1).tags(["a"]))
    };
    let fast = |_: LoadContext<u64>| async { Ok::<_, std::io::Error>(Loaded::value(2).tags(["a"])) };
    one.faults.fail_all();
    let (before, after) = tokio::join!(one.cache.get_or_load(&1, slow), async {
        sleep(millis(500)).await;
        assert!(one.cache.invalidate_tag("a").await.is_err(), "it is owed");
        one.cache.get_or_load(&1, fast).await
    });
    assert_eq!((before.unwrap().as_deref(), after.unwrap().as_deref()), (Some(&1), Some(&2)));
}

#[tokio::test(start_paused = true)]
async fn cleared_everywhere_nothing_stands_in_a_store_that_keeps_no_barriers_either() {
    let fleet = Fleet::new(Way::Published);
    let node = async || {
        let store = fleet.store.clone().with_capabilities(without_barriers());
        let builder = Stack::builder()
            .memory(Memory::max_entries(100))
            .clock(fleet.clock.clone())
            .rng(SeededRng::unpredictable())
            .bus(fleet.bus.clone())
            .store_with(store, TierSettings::new().with_name("shared"));
        let stack = builder.build().await.unwrap();
        let cache: Cache<u64, u64> = stack.cache("n").policy(Policy::ttl(hours(1))).build().unwrap();
        (stack, cache)
    };
    let ((_one, one), (_two, two)) = (node().await, node().await);
    sleep(secs(1)).await;
    assert_eq!(load(&one, 1, Origin::default().gives(7)).await, 7);
    assert!(two.clear_everywhere().await.unwrap().everywhere);
    assert_eq!([get(&one, 1).await, get(&two, 1).await], [None, None]);
}

#[tokio::test(start_paused = true)]
async fn removed_everywhere_nobody_serves_it_though_the_store_just_lost_who_lives() {
    for way in [Way::Announced, Way::Published] {
        let fleet = Fleet::new(way);
        let (one, two) = (fleet.node().await, fleet.node().await);
        sleep(secs(2)).await;
        assert_eq!(load(&one.cache, 1, Origin::default().gives(7)).await, 7);
        let began = Watch::start();
        assert!(two.cache.remove_everywhere(&2).await.unwrap().everywhere);
        assert!(began.elapsed() < millis(100), "the list has been kept for long");
        one.leg.set_deaf(true);
        fleet.store.lose_history();
        assert!(two.cache.remove_everywhere(&1).await.unwrap().everywhere);
        assert_eq!(get(&one.cache, 1).await, None, "{way:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_node_that_was_cut_off_serves_nothing_from_before_at_its_first_beat_after() {
    for way in [Way::Announced, Way::Published] {
        let fleet = Fleet::new(way);
        let (one, two) = (fleet.node().await, fleet.node().await);
        sleep(secs(2)).await;
        for missed in [true, false] {
            assert_eq!(load(&one.cache, 1, Origin::default().gives(7)).await, 7);
            one.leg.set_deaf(true);
            one.faults.fail_all();
            if missed {
                two.cache.remove(&1).await.unwrap();
            }
            sleep(secs(20)).await;
            one.leg.set_deaf(false);
            one.faults.heal();
            let mut hits = 0;
            // The breaker of the store may be open for half a minute more.
            for _ in 0..8_000 {
                sleep(millis(5)).await;
                let lookup = one.cache.get_with(&1, &larder::ReadOptions::new()).await.unwrap();
                hits += u32::from(lookup.answer.is_hit() && lookup.stale.is_none());
            }
            assert_eq!(hits == 0, missed, "{way:?}: {hits}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_node_that_was_deaf_and_hears_itself_again_serves_nothing_from_before() {
    let fleet = Fleet::new(Way::Alone);
    let (one, two) = (fleet.node().await, fleet.node().await);
    sleep(secs(2)).await;
    assert_eq!(load(&one.cache, 1, Origin::default().gives(7)).await, 7);
    one.leg.set_deaf(true);
    sleep(secs(2)).await;
    two.cache.remove(&1).await.unwrap();
    one.leg.set_deaf(false);
    // It may hear its own sign of life before any other.
    for _ in 0..100 {
        sleep(millis(5)).await;
        let lookup = one.cache.get_with(&1, &larder::ReadOptions::new()).await.unwrap();
        assert!(!lookup.answer.is_hit() || lookup.stale.is_some());
    }
}

#[tokio::test(start_paused = true)]
async fn removed_everywhere_by_a_node_that_was_deaf_nobody_serves_it_who_was_not_heard() {
    let fleet = Fleet::new(Way::Alone);
    let (one, two) = (fleet.node().await, fleet.node().await);
    sleep(secs(2)).await;
    assert_eq!(load(&one.cache, 1, Origin::default().gives(7)).await, 7);
    // For a while neither hears the other, and each hears itself: the one by its last sign of life.
    one.leg.set_deaf(true);
    sleep(secs(5)).await;
    assert_eq!(two.cache.remove_everywhere(&1).await.map(|done| done.everywhere).ok(), None, "it beats on");
    one.leg.set_mute(true);
    sleep(secs(3)).await;
    one.leg.set_deaf(false);
    assert!(two.cache.remove_everywhere(&1).await.unwrap().everywhere);
    let lookup = one.cache.get_with(&1, &larder::ReadOptions::new()).await.unwrap();
    assert!(!lookup.answer.is_hit() || lookup.stale.is_some());
}

/// One that nobody hears, and one that has not heard anybody for so long that it forgets who lives once it hears again.
async fn long_unheard() -> (Node, Node) {
    let fleet = Fleet::new(Way::Alone);
    let (one, two) = (fleet.node().await, fleet.node().await);
    one.leg.set_deaf(true);
    one.leg.set_mute(true);
    two.leg.set_deaf(true);
    sleep(secs(15)).await;
    (one, two)
}

/// Its list of who lives is as old as its silence, and what stands there may be gone from it.
#[tokio::test(start_paused = true)]
async fn removed_everywhere_by_a_node_that_just_hears_again_waits_for_who_was_not_heard_meanwhile() {
    let (one, two) = long_unheard().await;
    two.leg.set_deaf(false);
    sleep(millis(600)).await;
    one.leg.set_mute(false);
    assert_eq!(two.cache.remove_everywhere(&1).await.map(|done| done.everywhere).ok(), None, "it beats on");
}

/// The same of one that hears again while it waits.
#[tokio::test(start_paused = true)]
async fn removed_everywhere_by_a_node_that_hears_again_meanwhile_waits_for_who_was_not_heard() {
    let (one, two) = long_unheard().await;
    let (done, ()) = tokio::join!(two.cache.remove_everywhere(&1), async {
        sleep(millis(100)).await;
        two.leg.set_deaf(false);
        sleep(millis(600)).await;
        one.leg.set_mute(false);
    });
    assert_eq!(done.map(|done| done.everywhere).ok(), None, "it beats on");
}

/// The removal is older than the expiry, and what it removed must not go on as something stale under the newer number.
#[tokio::test(start_paused = true)]
async fn expired_above_a_removal_that_a_node_did_not_hear_nothing_from_before_the_removal_is_served() {
    for way in [Way::Announced, Way::Published] {
        for (expirer_is_deaf, loaded_between) in [(true, false), (true, true), (false, false), (false, true)]
        {
            let fleet = Fleet::new(way);
            let (one, two) = (fleet.node().await, fleet.node().await);
            let lenient = Policy::ttl(hours(1)).stale_while_revalidate(hours(1)).stale_if_error(hours(1));
            let cache = |stack: &Stack| -> Cache<u64, u64> {
                stack.cache("lenient").policy(lenient.clone()).build().unwrap()
            };
            let (here, there) = (cache(&one.stack), cache(&two.stack));
            let origin = Origin::default();
            assert_eq!(load(&here, 1, origin.gives(7)).await, 7);
            assert_eq!(load(&there, 1, origin.gives(7)).await, 7);
            two.leg.set_deaf(true);
            here.remove(&1).await.unwrap();
            if loaded_between {
                assert_eq!(load(&here, 1, origin.gives(8)).await, 8);
            }
            two.leg.set_deaf(expirer_is_deaf);
            if expirer_is_deaf { there.expire(&1).await } else { here.expire(&1).await }.unwrap();
            arrive().await;
            let allowing = ReadOptions::new().allow_stale(true);
            let answer = there.get_with(&1, &allowing).await.unwrap().answer;
            let expected = loaded_between.then_some(&8);
            assert!(
                answer.as_value().is_none() || answer.as_value() == expected,
                "{way:?}, by the deaf: {expirer_is_deaf}, loaded: {loaded_between}: {answer:?}"
            );
        }
    }
}

/// Nothing tells a node that hears nobody who came before a removal everywhere and who after.
#[tokio::test(start_paused = true)]
async fn removed_everywhere_who_comes_after_shares_no_load_from_before_on_a_node_that_is_deaf() {
    let fleet = Fleet::new(Way::Published);
    let settings = BusSettings::new().with_partition(Partition::Coherent);
    let (one, two) = (fleet.node_with(settings).await, fleet.node().await);
    one.leg.set_deaf(true);
    one.faults.fail_all();
    sleep(secs(5)).await;
    let origin = Origin::default();
    let before = one.cache.get_or_load(&1, origin.slow(7, secs(10)));
    let after = async {
        sleep(secs(1)).await;
        assert!(two.cache.remove_everywhere(&1).await.unwrap().everywhere);
        let many = async |_: Vec<u64>| Ok::<_, larder::Error>(std::collections::HashMap::from([(1, 8)]));
        let soft = ReadOptions::new().soft_timeout(millis(100));
        tokio::join!(
            load(&one.cache, 1, origin.gives(8)),
            one.cache.get_many_or_load(&[1], many),
            one.cache.get_or_load_with(&1, &soft, async |_| Ok::<_, larder::Error>(8)),
        )
    };
    let (before, (alone, many, soft)) = tokio::join!(before, after);
    assert_eq!((before.unwrap().as_deref(), alone), (Some(&7), 8));
    assert_eq!(many.unwrap()[0].as_deref(), Some(&8));
    assert_eq!(soft.unwrap().answer.as_value(), Some(&8));
}

/// The same of a copy in a tier that no other node shares.
#[tokio::test(start_paused = true)]
async fn expired_above_a_removal_that_was_not_heard_nothing_from_before_it_is_served_from_a_private_tier() {
    for way in [Way::Announced, Way::Published] {
        let fleet = Fleet::new(way);
        let peer = fleet.node().await;
        let shared = match way {
            Way::Announced => fleet.store.clone().announcing_on("news"),
            _ => fleet.store.clone(),
        };
        let (stack, _, leg) = node_with_private_tier(&fleet, private(false), shared).await;
        let lenient = Policy::ttl(hours(1)).stale_while_revalidate(hours(1)).stale_if_error(hours(1));
        let cache = |stack: &Stack| -> Cache<u64, u64> {
            stack.cache("lenient").policy(lenient.clone()).build().unwrap()
        };
        let (here, there) = (cache(&stack), cache(&peer.stack));
        assert_eq!(load(&here, 1, Origin::default().gives(7)).await, 7);
        leg.set_deaf(true);
        there.remove(&1).await.unwrap();
        here.expire(&1).await.unwrap();
        leg.set_deaf(false);
        arrive().await;
        let allowing = ReadOptions::new().allow_stale(true);
        let answer = here.get_with(&1, &allowing).await.unwrap().answer;
        assert!(answer.as_value().is_none(), "{way:?}: {answer:?}");
    }
}

/// Loads draw no versions, so what a peer loads in place of an expired entry bears the same one.
#[tokio::test(start_paused = true)]
async fn what_a_private_tier_holds_past_its_time_goes_once_its_node_found_what_was_loaded_since() {
    let fleet = Fleet::new(Way::Published);
    let peer = fleet.node().await;
    let (stack, ..) = node_with_private_tier(&fleet, private(false), fleet.store.clone()).await;
    let brief = TierPolicy::ttl(millis(20)).stale_if_error(millis(0));
    let policy = Policy::ttl(secs(10)).stale_if_error(hours(1)).tier("memory", brief);
    let cache =
        |stack: &Stack| -> Cache<u64, u64> { stack.cache("brief").policy(policy.clone()).build().unwrap() };
    let (here, there) = (cache(&stack), cache(&peer.stack));
    // It may be over sooner than what it replaces; and its node may have to wait for it.
    let sooner = || Loaded::value(8).stale_if_error(secs(5));
    for (key, loaded, waits) in [(1, Loaded::value(8), false), (2, sooner(), false), (3, sooner(), true)] {
        here.set(&key, 7).await.unwrap();
        sleep(secs(11)).await;
        let origin = Origin::default();
        let (loaded, ()) = tokio::join!(load(&there, key, origin.answers_after(loaded, millis(50))), async {
            sleep(millis(if waits { 5 } else { 60 })).await;
            assert_eq!(load(&here, key, no_loader()).await, 8);
        });
        assert_eq!(loaded, 8);
        // The shared store lets go of it, and memory's time is soon over.
        fleet.store.remove(vec![support::key_in("brief", key).into()]).await.unwrap();
        sleep(millis(30)).await;
        let answer = here.get_with(&key, &ReadOptions::new().allow_stale(true)).await.unwrap().answer;
        assert_ne!(answer.as_value(), Some(&7), "key {key}");
    }
}

/// K9: everything recovers within 20 s, so what is owed must not wait for longer than that behind one lost answer.
#[tokio::test(start_paused = true)]
async fn a_clear_whose_answer_is_lost_is_given_up_in_time_for_what_is_owed_to_be_paid() {
    for way in [Way::Announced, Way::Published] {
        let fleet = Fleet::new(way);
        let shared = fleet.store.clone().with_capabilities(without_barriers());
        let (store, faults) = Faulty::new(shared, 1);
        let builder = Stack::builder().memory(Memory::max_entries(100)).clock(fleet.clock.clone());
        let builder = builder.rng(SeededRng::unpredictable()).bus(fleet.bus.clone());
        let stack = builder.store_with(store, TierSettings::new().with_name("shared")).build().await.unwrap();
        let cache: Cache<u64, u64> = stack.cache("n").policy(Policy::ttl(hours(1))).build().unwrap();
        sleep(secs(1)).await;
        cache.set(&1, 7).await.unwrap();
        faults.inject(Op::Clear, When::Nth(1), Fault::Hang);
        let began = Watch::start();
        let error = cache.clear().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Timeout, "{way:?}: {error}");
        assert_eq!(began.elapsed(), secs(15), "{way:?}");
        assert_eq!(get(&cache, 1).await, None, "{way:?}: its copy is not read before it is gone");
        while stack.stats().tiers[0].journal > 0 {
            sleep(millis(10)).await;
            assert!(began.elapsed() < secs(20), "{way:?}: {:?}", stack.stats().tiers);
        }
        assert!(faults.calls(Op::Clear) > 1, "{way:?}: it was repeated");
        cache.set(&1, 8).await.unwrap();
        assert_eq!(get(&cache, 1).await, Some(8), "{way:?}");
    }
}
