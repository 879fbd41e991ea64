//! A primary, its replica and a sentinel that watches them: store and bus follow the primary wherever it goes.

mod support;

use std::sync::Arc;

use larder_core::{Bus, ErrorKind, Found, Signal, Store, Written};
#[cfg(feature = "cluster")]
use larder_redis::Topology;
use larder_redis::{RedisBus, RedisSettings, RedisStore};
use larder_testkit::{Letterbox, RedisServer, WatchedRedis};
use support::{PATIENCE, connect, get, set, until, value_of, write};
use tokio::time::timeout;

const NAME: &str = "cache";

fn following(watched: &WatchedRedis) -> RedisSettings {
    RedisSettings::new(watched.sentinel().url()).with_sentinel(NAME).with_connect_timeout(PATIENCE)
}

async fn says(server: &RedisServer, command: &[&str], text: &str) -> Option<()> {
    server.command(command).await.unwrap_or_default().contains(text).then_some(())
}

async fn writes(store: &RedisStore, text: &str) -> Option<()> {
    let answers = store.write(vec![write(text)]).await.ok()?;
    matches!(answers[..], [Written::Stored(_)]).then_some(())
}

async fn listening(watched: &WatchedRedis) -> (RedisBus, Arc<Letterbox>) {
    let bus = RedisBus::connect(following(watched)).await.expect("a sentinel tells where the primary is");
    let letters = Arc::new(Letterbox::new());
    bus.subscribe(letters.clone()).await.expect("it listens");
    (bus, letters)
}

async fn rejoined(letters: &Letterbox) {
    let twice = |signals: &[Signal]| {
        let times = signals.iter().filter(|signal| matches!(signal, Signal::Joined)).count();
        (times >= 2).then_some(())
    };
    timeout(PATIENCE, letters.until(twice)).await.expect("it joins again by itself");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn store_and_bus_follow_when_the_primary_dies_and_history_may_be_lost() {
    let watched = WatchedRedis::start(NAME).await;
    let store = connect(following(&watched)).await;
    let (_bus, letters) = listening(&watched).await;
    set(&store, "before").await;
    let lineage = store.lineage();
    watched.primary().kill();
    until("the replica took over", async || writes(&store, "after").await).await;
    assert!(matches!(get(&store, "after").await, Ok(Found::Hit(hit)) if hit.bytes == value_of("after")));
    assert_ne!(store.lineage(), lineage, "the replica may have lagged");
    assert_eq!(says(watched.replica(), &["ROLE"], "master").await, Some(()));
    rejoined(&letters).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn they_follow_when_the_primary_is_changed_and_lives_on() {
    let watched = WatchedRedis::start(NAME).await;
    let store = connect(following(&watched)).await;
    let (_bus, letters) = listening(&watched).await;
    let change = &["SENTINEL", "FAILOVER", NAME];
    until("the sentinel finds the replica good", async || watched.sentinel().command(change).await.ok())
        .await;
    until("the replica took over", async || says(watched.replica(), &["ROLE"], "master").await).await;
    until("writes go there", async || {
        writes(&store, "after").await?;
        let keys = watched.replica().command(&["KEYS", "*v:after"]).await.unwrap_or_default();
        (!keys.is_empty()).then_some(())
    })
    .await;
    rejoined(&letters).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_primary_that_was_cut_off_and_replaced_is_left_though_it_answers() {
    let watched = WatchedRedis::start(NAME).await;
    let store = connect(following(&watched)).await;
    set(&store, "before").await;
    // The sentinel is told that another server is the primary; the old one hears nothing of it and goes on.
    let other = RedisServer::start().await;
    let port = other.address().port().to_string();
    watched.sentinel().command(&["SENTINEL", "REMOVE", NAME]).await.expect("it is known");
    watched
        .sentinel()
        .command(&["SENTINEL", "MONITOR", NAME, "127.0.0.1", &port, "1"])
        .await
        .expect("it is free");
    until("writes go there", async || {
        writes(&store, "after").await?;
        let keys = other.command(&["KEYS", "*v:after"]).await.unwrap_or_default();
        (!keys.is_empty()).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_sentinel_that_answers_is_enough_and_an_unknown_name_is_an_error() {
    let watched = WatchedRedis::start(NAME).await;
    let dead = RedisServer::start().await;
    dead.kill();
    let settings =
        RedisSettings::new(dead.url()).with_more_nodes([watched.sentinel().url()]).with_sentinel(NAME);
    let store = connect(settings).await;
    set(&store, "a").await;
    let unknown = RedisStore::connect(following(&watched).with_sentinel("other")).await.expect_err("unknown");
    assert_eq!(unknown.kind(), ErrorKind::Unavailable);
    assert!(unknown.to_string().contains("no sentinel answers that knows"), "{unknown}");
}

#[tokio::test]
async fn settings_that_contradict_each_other_are_refused() {
    let named = RedisSettings::new("redis://127.0.0.1").with_sentinel("");
    let error = RedisStore::connect(named).await.expect_err("a name is needed");
    assert_eq!(error.kind(), ErrorKind::Invalid);
    #[cfg(feature = "cluster")]
    {
        let cluster =
            RedisSettings::new("redis://127.0.0.1").with_sentinel(NAME).with_topology(Topology::Cluster);
        let error = RedisStore::connect(cluster).await.expect_err("sentinels watch no clusters");
        assert_eq!(error.kind(), ErrorKind::Invalid);
    }
}
