//! A failing network between the store and a sound server.

mod support;

use std::time::Duration;

use larder_core::{Found, Removed, Store};
use larder_redis::{RedisSettings, RedisStore};
use larder_testkit::{Cut, FaultProxy, RedisServer, Way};
use support::{connect, get, key, set, until, value_of};
use tokio::time::timeout;

const LIMIT: Duration = Duration::from_millis(500);
const SLACK: Duration = Duration::from_secs(5);

async fn behind(proxy: &FaultProxy, redis: &RedisServer) -> RedisStore {
    let url = redis.url_through(proxy.address());
    connect(RedisSettings::new(url).with_command_timeout(LIMIT).with_connect_timeout(LIMIT)).await
}

async fn read_in_time(store: &RedisStore, text: &str) -> Option<Found> {
    timeout(LIMIT + SLACK, get(store, text)).await.expect("it ends in time").ok()
}

async fn comes_back(store: &RedisStore) {
    until("the store is back", async || store.ping().await.ok()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_black_hole_in_any_direction_ends_in_time_and_is_survived() {
    let redis = RedisServer::start().await;
    let proxy = FaultProxy::start(redis.address()).await;
    let store = behind(&proxy, &redis).await;
    set(&store, "u:1").await;
    for hole in [&[Way::Requests][..], &[Way::Replies], &[Way::Requests, Way::Replies]] {
        hole.iter().for_each(|&way| proxy.faults().black_hole(way));
        assert!(read_in_time(&store, "u:1").await.is_none(), "{hole:?}");
        let removal =
            timeout(LIMIT + SLACK, store.remove(vec![key("u:2").into()])).await.expect("it ends in time");
        assert!(
            !matches!(removal.as_deref(), Ok([Removed::Done(_)])),
            "a removal without an answer is not acknowledged"
        );
        proxy.faults().heal().await;
        comes_back(&store).await;
        assert!(
            matches!(read_in_time(&store, "u:1").await, Some(Found::Hit(hit)) if hit.bytes == value_of("u:1"))
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reply_that_is_cut_anywhere_is_an_error_or_whole() {
    let redis = RedisServer::start().await;
    let proxy = FaultProxy::start(redis.address()).await;
    let store = behind(&proxy, &redis).await;
    set(&store, "u:1").await;
    // "$36\r\n", sixteen bytes of stamp, "the value of u:1", "\r\n".
    let reply = 5 + 16 + value_of("u:1").len() as u64 + 2;
    let mut whole = 0;
    for how in [Cut::Reset, Cut::Close] {
        for at in 0..=reply {
            comes_back(&store).await;
            proxy.faults().cut_after(Way::Replies, at, how);
            match read_in_time(&store, "u:1").await {
                None => {}
                Some(Found::Hit(hit)) => {
                    assert_eq!(hit.bytes, value_of("u:1"), "cut at {at}");
                    whole += 1;
                }
                Some(other) => panic!("cut at {at}: {other:?}"),
            }
            proxy.faults().heal().await;
        }
    }
    assert!(whole <= 2 * 2, "{whole} whole replies: the cuts did not fall into them");
    comes_back(&store).await;
    for n in 0..20 {
        let text = format!("u:{n}");
        set(&store, &text).await;
        assert!(
            matches!(read_in_time(&store, &text).await, Some(Found::Hit(hit)) if hit.bytes == value_of(&text))
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn gathered_reads_that_are_cut_give_nobody_anothers_value() {
    let redis = RedisServer::start().await;
    let proxy = FaultProxy::start(redis.address()).await;
    let store = behind(&proxy, &redis).await;
    for n in 0..32 {
        set(&store, &format!("u:{n}")).await;
    }
    for at in (0..1_400).step_by(97) {
        comes_back(&store).await;
        proxy.faults().cut_once_after(Way::Replies, at, Cut::Reset);
        let mut readers = tokio::task::JoinSet::new();
        for n in 0..32 {
            let store = store.clone();
            readers.spawn(async move {
                let text = format!("u:{n}");
                match read_in_time(&store, &text).await {
                    None => {}
                    Some(Found::Hit(hit)) => assert_eq!(hit.bytes, value_of(&text)),
                    Some(other) => panic!("{text}: {other:?}"),
                }
            });
        }
        readers.join_all().await;
        proxy.faults().heal().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn refused_connections_are_retried_with_measure() {
    let redis = RedisServer::start().await;
    let proxy = FaultProxy::start(redis.address()).await;
    let store = behind(&proxy, &redis).await;
    let before = proxy.faults().accepted();
    for _ in 0..50 {
        proxy.faults().reset_all();
        let _either = read_in_time(&store, "u:1").await;
    }
    let attempts = proxy.faults().accepted() - before;
    assert!(attempts <= 52, "{attempts} connections after 50 resets");
    proxy.faults().refuse().await;
    proxy.faults().reset_all();
    until("calls fail", async || get(&store, "u:1").await.err()).await;
    let refused = proxy.faults().accepted();
    proxy.faults().heal().await;
    let connected = async || (proxy.faults().accepted() > refused).then_some(());
    until("the store has connected by itself", connected).await;
    assert!(
        matches!(read_in_time(&store, "u:1").await, Some(Found::Miss)),
        "the first call after that succeeds"
    );
}
