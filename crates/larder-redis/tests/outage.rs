//! Outages: every call ends in time, and the store comes back by itself.

mod support;

use std::time::Duration;

use larder_core::{Error, ErrorKind, Found, Store};
use larder_redis::{RedisSettings, RedisStore};
use larder_testkit::{RedisOptions, RedisServer};
use support::{connect, get, key, set, until};
use tokio::time::timeout;

/// The hard limit of the stores under test, and what a loaded machine may add to it.
const LIMIT: Duration = Duration::from_millis(800);
const SLACK: Duration = Duration::from_secs(5);

fn brisk(redis: &RedisServer) -> RedisSettings {
    RedisSettings::new(redis.url()).with_command_timeout(LIMIT).with_connect_timeout(2 * LIMIT)
}

/// The error with which a read ends, in time.
async fn failure(store: &RedisStore, text: &str) -> Error {
    timeout(LIMIT + SLACK, get(store, text)).await.expect("it ends in time").expect_err("the server is away")
}

async fn comes_back(store: &RedisStore) {
    until("the store is back", async || store.ping().await.ok()).await;
}

/// How many clients the server has, the one that asks included.
async fn clients(redis: &RedisServer) -> Option<u64> {
    let told = redis.command(&["INFO", "clients"]).await.ok()?;
    told.lines().find_map(|line| line.strip_prefix("connected_clients:"))?.trim().parse().ok()
}

#[tokio::test]
async fn a_killed_server_is_an_error_at_once_and_no_error_after_its_restart() {
    let redis = RedisServer::start().await;
    let store = connect(brisk(&redis)).await;
    set(&store, "u:1").await;
    redis.kill();
    for _ in 0..5 {
        let failed = failure(&store, "u:1").await;
        assert!(matches!(failed.kind(), ErrorKind::Unavailable | ErrorKind::Timeout), "{failed:?}");
    }
    let failed =
        timeout(LIMIT + SLACK, store.remove(vec![key("u:1").into()])).await.expect("it ends in time");
    failed.expect_err("a removal that was not carried out is not acknowledged");
    redis.restart().await;
    until("the store has connected by itself", async || (clients(&redis).await? > 1).then_some(())).await;
    assert!(matches!(get(&store, "u:1").await, Ok(Found::Miss)), "the first call after that succeeds");
}

#[tokio::test]
async fn while_the_server_is_away_calls_fail_without_waiting() {
    let redis = RedisServer::start().await;
    let store = connect(RedisSettings::new(redis.url())).await;
    redis.kill();
    let _first = get(&store, "u:1").await;
    let many = async {
        for _ in 0..1_000 {
            let failed = get(&store, "u:1").await.expect_err("nobody listens");
            assert_eq!(failed.kind(), ErrorKind::Unavailable);
            assert!(failed.to_string().contains("refused"), "{failed}");
        }
    };
    timeout(Duration::from_secs(5), many).await.expect("a thousand failures take no thousand timeouts");
}

#[tokio::test]
async fn a_stopped_server_ends_calls_by_their_timeout_and_shifts_no_answers_when_it_goes_on() {
    let redis = RedisServer::start().await;
    let store = connect(brisk(&redis)).await;
    for n in 0..8 {
        set(&store, &format!("u:{n}")).await;
    }
    redis.pause();
    let mut readers = tokio::task::JoinSet::new();
    for n in 0..8 {
        let store = store.clone();
        readers.spawn(async move { failure(&store, &format!("u:{n}")).await });
    }
    for failed in readers.join_all().await {
        assert!(matches!(failed.kind(), ErrorKind::Timeout | ErrorKind::Unavailable), "{failed:?}");
    }
    redis.resume();
    comes_back(&store).await;
    for n in (0..8).cycle().take(64) {
        let text = format!("u:{n}");
        let found = get(&store, &text).await.expect("it is back");
        assert!(matches!(found, Found::Hit(hit) if hit.bytes == support::value_of(&text)));
    }
}

/// The engine's timeouts are shorter than the store's, so the store never sees a call through to its own.
#[tokio::test]
async fn a_dead_connection_is_noticed_although_nobody_waits_for_it_long_enough() {
    let redis = RedisServer::start().await;
    let store = connect(brisk(&redis)).await;
    set(&store, "u:1").await;
    redis.pause();
    timeout(Duration::from_millis(20), get(&store, "u:1")).await.expect_err("it is stopped");
    let noticed = async || match timeout(Duration::from_millis(5), get(&store, "u:1")).await {
        Ok(Err(failed)) => Some(failed),
        _ => None,
    };
    let failed = until("calls fail without waiting", noticed).await;
    assert!(matches!(failed.kind(), ErrorKind::Unavailable | ErrorKind::Timeout));
    redis.resume();
    comes_back(&store).await;
}

#[tokio::test]
async fn connections_killed_by_an_operator_are_replaced() {
    let redis = RedisServer::start().await;
    let store = connect(brisk(&redis)).await;
    set(&store, "u:1").await;
    let lineage = store.lineage();
    for _ in 0..5 {
        redis.command(&["CLIENT", "KILL", "TYPE", "normal"]).await.expect("it answers");
        until("the store is back", async || get(&store, "u:1").await.ok()).await;
    }
    assert_eq!(store.lineage(), lineage, "it is the same server with the same data");
}

#[tokio::test]
async fn without_a_server_connecting_fails_at_once_and_says_where_it_looked() {
    let redis = RedisServer::start().await;
    redis.kill();
    let failed =
        timeout(SLACK, RedisStore::connect(redis.url())).await.expect("in time").expect_err("nobody listens");
    assert_eq!(failed.kind(), ErrorKind::Unavailable);
    let text = failed.to_string();
    assert!(text.contains(&redis.address().to_string()) && text.contains("refused"), "{text}");
}

#[tokio::test]
async fn a_lazy_store_waits_for_its_server() {
    let redis = RedisServer::start().await;
    redis.kill();
    let store = connect(brisk(&redis).with_lazy(true)).await;
    failure(&store, "u:1").await;
    redis.restart().await;
    comes_back(&store).await;
    set(&store, "u:1").await;
}

#[tokio::test]
async fn a_wrong_password_is_an_error_to_fix_and_is_never_printed() {
    let redis = RedisOptions::default().with_password("correct-horse").start().await;
    let at = |login: &str| format!("redis://{login}{}", redis.address());
    for url in [at(""), at(":wr0ng-pass@"), at("somebody:wr0ng-pass@")] {
        let failed = RedisStore::connect(url).await.expect_err("no login, no store");
        assert_eq!(failed.kind(), ErrorKind::Invalid, "{failed:?}");
        let text = format!("{failed} {failed:?}");
        assert!(text.contains("login") && !text.contains("wr0ng"), "{text}");
    }
    let store = connect(RedisSettings::new(at("")).with_password("correct-horse")).await;
    set(&store, "u:1").await;
    assert!(!format!("{store:?}").contains("horse"));
}

#[tokio::test]
async fn a_refused_login_while_running_is_not_repeated_in_a_storm() {
    let redis = RedisOptions::default().with_password("correct-horse").start().await;
    let url = format!("redis://:wrong@{}", redis.address());
    let store = connect(RedisSettings::new(url).with_lazy(true)).await;
    for _ in 0..200 {
        let failed = get(&store, "u:1").await.expect_err("no login");
        assert!(failed.to_string().contains("login"), "{failed}");
    }
    let stats = redis.command(&["INFO", "stats"]).await.expect("it answers");
    let attempts: u64 = stats
        .lines()
        .find_map(|line| line.strip_prefix("total_connections_received:"))
        .and_then(|n| n.trim().parse().ok())
        .expect("a number");
    assert!(attempts < 30, "{attempts} connections");
}

#[tokio::test]
async fn row_16_what_the_user_may_not_do_is_named_at_the_start() {
    let redis = RedisServer::start().await;
    for (user, rights, named) in [
        ("hashless", &["~larder:*", "&larder:*", "+@all", "-evalsha"][..], "EVALSHA"),
        ("poor", &["~larder:*", "&larder:*", "+@all", "-eval"], "EVAL"),
        ("narrow", &["~other:*", "&*", "+@all"], "EVALSHA"),
        ("mute", &["~larder:*", "&larder:*", "+@all", "-publish"], "PUBLISH"),
    ] {
        let command = [&["ACL", "SETUSER", user, "on", ">s3cret"], rights].concat();
        redis.command(&command).await.expect("ok");
        let settings = RedisSettings::new(redis.url()).with_user(user).with_password("s3cret");
        let refused = RedisStore::connect(settings).await.expect_err("not without its rights");
        assert_eq!(refused.kind(), ErrorKind::Invalid, "{user}");
        let text = refused.to_string();
        assert!(text.contains(&format!("NOPERM to {named}")) && !text.contains("s3cret"), "{user}: {text}");
    }
}

#[tokio::test]
async fn row_16_a_right_that_is_taken_away_is_named_when_it_is_missed() {
    let redis = RedisServer::start().await;
    let grant = ["ACL", "SETUSER", "poor", "on", ">s3cret", "~larder:*", "&larder:*", "+@all"];
    redis.command(&grant).await.expect("ok");
    let store = connect(RedisSettings::new(redis.url()).with_user("poor").with_password("s3cret")).await;
    set(&store, "u:1").await;
    redis.command(&["ACL", "SETUSER", "poor", "-eval", "-evalsha"]).await.expect("ok");
    assert!(matches!(get(&store, "u:1").await, Ok(Found::Hit(_))), "reads work");
    let refused = store.write(vec![support::write("u:1")]).await.expect_err("no scripts any more");
    let text = refused.to_string();
    assert!(text.contains("NOPERM") && text.contains("evalsha") && !text.contains("s3cret"), "{text}");
    redis.command(&["ACL", "SETUSER", "poor", "resetkeys", "~other:*"]).await.expect("ok");
    let refused = get(&store, "u:1").await.expect_err("not its keys any more");
    assert!(refused.to_string().contains("NOPERM"), "{refused}");
}

#[tokio::test]
async fn a_replica_is_named_as_one_and_the_store_recovers_when_it_is_promoted() {
    let (primary, redis) = (RedisServer::start().await, RedisServer::start().await);
    let store = connect(brisk(&redis)).await;
    let port = primary.address().port().to_string();
    redis.command(&["REPLICAOF", "127.0.0.1", &port]).await.expect("it obeys");
    let refusal =
        until("it refuses writes", async || store.write(vec![support::write("u:1")]).await.err()).await;
    assert!(refusal.to_string().contains("READONLY") && refusal.to_string().contains("primary"), "{refusal}");
    redis.command(&["REPLICAOF", "NO", "ONE"]).await.expect("it obeys");
    until("it takes writes again", async || store.write(vec![support::write("u:1")]).await.ok()).await;
}

#[tokio::test]
async fn the_last_clone_takes_its_connection_along() {
    let redis = RedisServer::start().await;
    let store = connect(brisk(&redis)).await;
    let clone = store.clone();
    drop(store);
    set(&clone, "u:1").await;
    drop(clone);
    until("no connection is left but the asking one", async || {
        let clients = redis.command(&["INFO", "clients"]).await.ok()?;
        clients.contains("connected_clients:1\r").then_some(())
    })
    .await;
}
