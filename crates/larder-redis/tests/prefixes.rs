//! Prefixes: literal, kept apart, and needed wherever keys are listed.

mod support;

use larder_core::{Cursor, ErrorKind, Found, KeyPrefix, LeaseFor, Store};
use larder_redis::{RedisSettings, RedisStore};
use larder_testkit::{RedisOptions, RedisServer};
use support::{ask, connect, get, granted, prefix, set};

async fn listed(store: &RedisStore, under: KeyPrefix, limit: usize) -> Vec<String> {
    let (mut keys, mut from) = (Vec::new(), Cursor::START);
    loop {
        let page = store.scan(under.clone(), from, limit).await.expect("it answers");
        keys.extend(page.entries.iter().map(|entry| String::from_utf8_lossy(&entry.key).into_owned()));
        match page.next {
            Some(next) => from = next,
            None => break,
        }
    }
    keys.sort();
    keys.dedup();
    keys
}

#[tokio::test]
async fn prefixes_of_any_shape_are_taken_literally() {
    let redis = RedisServer::start().await;
    let odd =
        ["a", "a*", "*", "?", "[a]", "[^a]", "\\", "a\\*", "a b", "é\u{202e}", "$(x)", "'; DEL", "%s", "a:b"];
    for (at, name) in odd.iter().enumerate() {
        let store = connect(RedisSettings::new(redis.url()).with_prefix(*name)).await;
        set(&store, &format!("n:{at}")).await;
    }
    for (at, name) in odd.iter().enumerate() {
        let store = connect(RedisSettings::new(redis.url()).with_prefix(*name)).await;
        assert_eq!(listed(&store, KeyPrefix::all(), 10).await, [format!("n:{at}")], "{name:?}");
        assert_eq!(store.len(KeyPrefix::all()).await.expect("it answers"), 1, "{name:?}");
        assert_eq!(store.clear(KeyPrefix::all()).await.expect("it answers"), 1, "{name:?}");
        assert_eq!(store.clear(KeyPrefix::all()).await.expect("it answers"), 0, "{name:?}");
    }
}

#[tokio::test]
async fn clearing_touches_nothing_that_is_not_ours() {
    let redis = RedisServer::start().await;
    let store = connect(redis.url()).await;
    let foreign = [
        "larder",
        "larder:",
        "larder:u:1",
        "larder:{0}s",
        "larder:{0}x:u:1",
        "larder:{x}v:u:1",
        "larder:{}v:u:1",
        "larder2:{0}v:u:1",
        "xlarder:{0}v:u:1",
        "larder:{0}junk}v:u:1",
        "u:1",
    ];
    for name in foreign {
        redis.command(&["SET", name, "theirs"]).await.expect("it is planted");
    }
    redis.command(&["DEL", "larder:{0}s"]).await.expect("ours");
    set(&store, "u:1").await;
    assert_eq!(store.clear(KeyPrefix::all()).await.expect("it answers"), 1);
    for name in foreign {
        assert_eq!(redis.command(&["EXISTS", name]).await.expect("it answers"), "1", "{name}");
    }
}

#[tokio::test]
async fn a_namespace_ends_where_its_name_does_and_leases_go_with_it() {
    let redis = RedisServer::start().await;
    let store = connect(RedisSettings::new(redis.url()).with_partitions(4).with_delete_batch(7)).await;
    let writes = (0..300).map(|n| support::write(&format!("users:{n}"))).collect();
    store.write(writes).await.expect("it answers");
    set(&store, "users_old:1").await;
    set(&store, "users:nested:1").await;
    granted(&store, "users:loading", 1).await;
    granted(&store, "users_old:loading", 2).await;
    assert_eq!(store.len(prefix("users")).await.expect("it answers"), 301);
    assert_eq!(listed(&store, prefix("users"), 50).await.len(), 301);
    assert_eq!(store.clear(prefix("users")).await.expect("it answers"), 301);
    assert!(matches!(get(&store, "users:7").await, Ok(Found::Miss)));
    assert!(matches!(get(&store, "users_old:1").await, Ok(Found::Hit(_))));
    granted(&store, "users:loading", 3).await;
    assert!(matches!(ask(&store, "users_old:loading", LeaseFor::Miss, 4).await, Found::Held));
}

#[tokio::test]
async fn pages_are_small_among_many_foreign_keys() {
    let redis = RedisOptions::default().with_line("enable-debug-command yes").start().await;
    redis.command(&["DEBUG", "POPULATE", "20000", "theirs"]).await.expect("it is populated");
    let store = connect(redis.url()).await;
    store.write((0..500).map(|n| support::write(&format!("u:{n}"))).collect()).await.expect("it answers");
    let (mut from, mut seen) = (Cursor::START, 0);
    loop {
        let page = store.scan(prefix("u"), from, 20).await.expect("it answers");
        assert!(page.entries.len() <= 60, "{} entries in a page of about 20", page.entries.len());
        seen += page.entries.len();
        match page.next {
            Some(next) => from = next,
            None => break,
        }
    }
    assert!(seen >= 500, "{seen}");
}

#[tokio::test]
async fn without_a_prefix_listing_is_refused_unless_allowed() {
    let redis = RedisServer::start().await;
    let settings = RedisSettings::new(redis.url()).with_prefix("");
    let store = connect(settings.clone()).await;
    set(&store, "u:1").await;
    assert!(!store.capabilities().scan);
    let all = KeyPrefix::all;
    for refused in [
        store.clear(all()).await.map(drop),
        store.len(all()).await.map(drop),
        store.scan(all(), Cursor::START, 10).await.map(drop),
    ] {
        let refused = refused.expect_err("no prefix, no listing");
        assert_eq!(refused.kind(), ErrorKind::Invalid);
        assert!(refused.to_string().contains("allow_unprefixed_clear"), "{refused}");
    }
    redis.command(&["SET", "theirs", "x"]).await.expect("it is planted");
    let allowed = connect(settings.with_allow_unprefixed_clear(true)).await;
    assert!(allowed.capabilities().scan);
    assert_eq!(allowed.clear(all()).await.expect("it answers"), 1);
    assert_eq!(redis.command(&["EXISTS", "theirs"]).await.expect("it answers"), "1");
}

#[tokio::test]
async fn a_foreign_cursor_is_an_error() {
    let redis = RedisServer::start().await;
    let store = connect(redis.url()).await;
    for cursor in ["x", "@", "-1@", "99999999999999999999@", "\u{ff}"] {
        let cursor = Cursor(cursor.to_owned().into());
        let refused = store.scan(KeyPrefix::all(), cursor, 10).await.expect_err("not ours");
        assert_eq!(refused.kind(), ErrorKind::Invalid);
    }
}

#[tokio::test]
async fn wrong_settings_are_all_named_at_once() {
    let settings = RedisSettings::new("redis://:s3cret@h:0")
        .with_prefix("a{b}")
        .with_partitions(3)
        .with_scan_count(0)
        .with_delete_batch(0)
        .with_max_value_bytes(0)
        .with_connect_timeout(std::time::Duration::ZERO)
        .with_command_timeout(std::time::Duration::ZERO);
    let refused = RedisStore::connect(settings.clone()).await.expect_err("nearly everything is wrong");
    assert_eq!(refused.kind(), ErrorKind::Invalid);
    let text = refused.to_string();
    for part in
        ["port", "brace", "partitions", "scan_count", "delete_batch", "max_value", "connect_t", "command_t"]
    {
        assert!(text.contains(part), "{part}: {text}");
    }
    assert!(!text.contains("s3cret") && !format!("{settings:?}").contains("s3cret"));
}
