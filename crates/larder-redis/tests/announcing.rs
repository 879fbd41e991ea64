//! Announcing: what is executed is told in the same step, with its place; and nothing else is.

mod support;

use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use larder_core::{
    Barrier, Condition, Error, ErrorKind, Found, Raise, Raised, Removal, Removed, Stamp, Store, Stored,
    Version, Write, Written,
};
use larder_redis::{RedisSettings, RedisStore};
use larder_testkit::RedisServer;
use support::{KEEP, PATIENCE, connect, get, key, set, write};

/// The raw messages of a channel.
struct Listener(redis::aio::PubSub);

impl Listener {
    async fn on(redis: &RedisServer, channel: &str) -> Self {
        let client = redis::Client::open(redis.url()).expect("a valid url");
        let mut pubsub = client.get_async_pubsub().await.expect("a server runs");
        pubsub.subscribe(channel).await.expect("it subscribes");
        Self(pubsub)
    }

    async fn next(&mut self) -> Vec<u8> {
        let mut messages = self.0.on_message();
        let next = tokio::time::timeout(PATIENCE, messages.next());
        next.await.expect("something is told").expect("the connection stands").get_payload().expect("bytes")
    }

    async fn hears_nothing(&mut self) {
        let mut messages = self.0.on_message();
        let next = tokio::time::timeout(Duration::from_millis(50), messages.next());
        assert!(next.await.is_err(), "nothing is told");
    }
}

/// The number and what stands behind the history.
fn opened(frame: &[u8]) -> (u64, &[u8]) {
    assert_eq!(frame[0], 1);
    let number = u64::from_be_bytes(frame[1..9].try_into().expect("eight bytes"));
    (number, &frame[10 + usize::from(frame[9])..])
}

fn telling(text: &str, news: &'static str) -> Write {
    Write { news: Some(Bytes::from_static(news.as_bytes())), ..write(text) }
}

fn removal(text: &str, news: Option<&'static str>) -> Removal {
    let news = news.map(|news| Bytes::from_static(news.as_bytes()));
    Removal { news, ..key(text).into() }
}

async fn written(store: &RedisStore, write: Write) -> Version {
    match &store.write(vec![write]).await.expect("it answers")[..] {
        [Written::Stored(version)] => *version,
        other => panic!("not stored: {other:?}"),
    }
}

#[tokio::test]
async fn writes_removals_and_barriers_are_told_with_their_numbers_and_only_with_news() {
    let redis = RedisServer::start().await;
    let store = connect(redis.url()).await;
    assert_eq!(store.channel().as_deref(), Some("larder:news"));
    let mut listener = Listener::on(&redis, "larder:news").await;

    let version = written(&store, telling("u:1", "set")).await;
    assert_eq!(opened(&listener.next().await), (version.get(), &b"k\0\0set"[..]));

    let removals = vec![removal("u:1", Some("one")), removal("u:2", None), removal("u:3", Some("three"))];
    let removed = store.remove(removals).await.expect("it answers");
    let places: Vec<u64> = (1..=3).map(|step| version.get() + step).collect();
    for (removed, place) in removed.iter().zip(&places) {
        assert!(matches!(removed, Removed::Done(version) if version.get() == *place), "{removed:?}");
    }
    assert_eq!(opened(&listener.next().await), (places[0], &b"k\0\0one"[..]));
    assert_eq!(opened(&listener.next().await), (places[2], &b"k\0\0three"[..]));

    let raise = Raise {
        barriers: vec![(Bytes::from_static(b"tag"), Bytes::new())],
        expected: None,
        keep: KEEP,
        news: Some(Bytes::from_static(b"raised")),
    };
    let Raised::At(at) = store.raise(raise.clone()).await.expect("it answers") else { panic!("not raised") };
    assert_eq!(opened(&listener.next().await), (at.get(), &b"braised"[..]));

    set(&store, "u:1").await;
    let exactly = Stamp::Exactly(Version::MAX);
    store.write(vec![Write { stamp: exactly, ..telling("u:2", "no news") }]).await.expect("it answers");
    let swap = Condition::IfUnchanged(Stored { version: Version::new(1), bytes: Bytes::new() });
    store.write(vec![Write { condition: swap, ..telling("u:1", "unchanged") }]).await.expect("it answers");
    let lost = Raise { expected: Some(Barrier::new(1)), ..raise };
    assert_eq!(store.raise(lost).await.expect("it answers"), Raised::Unchanged);
    listener.hears_nothing().await;
}

#[tokio::test]
async fn databases_and_prefixes_have_channels_of_their_own() {
    let redis = RedisServer::start().await;
    let mut listener = Listener::on(&redis, "larder:news").await;
    let elsewhere = connect(format!("{}/1", redis.url())).await;
    assert_eq!(elsewhere.channel().as_deref(), Some("larder:news:1"));
    written(&elsewhere, telling("u:1", "not for you")).await;
    let silent = connect(RedisSettings::new(redis.url()).with_announce(false)).await;
    assert_eq!(silent.channel(), None);
    written(&silent, telling("u:1", "told to nobody")).await;
    listener.hears_nothing().await;
}

async fn muted(redis: &RedisServer, rights: &[&str]) -> String {
    let mut command = vec!["ACL", "SETUSER", "mute", "reset", "on", ">secret", "~*", "+@all"];
    command.extend(rights);
    redis.command(&command).await.expect("the user is made");
    redis.url().replace("redis://", "redis://mute:secret@")
}

#[tokio::test]
async fn a_user_who_may_not_publish_is_told_so_when_connecting() {
    let redis = RedisServer::start().await;
    for rights in [&["allchannels", "-publish"][..], &["resetchannels"]] {
        let url = muted(&redis, rights).await;
        let refused = RedisStore::connect(url.as_str()).await.expect_err("it may not publish");
        assert_eq!(refused.kind(), ErrorKind::Invalid);
        assert!(refused.to_string().contains("PUBLISH"), "{refused}");
        assert!(!refused.to_string().contains("secret"), "{refused}");
        connect(RedisSettings::new(url).with_announce(false)).await;
    }
}

#[tokio::test]
async fn where_news_are_refused_nothing_old_stands_and_the_caller_is_told() {
    let redis = RedisServer::start().await;
    let url = muted(&redis, &["allchannels"]).await;
    let store = connect(url).await;
    let version = set(&store, "u:1").await;
    redis.command(&["ACL", "SETUSER", "mute", "-publish"]).await.expect("it is forbidden");
    let says_so = |error: &Error| {
        assert_eq!(error.kind(), ErrorKind::Unavailable);
        assert!(error.to_string().contains("PUBLISH"), "{error}");
    };

    says_so(&store.write(vec![telling("u:1", "set")]).await.expect_err("nobody heard of it"));
    assert!(matches!(get(&store, "u:1").await, Ok(Found::Miss)), "neither the old entry nor the new one");

    set(&store, "u:1").await;
    let removed = store.remove(vec![removal("u:1", Some("gone"))]).await.expect("it answers");
    let [Removed::Failed(error)] = &removed[..] else { panic!("nobody heard of it: {removed:?}") };
    says_so(error);
    assert!(matches!(get(&store, "u:1").await, Ok(Found::Miss)));
    assert!(
        set(&store, "u:1").await.get() >= version.get() + 4,
        "others see by the numbers that they missed some"
    );
}
