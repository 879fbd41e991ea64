//! Removing and expiring by prefix and pattern: what can be listed, and what is only on its way.

use larder::{
    Answer, BusSettings, Cache, ErrorKind, KeyPattern, LoadContext, Memory, Policy, Reach, ReadOptions,
    Settings, Stack, TierSettings, hours, millis, minutes, secs,
};
use larder_core::{Capabilities, Event, KeyPrefix, Store};
use larder_testkit::{MemoryBus, MemoryStore, Op, PausedClock, SeededRng};

use crate::support::{
    Fleet, Node, Origin, get, load, memory_only, memory_with, no_loader, plain_capabilities, sleep,
};

fn policy() -> Policy {
    Policy::ttl(hours(1)).stale_while_revalidate(hours(1)).stale_if_error(hours(2))
}

fn pattern(text: &str) -> KeyPattern {
    KeyPattern::parse(text).unwrap()
}

async fn nodes(fleet: &Fleet) -> (Node, Node) {
    (fleet.node(policy()).await, fleet.node(policy()).await)
}

/// A fleet whose store can do this much.
fn fleet_with(capabilities: Capabilities) -> Fleet {
    let mut fleet = Fleet::new();
    fleet.shared = fleet.shared.with_capabilities(capabilities);
    fleet
}

fn without_barriers() -> Capabilities {
    let mut capabilities = MemoryStore::new(PausedClock::new()).capabilities();
    capabilities.barriers = false;
    capabilities
}

async fn set_all(cache: &Cache<u64, u64>, keys: impl IntoIterator<Item = u64>) {
    for key in keys {
        cache.set(&key, key).await.unwrap();
    }
}

async fn left(cache: &Cache<u64, u64>, keys: impl IntoIterator<Item = u64>) -> Vec<u64> {
    let mut left = Vec::new();
    for key in keys {
        left.extend(get(cache, key).await);
    }
    left
}

#[tokio::test(start_paused = true)]
async fn what_begins_so_or_matches_is_removed_from_every_tier_and_nothing_else() {
    let alone = memory_only().await.cache::<u64, u64>("n").policy(policy()).build().unwrap();
    for capabilities in [None, Some(without_barriers()), Some(plain_capabilities())] {
        let fleet = capabilities.map_or_else(Fleet::new, fleet_with);
        let (one, two) = nodes(&fleet).await;
        for (cache, other) in [(&alone, &alone), (&one.cache, &two.cache)] {
            let keys = [4, 40, 41, 412, 5, 54];
            set_all(cache, keys).await;
            assert_eq!(cache.remove_prefix("41").await.unwrap().keys, 2);
            assert_eq!(left(cache, keys).await, [4, 40, 5, 54]);
            assert_eq!(left(other, keys).await, [4, 40, 5, 54]);
            assert_eq!(cache.remove_matching(&pattern("?4")).await.unwrap().keys, 1);
            assert_eq!(left(cache, keys).await, [4, 40, 5]);
            set_all(cache, [54]).await;
            assert_eq!(left(cache, [54]).await, [54], "what is set later is newer");
            assert_eq!(left(cache, [54]).await, [54], "also in memory");
            cache.clear().await.unwrap();
        }
    }
}

#[tokio::test(start_paused = true)]
async fn keys_are_matched_as_they_read_whatever_is_escaped_in_them() {
    let fleet = Fleet::new();
    for stack in [memory_only().await, fleet.node(policy()).await.stack] {
        let texts: Cache<str, u64> = stack.cache("t").policy(policy()).build().unwrap();
        let pairs: Cache<(u64, String), u64> = stack.cache("p").policy(policy()).build().unwrap();
        let all = ["a:b", "a,b", "a*b", "a%b", "a b", "ab", "ä?", "A:b"];
        for (prefix, gone) in [("a:", "a:b"), ("a,", "a,b"), ("a*", "a*b"), ("a%", "a%b"), ("ä?", "ä?")] {
            for text in all {
                texts.set(text, 1).await.unwrap();
            }
            assert_eq!(texts.remove_prefix(prefix).await.unwrap().keys, 1, "{prefix}");
            for text in all {
                assert_eq!(texts.get(text).await.unwrap().is_hit(), text != gone, "{prefix} {text}");
            }
        }
        assert_eq!(texts.remove_matching(&pattern("a?b")).await.unwrap().keys, 5);

        for key in [(7, "x,y"), (7, "z"), (70, "z")] {
            pairs.set(&(key.0, key.1.to_owned()), 1).await.unwrap();
        }
        assert_eq!(pairs.remove_prefix("7,").await.unwrap().keys, 2);
        assert!(pairs.get(&(70, "z".into())).await.unwrap().is_hit());

        let inner: Cache<str, u64> = texts.namespace("a").unwrap();
        inner.set("b", 1).await.unwrap();
        texts.set("a:b", 1).await.unwrap();
        assert_eq!(texts.remove_prefix("a:").await.unwrap().keys, 2, "they read the same");
        assert!(!inner.get("b").await.unwrap().is_hit());
        inner.set("b", 1).await.unwrap();
        texts.set("b", 1).await.unwrap();
        assert_eq!(inner.remove_prefix("b").await.unwrap().keys, 1);
        assert!(texts.get("b").await.unwrap().is_hit(), "what is outside stays");
    }
}

#[tokio::test(start_paused = true)]
async fn a_load_that_began_before_is_kept_by_no_tier_of_any_node_and_shared_with_nobody_after() {
    let alone = memory_only().await.cache::<u64, u64>("n").policy(policy()).build().unwrap();
    let fleet = Fleet::new();
    let (one, two) = nodes(&fleet).await;
    for (loading, removing) in [(&alone, &alone), (&one.cache, &one.cache), (&one.cache, &two.cache)] {
        let origin = Origin::default();
        // Nothing is there yet: no listing knows of this lease.
        let (before, after) = tokio::join!(load(loading, 41, origin.slow(1, secs(1))), async {
            sleep(millis(500)).await;
            assert_eq!(removing.remove_prefix("4").await.unwrap().keys, 0);
            sleep(millis(100)).await;
            if std::ptr::eq(loading, removing) { load(removing, 41, origin.gives(2)).await } else { 2 }
        });
        assert_eq!((before, after), (1, 2));
        sleep(minutes(1)).await;
        let expected = if std::ptr::eq(loading, removing) { 2 } else { 3 };
        assert_eq!(load(removing, 41, origin.gives(3)).await, expected);
        loading.clear().await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn where_no_store_keeps_barriers_a_late_fill_of_this_node_is_kept_by_no_tier_of_its_own() {
    for capabilities in [without_barriers(), plain_capabilities()] {
        let fleet = fleet_with(capabilities);
        let one = fleet.node(policy()).await;
        set_all(&one.cache, [40]).await;
        let origin = Origin::default();
        let (before, _) = tokio::join!(load(&one.cache, 40, origin.gives(0)), one.cache.remove_prefix("4"));
        assert!(before == 40 || before == 0);
        let (before, _) = tokio::join!(load(&one.cache, 41, origin.slow(1, secs(1))), async {
            sleep(millis(500)).await;
            one.cache.remove_prefix("4").await.unwrap();
        });
        assert_eq!((before, one.cache.peek(&41).unwrap()), (1, Answer::Miss));
    }
}

#[tokio::test(start_paused = true)]
async fn expired_by_pattern_an_entry_is_served_stale_while_it_is_refreshed() {
    let alone = memory_only().await.cache::<u64, u64>("n").policy(policy()).build().unwrap();
    for capabilities in [None, Some(without_barriers()), Some(plain_capabilities())] {
        let fleet = capabilities.map_or_else(Fleet::new, fleet_with);
        let (one, two) = nodes(&fleet).await;
        for (cache, other) in [(&alone, &alone), (&one.cache, &two.cache)] {
            set_all(cache, [41, 5]).await;
            sleep(minutes(1)).await;
            assert_eq!(cache.expire_prefix("4").await.unwrap().keys, 1);
            for cache in [cache, other] {
                let lookup = cache.get_with(&41, &ReadOptions::new()).await.unwrap();
                assert_eq!(lookup.answer, Answer::Value(41.into()));
                assert!(lookup.stale.is_some());
                assert!(cache.get_with(&5, &ReadOptions::new()).await.unwrap().stale.is_none());
            }
            assert_eq!(cache.expire_matching(&pattern("5*")).await.unwrap().keys, 1);
            assert!(cache.get_with(&5, &ReadOptions::new()).await.unwrap().stale.is_some());
            cache.clear().await.unwrap();
        }
    }
}

#[tokio::test(start_paused = true)]
async fn more_keys_than_are_allowed_are_refused_before_any_is_removed() {
    let settings = || Settings::new().with_invalidation_max_keys(3);
    let alone = memory_with(settings()).await.cache::<u64, u64>("n").build().unwrap();
    let fleet = Fleet::new();
    let node = fleet.node_with(policy(), |stack| stack.settings(settings())).await;
    for cache in [&alone, &node.cache] {
        set_all(cache, [1, 10, 11, 12, 2]).await;
        let error = cache.remove_prefix("1").await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Rejected);
        assert!(error.to_string().contains("invalidation_max_keys"), "{error}");
        assert_eq!(left(cache, [1, 10, 11, 12, 2]).await.len(), 5);
        assert_eq!(cache.remove_matching(&pattern("1?")).await.unwrap().keys, 3);
        assert_eq!(left(cache, [1, 10, 11, 12, 2]).await, [1, 2]);
    }
}

#[tokio::test(start_paused = true)]
async fn hostile_prefixes_and_patterns_are_refused_or_end() {
    let stack = memory_only().await;
    let cache: Cache<str, u64> = stack.cache("t").build().unwrap();
    cache.set(&"a".repeat(1_000), 1).await.unwrap();
    for bad in ["", "\n", "a\0", &"x".repeat(1_025)] {
        assert_eq!(cache.remove_prefix(bad).await.unwrap_err().kind(), ErrorKind::Rejected);
    }
    assert_eq!(cache.remove_prefix(&"*".repeat(1_024)).await.unwrap().keys, 0);
    let worst = pattern(&format!("{}b", "*a".repeat(511)));
    assert_eq!(cache.remove_matching(&worst).await.unwrap().keys, 0);
    assert_eq!(cache.remove_matching(&pattern("*")).await.unwrap().keys, 1);
}

#[tokio::test(start_paused = true)]
async fn a_store_that_can_neither_list_nor_keep_barriers_is_refused_before_anything_is_begun() {
    let mut capabilities = Capabilities::none();
    let fleet = fleet_with(capabilities);
    let one = fleet.node(policy()).await;
    set_all(&one.cache, [1]).await;
    assert_eq!(one.cache.remove_prefix("1").await.unwrap_err().kind(), ErrorKind::Unsupported);
    assert_eq!(left(&one.cache, [1]).await, [1]);

    capabilities = MemoryStore::new(PausedClock::new()).capabilities();
    capabilities.scan = false;
    let fleet = fleet_with(capabilities);
    let (one, two) = nodes(&fleet).await;
    set_all(&one.cache, [1, 2]).await;
    one.cache.remove_prefix("1").await.unwrap();
    assert_eq!((left(&one.cache, [1, 2]).await, left(&two.cache, [1, 2]).await), (vec![2], vec![2]));
}

#[tokio::test(start_paused = true)]
async fn what_the_store_cannot_raise_now_is_owed_and_nothing_old_is_served_meanwhile() {
    let fleet = Fleet::new();
    let (one, two) = nodes(&fleet).await;
    set_all(&one.cache, [41, 5]).await;
    one.faults.fail(Op::Raise);
    one.cache.remove_prefix("4").await.unwrap_err();
    assert!(left(&one.cache, [41]).await.is_empty());
    one.faults.heal();
    sleep(secs(5)).await;
    assert_eq!((left(&one.cache, [41]).await, left(&two.cache, [41, 5]).await), (vec![], vec![5]));
    set_all(&one.cache, [41]).await;
    assert_eq!((left(&one.cache, [41]).await, left(&two.cache, [41]).await), (vec![41], vec![41]));
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_listed_or_swept_up_is_dead_all_the_same() {
    for (failing, listed) in [(Op::Scan, 0), (Op::Remove, 1)] {
        let fleet = Fleet::new();
        let (one, two) = nodes(&fleet).await;
        set_all(&one.cache, [41, 5]).await;
        two.faults.fail(failing);
        let matched = two.cache.remove_prefix("4").await.unwrap();
        assert_eq!((matched.keys, matched.invalidated.store), (listed, Reach::Done));
        assert_eq!(fleet.shared.len(KeyPrefix::all()).await.unwrap(), 2, "nothing was swept up");
        two.faults.heal();
        let three = fleet.node(policy()).await;
        assert_eq!((left(&three.cache, [41, 5]).await, left(&two.cache, [41, 5]).await), (vec![5], vec![5]));
    }
}

#[tokio::test(start_paused = true)]
async fn where_no_store_keeps_barriers_what_cannot_be_listed_is_an_error_and_what_cannot_be_removed_is_owed()
{
    let fleet = fleet_with(without_barriers());
    let (one, two) = nodes(&fleet).await;
    set_all(&one.cache, [41]).await;
    one.faults.fail(Op::Scan);
    one.cache.remove_prefix("4").await.unwrap_err();
    assert_eq!(left(&one.cache, [41]).await, [41], "nothing was done");
    one.faults.heal();
    one.faults.fail(Op::Remove);
    one.cache.remove_prefix("4").await.unwrap_err();
    assert!(left(&one.cache, [41]).await.is_empty());
    one.faults.heal();
    sleep(secs(5)).await;
    assert_eq!((left(&one.cache, [41]).await, left(&two.cache, [41]).await), (vec![], vec![]));
}

/// Nodes that hear each other: the store announces, the nodes publish what it did, or there is none.
async fn hearing(announced: bool, stored: bool) -> (MemoryStore, [(Stack, Cache<u64, u64>); 2]) {
    let clock = PausedClock::new();
    let store = MemoryStore::new(clock.clone());
    let bus = if announced { MemoryBus::new("news").hearing(&store) } else { MemoryBus::new("elsewhere") };
    let node = async || {
        let shared = if announced { store.clone().announcing_on("news") } else { store.clone() };
        let mut builder = Stack::builder().memory(Memory::max_entries(100)).clock(clock.clone());
        builder = builder.rng(SeededRng::unpredictable()).bus_with(bus.clone(), BusSettings::new());
        if stored {
            builder = builder.store_with(shared, TierSettings::new().with_name("shared"));
        }
        let stack = builder.build().await.unwrap();
        let cache = stack.cache::<u64, u64>("n").policy(policy()).build().unwrap();
        (stack, cache)
    };
    let nodes = [node().await, node().await];
    sleep(secs(1)).await;
    (store, nodes)
}

#[tokio::test(start_paused = true)]
async fn peers_serve_no_more_from_memory_what_matches_and_keep_the_rest() {
    for (announced, stored) in [(true, true), (false, true), (false, false)] {
        let (_store, [(_, one), (_, two)]) = hearing(announced, stored).await;
        let origin = Origin::default();
        for key in [40, 41, 5] {
            load(&two, key, origin.gives(1)).await;
        }
        let matched = one.remove_prefix("4").await.unwrap();
        assert_eq!(matched.invalidated.bus, Reach::Done);
        assert_eq!(matched.keys, if stored { 2 } else { 0 }, "what only a peer has in memory is not counted");
        sleep(millis(5)).await;
        assert_eq!([two.peek(&40).unwrap(), two.peek(&41).unwrap()], [Answer::Miss, Answer::Miss]);
        assert_eq!(two.peek(&5).unwrap(), Answer::Value(1.into()), "{announced} {stored}");
        assert_eq!(load(&two, 40, origin.gives(2)).await, 2);
        assert!(one.remove_matching_everywhere(&pattern("*0")).await.unwrap().invalidated.everywhere);
        assert_eq!(two.peek(&40).unwrap(), Answer::Miss);
        assert!(one.remove_prefix_everywhere("5").await.unwrap().invalidated.everywhere);
        assert_eq!(two.peek(&5).unwrap(), Answer::Miss);
    }
}

#[tokio::test(start_paused = true)]
async fn a_peers_late_fill_is_refused_by_its_memory_and_dead_in_the_store() {
    let (_store, [(_, one), (_, two)]) = hearing(true, true).await;
    let origin = Origin::default();
    let slow = |_: LoadContext<u64>| async {
        sleep(secs(1)).await;
        Ok::<_, std::io::Error>(1)
    };
    let (before, _) = tokio::join!(async { two.get_or_load(&41, slow).await.unwrap() }, async {
        sleep(millis(500)).await;
        one.remove_prefix("4").await.unwrap();
    });
    assert_eq!((before.as_deref(), two.peek(&41).unwrap()), (Some(&1), Answer::Miss));
    assert_eq!(load(&one, 41, origin.gives(2)).await, 2);
    assert_eq!(load(&two, 41, no_loader()).await, 2);
}

#[tokio::test(start_paused = true)]
async fn those_who_watch_are_told_which_keys_went() {
    let fleet = Fleet::new();
    let one = fleet.node(policy()).await;
    set_all(&one.cache, [41, 5]).await;
    one.cache.remove_prefix("4").await.unwrap();
    let told = one.recorder.wait_for(|event| matches!(event, Event::Removed { .. })).await;
    let Event::Removed { keys, .. } = told else { panic!("another event") };
    assert_eq!(keys, [crate::support::key(41)]);
}
