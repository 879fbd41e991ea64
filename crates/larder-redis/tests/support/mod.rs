//! What the tests of this crate share.
#![allow(dead_code, reason = "each test file uses a part of it")]

use std::time::Duration;

use bytes::Bytes;
use larder_core::{
    Condition, Fill, Filled, Found, Grant, Key, KeyPrefix, LeaseFor, LeaseRequest, Namespace, Read, Removed,
    Stamp, Store, Token, Version, Write, Written,
};
use larder_redis::{RedisSettings, RedisStore};

/// How long entries are kept.
pub(crate) const KEEP: Duration = Duration::from_secs(60);
/// How long a test waits for something to happen.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// Connects with the patience that a loaded machine needs, unless the test has its own limit.
pub(crate) async fn connect(settings: impl Into<RedisSettings>) -> RedisStore {
    let mut settings = settings.into();
    if settings.connect_timeout == Duration::from_millis(500) {
        settings.connect_timeout = PATIENCE;
    }
    if settings.command_timeout == Duration::from_secs(1) {
        settings.command_timeout = PATIENCE;
    }
    RedisStore::connect(settings).await.expect("a server runs")
}

pub(crate) fn key(text: &str) -> Key {
    Key::from_escaped(text.to_owned()).expect("not empty, not too long")
}

pub(crate) fn prefix(namespace: &str) -> KeyPrefix {
    KeyPrefix::of(&Namespace::new(namespace).expect("a valid name"))
}

/// A value that says whose it is.
pub(crate) fn value_of(text: &str) -> Bytes {
    Bytes::from(format!("the value of {text}"))
}

pub(crate) fn write(text: &str) -> Write {
    Write {
        key: key(text),
        bytes: value_of(text),
        keep: KEEP,
        stamp: Stamp::Next,
        condition: Condition::Always,
        news: None,
        tags: Vec::new(),
    }
}

pub(crate) async fn set(store: &RedisStore, text: &str) -> Version {
    match &store.write(vec![write(text)]).await.expect("it answers")[..] {
        [Written::Stored(version)] => *version,
        other => panic!("not stored: {other:?}"),
    }
}

pub(crate) async fn remove(store: &RedisStore, text: &str) -> Version {
    match &store.remove(vec![key(text).into()]).await.expect("it answers")[..] {
        [Removed::Done(version)] => *version,
        other => panic!("not removed: {other:?}"),
    }
}

pub(crate) async fn get(store: &RedisStore, text: &str) -> larder_core::Result<Found> {
    let found = store.read(vec![Read { key: key(text), lease: None }]).await?;
    Ok(found.into_iter().next().expect("one answer for one question"))
}

pub(crate) fn asking(text: &str, when: LeaseFor, token: u128) -> Read {
    Read { key: key(text), lease: Some(LeaseRequest { when, token: Token(token), ttl: KEEP }) }
}

pub(crate) async fn ask(store: &RedisStore, text: &str, when: LeaseFor, token: u128) -> Found {
    let found = store.read(vec![asking(text, when, token)]).await.expect("it answers");
    found.into_iter().next().expect("one answer for one question")
}

pub(crate) async fn granted(store: &RedisStore, text: &str, token: u128) -> Grant {
    match ask(store, text, LeaseFor::Miss, token).await {
        Found::Granted(grant) => grant,
        other => panic!("no lease: {other:?}"),
    }
}

pub(crate) async fn fill(store: &RedisStore, text: &str, token: u128, version: Version) -> Filled {
    let lease = Grant { version }.to(Token(token));
    let fill = Fill { key: key(text), lease, version, bytes: value_of(text), keep: KEEP, tags: Vec::new() };
    store.fill(vec![fill]).await.expect("it answers").pop().expect("one answer for one question")
}

/// Repeats `attempt` until it answers `Some`.
pub(crate) async fn until<T>(what: &str, mut attempt: impl AsyncFnMut() -> Option<T>) -> T {
    let found = tokio::time::timeout(PATIENCE, async {
        loop {
            if let Some(found) = attempt().await {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    });
    found.await.unwrap_or_else(|_| panic!("waited in vain until {what}"))
}
