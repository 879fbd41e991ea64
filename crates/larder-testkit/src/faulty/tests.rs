use std::time::Duration;

use bytes::Bytes;
use larder_core::{Condition, Grant, Namespace, Stamp, Version};
use tokio::time::timeout;

use super::*;
use crate::{MemoryStore, PausedClock, store_conformance};

const SECOND: Duration = Duration::from_secs(1);

fn faulty() -> (Faulty<MemoryStore>, Faults) {
    Faulty::new(MemoryStore::new(PausedClock::new()), 1)
}

fn keys(count: usize) -> Vec<Key> {
    (0..count).map(|n| Key::from_escaped(format!("ns:{n}")).unwrap()).collect()
}

fn writes(keys: &[Key]) -> Vec<Write> {
    let write = |key: &Key| Write {
        key: key.clone(),
        bytes: Bytes::from_static(b"value"),
        keep: SECOND * 100_000,
        stamp: Stamp::Next,
        condition: Condition::Always,
        news: None,
        tags: Vec::new(),
    };
    keys.iter().map(write).collect()
}

/// What the holder of the first grant of a key stores.
fn fill(key: &Key) -> Fill {
    Fill {
        key: key.clone(),
        lease: Grant { version: Version::ZERO }.to(Token(1)),
        version: Version::ZERO,
        bytes: Bytes::new(),
        keep: SECOND,
        tags: Vec::new(),
    }
}

async fn hits(store: &impl Store, keys: &[Key]) -> usize {
    let reads = keys.iter().map(|key| Read { key: key.clone(), lease: None }).collect();
    store.read(reads).await.unwrap().iter().filter(|found| matches!(found, Found::Hit(_))).count()
}

/// Calls each method once, in the order of [`Op::ALL`], and tells which failed.
async fn call_all(store: &impl Store) -> Vec<bool> {
    let key = keys(1).remove(0);
    let prefix = KeyPrefix::of(&Namespace::new("ns").unwrap());
    let barriers = vec![(Bytes::from_static(b"tag"), Bytes::new())];
    let raise = Raise { barriers, expected: None, keep: SECOND, news: None };
    vec![
        store.read(vec![Read { key: key.clone(), lease: None }]).await.is_err(),
        store.fill(vec![fill(&key)]).await.is_err(),
        store.write(writes(&keys(1))).await.is_err(),
        store.remove(keys(1).into_iter().map(Into::into).collect()).await.is_err(),
        store.renew(key.clone(), Token(1), SECOND).await.is_err(),
        store.release(key, Token(1)).await.is_err(),
        store.clear(prefix.clone()).await.is_err(),
        store.scan(prefix.clone(), Cursor::START, 1).await.is_err(),
        store.tagged(Bytes::from_static(b"tag"), Cursor::START, 1).await.is_err(),
        store.len(prefix).await.is_err(),
        store.beat(Beat { node: NodeId(1), number: 1, proven: 0, ttl: SECOND }).await.is_err(),
        store.leave(NodeId(1)).await.is_err(),
        store.members().await.is_err(),
        store.raise(raise).await.is_err(),
        store.barriers(Vec::new()).await.is_err(),
        store.ping().await.is_err(),
        store.close().await.is_err(),
    ]
}

#[tokio::test(start_paused = true)]
async fn without_faults_it_keeps_every_promise() {
    let shared = MemoryStore::new(PausedClock::new());
    store_conformance(async || Faulty::new(shared.clone(), 1).0).await;
}

#[tokio::test(start_paused = true)]
async fn every_call_reaches_the_store_and_is_counted_under_its_name() {
    let (store, faults) = faulty();
    assert_eq!(call_all(&store).await, [false; Op::ALL.len()]);
    assert!(Op::ALL.iter().all(|&op| faults.calls(op) == 1 && faults.injected(op) == 0), "{faults:?}");
    let failed = call_all(&store).await;
    assert_eq!(
        failed.iter().filter(|&&failed| failed).count(),
        Op::ALL.len() - 1,
        "all but close, once it is closed: {failed:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn each_kind_of_call_fails_alone() {
    for (n, op) in Op::ALL.into_iter().enumerate() {
        let (store, faults) = faulty();
        faults.fail(op);
        let failed = call_all(&store).await;
        assert!(failed.iter().enumerate().all(|(place, &failed)| failed == (place == n)), "{op}: {failed:?}");
        assert_eq!(faults.injected(op), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn a_schedule_counts_the_calls_since_it_was_made() {
    let (store, faults) = faulty();
    store.ping().await.unwrap();
    for (when, expected) in [
        (When::Nth(2), [false, true, false, false, false, false]),
        (When::Every(3), [false, false, true, false, false, true]),
        (When::Within(2..4), [false, true, true, false, false, false]),
        (When::Every(0), [false; 6]),
        (When::Chance(1.0), [true; 6]),
        (When::Chance(0.0), [false; 6]),
    ] {
        faults.inject(Op::Ping, when.clone(), Fault::Error);
        for (n, expected) in expected.into_iter().enumerate() {
            assert_eq!(store.ping().await.is_err(), expected, "{when:?}, call {n}");
        }
        faults.heal_only(Op::Ping);
    }
}

#[tokio::test(start_paused = true)]
async fn chance_repeats_from_its_seed() {
    let run = async |seed| {
        let (store, faults) = Faulty::new(MemoryStore::new(PausedClock::new()), seed);
        faults.inject_all(&When::Chance(0.3), Fault::Error);
        let mut failed = Vec::new();
        for _ in 0..100 {
            failed.push(store.ping().await.is_err());
        }
        failed
    };
    let first = run(1).await;
    assert_eq!(first, run(1).await);
    assert_ne!(first, run(2).await);
    assert!((15..45).contains(&first.iter().filter(|&&failed| failed).count()));
}

#[tokio::test(start_paused = true)]
async fn an_error_comes_before_the_deed_or_after_it() {
    let (store, faults) = faulty();
    faults.inject(Op::Write, When::Nth(1), Fault::Error);
    faults.inject(Op::Write, When::Nth(2), Fault::ErrorAfter);
    assert_eq!(store.write(writes(&keys(1))).await.unwrap_err().kind(), ErrorKind::Unavailable);
    assert_eq!(hits(&store, &keys(1)).await, 0);
    assert_eq!(store.write(writes(&keys(1))).await.unwrap_err().kind(), ErrorKind::Unavailable);
    assert_eq!(hits(&store, &keys(1)).await, 1);
}

#[tokio::test(start_paused = true)]
async fn a_delay_takes_as_long_as_it_says() {
    let (store, faults) = faulty();
    for fault in [Fault::Delay(SECOND), Fault::DelayAfter(SECOND)] {
        faults.heal();
        faults.inject(Op::Ping, When::Always, fault);
        assert!(timeout(SECOND - Duration::from_millis(1), store.ping()).await.is_err());
        assert!(timeout(SECOND + Duration::from_millis(1), store.ping()).await.unwrap().is_ok());
    }
}

#[tokio::test(start_paused = true)]
async fn a_hung_call_ends_with_an_error_when_healed_and_may_have_done_its_deed() {
    for (fault, done) in [(Fault::Hang, 0), (Fault::HangAfter, 1)] {
        let (store, faults) = faulty();
        faults.inject(Op::Write, When::Always, fault);
        let hung = tokio::spawn({
            let store = store.clone();
            async move { store.write(writes(&keys(1))).await }
        });
        tokio::time::sleep(SECOND * 3_600).await;
        assert!(!hung.is_finished());
        faults.heal();
        assert!(hung.await.unwrap().is_err());
        assert_eq!(hits(&store, &keys(1)).await, done);
    }
}

#[tokio::test(start_paused = true)]
async fn part_of_a_batch_fails_and_each_answer_is_true() {
    let (store, faults) = faulty();
    let keys = keys(200);
    faults.inject(Op::Write, When::Always, Fault::Partial(0.4));
    faults.inject(Op::Remove, When::Always, Fault::Partial(0.4));

    let written = store.write(writes(&keys)).await.unwrap();
    assert_eq!(written.len(), keys.len());
    for (key, written) in keys.iter().zip(&written) {
        let there = hits(&store, std::slice::from_ref(key)).await == 1;
        assert_eq!(there, matches!(written, Written::Stored(_)), "{key}: {written:?}");
    }
    store.inner().write(writes(&keys)).await.unwrap();
    let removed = store.remove(keys.iter().cloned().map(Into::into).collect()).await.unwrap();
    for (key, removed) in keys.iter().zip(&removed) {
        let gone = hits(&store, std::slice::from_ref(key)).await == 0;
        assert_eq!(gone, matches!(removed, Removed::Done(_)), "{key}: {removed:?}");
    }
    let failed = removed.iter().filter(|removed| matches!(removed, Removed::Failed(_))).count();
    assert!((40..120).contains(&failed), "{failed} of 200");
}

#[tokio::test(start_paused = true)]
async fn a_rejected_fill_leaves_no_entry_and_no_lease() {
    let (store, faults) = faulty();
    faults.inject(Op::Fill, When::Always, Fault::Partial(1.0));
    let key = keys(1).remove(0);
    let ask = |token| {
        let lease = larder_core::LeaseRequest { when: larder_core::LeaseFor::Miss, token, ttl: SECOND };
        vec![Read { key: key.clone(), lease: Some(lease) }]
    };
    assert!(matches!(store.read(ask(Token(1))).await.unwrap()[..], [Found::Granted(_)]));
    assert!(matches!(store.fill(vec![fill(&key)]).await.unwrap()[..], [Filled::Rejected(_)]));
    assert!(matches!(store.read(ask(Token(2))).await.unwrap()[..], [Found::Granted(_)]));
}
