//! The bus over Pub/Sub: its promises, kept by real servers, and what it does when they fail.

mod support;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use larder_core::{Bus, Error, ErrorKind, Place, Signal, Store};
use larder_redis::{RedisBus, RedisBusSettings, RedisSettings};
use larder_testkit::{BusConformance, FaultProxy, Letterbox, RedisServer, Way, announcing_conformance};
use support::{PATIENCE, until};
use tokio::time::timeout;

fn patient(server: impl Into<RedisSettings>) -> RedisBusSettings {
    let mut settings = RedisBusSettings::from(server.into());
    settings.server.connect_timeout = PATIENCE;
    settings.server.command_timeout = PATIENCE;
    settings.with_ping_timeout(PATIENCE)
}

async fn open(settings: impl Into<RedisBusSettings>) -> RedisBus {
    RedisBus::connect(settings).await.expect("a server runs")
}

async fn listening(bus: &RedisBus) -> Arc<Letterbox> {
    let letters = Arc::new(Letterbox::new());
    bus.subscribe(letters.clone()).await.expect("a server runs");
    letters
}

fn left(signals: &[Signal]) -> Option<Error> {
    signals
        .iter()
        .find_map(|signal| if let Signal::Left(error) = signal { Some(error.clone()) } else { None })
}

fn times_joined(signals: &[Signal]) -> usize {
    signals.iter().filter(|signal| matches!(signal, Signal::Joined)).count()
}

async fn rejoined(letters: &Letterbox, times: usize) {
    let wait = letters.until(|signals| (times_joined(signals) >= times).then_some(()));
    timeout(PATIENCE, wait).await.expect("it joins again by itself");
}

/// Publishes until it is heard.
async fn until_heard(bus: &RedisBus, letters: &Letterbox) {
    until("a message is heard", async || {
        let message = Bytes::from_static(b"are you there?");
        bus.publish(message.clone()).await.ok()?;
        let heard = |signals: &[Signal]| {
            let is_it =
                |signal: &Signal| matches!(signal, Signal::News { message: heard, .. } if *heard == message);
            signals.iter().any(is_it).then_some(())
        };
        timeout(Duration::from_millis(100), letters.until(heard)).await.ok()
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_bus_keeps_every_promise() {
    let redis = RedisServer::start().await;
    let (url, server) = (redis.url(), redis.clone());
    let elsewhere = patient(RedisSettings::new(&url).with_prefix("other"));
    BusConformance::new(async || open(patient(&url)).await)
        .with_other_channel(move || open(elsewhere.clone()))
        .cut_by(move |_| {
            let server = server.clone();
            async move {
                server.command(&["CLIENT", "KILL", "TYPE", "pubsub"]).await.expect("they are killed");
            }
        })
        .report()
        .await
        .assert_kept();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_store_executes_the_bus_tells() {
    let redis = RedisServer::start().await;
    for (prefix, partitions, database) in [("larder", 1, 0), ("", 1, 0), ("shop", 16, 3)] {
        let url = format!("{}/{database}", redis.url());
        let settings = RedisSettings::new(url).with_prefix(prefix).with_partitions(partitions);
        announcing_conformance(
            async || support::connect(settings.clone().with_allow_unprefixed_clear(true)).await,
            async || open(patient(settings.clone())).await,
        )
        .await
        .assert_kept();
    }
}

#[tokio::test]
async fn a_killed_server_is_told_at_once_and_its_restart_too() {
    let redis = RedisServer::start().await;
    let bus = open(redis.url()).await;
    let letters = listening(&bus).await;
    for times in 2..4 {
        letters.take();
        redis.kill();
        let error = timeout(PATIENCE, letters.until(left)).await.expect("it is told");
        assert_eq!(error.kind(), ErrorKind::Unavailable, "round {times}");
        bus.publish(Bytes::from_static(b"x")).await.expect_err("nobody takes it");
        redis.restart().await;
        rejoined(&letters, 1).await;
        until_heard(&bus, &letters).await;
    }
}

#[tokio::test]
async fn a_black_hole_is_noticed_in_time_and_left_behind() {
    let redis = RedisServer::start().await;
    let proxy = FaultProxy::start(redis.address()).await;
    let faults = proxy.faults();
    let bus = open(redis.url_through(proxy.address())).await;
    let letters = listening(&bus).await;
    for way in [Way::Replies, Way::Requests] {
        letters.take();
        faults.black_hole(way);
        #[expect(clippy::disallowed_methods, reason = "real time is what is promised here")]
        let began = Instant::now();
        let error = timeout(PATIENCE, letters.until(left)).await.expect("it is told");
        let took = began.elapsed();
        // 1.25 s, and what a loaded machine may add.
        assert!(took < Duration::from_millis(1_750), "{way:?} took {took:?}");
        assert_eq!(error.kind(), ErrorKind::Timeout);
        faults.heal().await;
        rejoined(&letters, 1).await;
        until_heard(&bus, &letters).await;
    }
}

#[tokio::test]
async fn a_stopped_server_is_left_and_joined_again_when_it_goes_on() {
    let redis = RedisServer::start().await;
    let bus = open(redis.url()).await;
    let letters = listening(&bus).await;
    redis.pause();
    timeout(PATIENCE, letters.until(left)).await.expect("it is told");
    redis.resume();
    rejoined(&letters, 2).await;
    until_heard(&bus, &letters).await;
}

#[tokio::test]
async fn resets_and_cut_frames_are_a_new_subscription_and_no_message() {
    let redis = RedisServer::start().await;
    let proxy = FaultProxy::start(redis.address()).await;
    let faults = proxy.faults();
    let bus = open(redis.url_through(proxy.address())).await;
    let direct = open(redis.url()).await;
    let letters = listening(&bus).await;
    faults.reset_all();
    rejoined(&letters, 2).await;
    for bytes in [1, 9, 30, 60] {
        letters.take();
        faults.cut_after(Way::Replies, bytes, larder_testkit::Cut::Reset);
        direct.publish(Bytes::from_static(b"a message of thirty-two bytes...")).await.expect("it answers");
        timeout(PATIENCE, letters.until(left)).await.expect("it is told");
        faults.heal().await;
        rejoined(&letters, 1).await;
        for signal in letters.take() {
            let whole = match &signal {
                Signal::News { message, .. } => message == "a message of thirty-two bytes...",
                _ => true,
            };
            assert!(whole, "cut after {bytes}: {signal:?}");
        }
    }
}

#[tokio::test]
async fn whoever_is_too_slow_is_cut_off_and_told() {
    let redis = RedisServer::start().await;
    let limit = ["CONFIG", "SET", "client-output-buffer-limit", "pubsub 200000 0 0"];
    redis.command(&limit).await.expect("it is set");
    let proxy = FaultProxy::start(redis.address()).await;
    let faults = proxy.faults();
    let settings = patient(redis.url_through(proxy.address()).as_str());
    let bus = open(settings).await;
    let letters = listening(&bus).await;
    faults.limit(Way::Replies, 1_000);
    let publisher = open(patient(redis.url().as_str())).await;
    for _ in 0..400 {
        publisher.publish(vec![7; 100_000].into()).await.expect("the publisher is not held up");
    }
    until("it is cut off", async || {
        let clients = redis.command(&["CLIENT", "LIST", "TYPE", "pubsub"]).await.ok()?;
        clients.trim().is_empty().then_some(())
    })
    .await;
    faults.heal().await;
    timeout(PATIENCE, letters.until(left)).await.expect("it is told");
    rejoined(&letters, 2).await;
    until_heard(&publisher, &letters).await;
}

#[tokio::test]
async fn foreign_messages_are_skipped_and_counted() {
    let redis = RedisServer::start().await;
    let bus = open(patient(redis.url().as_str()).with_max_message_bytes(2_000)).await;
    let letters = listening(&bus).await;
    for foreign in ["hello", "\u{1}", "\u{1}12345678", "\u{7}from the future"] {
        redis.command(&["PUBLISH", "larder:news", foreign]).await.expect("it answers");
    }
    // A store tries whether it may publish.
    redis.command(&["PUBLISH", "larder:news", ""]).await.expect("it answers");
    redis.command(&["PUBLISH", "larder:news", &"x".repeat(5_000)]).await.expect("it answers");
    until_heard(&bus, &letters).await;
    assert_eq!(bus.malformed(), 4);
    let signals = letters.signals();
    assert!(matches!(&signals[..], [Signal::Joined, Signal::Missed, Signal::News { .. }, ..]), "{signals:?}");
}

#[tokio::test]
async fn what_is_forbidden_is_named_and_a_bus_may_only_listen_or_only_publish() {
    let redis = RedisServer::start().await;
    let user = async |name: &str, rights: &str| {
        let command = ["ACL", "SETUSER", name, "on", ">secret", "&*", "+@all", rights];
        redis.command(&command).await.expect("the user is made");
        redis.url().replace("redis://", &format!("redis://{name}:secret@"))
    };
    let mute = open(user("mute", "-publish").await).await;
    let letters = listening(&mute).await;
    let refused = mute.publish(Bytes::from_static(b"x")).await.expect_err("it may not");
    assert!(refused.to_string().contains("publish") && !refused.to_string().contains("secret"), "{refused}");
    let deaf = open(user("deaf", "-subscribe").await).await;
    let refused = deaf.subscribe(Arc::new(Letterbox::new())).await.expect_err("it may not");
    assert!(refused.to_string().contains("subscribe"), "{refused}");
    until_heard(&deaf, &letters).await;
}

#[tokio::test]
async fn settings_that_cannot_work_are_refused_all_at_once() {
    let settings = RedisBusSettings::new("redis://localhost?protocol=resp2")
        .with_ping_interval(Duration::ZERO)
        .with_max_message_bytes(1);
    let refused = RedisBus::connect(settings).await.expect_err("it cannot work").to_string();
    for part in ["RESP3", "ping_interval", "max_message_bytes"] {
        assert!(refused.contains(part), "{refused}");
    }
}

#[tokio::test]
async fn a_lazy_bus_joins_once_there_is_a_server() {
    let redis = RedisServer::start().await;
    redis.kill();
    RedisBus::connect(redis.url()).await.expect_err("nobody is there");
    let bus = open(RedisSettings::new(redis.url()).with_lazy(true)).await;
    let letters = listening(&bus).await;
    assert_eq!(times_joined(&letters.signals()), 0);
    redis.restart().await;
    rejoined(&letters, 1).await;
    until_heard(&bus, &letters).await;
}

#[tokio::test]
async fn nothing_stays_behind_a_bus_that_is_dropped() {
    let redis = RedisServer::start().await;
    let bus = open(redis.url()).await;
    let _letters = listening(&bus).await;
    drop(bus);
    until("no connection is left but the asking one", async || {
        let clients = redis.command(&["INFO", "clients"]).await.ok()?;
        clients.contains("connected_clients:1\r").then_some(())
    })
    .await;
}

#[tokio::test]
async fn news_of_a_store_come_with_a_place_of_its_lost_and_its_new_history() {
    let redis = RedisServer::start().await;
    let store = support::connect(redis.url()).await;
    let bus = open(patient(redis.url().as_str())).await;
    let letters = listening(&bus).await;
    assert_eq!(store.channel(), bus.channel());
    let mut places: Vec<Place> = Vec::new();
    for round in 0..2 {
        let removal = larder_core::Removal { news: Some("gone".into()), ..support::key("u:1").into() };
        store.remove(vec![removal]).await.expect("it answers");
        let place = letters.until(|signals| {
            signals
                .iter()
                .filter_map(|signal| match signal {
                    Signal::News { place, .. } => *place,
                    _ => None,
                })
                .nth(round)
        });
        places.push(timeout(PATIENCE, place).await.expect("it is told"));
        redis.wipe().await;
    }
    assert!(places[0].history != places[1].history && places[0].number < places[1].number, "{places:?}");
}
