//! Foreign bytes and types under our keys: misses, never errors for others, never half-run scripts.

mod support;

use larder_core::{Found, LeaseFor, Read, Store, Version};
use larder_testkit::RedisServer;
use support::{ask, connect, get, granted, key, remove, set};

const OTHER_TYPES: [&[&str]; 5] = [
    &["HSET", "k", "f", "v"],
    &["RPUSH", "k", "v"],
    &["SADD", "k", "v"],
    &["ZADD", "k", "1", "v"],
    &["XADD", "k", "*", "f", "v"],
];

async fn plant(redis: &RedisServer, command: &[&str], name: &str) {
    let command: Vec<&str> = command.iter().map(|&part| if part == "k" { name } else { part }).collect();
    redis.command(&command).await.expect("it is planted");
}

#[tokio::test]
async fn every_other_type_is_foreign_to_every_kind_of_read_and_stays() {
    let redis = RedisServer::start().await;
    let store = connect(redis.url()).await;
    set(&store, "u:good").await;
    for command in OTHER_TYPES {
        redis.command(&["DEL", "larder:{0}v:u:bad"]).await.expect("it answers");
        plant(&redis, command, "larder:{0}v:u:bad").await;
        assert!(matches!(get(&store, "u:bad").await, Ok(Found::Foreign(_))), "{command:?}");
        for when in [LeaseFor::Miss, LeaseFor::Refresh] {
            assert!(matches!(ask(&store, "u:bad", when, 1).await, Found::Foreign(_)), "{command:?}");
        }
        let reads =
            ["u:good", "u:bad", "u:none", "u:bad", "u:good"].map(|text| Read { key: key(text), lease: None });
        let found = store.read(reads.to_vec()).await.expect("the others are answered");
        assert!(
            matches!(
                &found[..],
                [Found::Hit(_), Found::Foreign(_), Found::Miss, Found::Foreign(_), Found::Hit(_)]
            ),
            "{command:?} {found:?}"
        );
        let reads = ["u:good", "u:bad", "u:none"].map(|text| support::asking(text, LeaseFor::Miss, 3));
        let found = store.read(reads.to_vec()).await.expect("the others are answered");
        assert!(matches!(&found[..], [Found::Hit(_), Found::Foreign(_), Found::Granted(_)]), "{found:?}");
        let leases = redis.command(&["EXISTS", "larder:{0}l:u:bad"]).await.expect("it answers");
        assert_eq!(leases, "0", "no lease for what is foreign");
        store.release(key("u:none"), larder_core::Token(3)).await.expect("it answers");
    }
}

#[tokio::test]
async fn an_explicit_write_or_removal_takes_the_place_of_another_type() {
    let redis = RedisServer::start().await;
    let store = connect(redis.url()).await;
    for command in OTHER_TYPES {
        plant(&redis, command, "larder:{0}v:u:1").await;
        set(&store, "u:1").await;
        assert!(matches!(get(&store, "u:1").await, Ok(Found::Hit(_))), "{command:?}");
        remove(&store, "u:1").await;
        plant(&redis, command, "larder:{0}v:u:1").await;
        remove(&store, "u:1").await;
        assert!(matches!(get(&store, "u:1").await, Ok(Found::Miss)), "{command:?}");
    }
}

#[tokio::test]
async fn what_somebody_put_there_while_a_lease_was_held_is_not_overwritten_under_it() {
    let redis = RedisServer::start().await;
    let store = connect(redis.url()).await;
    for command in OTHER_TYPES {
        let grant = granted(&store, "u:1", 1).await;
        plant(&redis, command, "larder:{0}v:u:1").await;
        let condition = larder_core::Condition::IfLeased(grant.to(larder_core::Token(1)));
        let write = larder_core::Write { condition, ..support::write("u:1") };
        let written = store.write(vec![write]).await.expect("it answers");
        assert!(matches!(&written[..], [larder_core::Written::Unchanged]), "{command:?} {written:?}");
        assert!(matches!(get(&store, "u:1").await, Ok(Found::Foreign(_))), "{command:?}");
        let leases = redis.command(&["EXISTS", "larder:{0}l:u:1"]).await.expect("it answers");
        assert_eq!(leases, "0", "{command:?}: the lease is used up all the same");
        remove(&store, "u:1").await;
    }
}

#[tokio::test]
async fn foreign_strings_are_no_entries() {
    let redis = RedisServer::start().await;
    let store = connect(redis.url()).await;
    let name = "larder:{0}v:u:1";
    for text in ["", "x", "{\"json\": true}", "sixteen bytes ok", "sixteen bytes ok and more of them"] {
        redis.command(&["SET", name, text]).await.expect("it is planted");
        assert!(matches!(get(&store, "u:1").await, Ok(Found::Foreign(_))), "{text:?}");
        assert!(matches!(ask(&store, "u:1", LeaseFor::Miss, 1).await, Found::Foreign(_)), "{text:?}");
    }
    // Its halves are equal, but no version is that large: an exact stamp must not take it for a newer entry.
    redis.command(&["SET", name, "eightoctEIGHTOCTeightoct"]).await.expect("it is planted");
    redis.command(&["SET", name, "eightocteightoct!"]).await.expect("it is planted");
    let exact =
        larder_core::Write { stamp: larder_core::Stamp::Exactly(Version::new(5)), ..support::write("u:1") };
    store.write(vec![exact]).await.expect("it answers");
    assert!(matches!(get(&store, "u:1").await, Ok(Found::Hit(hit)) if hit.version == Version::new(5)));
}

#[tokio::test]
async fn a_sequence_of_another_type_stops_scripts_before_they_change_anything() {
    let redis = RedisServer::start().await;
    let store = connect(redis.url()).await;
    set(&store, "u:1").await;
    redis.command(&["SET", "larder:{0}s", "1"]).await.expect("it is planted");
    let refused = store.write(vec![support::write("u:1")]).await.expect_err("no version can be drawn");
    assert!(refused.to_string().contains("another type"), "{refused}");
    let removed = store.remove(vec![key("u:1").into()]).await.expect("it answers");
    assert!(matches!(&removed[..], [larder_core::Removed::Failed(_)]));
    assert!(matches!(get(&store, "u:1").await, Ok(Found::Hit(_))), "it is still there");
    store
        .read(vec![support::asking("u:2", LeaseFor::Miss, 1)])
        .await
        .expect_err("no lease without a version");
    assert_eq!(redis.command(&["EXISTS", "larder:{0}l:u:2"]).await.expect("it answers"), "0");
}

#[tokio::test]
async fn a_lease_of_another_type_grants_nothing_and_a_removal_heals_it() {
    let redis = RedisServer::start().await;
    let store = connect(redis.url()).await;
    redis.command(&["RPUSH", "larder:{0}l:u:1", "x"]).await.expect("it is planted");
    assert!(matches!(ask(&store, "u:1", LeaseFor::Miss, 1).await, Found::Foreign(_)));
    assert!(!store.renew(key("u:1"), larder_core::Token(1), support::KEEP).await.expect("it answers"));
    store.release(key("u:1"), larder_core::Token(1)).await.expect("it answers");
    remove(&store, "u:1").await;
    granted(&store, "u:1", 1).await;
}
