//! Writes that bear the origin's own number: the highest is left, in whatever order they come.

use larder::{
    Answer, Cache, ErrorKind, Memory, Policy, Reach, SetOutcome, SetOutcome::Stored, SetOutcome::Superseded,
    Settings, Stack, TierChoice, TierSettings, WriteMode, WriteOptions, hours, millis, minutes, secs,
};
use larder_core::{Capabilities, Store};
use larder_testkit::{Fault, MemoryStore, Op, PausedClock, When};

use crate::{
    bus::{Fleet as Told, WAYS, Way, arrive},
    support::{Fleet, Node, Origin, get, load, memory_with, no_loader, numbers, sleep},
};

async fn set(cache: &Cache<u64, u64>, value: u64, revision: u64) -> SetOutcome {
    cache.set_versioned(&1, value, revision).await.unwrap()
}

async fn pair() -> (Fleet, Node, Node) {
    let fleet = Fleet::new();
    let (one, two) = (fleet.node(Policy::default()).await, fleet.node(Policy::default()).await);
    (fleet, one, two)
}

#[tokio::test(start_paused = true)]
async fn of_two_nodes_that_write_in_the_other_order_the_later_state_is_left() {
    let (_fleet, one, two) = pair().await;
    assert_eq!(set(&one.cache, 40, 4).await, Stored);
    assert_eq!(set(&two.cache, 60, 6).await, Stored);
    assert_eq!(get(&one.cache, 1).await, Some(40), "without a bus nobody told it");
    assert_eq!(set(&one.cache, 50, 5).await, Superseded);
    assert_eq!((get(&one.cache, 1).await, get(&two.cache, 1).await), (Some(60), Some(60)));
    assert_eq!(set(&one.cache, 60, 6).await, Superseded, "the same again");
    assert_eq!(set(&one.cache, 70, 7).await, Stored);
    let stats = one.stack.stats().namespaces.remove(0);
    assert_eq!((stats.sets, stats.superseded), (2, 2));
}

#[tokio::test(start_paused = true)]
async fn a_process_alone_compares_for_itself() {
    let private = MemoryStore::new(PausedClock::new()).with_capabilities({
        let mut private = Capabilities::none();
        (private.persistent, private.sequence) = (true, true);
        private
    });
    let builder = Stack::builder().memory(Memory::max_entries(10)).clock(PausedClock::new());
    let over_disk = builder.store(private).build().await.unwrap();
    for cache in [numbers(Policy::default()).await, over_disk.cache("n").build().unwrap()] {
        assert_eq!(set(&cache, 60, 6).await, Stored);
        assert_eq!(set(&cache, 50, 5).await, Superseded);
        assert_eq!(get(&cache, 1).await, Some(60), "a set that is refused costs no hit");
        assert_eq!(cache.peek(&1).unwrap(), Answer::Value(60.into()));
        let both = tokio::join!(set(&cache, 90, 9), set(&cache, 80, 8));
        assert_eq!((both, get(&cache, 1).await), ((Stored, Superseded), Some(90)));
        assert_eq!(cache.remove_versioned(&1, 10).await.unwrap().bus, Reach::None);
        assert_eq!((set(&cache, 95, 10).await, get(&cache, 1).await), (Superseded, None));
        assert_eq!((set(&cache, 99, 11).await, get(&cache, 1).await), (Stored, Some(99)));
    }
}

#[tokio::test(start_paused = true)]
async fn what_was_removed_at_a_revision_is_not_brought_back_by_an_older_one() {
    let (_fleet, one, two) = pair().await;
    assert_eq!(set(&one.cache, 50, 5).await, Stored);
    assert_eq!(two.cache.remove_versioned(&1, 7).await.unwrap().store, Reach::Done);
    assert_eq!(set(&one.cache, 60, 6).await, Superseded);
    assert_eq!((get(&one.cache, 1).await, get(&two.cache, 1).await), (None, None));
    // A late removal is done, and lowers nothing.
    assert_eq!(set(&one.cache, 90, 9).await, Stored);
    two.cache.remove_versioned(&1, 8).await.unwrap();
    assert_eq!(get(&two.cache, 1).await, None);
    assert_eq!(set(&one.cache, 90, 9).await, Superseded);
    assert_eq!(set(&one.cache, 100, 10).await, Stored);
}

#[tokio::test(start_paused = true)]
async fn what_bears_no_number_neither_asks_nor_lowers_it() {
    let (_fleet, one, two) = pair().await;
    assert_eq!(set(&one.cache, 50, 5).await, Stored);
    two.cache.set(&1, 1).await.unwrap();
    assert_eq!((set(&one.cache, 40, 4).await, get(&one.cache, 1).await), (Superseded, Some(1)));
    two.cache.remove(&1).await.unwrap();
    assert_eq!(load(&two.cache, 1, Origin::default().gives(2)).await, 2);
    two.cache.clear().await.unwrap();
    assert_eq!(set(&one.cache, 50, 5).await, Superseded);
    assert_eq!(set(&one.cache, 60, 6).await, Stored);
}

#[tokio::test(start_paused = true)]
async fn a_load_that_began_before_keeps_its_value_nowhere() {
    let (_fleet, one, two) = pair().await;
    let (loaded, ()) = tokio::join!(load(&one.cache, 1, Origin::default().slow(40, secs(1))), async {
        sleep(millis(100)).await;
        assert_eq!(set(&two.cache, 60, 6).await, Stored);
    });
    assert_eq!(loaded, 40);
    assert_eq!((load(&one.cache, 1, no_loader()).await, get(&two.cache, 1).await), (60, Some(60)));
}

#[tokio::test(start_paused = true)]
async fn a_revision_is_remembered_for_as_long_as_the_entry_lives_and_a_while_at_least() {
    let settings = Settings::new().with_revision_keep(minutes(1));
    let fleet = Fleet::new();
    let with = |stack: larder::StackBuilder| stack.settings(settings.clone());
    let node = fleet.node_with(Policy::ttl(secs(5)), with).await;
    let alone = memory_with(settings.clone()).await.cache("n").policy(Policy::ttl(secs(5))).build().unwrap();
    for cache in [&node.cache, &alone] {
        assert_eq!(set(cache, 50, 5).await, Stored);
        sleep(secs(50)).await;
        assert_eq!(set(cache, 40, 4).await, Superseded, "the entry is gone, the number is not");
        sleep(secs(20)).await;
        assert_eq!(set(cache, 40, 4).await, Stored);
        let long = WriteOptions::new().ttl(hours(1));
        assert_eq!(cache.set_versioned_with(&1, 50, 5, &long).await.unwrap(), Stored);
        sleep(minutes(59)).await;
        assert_eq!((set(cache, 40, 4).await, get(cache, 1).await), (Superseded, Some(50)));
        cache.remove_versioned(&1, 6).await.unwrap();
        sleep(secs(50)).await;
        assert_eq!(set(cache, 60, 6).await, Superseded);
    }
}

#[tokio::test(start_paused = true)]
async fn while_the_store_is_down_nothing_is_kept_since_nobody_compares() {
    for mode in [WriteMode::Strict, WriteMode::BestEffort] {
        let (_fleet, one, two) = pair().await;
        assert_eq!(set(&two.cache, 60, 6).await, Stored);
        assert_eq!(get(&one.cache, 1).await, Some(60));
        one.faults.fail_all();
        let options = WriteOptions::new().mode(mode);
        let failed = one.cache.set_versioned_with(&1, 50, 5, &options).await.unwrap_err();
        assert_eq!(failed.kind(), ErrorKind::Unavailable, "{mode:?}");
        assert_eq!(one.cache.peek(&1).unwrap(), Answer::Miss, "{mode:?}");
        one.faults.heal();
        sleep(secs(20)).await;
        assert_eq!(set(&one.cache, 50, 5).await, Superseded);
        assert_eq!(set(&one.cache, 70, 7).await, Stored);
        assert_eq!((get(&one.cache, 1).await, get(&two.cache, 1).await), (Some(70), Some(60)));
    }
}

#[tokio::test(start_paused = true)]
async fn whose_answer_was_lost_is_told_when_trying_again_that_it_was_done() {
    let (_fleet, one, _two) = pair().await;
    one.faults.inject(Op::Write, When::Always, Fault::ErrorAfter);
    assert_eq!(one.cache.set_versioned(&1, 60, 6).await.unwrap_err().kind(), ErrorKind::Unavailable);
    one.faults.heal();
    assert_eq!(set(&one.cache, 60, 6).await, Superseded);
    // What nobody knew to be stored is removed, as after every write that failed.
    assert_eq!(load(&one.cache, 1, Origin::default().gives(60)).await, 60);
    assert_eq!(get(&one.cache, 1).await, Some(60));
}

#[tokio::test(start_paused = true)]
async fn where_nobody_can_compare_the_call_is_refused_and_changes_nothing() {
    let fleet = Fleet::new();
    let mut without = fleet.shared.capabilities();
    without.revisions = false;
    let store = fleet.shared.clone().with_capabilities(without);
    let builder = Stack::builder().memory(Memory::max_entries(10)).clock(fleet.clock.clone());
    let old_store = builder.store(store).build().await.unwrap();
    let on_a_bus = Told::new(Way::Alone).node().await;
    for cache in [old_store.cache("n").build().unwrap(), on_a_bus.cache] {
        cache.set(&1, 1).await.unwrap();
        let set = cache.set_versioned(&1, 60, 6).await.unwrap_err();
        let removed = cache.remove_versioned(&1, 6).await.unwrap_err();
        assert_eq!([set.kind(), removed.kind()], [ErrorKind::Unsupported; 2], "{set}");
        assert_eq!(get(&cache, 1).await, Some(1));
    }
    let node = fleet.node(Policy::default()).await;
    for choice in [TierChoice::Only(vec!["memory".into()]), TierChoice::Except(vec!["shared".into()])] {
        let options = WriteOptions::new().tiers(choice);
        let unheard = node.cache.set_versioned_with(&1, 60, 6, &options).await.unwrap_err();
        assert_eq!(unheard.kind(), ErrorKind::Invalid);
    }
    assert_eq!(node.faults.calls(Op::Write), 0);
}

#[tokio::test(start_paused = true)]
async fn a_store_in_between_keeps_no_older_copy_after_a_set_that_was_refused() {
    let fleet = Fleet::new();
    let two = fleet.node(Policy::default()).await;
    for holds_a_copy in [true, false] {
        let mut private = Capabilities::none();
        (private.persistent, private.sequence, private.leases) = (true, true, true);
        let private = MemoryStore::new(fleet.clock.clone()).with_capabilities(private);
        let builder = Stack::builder().clock(fleet.clock.clone());
        let builder = builder.store_with(private, TierSettings::new().with_name("private"));
        let stack = builder.store_with(fleet.shared.clone(), TierSettings::new().with_name("shared"));
        let one = stack.build().await.unwrap().cache("n").build().unwrap();
        if holds_a_copy {
            assert_eq!(set(&one, 40, 4).await, Stored);
            assert_eq!(set(&two.cache, 60, 6).await, Stored);
            assert_eq!(get(&one, 1).await, Some(40), "from its own store");
        }
        assert_eq!(set(&one, 50, 5).await, Superseded);
        assert_eq!(get(&one, 1).await, Some(60));
    }
}

#[tokio::test(start_paused = true)]
async fn peers_hear_of_what_was_stored_and_of_nothing_else() {
    for way in WAYS.into_iter().filter(|way| *way != Way::Alone) {
        let fleet = Told::new(way);
        let (one, two) = (fleet.node().await, fleet.node().await);
        sleep(secs(1)).await;
        assert_eq!(set(&one.cache, 60, 6).await, Stored);
        arrive().await;
        assert_eq!(get(&two.cache, 1).await, Some(60));
        assert_eq!(set(&one.cache, 50, 5).await, Superseded);
        arrive().await;
        assert_eq!(two.cache.peek(&1).unwrap(), Answer::Value(60.into()), "{way:?}");
        assert_eq!(set(&one.cache, 70, 7).await, Stored);
        arrive().await;
        assert_eq!((two.cache.peek(&1).unwrap(), get(&two.cache, 1).await), (Answer::Miss, Some(70)));
        one.cache.remove_versioned(&1, 8).await.unwrap();
        arrive().await;
        assert_eq!(get(&two.cache, 1).await, None, "{way:?}");
    }
}
