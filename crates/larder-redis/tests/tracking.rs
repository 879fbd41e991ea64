//! The tracking bus: the server tells what changed, whoever changed it.

mod support;

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use larder_core::{Bus, LeaseFor, Signal, Write};
use larder_redis::{RedisBusSettings, RedisSettings, TrackingBus};
use larder_testkit::{BusConformance, FaultProxy, Letterbox, RedisServer, Way};
use support::{PATIENCE, ask, connect, remove, set, until};
use tokio::time::timeout;

async fn open(settings: impl Into<RedisBusSettings>) -> TrackingBus {
    let mut settings = settings.into();
    settings.server.connect_timeout = PATIENCE;
    TrackingBus::connect(settings).await.expect("a server runs")
}

async fn listening(bus: &TrackingBus) -> Arc<Letterbox> {
    let letters = Arc::new(Letterbox::new());
    bus.subscribe(letters.clone()).await.expect("a server runs");
    letters
}

fn touched(signals: &[Signal]) -> Vec<String> {
    let keys = signals.iter().filter_map(|signal| match signal {
        Signal::Touched(keys) => Some(keys),
        _ => None,
    });
    keys.flatten().map(ToString::to_string).collect()
}

async fn hears_of(letters: &Letterbox, text: &str) {
    let told = letters.until(|signals| touched(signals).iter().any(|key| key == text).then_some(()));
    timeout(PATIENCE, told).await.unwrap_or_else(|_| panic!("nobody tells of {text}"));
}

async fn signals(letters: &Letterbox, is_it: impl Fn(&Signal) -> bool) {
    let told = letters.until(|signals| signals.iter().any(&is_it).then_some(()));
    timeout(PATIENCE, told).await.expect("it is told");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_bus_keeps_every_promise_that_applies() {
    let redis = RedisServer::start().await;
    let (url, server) = (redis.url(), redis.clone());
    let report = BusConformance::new(async || open(&url).await)
        .cut_by(move |_| {
            let server = server.clone();
            async move {
                server.command(&["CLIENT", "KILL", "TYPE", "normal"]).await.expect("they are killed");
            }
        })
        .report()
        .await;
    report.assert_kept();
    assert!(report.kept().len() > 6, "{report}");
}

#[tokio::test]
async fn writers_that_know_nothing_of_larder_are_seen_and_so_is_time() {
    let redis = RedisServer::start().await;
    let store = connect(redis.url()).await;
    let letters = listening(&open(redis.url()).await).await;
    assert!(letters.signals().len() <= 1, "a bus that was dropped tells nothing");
    let bus = open(redis.url()).await;
    let letters = listening(&bus).await;

    set(&store, "u:1").await;
    hears_of(&letters, "u:1").await;
    letters.take();
    redis.command(&["DEL", "larder:{0}v:u:1"]).await.expect("it answers");
    hears_of(&letters, "u:1").await;
    redis.command(&["SET", "larder:{0}v:u:2", "from elsewhere"]).await.expect("it answers");
    hears_of(&letters, "u:2").await;
    redis.command(&["RENAME", "larder:{0}v:u:2", "larder:{0}v:u:3"]).await.expect("it answers");
    hears_of(&letters, "u:3").await;

    larder_core::Store::write(
        &store,
        vec![Write { keep: Duration::from_millis(20), ..support::write("u:4") }],
    )
    .await
    .expect("it answers");
    hears_of(&letters, "u:4").await;
    letters.take();
    hears_of(&letters, "u:4").await;
}

#[tokio::test]
async fn leases_sequences_nodes_and_other_prefixes_are_not_told() {
    for partitions in [1, 64] {
        let redis = RedisServer::start().await;
        let settings = RedisSettings::new(redis.url()).with_partitions(partitions);
        let store = connect(settings.clone()).await;
        let other = connect(RedisSettings::new(redis.url()).with_prefix("other")).await;
        let node = larder_core::NodeId(1);
        let beat = async |number| {
            let beat = larder_core::Beat { node, number, proven: 0, ttl: PATIENCE };
            larder_core::Store::beat(&store, beat).await.expect("it answers");
        };
        // The first opens the books.
        beat(1).await;
        let bus = open(settings).await;
        let letters = listening(&bus).await;
        ask(&store, "u:1", LeaseFor::Miss, 1).await;
        set(&other, "u:2").await;
        beat(2).await;
        remove(&store, "u:1").await;
        set(&store, "u:3").await;
        hears_of(&letters, "u:3").await;
        assert_eq!(touched(&letters.signals()), ["u:3"], "{partitions} partitions");
        assert!(matches!(letters.signals()[..], [Signal::Joined, Signal::Touched(_)]));
    }
}

#[tokio::test]
async fn a_barrier_may_concern_every_entry() {
    for partitions in [1, 64] {
        let redis = RedisServer::start().await;
        let settings = RedisSettings::new(redis.url()).with_partitions(partitions);
        let store = connect(settings.clone()).await;
        let bus = open(settings).await;
        let letters = listening(&bus).await;
        let barriers = vec![("t".into(), Bytes::new())];
        let raise = larder_core::Raise { barriers, expected: None, keep: PATIENCE, news: None };
        larder_core::Store::raise(&store, raise).await.expect("it answers");
        signals(&letters, |signal| matches!(signal, Signal::Missed)).await;
    }
}

#[tokio::test]
async fn flushing_is_missing_everything() {
    let redis = RedisServer::start().await;
    let bus = open(redis.url()).await;
    let letters = listening(&bus).await;
    for command in ["FLUSHALL", "FLUSHDB"] {
        redis.command(&["SET", "larder:{0}v:u:1", "x"]).await.expect("it answers");
        hears_of(&letters, "u:1").await;
        letters.take();
        redis.command(&[command]).await.expect("it answers");
        signals(&letters, |signal| matches!(signal, Signal::Missed)).await;
        letters.take();
    }
}

#[tokio::test]
async fn a_lost_or_silent_connection_is_told_and_replaced() {
    let redis = RedisServer::start().await;
    let proxy = FaultProxy::start(redis.address()).await;
    let faults = proxy.faults();
    let bus = open(redis.url_through(proxy.address())).await;
    let letters = listening(&bus).await;
    let store = connect(redis.url()).await;
    for fault in 0..3 {
        letters.take();
        match fault {
            0 => faults.reset_all(),
            1 => faults.black_hole(Way::Replies),
            _ => {
                redis.kill();
                redis.restart().await;
            }
        }
        signals(&letters, |signal| matches!(signal, Signal::Left(_))).await;
        faults.heal().await;
        signals(&letters, |signal| matches!(signal, Signal::Joined)).await;
        letters.take();
        until("the store is back", async || larder_core::Store::ping(&store).await.ok()).await;
        set(&store, "u:1").await;
        hears_of(&letters, "u:1").await;
    }
}
