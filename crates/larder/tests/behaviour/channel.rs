//! What a bus can carry, and nodes that only speak or only hear.

use std::sync::{
    Arc,
    atomic::{AtomicU32, Ordering},
};

use bytes::Bytes;
use larder::{
    Bus, BusSettings, Cache, Error, Memory, Policy, Reach, Stack, TagMatch, WriteOptions, hours, millis, secs,
};
use larder_core::Event;
use larder_testkit::{MemoryBus, MemoryStore, Op, SeededRng};

use crate::{
    bus::{Fleet, Node, Way, arrive},
    support::{Origin, get, load, no_loader, sleep},
};

/// More keys than a list in a message may have.
const MANY: u64 = 70_000;

/// Nodes on a bus that takes no message of more than this.
fn narrow(way: Way, bytes: usize) -> Fleet {
    let mut fleet = Fleet::new(way);
    fleet.bus = fleet.bus.with_max_message_bytes(bytes);
    fleet
}

async fn load_in_memory(node: &Node, keys: impl IntoIterator<Item = u64>) {
    for key in keys {
        assert_eq!(load(&node.cache, key, Origin::default().gives(7)).await, 7);
    }
}

#[tokio::test(start_paused = true)]
async fn a_call_of_seventy_thousand_keys_is_told_in_many_messages_and_the_bus_goes_on() {
    let keys: Vec<u64> = (0..MANY).collect();
    for way in [Way::Published, Way::Alone] {
        let fleet = Fleet::new(way);
        let (one, two) = (fleet.node().await, fleet.node().await);
        for verb in ["remove", "expire"] {
            load_in_memory(&two, [0, 1, 255, 256, MANY - 1]).await;
            let done = match verb {
                "remove" => one.cache.remove_many(&keys).await.unwrap(),
                _ => one.cache.expire_many(&keys).await.unwrap(),
            };
            assert_eq!(done.bus, Reach::Done, "{way:?} {verb}");
            arrive().await;
            for key in [0, 1, 255, 256, MANY - 1] {
                assert_eq!(get(&two.cache, key).await, None, "{way:?} {verb}: {key}");
            }
        }
        assert_eq!(one.cache.remove(&1).await.unwrap().bus, Reach::Done, "{way:?}: and it publishes on");
    }
}

#[tokio::test(start_paused = true)]
async fn seventy_thousand_removals_that_the_store_owes_are_told_too() {
    let fleet = Fleet::new(Way::Announced);
    let (one, two) = (fleet.node().await, fleet.node().await);
    load_in_memory(&two, [0, MANY - 1]).await;
    one.faults.fail(Op::Remove);
    assert!(one.cache.remove_many(&(0..MANY).collect::<Vec<_>>()).await.is_err());
    arrive().await;
    for key in [0, MANY - 1] {
        assert_eq!(get(&two.cache, key).await, None);
    }
}

#[tokio::test(start_paused = true)]
async fn long_keys_are_told_in_messages_that_a_narrow_bus_takes() {
    let fleet = narrow(Way::Alone, 1_024);
    let (one, two) = (fleet.node().await, fleet.node().await);
    let texts = |node: &Node| -> Cache<String, u64> {
        node.stack.cache("texts").policy(Policy::ttl(hours(1))).build().unwrap()
    };
    let (here, there) = (texts(&one), texts(&two));
    let keys: Vec<String> = (0..100).map(|n| format!("{n:0200}")).collect();
    sleep(secs(1)).await;
    for key in &keys {
        there.get_or_load(key, Origin::default().gives(7)).await.unwrap();
    }
    assert_eq!(here.remove_many(&keys).await.unwrap().bus, Reach::Done);
    arrive().await;
    for key in &keys {
        assert!(matches!(there.get(key).await.unwrap(), larder::Answer::Miss), "{key}");
    }
    assert_eq!(two.stack.stats().bus.unwrap().clears, one.stack.stats().bus.unwrap().clears, "key by key");
}

#[tokio::test(start_paused = true)]
async fn what_fits_into_no_message_is_told_as_everything_and_what_follows_goes_out() {
    for way in [Way::Announced, Way::Published, Way::Alone] {
        let fleet = narrow(way, 1_024);
        let (one, two) = (fleet.node().await, fleet.node().await);
        let tags: Vec<String> = (0..64).map(|n| format!("{n:0100}")).collect();
        let loaded = WriteOptions::new().tags(tags[..1].iter().map(String::as_str));
        two.cache.set_with(&1, 7, &loaded).await.unwrap();
        two.cache.set(&2, 7).await.unwrap();
        assert_eq!(get(&two.cache, 1).await, Some(7));
        let done = one.cache.invalidate_tags(&tags, TagMatch::Any).await.unwrap();
        assert_eq!(done.bus, Reach::Done, "{way:?}");
        arrive().await;
        assert_eq!(get(&two.cache, 1).await, None, "{way:?}");
        sleep(secs(2)).await;
        load_in_memory(&two, [3]).await;
        assert_eq!(one.cache.remove(&3).await.unwrap().bus, Reach::Done, "{way:?}");
        arrive().await;
        assert_eq!(get(&two.cache, 3).await, None, "{way:?}");
    }
}

/// A node that speaks and does not hear: a job that writes and keeps nothing.
pub async fn speaker(fleet: &Fleet) -> (Stack, Cache<u64, u64>) {
    let store = match fleet.way {
        Way::Announced => fleet.store.clone().announcing_on("news"),
        Way::Published | Way::Alone => fleet.store.clone(),
    };
    let builder = Stack::builder().store(store).clock(fleet.clock.clone()).rng(SeededRng::unpredictable());
    let settings = BusSettings::new().with_listen(false);
    let stack = builder.bus_with(fleet.bus.clone(), settings).build().await.unwrap();
    let cache = stack.cache("n").policy(Policy::ttl(hours(1))).build().unwrap();
    (stack, cache)
}

#[tokio::test(start_paused = true)]
async fn a_node_that_only_speaks_is_heard_and_serves_nothing_that_others_invalidated_beyond_the_bound() {
    for way in [Way::Announced, Way::Published] {
        let fleet = Fleet::new(way);
        let one = fleet.node().await;
        let (_stack, job) = speaker(&fleet).await;
        for verb in ["tag", "tags of the stack", "expired tag", "all", "prefix", "clear", "key"] {
            let tagged = WriteOptions::new().tags(["t"]);
            job.set_with(&1, 7, &tagged).await.unwrap();
            assert_eq!(get(&job, 1).await, Some(7), "{way:?} {verb}: its barriers are known from here on");
            match verb {
                "tag" => drop(one.cache.invalidate_tag("t").await.unwrap()),
                "tags of the stack" => drop(one.stack.invalidate_tags(&["t"], TagMatch::Any).await.unwrap()),
                "expired tag" => drop(one.cache.expire_tags(&["t"], TagMatch::Any).await.unwrap()),
                "all" => drop(one.cache.expire_all().await.unwrap()),
                "prefix" => drop(one.cache.remove_prefix("1").await.unwrap()),
                "clear" => drop(one.cache.clear().await.unwrap()),
                _ => drop(one.cache.remove(&1).await.unwrap()),
            }
            sleep(millis(1_100)).await;
            assert_eq!(get(&job, 1).await, None, "{way:?} {verb}: what a peer invalidated");

            job.set(&2, 7).await.unwrap();
            arrive().await;
            assert_eq!(get(&one.cache, 2).await, Some(7));
            job.remove(&2).await.unwrap();
            arrive().await;
            assert_eq!(get(&one.cache, 2).await, None, "{way:?}: what it removes its peers hear");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_node_that_only_hears_drops_what_others_change_and_its_beats_tell_them_of_its_own() {
    for way in [Way::Announced, Way::Published] {
        let fleet = Fleet::new(way);
        let one = fleet.node().await;
        let two = fleet.node_with(BusSettings::new().with_publish(false)).await;
        load_in_memory(&two, [1]).await;
        assert_eq!(load(&two.cache, 1, no_loader()).await, 7, "{way:?}: its memory is served");
        one.cache.remove(&1).await.unwrap();
        arrive().await;
        assert_eq!(get(&two.cache, 1).await, None, "{way:?}");

        load_in_memory(&one, [2]).await;
        let told = two.cache.remove(&2).await.unwrap();
        assert_eq!(told.bus, Reach::None, "{way:?}");
        sleep(secs(3)).await;
        assert_eq!(get(&one.cache, 2).await, None, "{way:?}: what was not told was missed");
    }
}

#[tokio::test]
async fn one_way_nodes_that_could_not_keep_a_promise_are_refused_with_what_to_do() {
    let refused = async |settings: BusSettings, memory: bool, bus: MemoryBus| -> Error {
        let mut builder = Stack::builder().bus_with(bus, settings);
        builder = match memory {
            true => builder.memory(Memory::max_entries(10)),
            false => builder.store(MemoryStore::new(larder_testkit::PausedClock::new())),
        };
        builder.build().await.expect_err("it is refused")
    };
    let bus = || MemoryBus::new("news");
    let deaf = refused(BusSettings::new().with_listen(false), true, bus()).await.to_string();
    assert!(deaf.contains("bus.listen") && deaf.contains("leave that tier out"), "{deaf}");
    let mute = refused(BusSettings::new().with_publish(false), true, bus()).await.to_string();
    assert!(mute.contains("bus.publish") && mute.contains("such as Redis"), "{mute}");
    let narrow = refused(BusSettings::new(), false, bus().with_max_message_bytes(1_000)).await.to_string();
    assert!(narrow.contains("less than 1024 bytes"), "{narrow}");
}

#[tokio::test(start_paused = true)]
async fn beyond_its_bound_what_waits_for_the_bus_becomes_one_notice_and_the_last_news_of_a_key_win() {
    let fleet = Fleet::new(Way::Alone);
    let one = fleet.node().await;
    let two = fleet.node_with(BusSettings::new().with_outbox_max(10)).await;
    sleep(secs(1)).await;
    let waiting = || two.stack.stats().bus.unwrap().waiting;
    load_in_memory(&one, 0..30).await;
    two.leg.set_mute(true);
    for _ in 0..3 {
        two.cache.expire(&1).await.unwrap();
        two.cache.remove(&1).await.unwrap();
        two.cache.expire(&1).await.unwrap();
    }
    assert_eq!(waiting(), 1, "a slot a key");
    two.leg.set_mute(false);
    sleep(secs(6)).await;
    assert_eq!((waiting(), get(&one.cache, 1).await, get(&one.cache, 2).await), (0, None, Some(7)));

    two.leg.set_mute(true);
    for key in 2..20 {
        assert_eq!(two.cache.remove(&key).await.unwrap().bus, Reach::Journaled);
    }
    assert!(waiting() <= 10, "{} wait", waiting());
    two.recorder.wait_for(|event| matches!(event, Event::NewsKept { .. })).await;
    two.leg.set_mute(false);
    sleep(secs(6)).await;
    for key in 2..30 {
        assert_eq!(get(&one.cache, key).await, None, "everything may have changed: {key}");
    }
}

/// A bus that fails so many times.
struct Failing {
    bus: MemoryBus,
    failures: Arc<AtomicU32>,
}

impl Bus for Failing {
    fn name(&self) -> &str {
        self.bus.name()
    }
    fn capabilities(&self) -> larder_core::BusCapabilities {
        self.bus.capabilities()
    }
    fn channel(&self) -> Option<Arc<str>> {
        self.bus.channel()
    }
    async fn publish(&self, message: Bytes) -> larder::Result<()> {
        let less = |left: u32| left.checked_sub(1);
        if self.failures.fetch_update(Ordering::SeqCst, Ordering::SeqCst, less).is_ok() {
            return Err(Error::new(larder::ErrorKind::Unavailable, "it fails"));
        }
        self.bus.publish(message).await
    }
    async fn subscribe(&self, inbox: Arc<dyn larder_core::Inbox>) -> larder::Result<()> {
        self.bus.subscribe(inbox).await
    }
    async fn ping(&self) -> larder::Result<()> {
        self.bus.ping().await
    }
    async fn close(&self) -> larder::Result<()> {
        self.bus.close().await
    }
}

async fn on_a_failing_bus(settings: BusSettings) -> (Stack, Cache<u64, u64>, Arc<AtomicU32>) {
    let failures = Arc::new(AtomicU32::new(0));
    let store = MemoryStore::new(larder_testkit::PausedClock::new());
    let bus = Failing { bus: MemoryBus::new("elsewhere"), failures: Arc::clone(&failures) };
    let builder = Stack::builder().memory(Memory::max_entries(10)).store(store);
    let stack =
        builder.bus_with(bus, settings).clock(larder_testkit::PausedClock::new()).build().await.unwrap();
    let cache = stack.cache("n").build().unwrap();
    sleep(secs(1)).await;
    stack.reset_stats();
    (stack, cache, failures)
}

#[tokio::test(start_paused = true)]
async fn news_are_kept_for_later_once_publishing_failed_as_often_as_the_settings_say() {
    for allowed in [1, 3] {
        let (stack, cache, failures) =
            on_a_failing_bus(BusSettings::new().with_breaker_failures(allowed)).await;
        failures.store(allowed - 1, Ordering::SeqCst);
        assert_eq!(cache.remove(&1).await.unwrap().bus, Reach::Done, "one less is borne");
        failures.store(allowed, Ordering::SeqCst);
        assert_eq!(cache.remove(&1).await.unwrap().bus, Reach::Journaled);
        assert_eq!(failures.load(Ordering::SeqCst), 0);
        assert_eq!(stack.stats().bus.unwrap().failures, u64::from(2 * allowed - 1));
        assert_eq!(cache.remove(&2).await.unwrap().bus, Reach::Journaled, "nobody waits while it rests");
        sleep(secs(1)).await;
        assert_eq!(cache.remove(&2).await.unwrap().bus, Reach::Done);
        assert_eq!(stack.stats().bus.unwrap().waiting, 0);
    }
}

#[tokio::test(start_paused = true)]
async fn publishing_rests_for_as_long_as_the_settings_say_with_one_try_after_each_rest() {
    let settings = BusSettings::new().with_breaker_failures(2).with_retry_after(secs(2));
    let (stack, cache, failures) = on_a_failing_bus(settings.with_retry_after_max(secs(5))).await;
    failures.store(1_000, Ordering::SeqCst);
    assert_eq!(cache.remove(&1).await.unwrap().bus, Reach::Journaled);
    let tried = || 1_000 - failures.load(Ordering::SeqCst);
    // At 0 twice, then after 2, 4, 5 and 5 seconds more.
    for (wait, tries) in
        [(1_900, 2), (200, 3), (3_800, 3), (200, 4), (4_800, 4), (200, 5), (4_800, 5), (200, 6)]
    {
        sleep(millis(wait)).await;
        assert_eq!(tried(), tries, "{wait}");
    }
    failures.store(0, Ordering::SeqCst);
    sleep(secs(5)).await;
    assert_eq!(stack.stats().bus.unwrap().waiting, 0);
    assert_eq!(cache.remove(&1).await.unwrap().bus, Reach::Done);
    failures.store(2, Ordering::SeqCst);
    assert_eq!(cache.remove(&1).await.unwrap().bus, Reach::Journaled);
    sleep(millis(2_100)).await;
    assert_eq!(cache.remove(&1).await.unwrap().bus, Reach::Done, "after a success rests are short again");
}

#[tokio::test(start_paused = true)]
async fn a_breaker_of_the_bus_that_cannot_be_meant_is_refused_and_an_odd_one_advised_against() {
    let built = async |settings: BusSettings| {
        let builder = Stack::builder().memory(Memory::max_entries(10));
        builder.bus_with(MemoryBus::new("news"), settings).build().await
    };
    for (settings, named) in [
        (BusSettings::new().with_breaker_failures(0), "bus.breaker_failures"),
        (BusSettings::new().with_breaker_failures(101), "bus.breaker_failures"),
        (BusSettings::new().with_retry_after(secs(0)), "bus.retry_after"),
    ] {
        let error = built(settings).await.unwrap_err();
        assert!(error.to_string().contains(named), "{error}");
    }
    for longest in [millis(1), secs(30)] {
        let stack = built(BusSettings::new().with_retry_after_max(longest)).await.unwrap();
        let advised: Vec<&str> = stack.advisories().iter().map(|odd| odd.setting.as_str()).collect();
        assert!(advised.contains(&"bus.retry_after_max"), "{advised:?}");
    }
}

#[cfg(feature = "signing")]
#[tokio::test(start_paused = true)]
async fn a_fleet_with_a_secret_hears_its_own_and_forgets_at_most_by_what_others_say() {
    let settings = |secret: &[u8]| BusSettings::new().with_secret(larder::BusSecret::new(secret).unwrap());
    for way in crate::bus::WAYS {
        let fleet = Fleet::new(way);
        let one = fleet.node_with(settings(b"the secret of the fleet, 32 bytes")).await;
        let two = fleet.node_with(settings(b"the secret of the fleet, 32 bytes")).await;
        sleep(secs(1)).await;
        load_in_memory(&two, [1]).await;
        assert_eq!(one.cache.remove(&1).await.unwrap().bus, Reach::Done);
        arrive().await;
        assert_eq!(get(&two.cache, 1).await, None, "{way:?}");
        assert_eq!(two.stack.stats().bus.unwrap().rejected, 0, "{way:?}");

        let stranger = fleet.node_with(settings(b"another secret that is as long as it")).await;
        sleep(secs(1)).await;
        load_in_memory(&two, [2]).await;
        drop(stranger.cache.remove(&2).await);
        sleep(secs(3)).await;
        assert!(two.stack.stats().bus.unwrap().rejected > 0, "{way:?}");
        let kept = get(&two.cache, 2).await;
        assert_eq!(
            kept,
            (way == Way::Alone).then_some(7),
            "{way:?}: only a store proves that something happened"
        );
        load_in_memory(&two, [3]).await;
        assert_eq!(load(&two.cache, 3, no_loader()).await, 7, "{way:?}: and memory is served");
    }
}

#[tokio::test(start_paused = true)]
async fn a_health_check_asks_the_bus_too() {
    let fleet = Fleet::new(Way::Published);
    let node = fleet.node().await;
    let names = |health: &[larder::TierHealth]| {
        health.iter().map(|one| (one.tier.to_string(), one.is_healthy())).collect::<Vec<_>>()
    };
    let (store, bus) = ("shared".to_owned(), "memory-bus".to_owned());
    assert_eq!(names(&node.stack.health().await), [(store.clone(), true), (bus.clone(), true)]);
    node.leg.cut();
    assert_eq!(names(&node.stack.health().await), [(store, true), (bus, false)]);
}

/// Two nodes over stores of their own, on one channel; each with a value in memory.
async fn neighbours(one: (Option<&str>, &str), two: (Option<&str>, &str)) -> [(Stack, Cache<u64, u64>); 2] {
    let clock = larder_testkit::PausedClock::new();
    let bus = MemoryBus::new("shared by all");
    let node = async |(fleet, channel): (Option<&str>, &str)| {
        let store = MemoryStore::new(clock.clone()).announcing_on(channel);
        // The one is far ahead of the other.
        if channel == "b" {
            for n in 0..1_000 {
                larder_core::Store::remove(&store, vec![crate::support::key(n).into()]).await.unwrap();
            }
        }
        let settings = match fleet {
            Some(name) => BusSettings::new().with_fleet(name),
            None => BusSettings::new(),
        };
        let builder = Stack::builder().memory(Memory::max_entries(100)).store(store);
        let builder = builder.bus_with(bus.clone(), settings).clock(clock.clone());
        let stack = builder.rng(SeededRng::unpredictable()).build().await.unwrap();
        let cache: Cache<u64, u64> = stack.cache("n").policy(Policy::ttl(hours(1))).build().unwrap();
        (stack, cache)
    };
    let nodes = [node(one).await, node(two).await];
    sleep(secs(2)).await;
    for (stack, cache) in &nodes {
        assert_eq!(load(cache, 1, Origin::default().gives(7)).await, 7);
        stack.reset_stats();
    }
    nodes
}

/// Writes at the first node for five seconds, and counts how often the second misses meanwhile.
async fn misses_beside(nodes: &[(Stack, Cache<u64, u64>); 2]) -> u64 {
    let [(_, busy), (stack, quiet)] = nodes;
    for _ in 0..50 {
        busy.remove(&1).await.unwrap();
        busy.expire(&1).await.unwrap();
        busy.invalidate_tag("t").await.unwrap();
        assert_eq!(load(busy, 1, Origin::default().gives(8)).await, 8);
        sleep(millis(100)).await;
        assert_eq!(load(quiet, 1, Origin::default().gives(7)).await, 7);
    }
    let memory = &stack.stats().namespaces[0].tiers[0];
    memory.misses
}

#[tokio::test(start_paused = true)]
async fn fleets_over_different_stores_on_one_channel_keep_their_hits() {
    // By name, by the channels on which their stores announce, and one of each.
    for (one, two) in
        [((Some("b"), "b"), (Some("a"), "b")), ((None, "b"), (None, "a")), ((Some("b"), "b"), (None, "a"))]
    {
        let nodes = neighbours(one, two).await;
        assert_eq!(misses_beside(&nodes).await, 0, "{one:?} beside {two:?}");
        let bus = nodes[1].0.stats().bus.unwrap();
        assert!(bus.foreign >= 150 && bus.taken_in == 0 && bus.gaps == 0 && bus.clears == 0, "{bus:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn fleets_that_bear_one_name_hear_each_other_though_their_stores_differ() {
    let nodes = neighbours((Some("a"), "b"), (Some("a"), "a")).await;
    assert!(misses_beside(&nodes).await >= 50, "which is what a name is for");
    assert_eq!(nodes[1].0.stats().bus.unwrap().foreign, 0);
}

#[tokio::test(start_paused = true)]
async fn nodes_of_one_fleet_hear_each_other_also_while_only_some_bear_its_name() {
    for way in [Way::Announced, Way::Published, Way::Alone] {
        let fleet = Fleet::new(way);
        let named = || BusSettings::new().with_fleet("ours");
        let (one, two) = (fleet.node_with(named()).await, fleet.node_with(named()).await);
        let unnamed = fleet.node().await;
        sleep(secs(1)).await;
        for (writer, reader) in [(&one, &two), (&two, &unnamed), (&unnamed, &one)] {
            load_in_memory(reader, [1]).await;
            writer.cache.remove(&1).await.unwrap();
            arrive().await;
            assert_eq!(get(&reader.cache, 1).await, None, "{way:?}");
            assert_eq!(reader.stack.stats().bus.unwrap().foreign, 0, "{way:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_name_that_cannot_be_meant_is_refused() {
    for name in [String::new(), "x".repeat(257)] {
        let settings = BusSettings::new().with_fleet(name);
        let builder = Stack::builder().memory(Memory::max_entries(10));
        let error = builder.bus_with(MemoryBus::new("news"), settings).build().await.unwrap_err();
        assert!(error.to_string().contains("bus.fleet"), "{error}");
    }
}
