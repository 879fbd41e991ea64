//! The index of tags: bounded by what is kept, in size and in the server's time, and harmless.

mod support;

use std::{collections::BTreeSet, time::Duration};

use bytes::Bytes;
use larder_core::{Cursor, ErrorKind, Found, Store, Write, Written};
use larder_redis::{RedisSettings, RedisStore};
use larder_testkit::RedisServer;
use support::{connect, get, until, write};

const BRIEF: Duration = Duration::from_millis(500);

fn tagged(text: &str, tags: &[&str], keep: Duration) -> Write {
    let tags = tags.iter().map(|tag| Bytes::copy_from_slice(tag.as_bytes())).collect();
    Write { tags, keep, ..write(text) }
}

async fn indexing(redis: &RedisServer) -> RedisStore {
    connect(RedisSettings::new(redis.url()).with_tag_index(true)).await
}

async fn put(store: &RedisStore, writes: Vec<Write>) {
    let written = store.write(writes).await.expect("it answers");
    assert!(written.iter().all(|written| matches!(written, Written::Stored(_))), "{written:?}");
}

/// The keys, how long the longest page was, and how many there were.
async fn listed(store: &RedisStore, tag: &'static str, limit: usize) -> (BTreeSet<Bytes>, usize, usize) {
    let (mut keys, mut longest, mut from) = (BTreeSet::new(), 0, Cursor::START);
    for pages in 1.. {
        let page = store.tagged(Bytes::from_static(tag.as_bytes()), from, limit).await.expect("it answers");
        longest = longest.max(page.entries.len());
        keys.extend(page.entries.into_iter().map(|entry| entry.key));
        match page.next {
            Some(next) => from = next,
            None => return (keys, longest, pages),
        }
    }
    unreachable!("the pages end")
}

async fn number(redis: &RedisServer, command: &[&str]) -> u64 {
    redis.command(command).await.expect("it answers").trim().parse().expect("a number")
}

#[tokio::test]
async fn what_expired_leaves_nothing_in_an_index_that_nobody_touches_again() {
    let redis = RedisServer::start().await;
    let store = indexing(&redis).await;
    put(&store, (0..300).map(|n| tagged(&format!("u:{n}"), &["a", "b"], BRIEF)).collect()).await;
    assert_eq!(number(&redis, &["EXISTS", "larder:{0}t:a", "larder:{0}t:b"]).await, 2);
    let gone =
        async || (number(&redis, &["EXISTS", "larder:{0}t:a", "larder:{0}t:b"]).await == 0).then_some(());
    until("the indexes went with their last member", gone).await;
    let alone = async || (number(&redis, &["DBSIZE"]).await == 1).then_some(());
    until("only the sequence is left", alone).await;
}

#[tokio::test]
async fn an_index_that_is_written_to_or_listed_lets_go_of_what_expired() {
    let redis = RedisServer::start().await;
    let store = indexing(&redis).await;
    let size = async || number(&redis, &["ZCARD", "larder:{0}t:a"]).await;
    put(&store, vec![tagged("u:lasting", &["a"], support::KEEP)]).await;
    put(&store, (0..200).map(|n| tagged(&format!("u:{n}"), &["a"], BRIEF)).collect()).await;
    // The last to come is the last to go.
    let over = async || matches!(get(&store, "u:199").await, Ok(Found::Miss)).then_some(());
    until("they are over", over).await;
    // On a slow machine some went while the others came.
    let before = size().await;
    assert!(before > 41, "{before}");
    put(&store, (0..10).map(|n| tagged(&format!("v:{n}"), &["a"], support::KEEP)).collect()).await;
    assert_eq!(size().await, before + 10 - 40, "each write takes four with it");
    let (keys, ..) = listed(&store, "a", 10).await;
    assert_eq!((keys.len(), size().await), (11, 11));
}

#[tokio::test]
async fn a_page_of_a_large_tag_is_bounded_in_length_and_in_the_servers_time() {
    let redis = RedisServer::start().await;
    let store = indexing(&redis).await;
    let names: Vec<String> = (0..50_000).map(|n| format!("u:{n}")).collect();
    for part in names.chunks(5_000) {
        put(&store, part.iter().map(|name| tagged(name, &["a"], support::KEEP * 10)).collect()).await;
    }
    redis.command(&["CONFIG", "RESETSTAT"]).await.expect("it answers");
    let (keys, longest, pages) = listed(&store, "a", 500).await;
    assert_eq!(keys.len(), names.len());
    assert!(longest <= 1_000 && pages >= 50, "{pages} pages, the longest of {longest}");
    let stats = redis.command(&["INFO", "commandstats"]).await.expect("it answers");
    let calls = stats.lines().find(|line| line.starts_with("cmdstat_evalsha")).expect("they were called");
    let micros = calls.split("usec_per_call=").nth(1).and_then(|rest| rest.split(',').next());
    let micros: f64 = micros.expect("it is told").parse().expect("a number");
    assert!(micros < 50_000.0, "a page takes {micros} us");
}

#[tokio::test]
async fn without_the_option_nothing_is_listed_and_nothing_kept() {
    let redis = RedisServer::start().await;
    let store = connect(redis.url()).await;
    put(&store, vec![tagged("u:1", &["a"], support::KEEP)]).await;
    assert_eq!(number(&redis, &["DBSIZE"]).await, 2, "the value and the sequence");
    let refused = store.tagged("a".into(), Cursor::START, 10).await.expect_err("it is off");
    assert_eq!(refused.kind(), ErrorKind::Unsupported);
    assert!(refused.to_string().contains("tag_index"), "{refused}");
}

#[tokio::test]
async fn what_somebody_else_keeps_in_the_place_of_an_index_hinders_no_write_and_stays() {
    let redis = RedisServer::start().await;
    let store = indexing(&redis).await;
    redis.command(&["SET", "larder:{0}t:a", "theirs"]).await.expect("it answers");
    put(&store, vec![tagged("u:1", &["a", "b"], support::KEEP)]).await;
    assert!(matches!(get(&store, "u:1").await, Ok(larder_core::Found::Hit(_))));
    assert_eq!(listed(&store, "b", 10).await.0.len(), 1);
    store.tagged("a".into(), Cursor::START, 10).await.expect_err("it is no index");
    assert_eq!(redis.command(&["GET", "larder:{0}t:a"]).await.expect("it answers").trim(), "theirs");
    assert_eq!(redis.command(&["TTL", "larder:{0}t:a"]).await.expect("it answers").trim(), "-1");
}

#[tokio::test]
async fn a_user_who_may_not_keep_an_index_writes_all_the_same() {
    let redis = RedisServer::start().await;
    for denied in ["-zadd", "-zrangebyscore", "-zrem", "-pttl", "-pexpire"] {
        let rights = ["ACL", "SETUSER", "some", "reset", "on", ">secret", "~*", "&*", "+@all", denied];
        redis.command(&rights).await.expect("it answers");
        let settings = RedisSettings::new(redis.url()).with_user("some").with_password("secret");
        let store = connect(settings.with_tag_index(true)).await;
        put(&store, vec![tagged("u:1", &["a"], BRIEF), tagged("u:2", &["a"], support::KEEP)]).await;
        let granted = support::granted(&store, "u:3", 1).await;
        support::fill(&store, "u:3", 1, granted.version).await;
        for text in ["u:1", "u:2", "u:3"] {
            assert!(matches!(get(&store, text).await, Ok(larder_core::Found::Hit(_))), "{denied} {text}");
            support::remove(&store, text).await;
        }
    }
}
