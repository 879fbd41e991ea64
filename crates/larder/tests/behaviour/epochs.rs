//! Epochs: one number in the keys that leaves every older entry behind, in one process or in the fleet.

use std::collections::HashSet;

use larder::{
    Cache, CleanupOptions, ErrorKind, Key, KeyPattern, Policy, Stack, TagMatch, WriteOptions, hours, millis,
    secs,
};
use larder_core::{Cursor, Event, KeyPrefix, Store};
use larder_testkit::{Fault, MemoryStore, Op, When};

use crate::{
    bus::{Fleet, Node, WAYS, Way, arrive},
    support::{Origin, get, load, memory_only, no_loader, sleep},
};

fn users(stack: &Stack, epoch: u64) -> Cache<u64, u64> {
    stack.cache("user").policy(Policy::ttl(hours(1))).epoch(epoch).build().unwrap()
}

/// The keys that a store holds.
async fn stored(store: &MemoryStore) -> Vec<String> {
    let page = store.scan(KeyPrefix::all(), Cursor::START, 10_000).await.unwrap();
    page.entries.into_iter().map(|entry| String::from_utf8(entry.key.to_vec()).unwrap()).collect()
}

/// Nodes that follow.
async fn following(fleet: &Fleet) -> (Node, Cache<u64, u64>) {
    let node = fleet.node().await;
    let cache = users(&node.stack, 1);
    cache.follow_epoch().await.unwrap();
    (node, cache)
}

#[tokio::test(start_paused = true)]
async fn raising_the_epoch_leaves_every_entry_behind_in_every_tier_without_a_scan() {
    for way in WAYS {
        let fleet = Fleet::new(way);
        let node = fleet.node().await;
        let cache = users(&node.stack, 7);
        for n in 0..20 {
            cache.set(&n, n).await.unwrap();
        }
        assert_eq!(cache.epoch(), Some(7));
        if way != Way::Alone {
            assert!(stored(&fleet.store).await.contains(&"user:,7:3".to_owned()), "{way:?}");
        }
        assert_eq!(cache.raise_epoch().await.unwrap(), 8);
        for n in 0..20 {
            assert_eq!(get(&cache, n).await, None, "{way:?}");
        }
        cache.set(&3, 33).await.unwrap();
        assert_eq!((get(&cache, 3).await, cache.keys()), (Some(33), vec!["user:,8:3".to_owned()]), "{way:?}");
        assert_eq!(node.faults.calls(Op::Scan) + node.faults.calls(Op::Clear), 0, "{way:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_load_under_way_is_given_to_its_callers_and_not_kept_under_the_new_epoch() {
    for way in WAYS {
        let fleet = Fleet::new(way);
        let node = fleet.node().await;
        let (cache, origin) = (users(&node.stack, 1), Origin::default());
        let (old, new) = tokio::join!(load(&cache, 1, origin.slow(7, secs(1))), async {
            sleep(millis(100)).await;
            cache.raise_epoch().await.unwrap();
            assert_eq!(get(&cache, 1).await, None);
            load(&cache, 1, origin.slow(8, millis(100))).await
        });
        assert_eq!(
            (old, new, origin.calls()),
            (7, 8, 2),
            "{way:?}: who comes after joins no load from before"
        );
        assert_eq!(load(&cache, 1, no_loader()).await, 8, "{way:?}: and it took nothing's place");
        // The same where nobody loads again.
        let (old, ()) = tokio::join!(load(&cache, 2, origin.slow(7, secs(1))), async {
            sleep(millis(100)).await;
            cache.raise_epoch().await.unwrap();
        });
        assert_eq!((old, get(&cache, 2).await), (7, None), "{way:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_epoch_only_grows_and_a_cache_without_one_says_so() {
    let stack = memory_only().await;
    let cache = users(&stack, 7);
    assert_eq!(cache.raise_epoch_to(9).await.unwrap(), 9);
    for number in [0, 8, 9] {
        assert_eq!(cache.raise_epoch_to(number).await.unwrap_err().kind(), ErrorKind::Invalid);
    }
    assert_eq!(cache.raise_epoch_to(u64::MAX).await.unwrap(), u64::MAX);
    assert_eq!(cache.raise_epoch().await.unwrap_err().kind(), ErrorKind::Invalid);
    let plain: Cache<u64, u64> = stack.cache("plain").build().unwrap();
    assert_eq!(plain.epoch(), None);
    assert_eq!(plain.raise_epoch().await.unwrap_err().kind(), ErrorKind::Invalid);
    assert_eq!(cache.follow_epoch().await.unwrap_err().kind(), ErrorKind::Unsupported);
}

#[tokio::test(start_paused = true)]
async fn processes_of_different_epochs_see_each_others_tags_and_clears_alone() {
    let fleet = Fleet::new(Way::Announced);
    let (one, two) = (fleet.node().await, fleet.node().await);
    let (old, new) = (users(&one.stack, 1), users(&two.stack, 2));
    let tagged = WriteOptions::new().tags(["t"]);
    old.set_with(&1, 7, &tagged).await.unwrap();
    assert_eq!(get(&new, 1).await, None);
    new.set(&1, 8).await.unwrap();
    new.remove(&1).await.unwrap();
    arrive().await;
    assert_eq!(get(&old, 1).await, Some(7));
    new.invalidate_tags(&["t"], TagMatch::Any).await.unwrap();
    arrive().await;
    assert_eq!(get(&old, 1).await, None);
    old.set(&1, 7).await.unwrap();
    new.clear().await.unwrap();
    arrive().await;
    assert_eq!((get(&old, 1).await, stored(&fleet.store).await.len()), (None, 0));
}

#[tokio::test(start_paused = true)]
async fn all_nodes_that_follow_go_on_when_one_does() {
    for way in [Way::Announced, Way::Published] {
        let fleet = Fleet::new(way);
        let ((_one, here), (_two, there)) = (following(&fleet).await, following(&fleet).await);
        here.set(&1, 7).await.unwrap();
        assert_eq!(get(&there, 1).await, Some(7), "{way:?}");
        assert_eq!(here.raise_epoch().await.unwrap(), 2, "{way:?}");
        arrive().await;
        assert_eq!((get(&there, 1).await, there.epoch()), (None, Some(2)), "{way:?}");
        assert_eq!(load(&there, 1, Origin::default().gives(8)).await, 8);
        assert_eq!(get(&here, 1).await, Some(8), "{way:?}: they share what is new");
        let (_three, late) = following(&fleet).await;
        assert_eq!((late.epoch(), get(&late, 1).await), (Some(2), Some(8)), "{way:?}: one that comes later");
        // A release that was given a larger number takes the others along.
        let four = fleet.node().await;
        let ahead = users(&four.stack, 20);
        assert_eq!(ahead.follow_epoch().await.unwrap(), 20);
        sleep(secs(1)).await;
        assert_eq!((here.epoch(), there.epoch(), late.epoch()), (Some(20), Some(20), Some(20)), "{way:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn nodes_that_raise_at_once_draw_different_epochs() {
    let fleet = Fleet::new(Way::Announced);
    let mut nodes = Vec::new();
    for _ in 0..5 {
        nodes.push(following(&fleet).await);
    }
    for (node, _) in &nodes {
        // Everybody has asked before anybody raises.
        node.faults.inject(Op::Barriers, When::Always, Fault::DelayAfter(millis(5)));
    }
    let raised = futures_util::future::join_all(nodes.iter().map(|(_, cache)| cache.raise_epoch())).await;
    let mut raised: Vec<u64> = raised.into_iter().map(Result::unwrap).collect();
    raised.sort_unstable();
    assert_eq!(raised, [2, 3, 4, 5, 6]);
    sleep(secs(1)).await;
    assert!(nodes.iter().all(|(_, cache)| cache.epoch() == Some(6)));
}

#[tokio::test(start_paused = true)]
async fn a_node_that_missed_the_news_goes_on_when_its_beats_find_out_and_what_it_stored_is_served_by_nobody()
{
    for way in [Way::Announced, Way::Published] {
        let fleet = Fleet::new(way);
        let ((_one, here), (two, there)) = (following(&fleet).await, following(&fleet).await);
        assert_eq!(load(&there, 1, Origin::default().gives(7)).await, 7);
        two.leg.set_deaf(true);
        here.raise_epoch().await.unwrap();
        assert_eq!(load(&there, 2, Origin::default().gives(7)).await, 7, "{way:?}: it does not know yet");
        assert_eq!(get(&here, 2).await, None, "{way:?}");
        sleep(secs(1)).await;
        assert_eq!(there.epoch(), Some(2), "{way:?}");
        assert_eq!((get(&there, 1).await, get(&there, 2).await), (None, None), "{way:?}");
        two.recorder.wait_for(|event| matches!(event, Event::BusGap { .. })).await;
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_older_than_the_raise_is_dead_even_to_a_node_that_could_not_ask_for_the_number() {
    let fleet = Fleet::new(Way::Announced);
    let ((_one, here), (two, there)) = (following(&fleet).await, following(&fleet).await);
    here.set(&1, 7).await.unwrap();
    two.leg.set_deaf(true);
    here.raise_epoch().await.unwrap();
    two.faults.inject(Op::Barriers, When::Nth(1), Fault::Error);
    for _ in 0..1_000 {
        // Counted as it happens; the recorder's thread may hear of it after the next beat.
        if two.stack.stats().bus.unwrap().gaps > 0 {
            break;
        }
        sleep(millis(1)).await;
    }
    assert_eq!((there.epoch(), get(&there, 1).await), (Some(1), None));
}

/// A key of the second epoch that shares its stripe with one of the first below `most`.
fn neighbour_of_the_first(most: u64) -> u64 {
    let stripe = |epoch: u64, n: u64| Key::from_escaped(format!("user:,{epoch}:{n}")).unwrap().stripe();
    let first: HashSet<u16> = (0..most).map(|n| stripe(1, n)).collect();
    (most..).find(|n| first.contains(&stripe(2, *n))).unwrap()
}

#[tokio::test(start_paused = true)]
async fn an_epoch_outlives_a_store_that_lost_it_and_a_store_that_is_away_changes_nothing() {
    let fleet = Fleet::new(Way::Announced);
    let ((one, here), (_two, there)) = (following(&fleet).await, following(&fleet).await);
    assert_eq!(here.raise_epoch_to(9).await.unwrap(), 9);
    fleet.store.lose_history();
    sleep(secs(2)).await;
    assert_eq!(there.raise_epoch().await.unwrap(), 10, "not 2");
    sleep(secs(1)).await;
    assert_eq!(here.epoch(), Some(10));

    one.faults.fail_all();
    assert!(here.raise_epoch().await.is_err());
    let third = fleet.node().await;
    let apart = users(&third.stack, 1);
    third.faults.fail_all();
    assert!(apart.follow_epoch().await.is_err());
    assert_eq!(apart.epoch(), Some(1), "it has its own until it can ask");
    third.faults.heal();
    one.faults.heal();
    sleep(secs(30)).await;
    assert_eq!(there.raise_epoch().await.unwrap(), 11);
    sleep(secs(1)).await;
    assert_eq!((here.epoch(), apart.epoch()), (Some(11), Some(1)), "it was told that it does not follow");
    assert_eq!(apart.follow_epoch().await.unwrap(), 11);
}

#[tokio::test(start_paused = true)]
async fn a_raise_whose_answer_is_lost_is_heard_of() {
    let fleet = Fleet::new(Way::Announced);
    let (one, here) = following(&fleet).await;
    here.set(&1, 7).await.unwrap();
    one.faults.inject(Op::Raise, When::Nth(1), Fault::ErrorAfter);
    assert!(here.raise_epoch().await.is_err());
    sleep(secs(1)).await;
    assert_eq!((here.epoch(), get(&here, 1).await), (Some(2), None));
}

#[tokio::test(start_paused = true)]
async fn what_is_left_of_an_earlier_epoch_is_cleaned_up_in_portions_and_disturbs_nothing() {
    for way in [Way::Announced, Way::Published] {
        let fleet = Fleet::new(way);
        let ((one, here), (two, there)) = (following(&fleet).await, following(&fleet).await);
        for n in 0..1_200 {
            here.set(&n, n).await.unwrap();
        }
        let epoch = here.raise_epoch().await.unwrap();
        arrive().await;
        for n in 0..100 {
            there.set(&n, n).await.unwrap();
        }
        let neighbour = neighbour_of_the_first(1_200);
        here.set(&neighbour, 7).await.unwrap();
        sleep(secs(1)).await;
        let (scans, gaps) = (one.faults.calls(Op::Scan), two.recorder.count("bus_gap"));
        let options = CleanupOptions::new().with_max_keys(1_000);
        let cleaned = here.clean_up_epoch(epoch - 1, &options).await.unwrap();
        assert_eq!((cleaned.entries, cleaned.complete), (1_000, false), "{way:?}");
        assert_eq!(one.faults.calls(Op::Scan) - scans, 2, "{way:?}: 500 at a time");
        let cleaned = here.clean_up_epoch(epoch - 1, &options).await.unwrap();
        assert_eq!((cleaned.entries, cleaned.complete), (200, true), "{way:?}");
        sleep(secs(1)).await;
        assert!((0..100).all(|n| there.peek(&n).unwrap().is_hit()), "{way:?}: peers lose nothing of it");
        assert_eq!(get(&there, neighbour).await, Some(7), "{way:?}: nor of what the store has");
        assert_eq!(stored(&fleet.store).await.len(), 101, "{way:?}");
        assert_eq!(two.recorder.count("bus_gap"), gaps, "{way:?}");
        for (number, options) in [(epoch, options), (1, CleanupOptions::new().with_batch(0))] {
            let refused = here.clean_up_epoch(number, &options).await.unwrap_err();
            assert_eq!(refused.kind(), ErrorKind::Invalid, "{way:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn patterns_match_what_keys_read_whatever_the_epoch() {
    let fleet = Fleet::new(Way::Announced);
    let (one, two) = (fleet.node().await, fleet.node().await);
    let (here, there) = (users(&one.stack, 3), users(&two.stack, 3));
    for n in [1, 11, 12, 2] {
        here.set(&n, n).await.unwrap();
        assert_eq!(get(&there, n).await, Some(n));
    }
    here.raise_epoch().await.unwrap();
    here.set(&13, 13).await.unwrap();
    assert_eq!(here.remove_prefix("1").await.unwrap().keys, 1, "those of epochs that are over do not count");
    arrive().await;
    assert_eq!((get(&here, 13).await, get(&there, 11).await, get(&there, 2).await), (None, None, Some(2)));
    let fresh: Cache<u64, u64> = fleet.node().await.stack.cache("user").epoch(3).build().unwrap();
    assert_eq!((get(&fresh, 12).await, get(&fresh, 2).await), (None, Some(2)), "the rule holds in stores");
    there.remove_matching(&KeyPattern::parse("?").unwrap()).await.unwrap();
    assert_eq!(get(&there, 2).await, None);
}

#[tokio::test(start_paused = true)]
async fn a_nested_namespace_has_no_part_in_the_epoch_and_long_keys_leave_room_for_it() {
    let stack = memory_only().await;
    let cache = users(&stack, 1);
    let nested = cache.namespace("posts").unwrap();
    nested.set(&1, 7).await.unwrap();
    cache.raise_epoch().await.unwrap();
    assert_eq!((get(&nested, 1).await, nested.epoch()), (Some(7), None));
    let texts: Cache<str, u64> = stack.cache("text").epoch(1).build().unwrap();
    let longest = "x".repeat(larder_core::MAX_KEY_BYTES - "text:".len() - 22);
    texts.set(&longest, 1).await.unwrap();
    texts.raise_epoch_to(u64::MAX).await.unwrap();
    texts.set(&longest, 2).await.unwrap();
    assert_eq!(texts.get(&longest).await.unwrap().as_value(), Some(&2));
    assert_eq!(texts.set(&format!("{longest}x"), 1).await.unwrap_err().kind(), ErrorKind::Rejected);
}
