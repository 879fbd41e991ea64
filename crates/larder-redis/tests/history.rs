//! Lost history: whatever happens to the server's data, versions never go back and nobody fails to notice.

mod support;

use larder_core::{ErrorKind, Filled, LeaseFor, Removed, Store, Version};
use larder_testkit::{RedisOptions, RedisServer};
use support::{ask, connect, fill, get, granted, key, remove, set, until};

#[tokio::test]
async fn after_a_flush_versions_still_rise_and_the_lineage_changes() {
    let redis = RedisServer::start().await;
    let store = connect(redis.url()).await;
    let mut last = Version::ZERO;
    for _ in 0..10 {
        last = set(&store, "u:1").await;
    }
    let lineage = store.lineage();
    redis.wipe().await;
    assert!(remove(&store, "u:1").await > last);
    assert_ne!(store.lineage(), lineage);
}

#[tokio::test]
async fn a_process_that_was_idle_notices_a_flush_although_others_have_drawn_beyond_what_it_saw() {
    let redis = RedisServer::start().await;
    let (idle, busy) = (connect(redis.url()).await, connect(redis.url()).await);
    let seen = set(&idle, "u:1").await;
    redis.wipe().await;
    let mut drawn = Version::ZERO;
    while drawn <= seen {
        drawn = set(&busy, "u:2").await;
    }
    let lineage = idle.lineage();
    assert!(remove(&idle, "u:1").await > drawn);
    assert_ne!(idle.lineage(), lineage);
}

#[tokio::test]
async fn a_sequence_that_was_rolled_back_or_evicted_is_raised_again() {
    let redis = RedisServer::start().await;
    let store = connect(redis.url()).await;
    for damage in
        [&["HSET", "larder:{0}s", "n", "2"][..], &["DEL", "larder:{0}s"], &["HSET", "larder:{0}s", "n", "?"]]
    {
        let before = set(&store, "u:1").await;
        set(&store, "u:1").await;
        let last = set(&store, "u:1").await;
        assert!(last > before);
        let lineage = store.lineage();
        redis.command(damage).await.expect("it is damaged");
        let grant = granted(&store, "u:2", 1).await;
        assert!(grant.version >= last, "{damage:?}");
        assert_ne!(store.lineage(), lineage, "{damage:?}");
        assert!(set(&store, "u:1").await > last, "{damage:?}");
        remove(&store, "u:2").await;
    }
}

#[tokio::test]
async fn nothing_is_noticed_when_nothing_happened() {
    let redis = RedisServer::start().await;
    let (one, other) = (connect(redis.url()).await, connect(redis.url()).await);
    for _ in 0..5 {
        set(&one, "u:1").await;
        remove(&other, "u:1").await;
        granted(&one, "u:2", 1).await;
        remove(&one, "u:2").await;
    }
    redis.command(&["SCRIPT", "FLUSH"]).await.expect("it flushes");
    redis.command(&["CONFIG", "RESETSTAT"]).await.expect("it resets");
    set(&one, "u:1").await;
    assert_eq!((one.lineage(), other.lineage()), (0, 0));
}

#[tokio::test]
async fn forgotten_scripts_are_sent_again() {
    let redis = RedisServer::start().await;
    let store = connect(redis.url()).await;
    let flush = async || redis.command(&["SCRIPT", "FLUSH"]).await.expect("it flushes");
    flush().await;
    let grant = granted(&store, "u:1", 7).await;
    flush().await;
    assert!(store.renew(key("u:1"), larder_core::Token(7), support::KEEP).await.expect("it answers"));
    flush().await;
    assert!(matches!(fill(&store, "u:1", 7, grant.version).await, Filled::Stored { .. }));
    flush().await;
    set(&store, "u:2").await;
    flush().await;
    let many: Vec<_> = (0..1_200).map(|n| support::write(&format!("u:{n}"))).collect();
    assert_eq!(store.write(many).await.expect("it answers").len(), 1_200);
    flush().await;
    remove(&store, "u:1").await;
    flush().await;
    store.release(key("u:1"), larder_core::Token(7)).await.expect("it answers");
}

#[tokio::test]
async fn a_server_that_came_back_empty_is_a_new_lineage() {
    let redis = RedisServer::start().await;
    let store = connect(redis.url()).await;
    let last = set(&store, "u:1").await;
    let lineage = store.lineage();
    redis.restart().await;
    until("the store has reconnected", async || get(&store, "u:1").await.ok()).await;
    assert_ne!(store.lineage(), lineage, "before anything was written");
    assert!(set(&store, "u:1").await > last);
}

#[tokio::test]
async fn a_lease_granted_before_a_flush_fills_nothing_after_it() {
    let redis = RedisServer::start().await;
    let store = connect(redis.url()).await;
    let grant = granted(&store, "u:1", 7).await;
    redis.wipe().await;
    assert!(matches!(fill(&store, "u:1", 7, grant.version).await, Filled::Refused));
}

#[tokio::test]
async fn a_sequence_at_its_end_is_an_error_and_changes_nothing() {
    let redis = RedisServer::start().await;
    let store = connect(redis.url()).await;
    set(&store, "u:1").await;
    let last = Version::MAX.get() - 1;
    redis.command(&["HSET", "larder:{0}s", "n", &last.to_string()]).await.expect("it is set");
    assert_eq!(set(&store, "u:1").await, Version::MAX);
    let refused = store.write(vec![support::write("u:1")]).await.expect_err("the sequence is used up");
    assert_eq!(refused.kind(), ErrorKind::Unavailable);
    assert!(refused.to_string().contains("used up"), "{refused}");
    let removed = store.remove(vec![key("u:1").into()]).await.expect("it answers");
    assert!(matches!(&removed[..], [Removed::Failed(_)]));
    assert!(
        matches!(get(&store, "u:1").await, Ok(larder_core::Found::Hit(hit)) if hit.version == Version::MAX)
    );
    assert!(matches!(
        ask(&store, "u:9", LeaseFor::Miss, 1).await,
        larder_core::Found::Granted(grant) if grant.version == Version::MAX
    ));
}

#[tokio::test]
async fn a_sequence_survives_a_persistent_restart() {
    let redis = RedisOptions::default().with_persistence().start().await;
    let last = set(&connect(redis.url()).await, "u:1").await;
    redis.restart().await;
    assert!(set(&connect(redis.url()).await, "u:1").await > last);
}
