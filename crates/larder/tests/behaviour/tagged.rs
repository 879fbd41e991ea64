//! The optional index of tags: going through the keys of a tag.

use std::collections::BTreeSet;

use larder::{Cache, Cursor, ErrorKind, Loaded, Policy, TagMatch, WriteOptions, hours, secs};
use larder_core::{Capabilities, KeyPrefix, Store};
use larder_testkit::{MemoryStore, Op};

use crate::support::{Fleet, Node, Origin, load, memory_only, no_loader, sleep};

fn tagged(tags: &[&str]) -> WriteOptions {
    WriteOptions::new().tags(tags.iter().copied())
}

/// All keys of a tag by their text, by pages of this size.
async fn listed(cache: &Cache<u64, u64>, tag: &str, limit: usize) -> BTreeSet<String> {
    let (mut keys, mut from) = (BTreeSet::new(), Cursor::START);
    for _ in 0..1_000 {
        let page = cache.keys_of_tag(tag, from, limit).await.unwrap();
        keys.extend(page.keys.iter().map(ToString::to_string));
        match page.next {
            Some(next) => from = next,
            None => return keys,
        }
    }
    panic!("the pages do not end");
}

fn texts(keys: impl IntoIterator<Item = u64>) -> BTreeSet<String> {
    keys.into_iter().map(|key| format!("n:{key}")).collect()
}

#[tokio::test(start_paused = true)]
async fn a_tag_lists_what_was_set_and_loaded_with_it_at_whatever_node_and_nothing_else() {
    let fleet = Fleet::new();
    let (one, two) = (fleet.node(Policy::ttl(hours(1))).await, fleet.node(Policy::ttl(hours(1))).await);
    for key in 0..50 {
        one.cache.set_with(&key, 7, &tagged(&["a", "b"])).await.unwrap();
    }
    let origin = Origin::default();
    for key in 50..100 {
        let loaded = Loaded::value(7).tags(["a"]);
        two.cache.get_or_load(&key, origin.answers(loaded)).await.unwrap();
    }
    one.cache.set(&100, 7).await.unwrap();
    let other: Cache<u64, u64> = one.stack.cache("other").build().unwrap();
    other.set_with(&1, 7, &tagged(&["a"])).await.unwrap();
    for limit in [1, 7, 1_000] {
        assert_eq!(listed(&one.cache, "a", limit).await, texts(0..100), "pages of {limit}");
        assert_eq!(listed(&two.cache, "b", limit).await, texts(0..50), "pages of {limit}");
    }
    assert_eq!(listed(&two.cache, "c", 10).await, texts([]));
    assert_eq!(listed(&other, "a", 10).await, BTreeSet::from(["other:1".to_owned()]));
}

#[tokio::test(start_paused = true)]
async fn a_tag_lists_only_what_still_stands_and_bears_it() {
    let fleet = Fleet::new();
    let policy = || Policy::ttl(hours(1)).stale_while_revalidate(secs(60));
    let (one, two) = (fleet.node(policy()).await, fleet.node(policy()).await);
    for key in 0..8 {
        one.cache.set_with(&key, 7, &tagged(&["a"])).await.unwrap();
    }
    two.cache.set_with(&0, 7, &tagged(&["b"])).await.unwrap();
    two.cache.set(&1, 7).await.unwrap();
    two.cache.remove(&2).await.unwrap();
    one.cache.expire(&3).await.unwrap();
    one.cache.set_with(&4, 7, &tagged(&["a"]).ttl(secs(1))).await.unwrap();
    one.cache.set_with(&5, 7, &tagged(&["a", "doomed"])).await.unwrap();
    two.cache.invalidate_tag("doomed").await.unwrap();
    let anew = Loaded::value(8).tags(["a"]);
    let _refreshed = one.cache.refresh(&6, Origin::default().answers(anew)).await.unwrap();
    assert_eq!(listed(&two.cache, "a", 10).await, texts([3, 4, 6, 7]), "an expired one is served yet");
    sleep(secs(62)).await;
    assert_eq!(listed(&one.cache, "a", 10).await, texts([6, 7]));
    two.cache.invalidate_tags(&["a", "b"], TagMatch::Any).await.unwrap();
    assert_eq!(listed(&two.cache, "a", 10).await, texts([]));
}

#[tokio::test(start_paused = true)]
async fn what_an_invalidation_left_of_a_tag_is_removed_by_going_through_it() {
    let fleet = Fleet::new();
    let node = fleet.node(Policy::ttl(hours(1))).await;
    for key in 0..40 {
        node.cache.set_with(&key, 7, &tagged(&["a"])).await.unwrap();
    }
    node.cache.set_with(&99, 7, &tagged(&["b"])).await.unwrap();
    node.cache.invalidate_tag("a").await.unwrap();
    node.cache.set_with(&39, 8, &tagged(&["a"])).await.unwrap();
    for _ in 0..10 {
        assert_eq!(listed(&node.cache, "a", 8).await, texts([39]));
        sleep(secs(1)).await;
    }
    assert_eq!(fleet.shared.len(KeyPrefix::all()).await.unwrap(), 2, "what stands does");
    assert_eq!(node.cache.stats().swept, 39);
    assert_eq!(load(&node.cache, 39, no_loader()).await, 8);
}

#[tokio::test(start_paused = true)]
async fn who_cannot_list_a_tag_is_told_why() {
    let fleet = Fleet::new();
    let node = fleet.node(Policy::ttl(hours(1))).await;
    let kind = async |node: &Node, tag: &str, from: Cursor, limit| {
        node.cache.keys_of_tag(tag, from, limit).await.unwrap_err().kind()
    };
    for limit in [0, 1_001] {
        assert_eq!(kind(&node, "a", Cursor::START, limit).await, ErrorKind::Invalid);
    }
    for tag in ["", "\n", &"t".repeat(257)] {
        assert_eq!(kind(&node, tag, Cursor::START, 10).await, ErrorKind::Rejected);
    }
    node.faults.fail(Op::Tagged);
    assert_eq!(kind(&node, "a", Cursor::START, 10).await, ErrorKind::Unavailable);
    node.faults.heal();
    node.stack.shutdown(secs(1)).await.unwrap();
    assert_eq!(kind(&node, "a", Cursor::START, 10).await, ErrorKind::Closed);

    let mut without = Capabilities::none();
    (without.sequence, without.leases, without.scan) = (true, true, true);
    let mut plain = Fleet::new();
    plain.shared = MemoryStore::new(plain.clock.clone()).with_capabilities(without);
    let plain = plain.node(Policy::ttl(hours(1))).await;
    plain.cache.set_with(&1, 7, &tagged(&["a"])).await.unwrap();
    let error = plain.cache.keys_of_tag("a", Cursor::START, 10).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert!(error.to_string().contains("with_tag_index"), "{error}");
    let alone: Cache<u64, u64> = memory_only().await.cache("n").build().unwrap();
    assert_eq!(alone.keys_of_tag("a", Cursor::START, 10).await.unwrap_err().kind(), ErrorKind::Unsupported);
}
