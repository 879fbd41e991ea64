//! What a barrier made dead leaves a store when somebody meets it there, and nothing newer does.

use larder::{Cache, Loaded, Policy, TagMatch, WriteOptions, hours, millis, secs};
use larder_core::{KeyPrefix, Store};
use larder_testkit::{Fault, Op, When};

use crate::{
    bus::{self, Way, arrive},
    support::{Fleet, Origin, get, load, no_loader, sleep},
};

fn tagged() -> WriteOptions {
    WriteOptions::new().tags(["a"])
}

async fn stored(fleet: &Fleet) -> u64 {
    fleet.shared.len(KeyPrefix::all()).await.unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_reader_that_meets_a_dead_entry_has_it_removed_and_others_feel_nothing() {
    for way in [Way::Announced, Way::Published] {
        let fleet = bus::Fleet::new(way);
        let (one, two) = (fleet.node().await, fleet.node().await);
        one.cache.set_with(&1, 7, &tagged()).await.unwrap();
        one.cache.set(&2, 7).await.unwrap();
        arrive().await;
        assert_eq!(load(&two.cache, 2, no_loader()).await, 7);
        one.cache.invalidate_tag("a").await.unwrap();
        arrive().await;
        let before = two.stack.stats().bus.unwrap();
        assert_eq!(fleet.store.len(KeyPrefix::all()).await.unwrap(), 2, "nobody looked for it");
        assert_eq!(get(&one.cache, 1).await, None);
        sleep(secs(2)).await;
        assert_eq!(fleet.store.len(KeyPrefix::all()).await.unwrap(), 1, "{way:?}");
        assert_eq!((one.cache.stats().swept, two.cache.stats().swept), (1, 0));
        let after = two.stack.stats().bus.unwrap();
        assert_eq!((after.gaps, after.clears), (before.gaps, before.clears), "{way:?}: no number was drawn");
        assert_eq!(two.cache.stats().tier_hits("memory"), 0);
        assert_eq!(load(&two.cache, 2, no_loader()).await, 7);
        assert_eq!(two.cache.stats().tier_hits("memory"), 1, "{way:?}: memory was not cleared");
    }
}

#[tokio::test(start_paused = true)]
async fn what_a_load_replaces_is_not_swept() {
    let fleet = Fleet::new();
    let node = fleet.node(Policy::ttl(hours(1))).await;
    node.cache.set_with(&1, 7, &tagged()).await.unwrap();
    node.cache.invalidate_tag("a").await.unwrap();
    assert_eq!(load(&node.cache, 1, Origin::default().gives(8)).await, 8);
    sleep(secs(2)).await;
    assert_eq!((stored(&fleet).await, node.cache.stats().swept), (1, 0));
}

/// How another node renews the entry meanwhile.
type Renewal = (&'static str, u64);

#[tokio::test(start_paused = true)]
async fn a_newer_entry_is_never_removed_though_it_may_bear_the_same_version() {
    let renewals: [Renewal; 2] = [("set", 8), ("load", 9)];
    // While the sweep asks for the lease, looks again, or removes; the reader's own read is the first.
    for (op, nth) in [(Op::Read, 2), (Op::Read, 3), (Op::Fill, 1)] {
        for (verb, value) in renewals {
            let fleet = Fleet::new();
            let (one, two) =
                (fleet.node(Policy::ttl(hours(1))).await, fleet.node(Policy::ttl(hours(1))).await);
            two.cache.set_with(&1, 7, &tagged()).await.unwrap();
            two.cache.invalidate_tag("a").await.unwrap();
            one.faults.inject(op, When::Nth(nth), Fault::Delay(millis(100)));
            assert_eq!(get(&one.cache, 1).await, None);
            sleep(millis(20)).await;
            match verb {
                "set" => two.cache.set(&1, value).await.unwrap(),
                _ => {
                    let loaded = Loaded::value(value);
                    two.cache.get_or_load(&1, Origin::default().answers(loaded)).await.unwrap();
                }
            }
            sleep(secs(3)).await;
            let third = fleet.node(Policy::ttl(hours(1))).await;
            assert_eq!(load(&third.cache, 1, no_loader()).await, value, "{op} {nth} {verb}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn only_so_many_are_removed_at_once_and_the_rest_when_they_are_met_again() {
    let fleet = Fleet::new();
    let node = fleet.node(Policy::ttl(hours(1))).await;
    let keys: Vec<u64> = (0..100).collect();
    for key in &keys {
        node.cache.set_with(key, 7, &tagged()).await.unwrap();
    }
    node.cache.invalidate_tag("a").await.unwrap();
    let mut left = Vec::new();
    while left.last() != Some(&0) {
        node.cache.get_many(&keys).await.unwrap();
        sleep(secs(1)).await;
        left.push(stored(&fleet).await);
    }
    assert_eq!(left[0], 84);
    assert!(left.len() <= 8, "{left:?}");
    assert_eq!(node.cache.stats().swept, 100);
}

#[tokio::test(start_paused = true)]
async fn an_entry_that_is_dead_is_not_there() {
    let fleet = Fleet::new();
    let (one, two) = (fleet.node(Policy::ttl(hours(1))).await, fleet.node(Policy::ttl(hours(1))).await);
    one.cache.set_with(&1, 7, &tagged()).await.unwrap();
    assert!(one.cache.has(&1).await.unwrap() && two.cache.has(&1).await.unwrap());
    one.cache.invalidate_tag("a").await.unwrap();
    sleep(secs(2)).await;
    for cache in [&one.cache, &two.cache] {
        let cache: &Cache<u64, u64> = cache;
        assert!(!cache.has(&1).await.unwrap());
        assert_eq!(cache.ttl(&1).await.unwrap(), None);
        assert!(cache.inspect(&1).await.unwrap().copies.is_empty());
    }
}

#[tokio::test(start_paused = true)]
async fn what_only_a_node_that_owes_a_barrier_takes_for_dead_stays() {
    let fleet = Fleet::new();
    let policy = || Policy::ttl(hours(1)).stale_if_error(hours(1));
    let (one, two) = (fleet.node(policy()).await, fleet.node(policy()).await);
    two.cache.set_with(&1, 7, &tagged()).await.unwrap();
    two.cache.set_with(&2, 8, &WriteOptions::new().tags(["b"])).await.unwrap();
    assert_eq!(get(&one.cache, 1).await, Some(7));
    one.faults.fail(Op::Raise);
    assert!(one.cache.expire_tags(&["a"], TagMatch::Any).await.is_err());
    // While it owes anything it takes what it cannot judge for dead, and later what it did ahead of the store.
    for _ in 0..2 {
        assert_eq!(get(&one.cache, 1).await, None);
        sleep(secs(5)).await;
        one.faults.heal();
    }
    assert_eq!((stored(&fleet).await, one.cache.stats().swept), (2, 0));
    let broken = Origin::default().fails();
    assert_eq!(load(&two.cache, 1, broken).await, 7, "it is there when a load fails");
    assert_eq!(get(&one.cache, 2).await, Some(8));
}

#[tokio::test(start_paused = true)]
async fn what_nobody_can_judge_stays() {
    for op in [Op::Barriers, Op::Raise] {
        let fleet = bus::Fleet::new(Way::Announced);
        let (one, two) = (fleet.node().await, fleet.node().await);
        two.cache.set_with(&1, 7, &tagged()).await.unwrap();
        arrive().await;
        one.faults.fail(op);
        assert_eq!(one.cache.invalidate_tag("b").await.is_err(), op == Op::Raise);
        let _cannot_tell = get(&one.cache, 1).await;
        sleep(secs(2)).await;
        assert_eq!((fleet.store.len(KeyPrefix::all()).await.unwrap(), one.cache.stats().swept), (1, 0));
        one.faults.heal();
        sleep(secs(5)).await;
        assert_eq!(get(&one.cache, 1).await, Some(7), "{op}");
    }
}

/// Barriers that a node draws for itself say nothing of what others wrote.
#[tokio::test(start_paused = true)]
async fn where_no_store_keeps_barriers_nothing_is_removed() {
    let mut fleet = Fleet::new();
    let mut without = fleet.shared.capabilities();
    (without.barriers, without.fleet) = (false, false);
    fleet.shared = fleet.shared.with_capabilities(without);
    let (one, two) = (fleet.node(Policy::ttl(hours(1))).await, fleet.node(Policy::ttl(hours(1))).await);
    two.cache.set_with(&1, 7, &tagged()).await.unwrap();
    one.cache.invalidate_tag("a").await.unwrap();
    two.cache.set_with(&1, 8, &tagged()).await.unwrap();
    for node in [&one, &two] {
        let _own_opinion = get(&node.cache, 1).await;
        sleep(secs(2)).await;
        assert_eq!((stored(&fleet).await, node.cache.stats().swept), (1, 0));
    }
}
