//! Several nodes over one store, and several stores under one node.

use larder::{
    Cache, ErrorKind, Life, Memory, Policy, ReadOptions, Stack, TierPolicy, TierSettings, hours, millis,
    minutes, secs,
};
use larder_core::{Capabilities, Event, Found, LeaseFor, LeaseRequest, Read, Store, Token};
use larder_testkit::{Fault, Faults, Faulty, MemoryStore, Op, PausedClock, When};

use crate::support::{Fleet, Origin, Watch, get, key, load, no_loader, plain_capabilities, quiet, sleep};

#[tokio::test(start_paused = true)]
async fn what_is_refreshed_from_a_shared_store_leaves_no_older_copy_in_a_private_one() {
    let fleet = Fleet::new();
    let policy = Policy::ttl(secs(100)).refresh_ahead(0.5);
    let two = fleet.node(policy.clone()).await;
    let mut private = Capabilities::none();
    (private.persistent, private.sequence, private.leases) = (true, true, true);
    let private = MemoryStore::new(fleet.clock.clone()).with_capabilities(private);
    let builder = Stack::builder().memory(Memory::max_entries(10)).clock(fleet.clock.clone());
    let builder = builder.store_with(private.clone(), TierSettings::new().with_name("private"));
    let stack = builder.store_with(fleet.shared.clone(), TierSettings::new().with_name("shared"));
    let stack = stack.build().await.unwrap();
    let one: Cache<u64, u64> = stack.cache("n").policy(policy).build().unwrap();
    assert_eq!(load(&one, 1, Origin::default().gives(7)).await, 7);
    two.cache.set(&1, 8).await.unwrap();
    sleep(secs(60)).await;
    assert_eq!(load(&one, 1, no_loader()).await, 7, "nobody told it");
    quiet(&stack).await;
    assert_eq!(one.peek(&1).unwrap().as_value(), Some(&8));
    let there = private.read(vec![Read { key: key(1), lease: None }]).await.unwrap();
    assert!(matches!(there[..], [Found::Miss]), "{there:?}");
}

#[tokio::test(start_paused = true)]
async fn after_what_a_store_had_memory_serves_nothing_older_though_it_may_not_keep_it() {
    let policy =
        Policy::ttl(hours(1)).stale_while_revalidate(hours(1)).tier("memory", TierPolicy::ttl(secs(9)));
    let (fresh, forced) = (ReadOptions::new().allow_stale(false), ReadOptions::new().force_fresh(true));
    // What is loaded anew bears the same version as what it replaces.
    for set in [true, false] {
        let fleet = Fleet::new();
        let (one, two) = (fleet.node(policy.clone()).await, fleet.node(policy.clone()).await);
        assert_eq!(load(&one.cache, 1, Origin::default().gives(7)).await, 7);
        if set {
            two.cache.set(&1, 8).await.unwrap();
        } else {
            let anew = two.cache.get_or_load_with(&1, &forced, Origin::default().gives(8)).await;
            assert_eq!(anew.unwrap().answer.as_value(), Some(&8));
        }
        sleep(secs(10)).await;
        one.faults.delay(Op::Read, millis(100));
        let (read, _) = tokio::join!(one.cache.get_with(&1, &fresh), async {
            sleep(millis(50)).await;
            // What is read meanwhile may not be kept, whether or not it is meant.
            one.cache.remove_prefix("9").await.unwrap()
        });
        assert_eq!(read.unwrap().answer.as_value(), Some(&8));
        assert_eq!(get(&one.cache, 1).await, Some(8), "not the one before, stale (set: {set})");
    }
}

#[tokio::test(start_paused = true)]
async fn after_what_a_store_had_to_fall_back_on_memory_falls_back_on_nothing_older() {
    let fleet = Fleet::new();
    let policy = Policy::ttl(secs(10)).stale_if_error(hours(1));
    let (one, two) = (fleet.node(policy.clone()).await, fleet.node(policy).await);
    assert_eq!(load(&one.cache, 1, Origin::default().gives(7)).await, 7);
    two.cache.set(&1, 8).await.unwrap();
    sleep(secs(11)).await;
    assert_eq!(get(&one.cache, 1).await, Some(8), "past its time, and still the newest there is");
    one.faults.fail(Op::Read);
    assert_eq!(get(&one.cache, 1).await, Some(8), "not the one before");
}

#[tokio::test(start_paused = true)]
async fn of_two_nodes_that_miss_one_loads_and_the_other_gets_its_value() {
    let fleet = Fleet::new();
    let (one, two) = (fleet.node(Policy::default()).await, fleet.node(Policy::default()).await);
    let (origin, watch) = (Origin::default(), Watch::start());
    let (a, b) = tokio::join!(load(&one.cache, 1, origin.slow(7, secs(1))), async {
        sleep(millis(10)).await;
        load(&two.cache, 1, no_loader()).await
    });
    assert_eq!((a, b, origin.calls()), (7, 7, 1));
    assert!(watch.elapsed() <= millis(1_200), "{:?}", watch.elapsed());
    assert!(two.cache.peek(&1).unwrap().is_hit());
}

#[tokio::test(start_paused = true)]
async fn a_lease_is_kept_alive_for_as_long_as_its_load_runs() {
    let fleet = Fleet::new();
    let (one, two) = (fleet.node(Policy::default()).await, fleet.node(Policy::default()).await);
    let origin = Origin::default();
    let (a, b) = tokio::join!(load(&one.cache, 1, origin.slow(7, secs(15))), async {
        sleep(millis(10)).await;
        load(&two.cache, 1, no_loader()).await
    });
    assert_eq!((a, b, origin.calls()), (7, 7, 1));
    assert!(one.faults.calls(Op::Renew) >= 15);
    assert_eq!(get(&fleet.node(Policy::default()).await.cache, 1).await, Some(7), "and the fill was taken");
}

#[tokio::test(start_paused = true)]
async fn a_batch_keeps_the_leases_it_has_alive_while_it_waits_for_those_of_another() {
    let fleet = Fleet::new();
    let (one, two) = (fleet.node(Policy::default()).await, fleet.node(Policy::default()).await);
    let origin = Origin::default();
    let (value, batch) = tokio::join!(load(&one.cache, 1, origin.slow(7, secs(8))), async {
        sleep(millis(10)).await;
        let loader = |keys: Vec<u64>| async move {
            Ok::<_, std::io::Error>(keys.into_iter().map(|key| (key, key)).collect())
        };
        two.cache.get_many_or_load(&[1, 2], loader).await.unwrap()
    });
    let batch: Vec<u64> = batch.into_iter().map(|value| *value.unwrap()).collect();
    assert_eq!((value, batch), (7, vec![7, 2]));
    assert_eq!(get(&fleet.node(Policy::default()).await.cache, 2).await, Some(2), "the fill of 2 was taken");
}

#[tokio::test(start_paused = true)]
async fn a_reader_whose_key_is_invalidated_while_it_waits_for_a_lease_does_not_wait_for_the_next_holder() {
    let fleet = Fleet::new();
    let node = fleet.node(Policy::default()).await;
    let hold = async || {
        let lease = Some(LeaseRequest { when: LeaseFor::Miss, token: Token(42), ttl: secs(20) });
        let found = fleet.shared.read(vec![Read { key: key(1), lease }]).await.unwrap();
        assert!(matches!(found[0], Found::Granted(_)), "the lease was free");
    };
    hold().await;
    let (cache, origin, watch) = (node.cache.clone(), Origin::default(), Watch::start());
    let reader = tokio::spawn({
        let origin = origin.clone();
        async move { load(&cache, 1, origin.gives(7)).await }
    });
    sleep(millis(1)).await;
    node.cache.remove(&1).await.unwrap();
    hold().await;
    assert_eq!(reader.await.unwrap(), 7);
    assert!(watch.elapsed() < secs(1), "{:?}", watch.elapsed());
    assert_eq!(get(&node.cache, 1).await, None, "and what it loaded is kept nowhere");
}

#[tokio::test(start_paused = true)]
async fn a_holder_that_died_delays_the_others_by_no_more_than_its_lease() {
    let fleet = Fleet::new();
    let lease = LeaseRequest { when: LeaseFor::Miss, token: Token(42), ttl: secs(2) };
    let granted = fleet.shared.read(vec![Read { key: key(1), lease: Some(lease) }]).await.unwrap();
    assert!(matches!(granted[..], [Found::Granted(_)]));
    let (node, origin, watch) = (fleet.node(Policy::default()).await, Origin::default(), Watch::start());
    assert_eq!(load(&node.cache, 1, origin.gives(7)).await, 7);
    assert!(watch.elapsed() >= secs(2) && watch.elapsed() <= millis(2_200), "{:?}", watch.elapsed());
    assert_eq!(get(&fleet.node(Policy::default()).await.cache, 1).await, Some(7));
}

#[tokio::test(start_paused = true)]
async fn a_holder_that_never_ends_is_given_up_at_the_load_limit_and_its_store_left_to_it() {
    let fleet = Fleet::new();
    let holder = fleet.shared.clone();
    let request = |ttl| LeaseRequest { when: LeaseFor::Miss, token: Token(42), ttl };
    holder.read(vec![Read { key: key(1), lease: Some(request(secs(60))) }]).await.unwrap();
    let node = fleet.node(Policy::default().load_limit(secs(5))).await;
    let (origin, watch) = (Origin::default(), Watch::start());
    assert_eq!(load(&node.cache, 1, origin.gives(7)).await, 7);
    assert!(watch.elapsed() >= secs(5) && watch.elapsed() < millis(5_300), "{:?}", watch.elapsed());
    node.recorder.wait_for(|event| matches!(event, Event::LeaseLost { .. })).await;
    assert_eq!(node.cache.inspect(&1).await.unwrap().copies.len(), 0, "nobody keeps it but its caller");
}

#[tokio::test(start_paused = true)]
async fn a_load_from_before_another_nodes_removal_is_kept_by_nobody() {
    let fleet = Fleet::new();
    let (one, two) = (fleet.node(Policy::default()).await, fleet.node(Policy::default()).await);
    let origin = Origin::default();
    for what in ["remove", "set", "clear", "expire"] {
        let (value, ()) = tokio::join!(load(&one.cache, 1, origin.slow(7, secs(1))), async {
            sleep(millis(100)).await;
            match what {
                "remove" => drop(two.cache.remove(&1).await.unwrap()),
                "set" => two.cache.set(&1, 100).await.unwrap(),
                "clear" => drop(two.cache.clear().await.unwrap()),
                _ => drop(two.cache.expire(&1).await.unwrap()),
            }
        });
        assert_eq!(value, 7, "{what}: its own caller gets it");
        let expected = (what == "set").then_some(100);
        assert_eq!(
            get(&one.cache, 1).await,
            expected,
            "{what}: the lease was void, so memory keeps nothing either"
        );
        assert_eq!(get(&fleet.node(Policy::default()).await.cache, 1).await, expected, "{what}");
        one.cache.remove(&1).await.unwrap();
        two.cache.remove(&1).await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn while_another_node_refreshes_a_stale_value_this_one_serves_it_and_does_not_load() {
    let fleet = Fleet::new();
    let policy = Policy::ttl(secs(10)).stale_while_revalidate(minutes(1));
    let (one, two) = (fleet.node(policy.clone()).await, fleet.node(policy).await);
    let origin = Origin::default();
    load(&one.cache, 1, origin.gives(7)).await;
    assert_eq!(get(&two.cache, 1).await, Some(7));
    sleep(secs(15)).await;
    assert_eq!(load(&one.cache, 1, origin.slow(8, secs(1))).await, 7);
    sleep(millis(10)).await;
    assert_eq!(load(&two.cache, 1, no_loader()).await, 7);
    sleep(secs(2)).await;
    assert_eq!(load(&one.cache, 1, no_loader()).await, 8);
    assert_eq!(load(&two.cache, 1, no_loader()).await, 7, "stale once more, while it looks into the store");
    quiet(&two.stack).await;
    assert_eq!((load(&two.cache, 1, no_loader()).await, origin.calls()), (8, 2));
}

#[tokio::test(start_paused = true)]
async fn a_store_that_lost_its_history_clears_memory() {
    let fleet = Fleet::new();
    let node = fleet.node(Policy::default()).await;
    node.cache.set_many([(1, 1), (2, 2)]).await.unwrap();
    fleet.shared.lose_history();
    assert_eq!(get(&node.cache, 1).await, Some(1), "nothing was noticed yet");
    assert_eq!(get(&node.cache, 9).await, None, "the store was asked");
    assert_eq!((get(&node.cache, 1).await, node.cache.len()), (None, 0));
    node.recorder
        .wait_for(|event| matches!(event, Event::LineageChanged { tier } if &**tier == "shared"))
        .await;
}

/// Memory, a fast store of this node without leases, a fast one with leases, and a shared one.
struct Pile {
    cache: Cache<u64, u64>,
    stack: Stack,
    plain: Faults,
    local: Faults,
    shared: Faults,
}

async fn pile(policy: Policy) -> Pile {
    let clock = PausedClock::new();
    let mut local = Capabilities::none();
    (local.leases, local.scan, local.persistent) = (true, true, false);
    let fresh = || MemoryStore::new(clock.clone());
    let (plain, plain_faults) = Faulty::new(fresh().with_capabilities(plain_capabilities()), 1);
    let (local, local_faults) = Faulty::new(fresh().with_capabilities(local), 2);
    let (shared, shared_faults) = Faulty::new(fresh(), 3);
    let named = |name: &str| TierSettings::new().with_name(name);
    let stack = Stack::builder()
        .store_with(plain, named("plain"))
        .store_with(local, named("local"))
        .memory(Memory::max_entries(1_000))
        .store_with(shared, named("shared"))
        .clock(clock.clone())
        .build()
        .await
        .unwrap();
    let cache = stack.cache("n").policy(policy).build().unwrap();
    Pile { cache, stack, plain: plain_faults, local: local_faults, shared: shared_faults }
}

impl Pile {
    async fn tiers(&self, key: u64) -> Vec<String> {
        let copies = self.cache.inspect(&key).await.unwrap().copies;
        copies.iter().map(|copy| copy.tier.to_string()).collect()
    }

    async fn get_from(&self, tier: &str, key: u64) -> Option<u64> {
        let options = ReadOptions::new().read_tiers(larder::TierChoice::Only(vec![tier.into()]));
        self.cache.get_with(&key, &options).await.unwrap().answer.as_value().copied()
    }
}

#[tokio::test(start_paused = true)]
async fn memory_comes_first_wherever_it_was_given_and_every_tier_keeps_what_is_loaded_or_set() {
    let pile = pile(Policy::default()).await;
    let names: Vec<String> = pile.stack.tier_names().iter().map(ToString::to_string).collect();
    assert_eq!(names, ["memory", "plain", "local", "shared"]);
    load(&pile.cache, 1, Origin::default().gives(7)).await;
    pile.cache.set(&2, 8).await.unwrap();
    for (key, value) in [(1, 7), (2, 8)] {
        assert_eq!(pile.tiers(key).await, names);
        for tier in &names {
            assert_eq!(pile.get_from(tier, key).await, Some(value), "{tier}");
        }
    }
    pile.cache.remove(&1).await.unwrap();
    pile.cache.expire(&2).await.unwrap();
    assert_eq!((pile.tiers(1).await.len(), pile.tiers(2).await.len()), (0, 0));
    pile.cache.set(&3, 9).await.unwrap();
    pile.cache.clear().await.unwrap();
    assert_eq!(pile.tiers(3).await.len(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_hit_far_down_fills_memory_and_the_stores_above_whose_leases_were_got_with_the_life_that_is_left() {
    let pile = pile(Policy::ttl(secs(60)).tier("local", TierPolicy::ttl(secs(20)))).await;
    let only = larder::WriteOptions::new().tiers(larder::TierChoice::Only(vec!["shared".into()]));
    pile.cache.set_with(&1, 7, &only).await.unwrap();
    sleep(secs(50)).await;
    assert_eq!(load(&pile.cache, 1, no_loader()).await, 7);
    quiet(&pile.stack).await;
    let copies = pile.cache.inspect(&1).await.unwrap().copies;
    for copy in &copies {
        assert!(copy.fresh_for <= secs(10) && copy.life == Life::Fresh, "{copy:?}");
    }
    assert_eq!(pile.tiers(1).await, ["memory", "local", "shared"]);
    let stats = pile.cache.stats();
    let fills = |tier: &str| stats.tiers.iter().find(|hits| &*hits.tier == tier).unwrap().fills;
    assert_eq!([fills("memory"), fills("local"), fills("plain")], [1, 1, 0]);
    sleep(secs(10)).await;
    assert_eq!(pile.tiers(1).await.len(), 0, "no copy outlives its entry");
}

#[tokio::test(start_paused = true)]
async fn a_shared_store_is_written_first_and_its_order_binds_the_others() {
    let pile = pile(Policy::default()).await;
    pile.shared.delay(Op::Write, millis(50));
    let set = pile.cache.set(&1, 7);
    tokio::pin!(set);
    assert!(tokio::time::timeout(millis(20), &mut set).await.is_err());
    assert_eq!(
        (pile.shared.calls(Op::Write), pile.local.calls(Op::Write), pile.plain.calls(Op::Write)),
        (1, 0, 0)
    );
    set.await.unwrap();
    assert_eq!((pile.local.calls(Op::Write), pile.plain.calls(Op::Write)), (1, 1));
    let sets = (0..50).map(|n| pile.cache.set(&1, n));
    futures_util::future::join_all(sets).await.into_iter().for_each(|set| set.unwrap());
    let last = pile.get_from("shared", 1).await;
    for tier in ["memory", "plain", "local"] {
        assert_eq!(pile.get_from(tier, 1).await, last, "{tier}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_load_from_before_a_removal_is_kept_in_no_store_whatever_its_abilities() {
    let pile = pile(Policy::default()).await;
    let origin = Origin::default();
    for hold in [None, Some(&pile.plain), Some(&pile.local), Some(&pile.shared)] {
        if let Some(slow) = hold {
            slow.inject(Op::Fill, When::Always, Fault::Delay(millis(200)));
            slow.inject(Op::Write, When::Always, Fault::Delay(millis(200)));
        }
        let (value, ()) = tokio::join!(load(&pile.cache, 1, origin.slow(7, secs(1))), async {
            sleep(millis(1_100)).await;
            pile.cache.remove(&1).await.unwrap();
        });
        assert_eq!(value, 7);
        quiet(&pile.stack).await;
        sleep(secs(1)).await;
        if hold.is_some() {
            assert_eq!(pile.tiers(1).await, Vec::<String>::new());
        }
        [&pile.plain, &pile.local, &pile.shared].into_iter().for_each(Faults::heal);
    }
}

#[tokio::test(start_paused = true)]
async fn a_forced_load_reloads_though_a_store_without_leases_holds_a_fresh_value() {
    let clock = PausedClock::new();
    let plain = MemoryStore::new(clock.clone()).with_capabilities(plain_capabilities());
    let stack = Stack::builder().store(plain).clock(clock).build().await.unwrap();
    let cache = stack.cache::<u64, u64>("n").build().unwrap();
    let origin = Origin::default();
    load(&cache, 1, origin.gives(7)).await;
    let forced = ReadOptions::new().force_fresh(true);
    let lookup = cache.get_or_load_with(&1, &forced, origin.gives(8)).await.unwrap();
    assert_eq!((lookup.answer.as_value(), get(&cache, 1).await, origin.calls()), (Some(&8), Some(8), 2));
}

#[tokio::test(start_paused = true)]
async fn a_store_with_a_sequence_and_no_leases_keeps_what_is_loaded() {
    let clock = PausedClock::new();
    let mut capabilities = plain_capabilities();
    capabilities.sequence = true;
    let store = MemoryStore::new(clock.clone()).with_capabilities(capabilities);
    let stack = Stack::builder().store(store).clock(clock).build().await.unwrap();
    let cache = stack.cache::<u64, u64>("n").build().unwrap();
    load(&cache, 1, Origin::default().gives(7)).await;
    assert_eq!(load(&cache, 1, no_loader()).await, 7);
    cache.remove(&1).await.unwrap();
    load(&cache, 1, Origin::default().gives(8)).await;
    assert_eq!(load(&cache, 1, no_loader()).await, 8);
}

#[tokio::test(start_paused = true)]
async fn a_store_that_cannot_list_keys_says_so_when_it_is_cleared() {
    let clock = PausedClock::new();
    let bare = MemoryStore::new(clock.clone()).with_capabilities(Capabilities::none());
    let stack =
        Stack::builder().memory(Memory::max_entries(10)).store(bare).clock(clock).build().await.unwrap();
    let cache = stack.cache::<u64, u64>("n").build().unwrap();
    cache.set(&1, 7).await.unwrap();
    assert_eq!(cache.clear().await.unwrap_err().kind(), ErrorKind::Unsupported);
    assert_eq!(get(&cache, 1).await, Some(7), "nothing was begun that cannot be ended");
}

#[tokio::test(start_paused = true)]
async fn values_that_live_in_memory_only_never_reach_a_store() {
    let fleet = Fleet::new();
    let node = fleet.node(Policy::default()).await;
    let cache: Cache<u64, std::sync::Mutex<u64>> = node.stack.cache("m").build_in_memory().unwrap();
    // At its start the stack asked how far the barriers are.
    let calls = || Op::ALL.iter().map(|op| node.faults.calls(*op)).collect::<Vec<_>>();
    let before = calls();
    cache.set(&1, std::sync::Mutex::new(7)).await.unwrap();
    assert!(cache.get(&1).await.unwrap().is_hit());
    cache.remove(&1).await.unwrap();
    cache.clear().await.unwrap();
    assert!(!cache.get(&1).await.unwrap().is_hit());
    assert_eq!(calls(), before);
}

#[tokio::test(start_paused = true)]
async fn what_an_earlier_process_left_on_this_host_is_a_fallback_until_it_is_checked() {
    let clock = PausedClock::new();
    let (shared, mut kept) = (MemoryStore::new(clock.clone()), Capabilities::none());
    (kept.persistent, kept.leases, kept.sequence, kept.scan) = (true, true, true, true);
    let disk = MemoryStore::new(clock.clone()).with_capabilities(kept);
    let start = async || {
        let stack = Stack::builder().memory(Memory::max_entries(10)).store(disk.clone());
        let named = TierSettings::new().with_name("shared");
        let stack = stack.store_with(shared.clone(), named).clock(clock.clone()).build().await.unwrap();
        stack.cache::<u64, u64>("n").policy(Policy::ttl(hours(1)).stale_if_error(hours(1))).build().unwrap()
    };
    let (first, origin) = (start().await, Origin::default());
    load(&first, 1, origin.gives(7)).await;
    let other = Stack::builder().store(shared.clone()).clock(clock.clone()).build().await.unwrap();
    let other = other.cache::<u64, u64>("n").build().unwrap();
    other.set(&1, 8).await.unwrap();
    let second = start().await;
    assert_eq!(load(&second, 1, no_loader()).await, 8, "the shared store knows better");
}

#[tokio::test(start_paused = true)]
async fn a_read_that_began_during_a_write_does_not_bring_the_old_value_back_after_it() {
    let fleet = Fleet::new();
    let node = fleet.node(Policy::default()).await;
    node.cache.set(&1, 7).await.unwrap();
    for what in ["set elsewhere", "remove"] {
        let past_memory = larder::WriteOptions::new().tiers(larder::TierChoice::Only(vec!["shared".into()]));
        node.cache.set_with(&1, 7, &past_memory).await.unwrap();
        node.faults.inject(Op::Write, When::Always, Fault::Delay(millis(10)));
        node.faults.inject(Op::Remove, When::Always, Fault::Delay(millis(10)));
        node.faults.inject(Op::Read, When::Nth(1), Fault::DelayAfter(millis(50)));
        let (read, ()) = tokio::join!(
            async {
                sleep(millis(5)).await;
                get(&node.cache, 1).await
            },
            async {
                match what {
                    "remove" => drop(node.cache.remove(&1).await.unwrap()),
                    _ => node.cache.set_with(&1, 8, &past_memory).await.unwrap(),
                }
            }
        );
        let expected = (what != "remove").then_some(8);
        assert!(read.is_none_or(|value| value == 7) || read == expected, "{what}: it began before");
        assert_eq!(get(&node.cache, 1).await, expected, "{what}");
        node.faults.heal();
        node.cache.remove(&1).await.unwrap();
    }
}
