//! Writing and invalidating, on one node.

use std::sync::Arc;

use larder::{Answer, Cache, ErrorKind, Life, Policy, Reach, Stack, TierChoice, WriteOptions, minutes, secs};
use larder_testkit::{MemoryStore, Op, PausedClock};

use crate::support::{Fleet, Origin, get, load, memory_only, no_loader, numbers, sleep};

#[tokio::test(start_paused = true)]
async fn what_is_set_is_in_every_tier_and_seen_by_other_nodes() {
    let fleet = Fleet::new();
    let (one, two) = (fleet.node(Policy::default()).await, fleet.node(Policy::default()).await);
    one.cache.set(&1, 7).await.unwrap();
    assert_eq!(one.cache.inspect(&1).await.unwrap().copies.len(), 2);
    assert_eq!((get(&one.cache, 1).await, get(&two.cache, 1).await), (Some(7), Some(7)));
}

#[tokio::test(start_paused = true)]
async fn of_a_key_set_twice_in_one_call_the_last_wins_in_every_tier() {
    let fleet = Fleet::new();
    let (one, two) = (fleet.node(Policy::default()).await, fleet.node(Policy::default()).await);
    one.cache.set_many([(1, 1), (2, 2), (1, 3)]).await.unwrap();
    assert_eq!(one.faults.calls(Op::Write), 1);
    for cache in [&one.cache, &two.cache] {
        assert_eq!((get(cache, 1).await, get(cache, 2).await), (Some(3), Some(2)));
    }
    one.cache.set_many([]).await.unwrap();
    assert_eq!(one.faults.calls(Op::Write), 1, "nothing to do is nothing done");
}

#[tokio::test(start_paused = true)]
async fn write_options_shorten_lives_choose_tiers_and_label() {
    let fleet = Fleet::new();
    let node = fleet.node(Policy::default()).await;
    let options = WriteOptions::new().ttl(secs(5)).stale_if_error(secs(9)).tags(["a"]);
    node.cache.set_with(&1, 7, &options).await.unwrap();
    for copy in node.cache.inspect(&1).await.unwrap().copies {
        assert_eq!((copy.fresh_for, copy.fallback_for, copy.tags), (secs(5), secs(14), vec!["a".to_owned()]));
    }
    let memory = WriteOptions::new().tiers(TierChoice::Only(vec!["memory".into()]));
    node.cache.set_with(&1, 8, &memory).await.unwrap();
    let copies = node.cache.inspect(&1).await.unwrap().copies;
    assert_eq!(
        copies.iter().map(|copy| &*copy.tier).collect::<Vec<_>>(),
        ["memory"],
        "the others drop theirs"
    );
    let shared = WriteOptions::new().tiers(TierChoice::Except(vec!["memory".into()]));
    node.cache.set_with(&1, 9, &shared).await.unwrap();
    assert_eq!(node.cache.peek(&1).unwrap(), Answer::Miss);
    assert_eq!(get(&node.cache, 1).await, Some(9));
}

#[tokio::test(start_paused = true)]
async fn options_that_cannot_be_meant_change_nothing() {
    let cache = numbers(Policy::default()).await;
    let zero = cache.set_with(&1, 7, &WriteOptions::new().ttl(secs(0))).await.unwrap_err();
    let tier = WriteOptions::new().tiers(TierChoice::Only(vec!["disk".into()]));
    let unknown = cache.set_with(&1, 7, &tier).await.unwrap_err();
    let absent = cache.set_absent(&1).await.unwrap_err();
    assert_eq!([zero.kind(), unknown.kind(), absent.kind()], [ErrorKind::Invalid; 3]);
    for tags in [vec![String::new()], vec!["x".repeat(257)], vec!["a\nb".into()], vec!["t".into(); 65]] {
        let error = cache.set_with(&1, 7, &WriteOptions::new().tags(tags)).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Rejected);
    }
    assert!(cache.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_removed_key_is_gone_from_every_tier() {
    let fleet = Fleet::new();
    let (one, two) = (fleet.node(Policy::default()).await, fleet.node(Policy::default()).await);
    one.cache.set_many([(1, 1), (2, 2), (3, 3)]).await.unwrap();
    assert_eq!(one.cache.remove(&1).await.unwrap().store, Reach::Done);
    assert_eq!(one.cache.remove_many(&[2, 9]).await.unwrap().store, Reach::Done);
    assert_eq!(one.faults.calls(Op::Remove), 2);
    for cache in [&one.cache, &two.cache] {
        assert_eq!((get(cache, 1).await, get(cache, 2).await, get(cache, 3).await), (None, None, Some(3)));
    }
    one.cache.remove_many(&[]).await.unwrap();
    assert_eq!(one.faults.calls(Op::Remove), 2, "no keys, no work");
    let memory = numbers(Policy::default()).await;
    assert_eq!(memory.remove(&1).await.unwrap().store, Reach::None);
}

#[tokio::test(start_paused = true)]
async fn an_expired_entry_is_served_within_its_windows_while_it_is_refreshed() {
    let fleet = Fleet::new();
    let policy = Policy::ttl(secs(60)).stale_while_revalidate(secs(30));
    let (node, origin) = (fleet.node(policy).await, Origin::default());
    node.cache.set(&1, 7).await.unwrap();
    node.cache.expire(&1).await.unwrap();
    for copy in node.cache.inspect(&1).await.unwrap().copies {
        assert_eq!((copy.life, copy.fresh_for), (Life::Stale, secs(0)), "{copy:?}");
        assert_eq!(copy.stale_for, secs(30), "the window begins now: {copy:?}");
    }
    assert_eq!(load(&node.cache, 1, origin.slow(8, secs(1))).await, 7);
    sleep(secs(2)).await;
    assert_eq!((load(&node.cache, 1, no_loader()).await, origin.calls()), (8, 1));
}

#[tokio::test(start_paused = true)]
async fn an_expired_entry_without_windows_is_loaded_anew_at_once() {
    let fleet = Fleet::new();
    let (node, origin) = (fleet.node(Policy::ttl(secs(60))).await, Origin::default());
    node.cache.set(&1, 7).await.unwrap();
    node.cache.expire(&1).await.unwrap();
    assert_eq!(get(&node.cache, 1).await, None);
    assert_eq!(load(&node.cache, 1, origin.gives(8)).await, 8);
    node.cache.expire_many(&[1, 2]).await.unwrap();
    assert_eq!(load(&node.cache, 1, origin.gives(9)).await, 9);
}

#[tokio::test(start_paused = true)]
async fn an_expired_entry_falls_back_when_the_load_fails() {
    let fleet = Fleet::new();
    let (one, two) = {
        let policy = Policy::ttl(secs(60)).stale_if_error(minutes(5));
        (fleet.node(policy.clone()).await, fleet.node(policy).await)
    };
    one.cache.set(&1, 7).await.unwrap();
    one.cache.expire(&1).await.unwrap();
    let origin = Origin::default();
    assert_eq!(load(&two.cache, 1, origin.fails()).await, 7, "the store's copy was expired, not removed");
    assert_eq!(load(&one.cache, 1, origin.fails()).await, 7);
    assert_eq!(origin.calls(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_clear_ends_at_the_boundary_of_the_namespace_and_takes_the_nested_ones() {
    let (clock, origin) = (PausedClock::new(), Origin::default());
    let store = MemoryStore::new(clock.clone());
    let memory = larder::Memory::max_entries(100);
    let stack = Stack::builder().memory(memory).store(store).clock(clock).build().await.unwrap();
    let users: Cache<u64, u64> = stack.cache("users").build().unwrap();
    let archive: Cache<u64, u64> = stack.cache("users_archive").build().unwrap();
    let acme = users.namespace("acme").unwrap();
    let posts = acme.namespace("posts").unwrap();
    assert_eq!(
        (posts.name(), users.namespace("acme:posts").unwrap().name()),
        ("users:acme:posts", "users:acme:posts")
    );
    for cache in [&users, &archive, &acme, &posts] {
        load(cache, 1, origin.gives(7)).await;
    }
    assert_eq!(acme.clear().await.unwrap().store, Reach::Done);
    let has = async |cache: &Cache<u64, u64>| cache.has(&1).await.unwrap();
    assert_eq!(
        [has(&users).await, has(&archive).await, has(&acme).await, has(&posts).await],
        [true, true, false, false]
    );
    users.clear().await.unwrap();
    assert_eq!([has(&users).await, has(&archive).await], [false, true]);
    assert_eq!((users.len(), archive.len()), (0, 1));
    stack.clear().await.unwrap();
    assert!(!has(&archive).await);
}

#[tokio::test(start_paused = true)]
async fn namespaces_do_not_share_entries_and_count_for_themselves() {
    let stack = memory_only().await;
    let outer: Cache<u64, u64> = stack.cache("outer").build().unwrap();
    let inner = outer.namespace("inner").unwrap();
    outer.set(&1, 1).await.unwrap();
    assert_eq!(get(&inner, 1).await, None);
    inner.set(&1, 2).await.unwrap();
    assert_eq!((get(&outer, 1).await, get(&inner, 1).await), (Some(1), Some(2)));
    let again = outer.namespace("inner").unwrap();
    assert_eq!((again.stats().sets, inner.stats().misses, outer.stats().misses), (1, 1, 0));
    assert_eq!((outer.len(), inner.len()), (1, 1), "of nested namespaces nothing");
    assert_eq!(inner.policy(), outer.policy());
    for bad in ["", "..", "a b", "a\n", ":", &"x".repeat(300)] {
        assert_eq!(outer.namespace(bad).unwrap_err().kind(), ErrorKind::Rejected, "{bad:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn keys_that_read_alike_are_different_keys() {
    let stack = memory_only().await;
    let cache: Cache<(String, String), u64> = stack.cache("n").build().unwrap();
    let pair = |a: &str, b: &str| (a.to_owned(), b.to_owned());
    let nested: Cache<str, u64> = stack.cache("n:a").build().unwrap();
    let plain: Cache<str, u64> = stack.cache("m").build().unwrap();
    cache.set(&pair("a:b", "c"), 1).await.unwrap();
    cache.set(&pair("a", "b:c"), 2).await.unwrap();
    nested.set("b", 3).await.unwrap();
    plain.set("*", 4).await.unwrap();
    plain.set("é", 5).await.unwrap();
    plain.set("e\u{301}", 6).await.unwrap();
    assert_eq!(*cache.get(&pair("a:b", "c")).await.unwrap().value().unwrap(), 1);
    assert_eq!(*cache.get(&pair("a", "b:c")).await.unwrap().value().unwrap(), 2);
    assert_eq!(plain.get("anything").await.unwrap(), Answer::Miss, "a star is a star");
    assert_eq!(*plain.get("é").await.unwrap().value().unwrap(), 5);
    let long = "x".repeat(1_100);
    for bad in ["", &long] {
        assert_eq!(plain.set(bad, 1).await.unwrap_err().kind(), ErrorKind::Rejected);
        assert_eq!(plain.get(bad).await.unwrap_err().kind(), ErrorKind::Rejected);
    }
}

#[tokio::test(start_paused = true)]
async fn values_are_shared_not_copied() {
    let cache = numbers(Policy::default()).await;
    cache.set(&1, 7).await.unwrap();
    let (one, two) =
        (cache.get(&1).await.unwrap().value().unwrap(), cache.get(&1).await.unwrap().value().unwrap());
    assert!(Arc::ptr_eq(&one, &two));
}
