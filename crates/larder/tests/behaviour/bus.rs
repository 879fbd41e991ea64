//! What nodes of a fleet tell each other, over a bus that announces and over one that they publish on.

use larder::{
    Answer, BusSettings, Cache, ErrorKind, Memory, Partition, Policy, Reach, Stack, TierSettings, hours,
    millis, secs,
};
use larder_core::{Capabilities, Event};
use larder_testkit::{Faults, Faulty, Leg, MemoryBus, MemoryStore, Op, PausedClock, Recorder, SeededRng};

use crate::support::{Origin, get, load, no_loader, sleep};

/// How the news travel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// The store announces.
    Announced,
    /// The nodes publish what the store did.
    Published,
    /// There is no shared store.
    Alone,
}

pub const WAYS: [Way; 3] = [Way::Announced, Way::Published, Way::Alone];

/// Nodes that hear each other.
pub struct Fleet {
    pub way: Way,
    pub clock: PausedClock,
    pub store: MemoryStore,
    pub bus: MemoryBus,
}

pub struct Node {
    pub stack: Stack,
    pub cache: Cache<u64, u64>,
    pub leg: Leg,
    pub faults: Faults,
    pub recorder: Recorder,
}

impl Fleet {
    pub fn new(way: Way) -> Self {
        let clock = PausedClock::new();
        let store = MemoryStore::new(clock.clone());
        let bus = match way {
            Way::Announced => MemoryBus::new("news").hearing(&store),
            Way::Published | Way::Alone => MemoryBus::new("elsewhere"),
        };
        Self { way, clock, store, bus }
    }

    /// They publish; the store keeps the fleet's books and no barriers.
    pub fn without_barriers() -> Self {
        let mut plain = Capabilities::none();
        (plain.shared, plain.sequence, plain.leases) = (true, true, true);
        (plain.scan, plain.fleet) = (true, true);
        let fleet = Self::new(Way::Published);
        Self { store: MemoryStore::new(fleet.clock.clone()).with_capabilities(plain), ..fleet }
    }

    /// Its store, as somebody sees it who keeps barriers there.
    pub fn clone_with_barriers(&self) -> MemoryStore {
        let mut capabilities = larder_core::Store::capabilities(&self.store);
        capabilities.barriers = true;
        self.store.clone().with_capabilities(capabilities)
    }

    pub async fn node(&self) -> Node {
        self.node_with(BusSettings::new()).await
    }

    pub async fn node_with(&self, settings: BusSettings) -> Node {
        let shared = match self.way {
            Way::Announced => self.store.clone().announcing_on("news"),
            Way::Published | Way::Alone => self.store.clone(),
        };
        let (store, faults) = Faulty::new(shared, 1);
        let (bus, recorder) = (self.bus.clone(), Recorder::new());
        let leg = bus.leg();
        let mut builder = Stack::builder()
            .memory(Memory::max_entries(10_000))
            .clock(self.clock.clone())
            .rng(SeededRng::unpredictable())
            .observer(recorder.clone())
            .bus_with(bus, settings);
        if self.way != Way::Alone {
            builder = builder.store_with(store, TierSettings::new().with_name("shared"));
        }
        let stack = builder.build().await.unwrap();
        let cache = stack.cache("n").policy(Policy::ttl(hours(1))).build().unwrap();
        // Until it has proven that it hears everything, a node does not serve its memory.
        sleep(millis(600)).await;
        Node { stack, cache, leg, faults, recorder }
    }
}

/// Lets news arrive.
pub async fn arrive() {
    sleep(millis(5)).await;
}

#[tokio::test(start_paused = true)]
async fn what_one_node_changes_the_others_serve_no_more() {
    for way in WAYS {
        let fleet = Fleet::new(way);
        let (one, two) = (fleet.node().await, fleet.node().await);
        sleep(secs(1)).await;
        for verb in ["remove", "set", "expire", "clear"] {
            let origin = Origin::default();
            two.cache.remove(&1).await.unwrap();
            arrive().await;
            assert_eq!(load(&one.cache, 1, origin.gives(7)).await, 7);
            assert_eq!(load(&one.cache, 1, no_loader()).await, 7, "{way:?}: memory is served");
            match verb {
                "remove" => assert_eq!(two.cache.remove(&1).await.unwrap().bus, Reach::Done),
                "set" => two.cache.set(&1, 8).await.unwrap(),
                "expire" => assert_eq!(two.cache.expire(&1).await.unwrap().bus, Reach::Done),
                _ => assert_eq!(two.cache.clear().await.unwrap().bus, Reach::Done),
            }
            arrive().await;
            let expected = if way == Way::Alone || verb != "set" { 9 } else { 8 };
            assert_eq!(load(&one.cache, 1, origin.gives(9)).await, expected, "{way:?} {verb}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_deaf_node_notices_within_the_bound_and_serves_nothing_old() {
    for way in [Way::Announced, Way::Published] {
        let fleet = Fleet::new(way);
        let (one, two) = (fleet.node().await, fleet.node().await);
        let origin = Origin::default();
        assert_eq!(load(&one.cache, 1, origin.gives(7)).await, 7);
        one.leg.set_deaf(true);
        two.cache.set(&1, 8).await.unwrap();
        sleep(secs(1)).await;
        assert_eq!(get(&one.cache, 1).await, Some(8), "{way:?}");
        one.recorder.wait_for(|event| matches!(event, Event::BusGap { .. })).await;
    }
}

#[tokio::test(start_paused = true)]
async fn cut_off_from_bus_and_store_a_node_serves_what_its_policy_allows_and_marks_it() {
    for way in WAYS {
        for (partition, after_2s, after_20s) in [
            (Partition::Coherent, false, false),
            (Partition::Bounded(secs(10)), true, false),
            (Partition::Available, true, true),
        ] {
            let fleet = Fleet::new(way);
            let one = fleet.node_with(BusSettings::new().with_partition(partition)).await;
            sleep(secs(1)).await;
            assert_eq!(load(&one.cache, 1, Origin::default().gives(7)).await, 7);
            one.leg.cut();
            one.faults.fail_all();
            for (pause, served) in [(secs(2), after_2s), (secs(18), after_20s)] {
                sleep(pause).await;
                let answer = one
                    .cache
                    .get_or_load_with(&1, &larder::ReadOptions::new(), async |_| {
                        Err::<u64, _>(std::io::Error::other("down"))
                    })
                    .await;
                assert_eq!(answer.is_ok(), served, "{way:?} {partition:?} {answer:?}");
                let fresh = larder::ReadOptions::new().allow_stale(false);
                let failing = async |_| Err::<u64, _>(std::io::Error::other("down"));
                let strict = one.cache.get_or_load_with(&1, &fresh, failing).await;
                assert!(strict.is_err(), "{way:?} {partition:?} {strict:?}");
                if let Ok(lookup) = answer {
                    assert_eq!(lookup.stale.map(|stale| stale.reason), Some(larder::StaleReason::CutOff));
                }
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_node_that_comes_back_forgets_what_it_had_and_serves_again() {
    for way in WAYS {
        let fleet = Fleet::new(way);
        let (one, two) = (fleet.node().await, fleet.node().await);
        sleep(secs(1)).await;
        let origin = Origin::default();
        assert_eq!(load(&one.cache, 1, origin.gives(7)).await, 7);
        one.leg.cut();
        two.cache.remove(&1).await.unwrap();
        one.leg.mend();
        sleep(secs(1)).await;
        assert_eq!(load(&one.cache, 1, origin.gives(8)).await, 8, "{way:?}");
        assert_eq!(load(&one.cache, 1, no_loader()).await, 8, "{way:?}: and memory is served again");
    }
}

#[tokio::test(start_paused = true)]
async fn a_removal_that_the_store_did_not_do_reaches_peers_as_owed_and_they_do_not_read_its_copy() {
    let fleet = Fleet::new(Way::Announced);
    let (one, two) = (fleet.node().await, fleet.node().await);
    one.cache.set(&1, 7).await.unwrap();
    assert_eq!(get(&two.cache, 1).await, Some(7));
    one.faults.fail(Op::Remove);
    assert!(one.cache.remove(&1).await.is_err());
    arrive().await;
    assert_eq!(get(&two.cache, 1).await, None, "neither from memory nor from the store");
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_published_is_kept_and_told_when_the_bus_is_back() {
    let fleet = Fleet::new(Way::Alone);
    let (one, two) = (fleet.node().await, fleet.node().await);
    sleep(secs(1)).await;
    let origin = Origin::default();
    assert_eq!(load(&one.cache, 1, origin.gives(7)).await, 7);
    two.leg.set_mute(true);
    assert_eq!(two.cache.remove(&1).await.unwrap().bus, Reach::Journaled);
    assert_eq!(load(&one.cache, 1, no_loader()).await, 7);
    two.leg.set_mute(false);
    sleep(secs(6)).await;
    assert_eq!(load(&one.cache, 1, origin.gives(8)).await, 8);
}

#[tokio::test(start_paused = true)]
async fn a_waiter_of_another_nodes_lease_is_woken_by_the_news() {
    let fleet = Fleet::new(Way::Announced);
    let (one, two) = (fleet.node().await, fleet.node().await);
    let origin = Origin::default();
    let began = crate::support::Watch::start();
    let (a, b) = tokio::join!(load(&one.cache, 1, origin.slow(7, millis(1_234))), async {
        sleep(millis(1)).await;
        load(&two.cache, 1, no_loader()).await
    });
    assert_eq!((a, b), (7, 7));
    assert!(began.elapsed() < millis(1_240), "{:?}", began.elapsed());
}

#[tokio::test(start_paused = true)]
async fn removed_everywhere_means_that_no_node_serves_it() {
    for way in WAYS {
        let fleet = Fleet::new(way);
        let (one, two, three) = (fleet.node().await, fleet.node().await, fleet.node().await);
        sleep(secs(2)).await;
        let began = crate::support::Watch::start();
        let done = one.cache.remove_everywhere(&1).await.unwrap();
        assert!(done.everywhere);
        assert!(
            began.elapsed() <= millis(5),
            "{way:?}: a healthy fleet answers at once: {:?}",
            began.elapsed()
        );

        let origin = Origin::default();
        assert_eq!(load(&two.cache, 1, origin.gives(7)).await, 7);
        two.leg.cut();
        two.faults.fail_all();
        let began = crate::support::Watch::start();
        assert!(one.cache.remove_everywhere(&1).await.unwrap().everywhere);
        // Where no books are kept it is not known which of two nodes is deaf.
        let bound = if way == Way::Alone { millis(2_000) } else { millis(1_200) };
        assert!(began.elapsed() <= bound, "{way:?}: {:?}", began.elapsed());
        let after = two.cache.get(&1).await;
        let lookup = two.cache.get_with(&1, &larder::ReadOptions::new()).await.unwrap();
        assert!(lookup.stale.is_some(), "{way:?}: only what is marked: {after:?}");
        drop(three);
    }
}

#[tokio::test(start_paused = true)]
async fn without_a_bus_nobody_can_remove_everywhere() {
    let cache = crate::support::numbers(Policy::default()).await;
    assert_eq!(cache.remove_everywhere(&1).await.unwrap_err().kind(), ErrorKind::Unsupported);
}

#[tokio::test(start_paused = true)]
async fn a_node_that_left_is_not_waited_for() {
    let fleet = Fleet::new(Way::Announced);
    let (one, two) = (fleet.node().await, fleet.node().await);
    two.stack.shutdown(secs(1)).await.unwrap();
    let began = crate::support::Watch::start();
    assert!(one.cache.remove_everywhere(&1).await.unwrap().everywhere);
    assert_eq!(began.elapsed(), millis(0));
    assert_eq!(one.cache.get(&1).await.unwrap(), Answer::Miss);
}

/// Two keys that a node cannot tell apart when it hears of writes.
fn neighbours() -> (u64, u64) {
    let mut seen = std::collections::HashMap::new();
    (0..).find_map(|n| seen.insert(crate::support::key(n).stripe(), n).map(|before| (before, n))).unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_write_makes_nodes_doubt_what_the_store_has_of_the_keys_neighbours_for_half_a_minute() {
    let (key, neighbour) = neighbours();
    for way in [Way::Announced, Way::Published] {
        let fleet = Fleet::new(way);
        let (one, two) = (fleet.node().await, fleet.node().await);
        two.cache.set(&key, 7).await.unwrap();
        two.cache.set(&neighbour, 8).await.unwrap();
        arrive().await;
        assert_eq!(get(&one.cache, key).await, None, "{way:?}: as far as it knows it may be older");
        sleep(secs(29)).await;
        assert_eq!(get(&one.cache, key).await, None, "{way:?}: a replica that lags may have brought it back");
        sleep(secs(4)).await;
        assert_eq!(
            get(&one.cache, key).await,
            Some(7),
            "{way:?}: the store kept its history for long enough"
        );
    }
}

/// A node that heard of a removal which the store then lost in a failover, with the removals of `tail` before it; who
/// removed is gone, so nobody repeats it.
async fn heard_of_a_lost_removal(way: Way, key: u64, tail: std::ops::Range<u64>) -> (Fleet, Node) {
    let fleet = Fleet::new(way);
    let (one, two) = (fleet.node().await, fleet.node().await);
    two.cache.set(&key, 7).await.unwrap();
    sleep(secs(60)).await;
    let replica = fleet.store.snapshot();
    for removed in tail.chain([key]) {
        two.cache.remove(&removed).await.unwrap();
    }
    arrive().await;
    two.stack.shutdown(secs(1)).await.unwrap();
    fleet.store.fail_over_to(&replica);
    (fleet, one)
}

#[tokio::test(start_paused = true)]
async fn what_a_failover_brings_back_is_doubted_however_long_ago_it_happened() {
    for (way, tail) in
        [Way::Announced, Way::Published].into_iter().flat_map(|way| [(way, 0..0), (way, 100..110)])
    {
        let (_fleet, one) = heard_of_a_lost_removal(way, 1, tail.clone()).await;
        for second in 0..120 {
            assert_eq!(get(&one.cache, 1).await, None, "{way:?}, {tail:?} lost too: after {second} s");
            // So that the new history goes on beyond the lost one.
            one.cache.set(&2, second).await.unwrap();
            sleep(secs(1)).await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_neighbour_that_is_written_later_does_not_make_what_a_failover_brought_back_believed() {
    let (key, neighbour) = neighbours();
    for way in [Way::Announced, Way::Published] {
        let (_fleet, one) = heard_of_a_lost_removal(way, key, 0..0).await;
        sleep(secs(5)).await;
        one.cache.set(&neighbour, 8).await.unwrap();
        for second in 0..60 {
            assert_eq!(get(&one.cache, key).await, None, "{way:?}: after {second} s");
            sleep(secs(1)).await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn what_a_node_tells_itself_and_hears_in_order_is_no_gap() {
    for way in WAYS {
        let fleet = Fleet::new(way);
        let (one, two) = (fleet.node().await, fleet.node().await);
        sleep(secs(2)).await;
        let cleared = |node: &Node| node.stack.stats().bus.unwrap().clears;
        let before = (cleared(&one), cleared(&two));
        one.cache.set(&1, 7).await.unwrap();
        one.cache.expire(&2).await.unwrap();
        one.cache.remove(&3).await.unwrap();
        one.cache.invalidate_tag("t").await.unwrap();
        sleep(secs(2)).await;
        assert_eq!((cleared(&one), cleared(&two)), before, "{way:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn row_67_a_node_keeps_what_it_set_when_it_hears_of_it() {
    for way in WAYS {
        let fleet = Fleet::new(way);
        let (one, two) = (fleet.node().await, fleet.node().await);
        one.cache.set(&1, 7).await.unwrap();
        arrive().await;
        assert!(one.cache.peek(&1).unwrap().is_hit(), "{way:?}");
        two.cache.set(&1, 8).await.unwrap();
        arrive().await;
        assert!(!one.cache.peek(&1).unwrap().is_hit(), "{way:?}: the other has the same names");
    }
}
