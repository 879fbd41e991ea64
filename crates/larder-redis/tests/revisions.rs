//! What the origin's numbers do at a real server, besides what the suite asks of every store.

use std::time::Duration;

use larder_core::{Condition, Found, Removal, Revision, Store, Write, Written};
use larder_redis::RedisStore;
use larder_testkit::RedisServer;

mod support;

use support::{KEEP, connect, get, key, set};

fn newer(text: &str, number: u64) -> Write {
    let revision = Revision { number, keep: Duration::from_secs(3_600) };
    Write { condition: Condition::IfNewer(revision), ..support::write(text) }
}

async fn written(store: &RedisStore, write: Write) -> Written {
    store.write(vec![write]).await.expect("it answers").pop().expect("one answer for one question")
}

async fn remove_at(store: &RedisStore, text: &str, number: u64) {
    let removal = Removal { revision: Some(Revision { number, keep: KEEP }), ..key(text).into() };
    store.remove(vec![removal]).await.expect("it answers");
}

#[tokio::test]
async fn a_revision_stands_beside_the_entry_for_its_own_time() {
    let redis = RedisServer::start().await;
    let store = connect(redis.url()).await;
    assert!(matches!(written(&store, newer("u:1", 7)).await, Written::Stored(_)));
    let ms: u64 = redis.command(&["PTTL", "larder:{0}r:u:1"]).await.expect("it is there").parse().unwrap();
    assert!(ms > 3_590_000, "{ms}");
    let entry: u64 = redis.command(&["PTTL", "larder:{0}v:u:1"]).await.expect("it is there").parse().unwrap();
    assert!(entry <= 60_000, "{entry}");
    set(&store, "u:2").await;
    support::remove(&store, "u:2").await;
    let plain = redis.command(&["EXISTS", "larder:{0}r:u:2"]).await.expect("it answers");
    assert_eq!(plain, "0", "who gives no number pays for none");
}

#[tokio::test]
async fn a_full_server_still_remembers_what_was_removed_or_rejected() {
    let redis = RedisServer::start().await;
    let store = connect(redis.url()).await;
    redis.command(&["CONFIG", "SET", "maxmemory", "1"]).await.expect("it obeys");
    assert!(matches!(written(&store, newer("u:1", 7)).await, Written::Rejected(_)));
    remove_at(&store, "u:2", 7).await;
    redis.command(&["CONFIG", "SET", "maxmemory", "0"]).await.expect("it obeys");
    for text in ["u:1", "u:2"] {
        assert!(matches!(written(&store, newer(text, 6)).await, Written::Unchanged), "{text}");
        assert!(matches!(get(&store, text).await, Ok(Found::Miss)), "{text}");
        assert!(matches!(written(&store, newer(text, 8)).await, Written::Stored(_)), "{text}");
    }
}

#[tokio::test]
async fn what_is_no_revision_is_overwritten_and_stops_nobody() {
    let redis = RedisServer::start().await;
    let store = connect(redis.url()).await;
    let name = "larder:{0}r:u:1";
    for planted in [vec!["SET", name, "9"], vec!["RPUSH", name, "x"], vec!["HSET", name, "a", "b"]] {
        redis.command(&planted).await.expect("it is planted");
        assert!(matches!(written(&store, newer("u:1", 5)).await, Written::Stored(_)), "{planted:?}");
        assert!(matches!(written(&store, newer("u:1", 5)).await, Written::Unchanged), "{planted:?}");
        redis.command(&["DEL", name]).await.expect("it answers");
        redis.command(&planted).await.expect("it is planted");
        remove_at(&store, "u:1", 5).await;
        assert!(matches!(written(&store, newer("u:1", 5)).await, Written::Unchanged), "{planted:?}");
        redis.command(&["DEL", name]).await.expect("it answers");
    }
}
