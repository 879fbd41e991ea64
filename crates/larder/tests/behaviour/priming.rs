//! Values that peers send: kept without asking anybody, and never over what came between.

use std::sync::{Arc, Mutex};

use bytes::Bytes;
use larder::{
    BusSettings, Cache, Loaded, Memory, Policy, Refreshed, Stack, TierSettings, hours, millis, minutes, secs,
};
use larder_core::{Bus, BusCapabilities, Inbox, Result};
use larder_testkit::{Faults, Faulty, Leg, MemoryBus, Op, SeededRng};

use crate::{
    bus::{Fleet, Way, arrive},
    support::{Origin, get, load, no_loader, sleep},
};

const STORED: [Way; 2] = [Way::Announced, Way::Published];

/// A bus whose handle keeps back what it publishes, for as long as the test wants.
struct Hesitant {
    bus: MemoryBus,
    held: Held,
}

#[derive(Clone, Default)]
struct Held(Arc<Mutex<Option<Vec<Bytes>>>>);

impl Held {
    fn hold(&self) {
        *self.0.lock().unwrap() = Some(Vec::new());
    }

    async fn release(&self, bus: &MemoryBus) {
        let held = self.0.lock().unwrap().take().expect("something was held");
        assert!(!held.is_empty());
        for message in held {
            bus.publish(message).await.unwrap();
        }
        arrive().await;
    }
}

impl Bus for Hesitant {
    fn name(&self) -> &str {
        "hesitant"
    }
    fn capabilities(&self) -> BusCapabilities {
        self.bus.capabilities()
    }
    fn channel(&self) -> Option<Arc<str>> {
        self.bus.channel()
    }
    async fn publish(&self, message: Bytes) -> Result<()> {
        if let Some(held) = &mut *self.held.0.lock().unwrap() {
            held.push(message);
            return Ok(());
        }
        self.bus.publish(message).await
    }
    async fn subscribe(&self, inbox: Arc<dyn Inbox>) -> Result<()> {
        self.bus.subscribe(inbox).await
    }
    async fn ping(&self) -> Result<()> {
        self.bus.ping().await
    }
    async fn close(&self) -> Result<()> {
        self.bus.close().await
    }
}

struct Node {
    stack: Stack,
    cache: Cache<u64, u64>,
    faults: Faults,
    held: Held,
    leg: Leg,
}

fn priming() -> Policy {
    Policy::ttl(hours(1)).negative_ttl(minutes(1)).prime(true)
}

async fn node(fleet: &Fleet, policy: Policy, settings: BusSettings) -> Node {
    let shared = match fleet.way {
        Way::Announced => fleet.store.clone().announcing_on("news"),
        Way::Published | Way::Alone => fleet.store.clone(),
    };
    let (store, faults) = Faulty::new(shared, 1);
    let (bus, held) = (fleet.bus.clone(), Held::default());
    let leg = bus.leg();
    let mut builder = Stack::builder()
        .memory(Memory::max_entries(10_000))
        .clock(fleet.clock.clone())
        .rng(SeededRng::unpredictable())
        .bus_with(Hesitant { bus, held: held.clone() }, settings);
    if fleet.way != Way::Alone {
        builder = builder.store_with(store, TierSettings::new().with_name("shared"));
    }
    let stack = builder.build().await.unwrap();
    let cache = stack.cache("n").policy(policy).build().unwrap();
    // Until a beat has told how far the store is, no value is taken.
    sleep(millis(600)).await;
    Node { stack, cache, faults, held, leg }
}

async fn two(way: Way) -> (Fleet, Node, Node) {
    let fleet = Fleet::new(way);
    let one = node(&fleet, priming(), BusSettings::new()).await;
    let two = node(&fleet, priming(), BusSettings::new()).await;
    two.faults.reset_counts();
    (fleet, one, two)
}

impl Node {
    /// What memory holds, without asking anybody.
    fn memory(&self, key: u64) -> Option<u64> {
        self.cache.peek(&key).unwrap().as_value().copied()
    }

    /// How many values were taken and refused.
    fn primed(&self) -> (u64, u64) {
        let bus = self.stack.stats().bus.unwrap();
        (bus.primed, bus.primes_refused)
    }
}

#[tokio::test(start_paused = true)]
async fn z2_z39_what_one_node_loads_sets_or_refreshes_its_peers_have_without_asking_anybody() {
    for way in STORED {
        let (_fleet, one, two) = two(way).await;
        let origin = Origin::default();
        assert_eq!(load(&one.cache, 1, origin.gives(7)).await, 7);
        one.cache.set(&2, 8).await.unwrap();
        assert_eq!(one.cache.refresh(&3, origin.gives(9)).await.unwrap(), Refreshed::Done(Some(9.into())));
        arrive().await;
        assert_eq!([1, 2, 3].map(|key| two.memory(key)), [Some(7), Some(8), Some(9)], "{way:?}");
        for (key, value) in [(1, 7), (2, 8), (3, 9)] {
            assert_eq!(load(&two.cache, key, no_loader()).await, value, "{way:?}");
        }
        assert_eq!((two.faults.calls(Op::Read), two.primed()), (0, (3, 0)), "{way:?}");
        one.cache.set(&2, 10).await.unwrap();
        assert!(one.cache.refresh(&1, origin.gives(11)).await.unwrap().is_done());
        arrive().await;
        assert_eq!([1, 2].map(|key| two.memory(key)), [Some(11), Some(10)], "{way:?}");
        sleep(secs(5)).await;
        assert_eq!([1, 2].map(|key| two.memory(key)), [Some(11), Some(10)], "{way:?}: nothing was missed");
    }
}

#[tokio::test(start_paused = true)]
async fn z16_an_absence_is_sent_too_and_what_is_not_to_be_kept_is_not() {
    let (_fleet, one, two) = two(Way::Announced).await;
    let origin = Origin::default();
    assert!(one.cache.get_or_load(&1, origin.answers(Loaded::absent())).await.unwrap().is_none());
    arrive().await;
    assert!(two.cache.peek(&1).unwrap().is_hit());
    assert_eq!(load(&one.cache, 2, origin.answers(Loaded::value(7).unstored())).await, 7);
    arrive().await;
    assert_eq!((two.memory(2), two.primed()), (None, (1, 0)));
}

#[tokio::test(start_paused = true)]
async fn without_the_setting_no_value_is_sent_or_taken() {
    let fleet = Fleet::new(Way::Announced);
    let one = node(&fleet, Policy::ttl(hours(1)), BusSettings::new()).await;
    let other = node(&fleet, priming(), BusSettings::new()).await;
    let published = |node: &Node| node.stack.stats().bus.unwrap().published;
    assert_eq!(load(&one.cache, 1, Origin::default().gives(7)).await, 7);
    arrive().await;
    assert_eq!((published(&one), other.memory(1)), (0, None));
    assert_eq!(load(&other.cache, 2, Origin::default().gives(8)).await, 8);
    arrive().await;
    assert_eq!((published(&other), one.memory(2), one.primed()), (1, None, (0, 1)));
}

#[tokio::test(start_paused = true)]
async fn z35_what_is_too_large_is_stored_and_read_but_neither_sent_nor_taken() {
    let fleet = Fleet::new(Way::Announced);
    let small = BusSettings::new().with_prime_max_bytes(10);
    let (strict, lax) =
        (node(&fleet, priming(), small).await, node(&fleet, priming(), BusSettings::new()).await);
    assert_eq!(load(&strict.cache, 1, Origin::default().gives(7)).await, 7);
    assert_eq!(load(&lax.cache, 2, Origin::default().gives(8)).await, 8);
    arrive().await;
    assert_eq!((lax.memory(1), lax.primed()), (None, (0, 0)));
    assert_eq!((strict.memory(2), strict.primed()), (None, (0, 1)));
    assert_eq!(load(&lax.cache, 1, no_loader()).await, 7);
}

#[tokio::test(start_paused = true)]
async fn a_value_that_comes_after_an_invalidation_is_not_kept() {
    for way in STORED {
        for what in ["remove", "set", "expire", "tag", "clear", "prefix", "own remove", "own clear"] {
            let (fleet, one, two) = two(way).await;
            let third = node(&fleet, priming(), BusSettings::new()).await;
            one.held.hold();
            let tagged = Loaded::value(7).tags(["t"]);
            assert_eq!(load(&one.cache, 1, Origin::default().answers(tagged)).await, 7);
            match what {
                "remove" => _ = third.cache.remove(&1).await.unwrap(),
                "set" => third.cache.set(&1, 8).await.unwrap(),
                "expire" => _ = third.cache.expire(&1).await.unwrap(),
                "tag" => _ = third.cache.invalidate_tag("t").await.unwrap(),
                "clear" => _ = third.cache.clear().await.unwrap(),
                "prefix" => _ = third.cache.remove_prefix("1").await.unwrap(),
                "own remove" => _ = two.cache.remove(&1).await.unwrap(),
                _ => _ = two.cache.clear().await.unwrap(),
            }
            arrive().await;
            sleep(secs(1)).await;
            one.held.release(&fleet.bus).await;
            let expected = (what == "set").then_some(8);
            assert_eq!(two.memory(1), expected, "{way:?} {what}");
            assert_eq!(get(&two.cache, 1).await, expected, "{way:?} {what}");
        }
    }
}

/// The removal's news never come, and when the value does, memory was cleared for it long ago.
#[tokio::test(start_paused = true)]
async fn a_value_that_comes_after_an_invalidation_that_was_missed_is_not_kept() {
    for way in STORED {
        let (fleet, one, two) = two(way).await;
        let third = node(&fleet, priming(), BusSettings::new()).await;
        one.held.hold();
        assert_eq!(load(&one.cache, 1, Origin::default().gives(7)).await, 7);
        two.leg.set_deaf(true);
        third.cache.remove(&1).await.unwrap();
        two.leg.set_deaf(false);
        sleep(secs(2)).await;
        assert!(two.stack.stats().bus.unwrap().gaps > 0, "{way:?}: it knows that it missed something");
        one.held.release(&fleet.bus).await;
        assert_eq!((two.memory(1), two.primed().0), (None, 0), "{way:?}");
        // What is loaded from here on is newer than all that was missed.
        assert_eq!(load(&one.cache, 2, Origin::default().gives(8)).await, 8);
        arrive().await;
        assert_eq!((two.memory(2), two.primed().0), (Some(8), 1), "{way:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_value_that_comes_while_this_node_owes_a_removal_is_not_kept() {
    let (_fleet, one, two) = two(Way::Announced).await;
    two.faults.fail(Op::Remove);
    two.cache.remove(&1).await.unwrap_err();
    assert_eq!(load(&one.cache, 1, Origin::default().gives(7)).await, 7);
    arrive().await;
    assert_eq!(two.memory(1), None);
}

#[tokio::test(start_paused = true)]
async fn memory_keeps_what_is_newer_and_lets_go_what_is_past_its_time() {
    let fleet = Fleet::new(Way::Announced);
    let policy = Policy::ttl(secs(10)).stale_while_revalidate(hours(1)).prime(true);
    let one = node(&fleet, policy.clone(), BusSettings::new()).await;
    let two = node(&fleet, policy, BusSettings::new()).await;
    let origin = Origin::default();
    one.held.hold();
    assert_eq!(load(&one.cache, 1, origin.gives(7)).await, 7);
    assert_eq!(load(&two.cache, 1, no_loader()).await, 7);
    assert_eq!(two.cache.refresh(&1, origin.gives(8)).await.unwrap().value().as_deref(), Some(&8));
    one.held.release(&fleet.bus).await;
    assert_eq!(two.memory(1), Some(8));
    // Nothing was invalidated since, so what is loaded anew bears the version of what it replaces.
    sleep(secs(11)).await;
    let fresh = larder::ReadOptions::new().allow_stale(false);
    let loaded = one.cache.get_or_load_with(&1, &fresh, origin.gives(9)).await.unwrap();
    assert_eq!(loaded.answer.as_value(), Some(&9));
    arrive().await;
    assert_eq!(load(&two.cache, 1, no_loader()).await, 9);
}

#[tokio::test(start_paused = true)]
async fn k5_a_copy_that_was_sent_lives_no_longer_than_what_it_is_a_copy_of() {
    let fleet = Fleet::new(Way::Announced);
    let one = node(&fleet, Policy::ttl(secs(10)).prime(true), BusSettings::new()).await;
    let two = node(&fleet, priming(), BusSettings::new()).await;
    one.held.hold();
    assert_eq!(load(&one.cache, 1, Origin::default().gives(7)).await, 7);
    sleep(secs(9)).await;
    one.held.release(&fleet.bus).await;
    assert_eq!(two.cache.ttl(&1).await.unwrap(), Some(millis(995)));
    sleep(secs(1)).await;
    assert_eq!(two.memory(1), None);
    one.held.hold();
    assert_eq!(load(&one.cache, 2, Origin::default().gives(7)).await, 7);
    sleep(secs(11)).await;
    one.held.release(&fleet.bus).await;
    assert_eq!((two.memory(2), two.primed()), (None, (1, 1)), "it came when its time was over");
}

#[tokio::test(start_paused = true)]
async fn without_a_shared_store_nobody_can_tell_what_is_newer_and_each_node_loads_for_itself() {
    let (_fleet, one, two) = two(Way::Alone).await;
    sleep(secs(1)).await;
    assert_eq!(load(&one.cache, 1, Origin::default().gives(7)).await, 7);
    one.cache.set(&2, 8).await.unwrap();
    arrive().await;
    assert_eq!((two.memory(1), two.memory(2), two.primed()), (None, None, (0, 0)));
}

/// Sending values delays no news and fills no memory without bound: of a flood the latest come.
#[tokio::test(start_paused = true)]
async fn of_a_flood_of_values_the_latest_are_sent_and_no_news_wait_behind_them() {
    let (_fleet, one, two) = two(Way::Announced).await;
    let many: Vec<(u64, u64)> = (0..5_000).map(|n| (n, n)).collect();
    one.cache.set_many(many).await.unwrap();
    sleep(secs(1)).await;
    let there = (0..5_000).filter(|n| two.memory(*n).is_some()).count();
    assert!((1..=512).contains(&there), "{there}");
    assert_eq!(two.memory(4_999), Some(4_999));
}
