//! Invalidating by tag and namespace: one number, however many entries fall under it.

use larder::{
    Answer, Cache, LoadContext, Loaded, Memory, Policy, ReadOptions, Stack, TagMatch, TierPolicy,
    WriteOptions, hours, millis, minutes, secs,
};
use larder_core::{Capabilities, Raise, Store};
use larder_testkit::{MemoryBus, MemoryStore, Op, PausedClock, SeededRng};

use crate::bus;
use crate::support::{Fleet, Loading, Node, Origin, get, key, load, memory_only, no_loader, sleep};

/// A value with tags.
fn tagged(value: u64, tags: &[&str]) -> impl FnOnce(LoadContext<u64>) -> Loading + Send + 'static {
    let loaded = Loaded::value(value).tags(tags.iter().copied());
    move |_| {
        Box::pin(async move {
            sleep(larder::millis(10)).await;
            Ok(loaded)
        })
    }
}

fn with_tags(tags: &[&str]) -> WriteOptions {
    WriteOptions::new().tags(tags.iter().copied())
}

fn windows() -> Policy {
    Policy::ttl(hours(1)).stale_while_revalidate(hours(1)).stale_if_error(hours(2))
}

async fn fleet() -> (Fleet, Node, Node) {
    let fleet = Fleet::new();
    let (one, two) = (fleet.node(windows()).await, fleet.node(windows()).await);
    (fleet, one, two)
}

#[tokio::test(start_paused = true)]
async fn a_tag_removes_those_that_bear_it_from_every_tier_and_no_others() {
    let memory = memory_only().await;
    let alone: Cache<u64, u64> = memory.cache("n").policy(windows()).build().unwrap();
    let (_fleet, one, two) = fleet().await;
    for (cache, other) in [(&alone, &alone), (&one.cache, &two.cache)] {
        cache.set_with(&1, 1, &with_tags(&["a"])).await.unwrap();
        cache.set_with(&2, 2, &with_tags(&["a", "b"])).await.unwrap();
        cache.set_with(&3, 3, &with_tags(&["b"])).await.unwrap();
        cache.set(&4, 4).await.unwrap();
        cache.invalidate_tag("a").await.unwrap();
        for cache in [cache, other] {
            assert!(!cache.has(&1).await.unwrap() && cache.has(&3).await.unwrap());
            assert_eq!(cache.ttl(&1).await.unwrap(), None);
            assert!(cache.inspect(&1).await.unwrap().copies.is_empty());
            let left = [get(cache, 1).await, get(cache, 2).await, get(cache, 3).await, get(cache, 4).await];
            assert_eq!(left, [None, None, Some(3), Some(4)]);
        }
        cache.set_with(&1, 5, &with_tags(&["a"])).await.unwrap();
        assert_eq!(get(cache, 1).await, Some(5), "what is set later is newer");
        assert_eq!(get(cache, 1).await, Some(5), "also in memory");
    }
}

#[tokio::test(start_paused = true)]
async fn all_of_several_tags_removes_only_those_that_bear_them_all() {
    let (_fleet, one, two) = fleet().await;
    for (key, tags) in [(1, &["a"][..]), (2, &["b"]), (3, &["a", "b", "c"])] {
        one.cache.set_with(&key, key, &with_tags(tags)).await.unwrap();
    }
    one.cache.invalidate_tags(&["b", "a"], TagMatch::All).await.unwrap();
    for cache in [&one.cache, &two.cache] {
        assert_eq!([get(cache, 1).await, get(cache, 2).await, get(cache, 3).await], [Some(1), Some(2), None]);
    }
    two.cache.invalidate_tags(&["b", "a"], TagMatch::Any).await.unwrap();
    assert_eq!([get(&two.cache, 1).await, get(&two.cache, 2).await], [None, None]);
}

#[tokio::test(start_paused = true)]
async fn a_tag_of_one_namespace_does_not_hit_anothers_and_a_stack_wide_one_does() {
    let (_fleet, one, _) = fleet().await;
    let other: Cache<u64, u64> = one.stack.cache("m").policy(windows()).build().unwrap();
    for cache in [&one.cache, &other] {
        cache.set_with(&1, 1, &with_tags(&["a"])).await.unwrap();
    }
    one.cache.invalidate_tag("a").await.unwrap();
    assert_eq!([get(&one.cache, 1).await, get(&other, 1).await], [None, Some(1)]);
    one.stack.invalidate_tags(&["a"], TagMatch::Any).await.unwrap();
    assert_eq!(get(&other, 1).await, None);
}

#[tokio::test(start_paused = true)]
async fn expired_by_tag_an_entry_is_served_stale_while_it_is_refreshed() {
    let memory = memory_only().await;
    let alone: Cache<u64, u64> = memory.cache("n").policy(windows()).build().unwrap();
    let (_fleet, one, two) = fleet().await;
    for (cache, other) in [(&alone, &alone), (&one.cache, &two.cache)] {
        for verb in ["tag", "namespace"] {
            cache.set_with(&1, 1, &with_tags(&["a"])).await.unwrap();
            sleep(minutes(1)).await;
            match verb {
                "tag" => cache.expire_tags(&["a"], TagMatch::Any).await.unwrap(),
                _ => cache.expire_all().await.unwrap(),
            };
            for cache in [cache, other] {
                let lookup = cache.get_with(&1, &ReadOptions::new()).await.unwrap();
                assert_eq!(lookup.answer, Answer::Value(1.into()), "{verb}");
                assert!(lookup.stale.is_some(), "{verb}");
            }
            assert_eq!(load(cache, 1, tagged(2, &["a"])).await, 1);
            sleep(secs(1)).await;
            assert_eq!(load(cache, 1, no_loader()).await, 2, "{verb}");
            cache.remove(&1).await.unwrap();
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_load_that_began_before_the_tag_was_invalidated_is_dead_on_arrival_and_shared_with_nobody_after() {
    let memory = memory_only().await;
    let alone: Cache<u64, u64> = memory.cache("n").policy(windows()).build().unwrap();
    let (_fleet, one, two) = fleet().await;
    for (cache, invalidating) in [(&alone, &alone), (&one.cache, &one.cache), (&one.cache, &two.cache)] {
        cache.clear().await.unwrap();
        let slow = |_: LoadContext<u64>| async {
            sleep(secs(1)).await;
            Ok::<_, std::io::Error>(Loaded::value(1).tags(["a"]))
        };
        let (before, after) = tokio::join!(async { cache.get_or_load(&1, slow).await.unwrap() }, async {
            sleep(larder::millis(500)).await;
            invalidating.invalidate_tag("a").await.unwrap();
            load(invalidating, 1, tagged(2, &["a"])).await
        });
        assert_eq!((before.as_deref(), after), (Some(&1), 2));
        // Without a bus, nobody tells the other node's memory.
        assert_eq!(load(invalidating, 1, no_loader()).await, 2);
    }
}

#[tokio::test(start_paused = true)]
async fn a_namespace_is_cleared_by_one_number_whatever_the_store_still_holds() {
    let (fleet, one, two) = fleet().await;
    let inner: Cache<u64, u64> = one.cache.namespace("inner").unwrap();
    one.cache.set(&1, 1).await.unwrap();
    inner.set(&1, 1).await.unwrap();
    one.faults.fail(Op::Clear);
    one.cache.clear().await.unwrap();
    assert_eq!(fleet.shared.len(larder_core::KeyPrefix::all()).await.unwrap(), 2, "nothing was swept up");
    assert_eq!([get(&one.cache, 1).await, get(&inner, 1).await, get(&two.cache, 1).await], [None; 3]);
    one.cache.set(&1, 2).await.unwrap();
    assert_eq!(get(&two.cache, 1).await, Some(2));
}

#[tokio::test(start_paused = true)]
async fn what_the_store_cannot_raise_now_is_owed_and_nothing_old_is_served_meanwhile() {
    let (_fleet, one, two) = fleet().await;
    one.cache.set_with(&1, 1, &with_tags(&["a"])).await.unwrap();
    one.faults.fail(Op::Raise);
    one.cache.invalidate_tag("a").await.unwrap_err();
    assert_eq!(get(&one.cache, 1).await, None);
    one.cache.set_with(&2, 2, &with_tags(&["a"])).await.unwrap();
    assert_eq!(get(&one.cache, 2).await, None, "it cannot be known yet that it is newer");
    one.faults.heal();
    sleep(secs(5)).await;
    assert_eq!([get(&one.cache, 1).await, get(&two.cache, 1).await], [None; 2]);
    one.cache.set_with(&2, 3, &with_tags(&["a"])).await.unwrap();
    assert_eq!([get(&one.cache, 2).await, get(&two.cache, 2).await], [Some(3); 2]);
}

#[tokio::test(start_paused = true)]
async fn what_is_owed_is_above_all_that_the_node_holds_though_others_raised_more() {
    let (_fleet, one, two) = fleet().await;
    two.cache.set_with(&2, 2, &with_tags(&["a"])).await.unwrap();
    assert_eq!(get(&one.cache, 2).await, Some(2), "it has asked how far the barriers are");
    two.cache.invalidate_tag("b").await.unwrap();
    two.cache.set_with(&1, 3, &with_tags(&["a"])).await.unwrap();
    assert_eq!(get(&one.cache, 1).await, Some(3));
    one.faults.fail_all();
    one.cache.invalidate_tag("a").await.unwrap_err();
    assert_eq!(get(&one.cache, 1).await, None);
}

#[tokio::test(start_paused = true)]
async fn what_a_node_invalidated_itself_stays_so_while_the_store_cannot_be_asked_what_others_did() {
    for verb in ["tag", "namespace", "stack"] {
        let (_fleet, one, two) = fleet().await;
        two.cache.set(&2, 2).await.unwrap();
        assert_eq!(get(&one.cache, 2).await, Some(2), "what it was told then counts for a second");
        one.cache.set_with(&1, 1, &with_tags(&["a"])).await.unwrap();
        one.faults.fail(Op::Clear);
        match verb {
            "tag" => drop(one.cache.invalidate_tag("a").await.unwrap()),
            "namespace" => drop(one.cache.clear().await.unwrap()),
            _ => drop(one.stack.invalidate_tags(&["a"], TagMatch::Any).await.unwrap()),
        }
        sleep(secs(2)).await;
        one.faults.fail(Op::Barriers);
        let failing = Origin::default();
        one.cache.get_or_load(&1, failing.fails()).await.expect_err(verb);
    }
}

#[tokio::test(start_paused = true)]
async fn what_a_node_expired_itself_is_served_for_its_window_while_the_store_cannot_be_asked_and_no_longer() {
    let fleet = Fleet::new();
    let one = fleet.node(Policy::ttl(hours(1)).stale_if_error(minutes(1))).await;
    one.cache.set_with(&1, 1, &with_tags(&["a"])).await.unwrap();
    one.cache.expire_tags(&["a"], TagMatch::Any).await.unwrap();
    one.faults.fail(Op::Barriers);
    let failing = Origin::default();
    for (pause, served) in [(secs(30), true), (secs(31), false)] {
        sleep(pause).await;
        assert_eq!(one.cache.get_or_load(&1, failing.fails()).await.is_ok(), served);
    }
}

#[tokio::test(start_paused = true)]
async fn what_the_store_hears_late_of_an_expiry_counts_since_the_expiry() {
    let fleet = Fleet::new();
    let policy = Policy::ttl(hours(1)).stale_if_error(minutes(1));
    let (one, two) = (fleet.node(policy.clone()).await, fleet.node(policy).await);
    one.cache.set_with(&1, 1, &with_tags(&["a"])).await.unwrap();
    one.faults.fail(Op::Raise);
    one.cache.expire_tags(&["a"], TagMatch::Any).await.unwrap_err();
    sleep(secs(40)).await;
    one.faults.heal();
    sleep(secs(15)).await;
    assert_eq!(one.stack.stats().tiers[0].journal, 0, "it has heard of it");
    let failing = Origin::default();
    for (pause, served) in [(secs(1), true), (secs(10), false)] {
        sleep(pause).await;
        assert_eq!(two.cache.get_or_load(&1, failing.fails()).await.is_ok(), served, "{pause:?}");
    }
}

/// What nobody could judge is there to fall back on for the rest of its life, unless somebody ends that.
#[tokio::test(start_paused = true)]
async fn what_could_not_be_judged_is_over_with_its_windows_once_it_is_expired() {
    for by_tag in [false, true] {
        let fleet = Fleet::new();
        let one = fleet.node(Policy::ttl(hours(1))).await;
        let two = fleet.node(Policy::ttl(hours(1))).await;
        two.cache.set_with(&1, 1, &with_tags(&["a"])).await.unwrap();
        let failing = Origin::default();
        one.faults.fail(Op::Barriers);
        assert_eq!(one.cache.get_or_load(&1, failing.fails()).await.unwrap().as_deref(), Some(&1));
        one.faults.heal();
        sleep(minutes(1)).await;
        // So that it knows of the barriers, and need not ask.
        two.cache.set_with(&2, 2, &with_tags(&["a"])).await.unwrap();
        assert_eq!(get(&one.cache, 2).await, Some(2));
        match by_tag {
            true => one.cache.expire_tags(&["a"], TagMatch::Any).await.unwrap(),
            false => one.cache.expire(&1).await.unwrap(),
        };
        one.faults.fail(Op::Read);
        one.cache.get_or_load(&1, failing.fails()).await.expect_err("its windows are none");
    }
}

#[tokio::test(start_paused = true)]
async fn what_could_not_be_judged_has_its_own_windows_once_it_is_expired_whatever_the_policy_has() {
    for by_tag in [false, true] {
        let fleet = Fleet::new();
        let policy = Policy::ttl(hours(1)).stale_if_error(hours(2));
        let (one, two) = (fleet.node(policy.clone()).await, fleet.node(policy).await);
        two.cache.set_with(&1, 1, &with_tags(&["a"]).stale_if_error(minutes(1))).await.unwrap();
        let failing = Origin::default();
        one.faults.fail(Op::Barriers);
        assert_eq!(one.cache.get_or_load(&1, failing.fails()).await.unwrap().as_deref(), Some(&1));
        one.faults.heal();
        sleep(minutes(5)).await;
        two.cache.set_with(&2, 2, &with_tags(&["a"])).await.unwrap();
        assert_eq!(get(&one.cache, 2).await, Some(2), "it knows of the barriers");
        match by_tag {
            true => one.cache.expire_tags(&["a"], TagMatch::Any).await.unwrap(),
            false => one.cache.expire(&1).await.unwrap(),
        };
        one.faults.fail(Op::Read);
        for (pause, served) in [(secs(30), true), (secs(31), false)] {
            sleep(pause).await;
            assert_eq!(one.cache.get_or_load(&1, failing.fails()).await.is_ok(), served, "by tag: {by_tag}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_past_its_time_keeps_windows_longer_than_the_policys_when_it_is_expired() {
    let one = Fleet::new().node(Policy::ttl(hours(1))).await;
    let options = WriteOptions::new().ttl(minutes(1)).stale_if_error(hours(1));
    for (key, options) in [(1, options.clone()), (2, options.stale_while_revalidate(secs(1)))] {
        one.cache.set_with(&key, 7, &options).await.unwrap();
    }
    sleep(minutes(2)).await;
    let failing = Origin::default();
    for key in [1, 2] {
        one.cache.expire(&key).await.unwrap();
    }
    one.faults.fail(Op::Read);
    for (pause, served) in [(minutes(58), true), (minutes(2), false)] {
        sleep(pause).await;
        for key in [1, 2] {
            assert_eq!(one.cache.get_or_load(&key, failing.fails()).await.is_ok(), served, "{key}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_store_that_lost_its_barriers_is_not_believed_about_older_entries() {
    let (fleet, one, two) = fleet().await;
    one.cache.set_with(&1, 1, &with_tags(&["a"])).await.unwrap();
    one.cache.invalidate_tag("a").await.unwrap();
    fleet.shared.lose_barriers();
    sleep(secs(2)).await;
    assert_eq!([get(&one.cache, 1).await, get(&two.cache, 1).await], [None; 2]);
    two.cache.set_with(&1, 2, &with_tags(&["a"])).await.unwrap();
    assert_eq!(get(&one.cache, 1).await, Some(2));
}

#[tokio::test(start_paused = true)]
async fn an_entry_with_tags_lives_no_longer_than_its_tags_are_remembered() {
    let (_fleet, one, _) = fleet().await;
    let options = with_tags(&["a"]).ttl(hours(100));
    one.cache.set_with(&1, 1, &options).await.unwrap();
    one.cache.set_with(&2, 2, &WriteOptions::new().ttl(hours(100))).await.unwrap();
    sleep(hours(25)).await;
    assert_eq!([get(&one.cache, 1).await, get(&one.cache, 2).await], [None, Some(2)]);
}

#[tokio::test(start_paused = true)]
async fn a_store_without_barriers_below_one_with_them_is_judged_too() {
    let clock = PausedClock::new();
    let mut plain = Capabilities::none();
    plain.persistent = true;
    plain.scan = true;
    let (local, shared) =
        (MemoryStore::new(clock.clone()).with_capabilities(plain), MemoryStore::new(clock.clone()));
    let node = async |local: &MemoryStore| {
        let builder = Stack::builder().clock(clock.clone()).rng(SeededRng::unpredictable());
        let builder = builder.store_with(local.clone(), larder::TierSettings::new().with_name("local"));
        let stack = builder.store_with(shared.clone(), larder::TierSettings::new().with_name("shared"));
        let stack = stack.build().await.unwrap();
        stack.cache::<u64, u64>("n").policy(windows()).build().unwrap()
    };
    let one = node(&local).await;
    one.set_with(&1, 1, &with_tags(&["a"])).await.unwrap();
    let two = node(&MemoryStore::new(clock.clone()).with_capabilities(plain)).await;
    two.invalidate_tag("a").await.unwrap();
    sleep(secs(2)).await;
    assert_eq!(get(&one, 1).await, None, "its local copy is older");
}

/// Two nodes that hear of each other.
async fn two_on_a_bus() -> [(Stack, Cache<u64, u64>); 2] {
    let clock = PausedClock::new();
    let store = MemoryStore::new(clock.clone());
    let bus = MemoryBus::new("news").hearing(&store);
    let node = async || {
        let builder = Stack::builder().memory(Memory::max_entries(100)).clock(clock.clone());
        let builder = builder.rng(SeededRng::unpredictable()).bus(bus.clone());
        let stack = builder.store(store.clone().announcing_on("news")).build().await.unwrap();
        let cache = stack.cache("n").policy(windows()).build().unwrap();
        (stack, cache)
    };
    let nodes = [node().await, node().await];
    sleep(secs(1)).await;
    nodes
}

#[tokio::test(start_paused = true)]
async fn what_another_node_loads_after_a_tag_was_invalidated_is_kept_in_memory_although_no_version_was_drawn()
{
    let [(_one, one), (stack, two)] = two_on_a_bus().await;
    assert_eq!(load(&one, 1, tagged(1, &["a"])).await, 1);
    assert_eq!(load(&two, 1, no_loader()).await, 1);
    one.invalidate_tag("a").await.unwrap();
    assert_eq!(load(&one, 1, tagged(2, &["a"])).await, 2);
    sleep(millis(100)).await;
    let from_memory = || stack.stats().namespaces[0].tier_hits("memory");
    let before = from_memory();
    assert_eq!((load(&two, 1, no_loader()).await, from_memory()), (2, before), "from the store");
    assert_eq!((load(&two, 1, no_loader()).await, from_memory()), (2, before + 1));
}

#[tokio::test(start_paused = true)]
async fn what_was_owed_is_not_told_any_more_once_it_was_raised_else_peers_would_wait_for_it_for_ever() {
    for way in [bus::Way::Announced, bus::Way::Published] {
        let fleet = bus::Fleet::new(way);
        let (one, two) = (fleet.node().await, fleet.node().await);
        sleep(secs(1)).await;
        one.leg.set_mute(true);
        one.faults.fail(Op::Raise);
        assert!(one.cache.invalidate_tag("a").await.is_err());
        one.faults.heal();
        let owed = || one.stack.stats().tiers[0].journal;
        while owed() > 0 {
            sleep(millis(100)).await;
        }
        one.leg.set_mute(false);
        sleep(secs(10)).await;
        let from_memory = || two.stack.stats().namespaces[0].tier_hits("memory");
        let before = from_memory();
        for _ in 0..2 {
            assert_eq!(load(&two.cache, 1, tagged(1, &["a"])).await, 1, "{way:?}");
        }
        assert_eq!(from_memory(), before + 1, "{way:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn raised_everywhere_means_that_no_node_serves_it() {
    let [(_one, one), (_two, two)] = two_on_a_bus().await;
    one.set_with(&1, 1, &with_tags(&["a"])).await.unwrap();
    assert_eq!(load(&two, 1, no_loader()).await, 1);
    assert!(one.invalidate_tags_everywhere(&["a"], TagMatch::Any).await.unwrap().everywhere);
    assert_eq!(two.peek(&1).unwrap(), Answer::Miss);
    one.set(&2, 2).await.unwrap();
    assert_eq!(load(&two, 2, no_loader()).await, 2);
    assert!(one.clear_everywhere().await.unwrap().everywhere);
    assert_eq!(two.peek(&2).unwrap(), Answer::Miss);
    assert_eq!(key(2).to_string(), "n:2");
}

#[tokio::test(start_paused = true)]
async fn what_a_node_loads_first_stands_at_others_although_the_store_begins_its_barriers_high() {
    let fleet = Fleet::new();
    fleet.shared.lose_barriers();
    let (one, two) = (fleet.node(windows()).await, fleet.node(windows()).await);
    assert_eq!(load(&one.cache, 1, tagged(1, &[])).await, 1);
    one.cache.set_with(&2, 2, &with_tags(&["a"])).await.unwrap();
    assert_eq!([get(&two.cache, 1).await, get(&two.cache, 2).await], [Some(1), Some(2)]);
}

#[tokio::test(start_paused = true)]
async fn what_a_node_loads_stands_at_others_soon_after_the_store_lost_its_barriers() {
    let (fleet, bus) = (Fleet::new(), MemoryBus::new("elsewhere"));
    let with_bus = |stack: larder::StackBuilder| stack.bus(bus.clone());
    let one = fleet.node_with(windows(), with_bus).await;
    let two = fleet.node_with(windows(), with_bus).await;
    fleet.shared.lose_barriers();
    sleep(secs(2)).await;
    assert_eq!(load(&one.cache, 1, tagged(1, &[])).await, 1);
    assert_eq!(get(&two.cache, 1).await, Some(1));
}

#[tokio::test(start_paused = true)]
async fn what_a_node_that_nobody_tells_writes_or_loads_after_an_invalidation_is_new_to_every_other() {
    let (_fleet, one, two) = fleet().await;
    for key in [1, 2] {
        one.cache.invalidate_tag("a").await.unwrap();
        one.cache.remove_prefix("1").await.unwrap();
        sleep(secs(2)).await;
        // It has read nothing since, so it was not told by the way.
        match key {
            1 => two.cache.set_with(&1, 7, &with_tags(&["a"])).await.unwrap(),
            _ => assert_eq!(load(&two.cache, 2, tagged(7, &["a"])).await, 7),
        }
        assert_eq!(get(&one.cache, key).await, Some(7), "it was set or loaded after that");
    }
}

#[tokio::test(start_paused = true)]
async fn an_entry_that_is_set_again_bears_its_new_tags_and_no_longer_the_old_ones() {
    let fleet = bus::Fleet::new(bus::Way::Announced);
    let (one, two) = (fleet.node().await, fleet.node().await);
    let both = async || (get(&one.cache, 1).await, get(&two.cache, 1).await);
    one.cache.set_with(&1, 1, &with_tags(&["old", "both"])).await.unwrap();
    assert_eq!(both().await, (Some(1), Some(1)));
    one.cache.set_with(&1, 2, &with_tags(&["new", "both"])).await.unwrap();
    one.cache.invalidate_tag("old").await.unwrap();
    bus::arrive().await;
    assert_eq!(both().await, (Some(2), Some(2)));
    for tag in ["new", "both"] {
        one.cache.set_with(&1, 3, &with_tags(&["new", "both"])).await.unwrap();
        bus::arrive().await;
        assert_eq!(both().await, (Some(3), Some(3)));
        two.cache.invalidate_tag(tag).await.unwrap();
        bus::arrive().await;
        assert_eq!(both().await, (None, None), "{tag}");
    }
}

#[tokio::test(start_paused = true)]
async fn tags_of_the_whole_stack_expire_in_every_namespace_and_their_windows_stand() {
    let fleet = bus::Fleet::new(bus::Way::Announced);
    let (one, two) = (fleet.node().await, fleet.node().await);
    let caches = ["x", "y"]
        .map(|name| -> Cache<u64, u64> { two.stack.cache(name).policy(windows()).build().unwrap() });
    for cache in &caches {
        cache.set_with(&1, 1, &with_tags(&["a"])).await.unwrap();
        cache.set_with(&2, 2, &with_tags(&["b"])).await.unwrap();
    }
    one.stack.expire_tags(&["a"], TagMatch::Any).await.unwrap();
    bus::arrive().await;
    for cache in &caches {
        for (key, expired) in [(1, true), (2, false)] {
            let found = cache.get_with(&key, &ReadOptions::new().allow_stale(true)).await.unwrap();
            assert!(found.answer.as_value().is_some(), "its windows stand");
            assert_eq!(found.stale.is_some(), expired);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn the_whole_stack_is_invalidated_everywhere_in_every_namespace_or_not_begun_without_a_bus() {
    for way in bus::WAYS {
        let fleet = bus::Fleet::new(way);
        let (one, two) = (fleet.node().await, fleet.node().await);
        sleep(secs(1)).await;
        let other: Cache<u64, u64> = two.stack.cache("other").policy(windows()).build().unwrap();
        for verb in ["tags", "clear"] {
            for cache in [&two.cache, &other] {
                assert_eq!(load(cache, 1, tagged(1, &["a"])).await, 1);
            }
            let done = match verb {
                "tags" => one.stack.invalidate_tags_everywhere(&["a"], TagMatch::Any).await,
                _ => one.stack.clear_everywhere().await,
            };
            assert!(done.unwrap().everywhere, "{way:?} {verb}");
            for cache in [&two.cache, &other] {
                assert_eq!(cache.peek(&1).unwrap(), Answer::Miss, "{way:?} {verb}");
            }
        }
    }
    let alone = memory_only().await;
    let cache: Cache<u64, u64> = alone.cache("n").policy(windows()).build().unwrap();
    cache.set_with(&1, 1, &with_tags(&["a"])).await.unwrap();
    for refused in
        [alone.invalidate_tags_everywhere(&["a"], TagMatch::Any).await, alone.clear_everywhere().await]
    {
        assert_eq!(refused.unwrap_err().kind(), larder::ErrorKind::Unsupported);
    }
    assert_eq!(get(&cache, 1).await, Some(1), "nothing was begun");
}

#[tokio::test(start_paused = true)]
async fn more_tags_than_one_call_takes_are_refused_and_nothing_is_invalidated() {
    let stack = memory_only().await;
    let cache: Cache<u64, u64> = stack.cache("n").policy(windows()).build().unwrap();
    cache.set_with(&1, 1, &with_tags(&["0"])).await.unwrap();
    let tags: Vec<String> = (0..129).map(|n| n.to_string()).collect();
    for error in [
        cache.invalidate_tags(&tags, TagMatch::Any).await.unwrap_err(),
        cache.expire_tags(&tags, TagMatch::Any).await.unwrap_err(),
        stack.invalidate_tags(&tags, TagMatch::Any).await.unwrap_err(),
    ] {
        assert_eq!(error.kind(), larder::ErrorKind::Rejected);
        assert!(error.to_string().contains("128"), "{error}");
    }
    assert_eq!(get(&cache, 1).await, Some(1));
    cache.invalidate_tags(&tags[..128], TagMatch::Any).await.unwrap();
    assert_eq!(get(&cache, 1).await, None);
}

/// A barrier on its tags makes memory doubt an entry that it does not cover: judged once, that is over.
#[tokio::test(start_paused = true)]
async fn what_stands_under_a_barrier_on_its_tags_is_kept_in_memory_again_whoever_tells_of_barriers() {
    for way in [bus::Way::Announced, bus::Way::Published] {
        let fleet = bus::Fleet::new(way);
        let (one, two) = (fleet.node().await, fleet.node().await);
        let brief = Policy::ttl(hours(1)).tier("memory", TierPolicy::ttl(secs(2)));
        let [here, there] = [&one, &two].map(|node| -> Cache<u64, u64> {
            node.stack.cache("brief").policy(brief.clone()).build().unwrap()
        });
        here.set_with(&1, 7, &with_tags(&["a"])).await.unwrap();
        assert_eq!(get(&there, 1).await, Some(7));
        here.invalidate_tags(&["a", "b"], TagMatch::All).await.unwrap();
        sleep(secs(3)).await;
        assert_eq!(get(&there, 1).await, Some(7), "memory let go of it, the store has it");
        two.faults.fail_all();
        assert_eq!(get(&there, 1).await, Some(7), "{way:?}: and so has memory");
    }
}

/// Where a store keeps the fleet's books and no barriers, the number that it tells of barriers is none of this node's.
#[tokio::test(start_paused = true)]
async fn a_node_that_draws_its_own_barriers_believes_no_store_how_far_they_are() {
    let fleet = bus::Fleet::without_barriers();
    let (name, note) = (bytes::Bytes::from_static(b"x"), bytes::Bytes::new());
    let raise = Raise { barriers: vec![(name, note)], expected: None, keep: hours(1), news: None };
    for _ in 0..9 {
        fleet.clone_with_barriers().raise(raise.clone()).await.unwrap();
    }
    let one = fleet.node().await;
    sleep(secs(1)).await;
    let brief = Policy::ttl(hours(1)).tier("memory", TierPolicy::ttl(secs(2)));
    let cache: Cache<u64, u64> = one.stack.cache("brief").policy(brief).build().unwrap();
    cache.set_with(&1, 7, &with_tags(&["a"])).await.unwrap();
    sleep(secs(3)).await;
    assert_eq!(get(&cache, 1).await, Some(7), "memory let go of it, the store has it");
    cache.invalidate_tag("a").await.unwrap();
    assert_eq!(get(&cache, 1).await, None);
}
