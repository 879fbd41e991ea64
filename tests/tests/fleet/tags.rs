//! P13: a tag costs the same for one entry as for ten thousand, and nobody reads what it invalidated.

use std::{collections::BTreeMap, time::Duration};

use larder_promises::fleet::{BOUND, Fleet, now, until};
use larder_testkit::{RedisServer, Way};

use crate::NODE;

const MANY: u64 = 10_000;
/// So often in a row nothing has changed when nobody is at work any more.
const QUIET_LOOKS: u32 = 10;

/// What the server was asked to do, without what a fleet does all the time, and what was not counted for us.
async fn commands(redis: &RedisServer) -> BTreeMap<String, u64> {
    let info = redis.command(&["INFO", "commandstats"]).await.expect("it answers");
    let counts = info.lines().filter_map(|line| {
        let (name, rest) = line.strip_prefix("cmdstat_")?.split_once(":calls=")?;
        let calls = rest.split(',').next()?.parse().ok()?;
        let ours = !matches!(name, "ping" | "info" | "config|resetstat");
        ours.then(|| (name.to_owned(), calls))
    });
    counts.collect()
}

async fn reset(redis: &RedisServer) {
    redis.command(&["CONFIG", "RESETSTAT"]).await.expect("it answers");
}

/// Waits until nobody does anything any more: whoever met a dead entry before removes it after its answer.
async fn settle(redis: &RedisServer) {
    let (mut before, mut looks) = (BTreeMap::new(), 0);
    let is_quiet = async || {
        let now = commands(redis).await;
        looks = if now == before { looks + 1 } else { 0 };
        before = now;
        looks >= QUIET_LOOKS
    };
    until("nothing is under way any more", is_quiet).await;
}

/// So many rows from a first one, under a tag. A server that has no time for us is no fault of the fleet.
async fn fill(fleet: &Fleet, what: &str) {
    until("the rows are set", async || fleet.nodes[0].ask(&format!("fill {what} 1")).await == "ok").await;
}

async fn hits(fleet: &Fleet, node: usize, from: u64, count: u64) -> u64 {
    fleet.nodes[node].ask(&format!("sweep {from} {count}")).await.parse().expect("a number")
}

/// Of keys that were written after each other and share a stripe, the earlier count as old.
fn nearly(count: u64) -> u64 {
    count - count / 10
}

/// Entries under a tag, known to every node, of which nothing is left when it is invalidated; answers the commands
/// that the invalidation took.
async fn invalidate(
    redis: &RedisServer,
    fleet: &Fleet,
    tag: &str,
    from: u64,
    count: u64,
) -> BTreeMap<String, u64> {
    fill(fleet, &format!("{from} {count} {tag}")).await;
    for node in 0..3 {
        let enough = async || hits(fleet, node, from, count).await >= nearly(count);
        until("every node knows the entries", enough).await;
    }
    settle(redis).await;
    reset(redis).await;
    assert_eq!(fleet.nodes[0].ask(&format!("tag {tag}")).await, "ok");
    let took = commands(redis).await;
    assert_eq!(hits(fleet, 0, from, count).await, 0, "at the node that invalidated");
    for node in 1..3 {
        until("the news have arrived", async || hits(fleet, node, from, count).await == 0).await;
        assert_eq!(hits(fleet, node, from, count).await, 0, "and nothing comes back at node {node}");
    }
    took
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tag_of_ten_thousand_entries_costs_what_a_tag_of_one_does() {
    let redis = RedisServer::start().await;
    // Beats so rare that none is counted.
    let fleet = Fleet::start(&redis, NODE, 3, &["beat_ms=20000", "sound_ms=60000"]).await;
    // The server knows the script from here on.
    invalidate(&redis, &fleet, "warm", 1, 1).await;
    let one = invalidate(&redis, &fleet, "one", 2, 1).await;
    let many = invalidate(&redis, &fleet, "many", 100, MANY).await;
    assert_eq!(one, many);
    assert_eq!(one.get("evalsha"), Some(&1), "one round trip: {one:?}");
    assert_eq!(one.get("publish"), Some(&1), "one message: {one:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tag_that_was_invalidated_everywhere_is_read_by_nobody_from_then_on() {
    let redis = RedisServer::start().await;
    let fleet = Fleet::start(&redis, NODE, 3, &[]).await;
    for (verb, from) in [("tag_everywhere team", 0), ("clear_everywhere", MANY)] {
        fill(&fleet, &format!("{from} {MANY} team")).await;
        for node in 0..3 {
            assert!(hits(&fleet, node, from, MANY).await >= nearly(MANY), "{verb}: node {node}");
        }
        assert_eq!(fleet.nodes[1].ask(verb).await, "ok");
        for node in 0..3 {
            assert_eq!(hits(&fleet, node, from, MANY).await, 0, "{verb}: node {node}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn news_of_a_tag_that_come_late_still_count_for_what_was_read_meanwhile() {
    let redis = RedisServer::start().await;
    let fleet = Fleet::start(&redis, NODE, 2, &[]).await;
    fill(&fleet, "0 50 late").await;
    fill(&fleet, "100 1 other").await;
    // Entries from before this are judged by their tags.
    assert_eq!(fleet.nodes[1].ask("tag first").await, "ok");
    assert_eq!(hits(&fleet, 1, 0, 25).await, 25, "it knows the tag");
    fleet.nodes[1].bus().delay(Way::Replies, Duration::from_millis(150), Duration::ZERO);
    assert_eq!(fleet.nodes[0].ask("tag late").await, "ok");
    // Asked about another tag, the store tells how far its barriers are. What is read next was removed, unheard of.
    assert_eq!(hits(&fleet, 1, 100, 1).await, 1);
    hits(&fleet, 1, 25, 25).await;
    let told = now();
    until("the bound has passed", async || told.elapsed() > BOUND).await;
    assert_eq!(hits(&fleet, 1, 0, 50).await, 0, "beyond the bound");
}
