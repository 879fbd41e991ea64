//! Gauges: what stands now, and goes back to nothing when all is well.

use larder::{BusSettings, Partition, Settings, millis, secs};

use crate::{
    bus::{Fleet, Way},
    channel::speaker,
    support::{self, Origin, load, sleep},
};

#[tokio::test(start_paused = true)]
async fn a_node_tells_how_many_news_it_knows_of_and_has_not_heard_until_they_are_made_up_for() {
    for way in [Way::Announced, Way::Published] {
        let fleet = Fleet::new(way);
        let (one, two) = (fleet.node().await, fleet.node().await);
        let lag = || one.stack.stats().bus.unwrap().lag_seq;
        two.cache.set_many((0..5).map(|key| (key, 7)).collect::<Vec<_>>()).await.unwrap();
        sleep(secs(1)).await;
        assert_eq!(lag(), 0, "{way:?}");
        one.leg.set_deaf(true);
        for key in 0..3 {
            two.cache.set(&key, 8).await.unwrap();
        }
        let mut highest = 0;
        for _ in 0..200 {
            sleep(millis(5)).await;
            highest = highest.max(lag());
        }
        assert_eq!(highest, 3, "{way:?}");
        assert_eq!((lag(), one.stack.stats().bus.unwrap().gaps > 0), (0, true), "{way:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_node_tells_for_how_much_longer_its_memory_is_sound_without_another_sign() {
    for way in [Way::Announced, Way::Published, Way::Alone] {
        let fleet = Fleet::new(way);
        let settings = BusSettings::new().with_partition(Partition::Bounded(secs(10)));
        let one = fleet.node_with(settings).await;
        sleep(secs(1)).await;
        let sound_for = || {
            let bus = one.stack.stats().bus.unwrap();
            let left = bus.sound_for.expect("it listens");
            assert_eq!(bus.is_sound, !left.is_zero(), "{way:?}");
            left
        };
        for _ in 0..100 {
            sleep(millis(10)).await;
            assert!((millis(500)..=secs(1)).contains(&sound_for()), "{way:?} {:?}", sound_for());
        }
        one.leg.cut();
        one.faults.fail_all();
        sleep(millis(400)).await;
        let before = sound_for();
        sleep(millis(100)).await;
        assert_eq!(before - sound_for(), millis(100), "{way:?}: nothing renews it");
        sleep(secs(1)).await;
        assert!(sound_for().is_zero(), "{way:?}");
        one.leg.mend();
        one.faults.heal();
        sleep(secs(30)).await;
        assert!(sound_for() >= millis(500), "{way:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_node_that_does_not_listen_has_nothing_to_be_sound_for() {
    let fleet = Fleet::new(Way::Published);
    let (stack, _cache) = speaker(&fleet).await;
    let bus = stack.stats().bus.unwrap();
    assert_eq!((bus.sound_for, bus.lag_seq), (None, 0));
}

#[tokio::test(start_paused = true)]
async fn loads_that_run_without_a_lease_are_told_while_they_run() {
    let fleet = support::Fleet::new();
    let settings = Settings::new().with_unleased_loads_max(2);
    let node = fleet.node_with(larder::Policy::ttl(secs(10)), |stack| stack.settings(settings)).await;
    let unleased = || node.stack.stats().unleased_loads;
    let origin = Origin::default();
    let slow = async |key: u64| load(&node.cache, key, origin.slow(7, secs(5))).await;
    let leased = tokio::join!(slow(1), async {
        sleep(secs(1)).await;
        unleased()
    });
    assert_eq!(leased.1, 0, "a load with a lease is none of them");
    node.faults.fail_all();
    let ((), (), while_they_run) =
        tokio::join!(async { _ = slow(2).await }, async { _ = slow(3).await }, async {
            sleep(secs(3)).await;
            unleased()
        });
    assert_eq!((while_they_run, unleased()), (2, 0));
}
