//! Row 18: the server's clock jumps by an hour.

use std::time::Duration;

use larder_promises::fleet::{BOUND, Fleet, Watch, now, until};
use larder_testkit::{RedisOptions, RedisServer, Way};

use crate::NODE;

const KEYS: u64 = 6;
const HOUR: i64 = 3_600;

async fn three(settings: &[&str]) -> (RedisServer, Fleet) {
    let redis = RedisOptions::default().with_own_clock().start().await;
    let fleet = Fleet::start(&redis, NODE, 3, settings).await;
    fleet.heat(0..KEYS).await;
    (redis, fleet)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_18_a_servers_clock_that_jumps_to_and_fro_costs_misses_and_brings_nothing_old_back() {
    let (redis, fleet) = three(&[]).await;
    let watch = Watch::start(&fleet, KEYS);
    let span = Duration::from_millis(1_500);
    for wrong_by in [HOUR, 0, -HOUR, 0] {
        assert!(fleet.write_for(span, 3, KEYS).await > 0);
        redis.shift_clock(wrong_by).await;
        fleet.history.happened("the server's clock jumps");
    }
    fleet.settled(KEYS).await;
    watch.stop().await;
    fleet.heat(0..KEYS).await;
    fleet.history.judge();
    for node in &fleet.nodes {
        assert_eq!(node.seen("load_failed").await, 0);
    }
}

/// Behind a clock that went back the server keeps what is long dead.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_18_what_a_server_keeps_for_too_long_lives_as_long_as_it_was_given() {
    let (redis, fleet) = three(&["ttl_ms=1500"]).await;
    let (set, node) = (now(), &fleet.nodes[1]);
    assert!(fleet.write(0, "set", KEYS).await);
    redis.shift_clock(-HOUR).await;
    let key = redis.command(&["KEYS", &format!("*v:row:{KEYS}")]).await.expect("it answers");
    until("it has lived for as long as it may", async || node.ask(&format!("known {KEYS}")).await == "miss")
        .await;
    let lived = set.elapsed();
    assert!(lived < Duration::from_millis(1_500) + BOUND, "it lived for {lived:?}");
    let left = redis.command(&["PTTL", &key]).await.expect("it answers");
    assert!(left.parse::<i64>().expect("a number") > 1_000 * HOUR / 2, "the server keeps it for {left} ms");
}

/// The list of who lives is kept by the server's time. Who is cut off just then must not be taken for gone.
async fn everywhere_when_the_clock_jumps(seconds: i64) {
    // Long enough for all this to happen while the node that is cut off still serves its memory.
    let (redis, fleet) = three(&["sound_ms=2000"]).await;
    // From here on the list is known to be whole.
    fleet.write_surely(0, "everywhere", 1).await;
    fleet.heat(0..KEYS).await;
    let cut = &fleet.nodes[2];
    cut.bus().partition();
    cut.store().partition();
    redis.shift_clock(seconds).await;
    fleet.history.happened("node 2 is cut off, and the server's clock has jumped");
    // Who asks is in the list again.
    let sent = || fleet.nodes[0].store().bytes(Way::Requests);
    let before = sent();
    until("node 0 beats", async || sent() > before + 200).await;
    let served = fleet.read(2, 0).await;
    assert_eq!((served, cut.stat("sound").await.as_str()), (Some(0), "true"), "it serves its memory");
    fleet.write_surely(0, "everywhere", 0).await;
    fleet.read(2, 0).await;
    fleet.history.judge();
}

/// By less than the list itself is kept for, and by more.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_18_everywhere_is_everywhere_although_the_server_takes_the_living_for_dead() {
    tokio::join!(everywhere_when_the_clock_jumps(40), everywhere_when_the_clock_jumps(HOUR));
}
