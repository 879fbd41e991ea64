//! Unit tests: what needs a failing device or damaged files.

mod barriers;
mod bounds;
mod damage;
mod failing;
mod operation;

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use larder_core::{
    Clock, Condition, Fill, Filled, Found, Key, KeyPrefix, Lease, LeaseFor, LeaseRequest, Moment, Read,
    Removed, Stamp, Store, Timestamp, Token, Version, Write, Written,
};

use crate::{DiskSettings, DiskStore, clock::SystemClock, files::Faults};

/// Two clocks that are set by hand.
#[derive(Debug, Default)]
struct HandClock {
    now_ms: AtomicU64,
    wall_ms: AtomicU64,
}

impl HandClock {
    fn at(wall_ms: u64) -> Arc<Self> {
        Arc::new(Self { now_ms: AtomicU64::new(5), wall_ms: AtomicU64::new(wall_ms) })
    }

    fn pass(&self, span: Duration) {
        self.now_ms.fetch_add(span.as_millis() as u64, Ordering::Relaxed);
        self.wall_ms.fetch_add(span.as_millis() as u64, Ordering::Relaxed);
    }
}

impl Clock for HandClock {
    fn now(&self) -> Moment {
        Moment::from_millis(self.now_ms.load(Ordering::Relaxed))
    }

    fn wall(&self) -> Timestamp {
        Timestamp::from_millis(self.wall_ms.load(Ordering::Relaxed))
    }
}

const HOUR: Duration = Duration::from_secs(3_600);

fn key(text: &str) -> Key {
    Key::from_escaped(text.to_owned()).expect("a valid key")
}

fn small(path: &Path) -> DiskSettings {
    DiskSettings::new(path).with_max_bytes(1 << 20)
}

async fn open(settings: &DiskSettings) -> DiskStore {
    DiskStore::open(settings.clone()).await.expect("the store opens")
}

async fn open_faulty(settings: &DiskSettings) -> (DiskStore, Arc<Faults>) {
    let faults = Arc::<Faults>::default();
    let clock = Arc::new(SystemClock::new());
    let store =
        DiskStore::open_with_faults(settings.clone(), clock, Arc::clone(&faults)).await.expect("opens");
    (store, faults)
}

fn write_of(name: &str, value: impl Into<bytes::Bytes>) -> Write {
    let (stamp, condition) = (Stamp::Next, Condition::Always);
    Write { key: key(name), bytes: value.into(), keep: HOUR, stamp, condition, news: None, tags: Vec::new() }
}

async fn try_put(
    store: &DiskStore,
    name: &str,
    value: impl Into<bytes::Bytes>,
) -> larder_core::Result<Version> {
    match store.write(vec![write_of(name, value)]).await?.pop().expect("one answer") {
        Written::Stored(version) => Ok(version),
        other => panic!("{other:?}"),
    }
}

async fn put(store: &DiskStore, name: &str, value: impl Into<bytes::Bytes>) -> Version {
    try_put(store, name, value).await.expect("stored")
}

async fn get(store: &DiskStore, name: &str) -> Option<Vec<u8>> {
    match store
        .read(vec![Read { key: key(name), lease: None }])
        .await
        .expect("readable")
        .pop()
        .expect("one answer")
    {
        Found::Hit(stored) => Some(stored.bytes.to_vec()),
        Found::Miss => None,
        other => panic!("{other:?}"),
    }
}

async fn remove(store: &DiskStore, name: &str) -> Removed {
    store.remove(vec![key(name).into()]).await.expect("answers").pop().expect("one answer")
}

async fn ask(store: &DiskStore, name: &str, token: u128, when: LeaseFor) -> Found {
    let lease = Some(LeaseRequest { when, token: Token(token), ttl: Duration::from_secs(10) });
    store.read(vec![Read { key: key(name), lease }]).await.expect("readable").pop().expect("one answer")
}

async fn granted(store: &DiskStore, name: &str, token: u128) -> Lease {
    match ask(store, name, token, LeaseFor::Miss).await {
        Found::Granted(grant) => grant.to(Token(token)),
        other => panic!("{other:?}"),
    }
}

async fn fill(store: &DiskStore, name: &str, lease: Lease, value: &str) -> Filled {
    let (bytes, version) = (value.to_owned().into(), Version::new(1));
    let fill = Fill { key: key(name), lease, version, bytes, keep: HOUR, tags: Vec::new() };
    store.fill(vec![fill]).await.expect("answers").pop().expect("one answer")
}

async fn count(store: &DiskStore) -> u64 {
    store.len(KeyPrefix::all()).await.expect("counts")
}

/// Ends a store as a crash of the process would: whatever was not written is lost.
async fn crash(store: DiskStore) {
    drop(store);
}
