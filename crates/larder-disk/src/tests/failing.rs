//! A device that fails: degraded answers, reads that go on, and recovery without help.

use std::io::ErrorKind as IoKind;

use larder_core::ErrorKind;

use super::*;
use crate::Fsync;

#[tokio::test]
async fn a_failure_at_any_call_is_an_error_and_never_a_wrong_or_removed_value() {
    for kind in [IoKind::StorageFull, IoKind::ReadOnlyFilesystem] {
        for fail in [1, 3, usize::MAX] {
            for pass in (0..60).step_by(2) {
                fail_at(Fsync::Never, kind, pass, fail).await;
            }
        }
    }
    for pass in 0..50 {
        fail_at(Fsync::Always, IoKind::Other, pass, 1).await;
    }
}

/// Lets calls fail after `pass` of them and checks what the store and its successor say.
async fn fail_at(fsync: Fsync, kind: IoKind, pass: usize, fail: usize) {
    let root = tempfile::tempdir().expect("folder");
    let settings = small(root.path()).with_fsync(fsync);
    let (store, faults) = open_faulty(&settings).await;
    let context = format!("{fsync:?} {kind:?} {pass} {fail}");
    for n in 0..10 {
        put(&store, &format!("n:{n}"), "old").await;
    }
    faults.plan("", pass, fail, kind);
    // What each key may hold from here on: `None` for nothing.
    let mut allowed: Vec<Vec<Option<&str>>> = vec![vec![Some("old")]; 10];
    for round in 0..3 {
        for (n, allowed) in allowed.iter_mut().enumerate() {
            let name = format!("n:{n}");
            if (n + round) % 3 == 0 {
                match remove(&store, &name).await {
                    Removed::Done(_) => *allowed = vec![None],
                    Removed::Failed(error) => {
                        assert_eq!(error.kind(), ErrorKind::Unavailable, "{context}");
                        allowed.push(None);
                    }
                }
            } else {
                let value = ["r0", "r1", "r2"][round];
                match try_put(&store, &name, value).await {
                    Ok(_) => *allowed = vec![Some(value), None],
                    Err(error) => {
                        assert_eq!(error.kind(), ErrorKind::Unavailable, "{context}");
                        allowed.push(Some(value));
                    }
                }
            }
            match store.read(vec![Read { key: key(&name), lease: None }]).await {
                Ok(found) => check(&found[0], allowed, &context),
                Err(error) => assert_eq!(error.kind(), ErrorKind::Unavailable, "{context}"),
            }
        }
    }
    faults.heal();
    // Everything works again at once.
    put(&store, "n:after", "v").await;
    store.ping().await.expect("well again");
    for (n, allowed) in allowed.iter().enumerate() {
        let found =
            store.read(vec![Read { key: key(&format!("n:{n}")), lease: None }]).await.expect("readable");
        check(&found[0], allowed, &context);
    }
    crash(store).await;
    let store = open(&settings).await;
    assert!(get(&store, "n:after").await.is_some(), "{context}");
    for (n, allowed) in allowed.iter().enumerate() {
        let found =
            store.read(vec![Read { key: key(&format!("n:{n}")), lease: None }]).await.expect("readable");
        check(&found[0], allowed, &context);
    }
}

fn check(found: &Found, allowed: &[Option<&str>], context: &str) {
    let found = match found {
        Found::Hit(stored) => Some(std::str::from_utf8(&stored.bytes).expect("text")),
        Found::Miss => None,
        other => panic!("{other:?}"),
    };
    // An entry may always be missing: a full disk is made room on, an unreadable one is forgotten.
    assert!(found.is_none() || allowed.contains(&found), "{found:?} is not in {allowed:?}: {context}");
}

#[tokio::test]
async fn reads_go_on_while_nothing_can_be_written() {
    for kind in [IoKind::ReadOnlyFilesystem, IoKind::StorageFull, IoKind::Other] {
        reads_go_on(kind).await;
    }
}

async fn reads_go_on(kind: IoKind) {
    let root = tempfile::tempdir().expect("folder");
    let (store, faults) = open_faulty(&small(root.path())).await;
    put(&store, "n:a", "1").await;
    faults.plan("write", 0, usize::MAX, kind);
    for _ in 0..50 {
        assert_eq!(try_put(&store, "n:b", "2").await.expect_err("fails").kind(), ErrorKind::Unavailable);
        assert_eq!(store.ping().await.expect_err("fails").kind(), ErrorKind::Unavailable);
        assert_eq!(get(&store, "n:a").await.as_deref(), Some(&b"1"[..]));
    }
    let lease = granted(&store, "n:c", 1).await;
    let fill = Fill {
        key: key("n:c"),
        lease,
        version: lease.version,
        bytes: "3".into(),
        keep: HOUR,
        tags: Vec::new(),
    };
    assert_eq!(store.fill(vec![fill.clone()]).await.expect_err("fails").kind(), ErrorKind::Unavailable);
    let leased = Condition::IfLeased(granted(&store, "n:d", 2).await);
    let leased = Write { condition: leased, ..write_of("n:d", "4") };
    assert_eq!(store.write(vec![leased.clone()]).await.expect_err("fails").kind(), ErrorKind::Unavailable);
    faults.heal();
    // The leases outlived the failed attempts.
    assert!(matches!(store.fill(vec![fill]).await.expect("answers")[0], Filled::Stored { .. }));
    assert!(matches!(store.write(vec![leased]).await.expect("answers")[0], Written::Stored(_)));
    assert_eq!(store.stats().segments, 1, "failures leave no files behind");
}

#[tokio::test]
async fn a_removal_that_could_not_be_written_holds_at_once_and_is_written_when_that_works() {
    let root = tempfile::tempdir().expect("folder");
    let settings = small(root.path());
    let (store, faults) = open_faulty(&settings).await;
    put(&store, "n:a", "1").await;
    put(&store, "m:b", "1").await;
    faults.plan("write", 0, usize::MAX, IoKind::ReadOnlyFilesystem);
    assert!(matches!(remove(&store, "n:a").await, Removed::Failed(_)));
    let prefix = KeyPrefix::of(&larder_core::Namespace::new("m").expect("valid"));
    store.clear(prefix).await.expect_err("fails");
    assert_eq!(count(&store).await, 0);
    faults.heal();
    put(&store, "n:c", "1").await;
    crash(store).await;
    let store = open(&settings).await;
    assert_eq!((get(&store, "n:a").await, get(&store, "m:b").await), (None, None));
    assert!(get(&store, "n:c").await.is_some());
}

#[tokio::test]
async fn more_owed_removals_than_fit_are_replaced_by_one_of_everything() {
    let root = tempfile::tempdir().expect("folder");
    let settings = small(root.path());
    let (store, faults) = open_faulty(&settings).await;
    put(&store, "n:a", "1").await;
    faults.plan("write", 0, usize::MAX, IoKind::ReadOnlyFilesystem);
    let long = "x".repeat(900);
    let keys: Vec<Key> = (0..2_000).map(|n| key(&format!("n:{long}{n}"))).collect();
    assert!(
        store
            .remove(keys.into_iter().map(Into::into).collect())
            .await
            .expect("answers")
            .iter()
            .all(|removed| matches!(removed, Removed::Failed(_)))
    );
    assert_eq!(get(&store, "n:a").await, None);
    faults.heal();
    put(&store, "n:b", "1").await;
    crash(store).await;
    let store = open(&settings).await;
    assert_eq!(get(&store, "n:a").await, None);
    assert!(get(&store, "n:b").await.is_some());
}

#[tokio::test]
async fn on_a_full_device_the_oldest_entries_make_room() {
    let root = tempfile::tempdir().expect("folder");
    let (store, faults) = open_faulty(&small(root.path())).await;
    for n in 0..200 {
        put(&store, &format!("n:{n}"), vec![1; 1_000]).await;
    }
    faults.plan("write", 0, 1, IoKind::StorageFull);
    put(&store, "n:new", "v").await;
    assert!(get(&store, "n:new").await.is_some() && get(&store, "n:0").await.is_none());
    assert!(get(&store, "n:199").await.is_some());
}

#[tokio::test]
async fn a_failed_fsync_is_not_tried_again_on_that_file() {
    let root = tempfile::tempdir().expect("folder");
    let settings = small(root.path()).with_fsync(Fsync::Always);
    let (store, faults) = open_faulty(&settings).await;
    put(&store, "n:a", "1").await;
    assert_eq!(store.stats().segments, 1);
    faults.plan("sync", 0, 1, IoKind::Other);
    assert_eq!(try_put(&store, "n:a", "2").await.expect_err("fails").kind(), ErrorKind::Unavailable);
    put(&store, "n:b", "3").await;
    assert_eq!(store.stats().segments, 2, "a new file is begun");
    assert_eq!(get(&store, "n:a").await.as_deref(), Some(&b"1"[..]));
    store.close().await.expect_err("says that not everything may be on the device");
    let store = open(&settings).await;
    assert!(get(&store, "n:b").await.is_some());
}

#[tokio::test]
async fn an_unreadable_entry_is_told_once_and_then_a_miss() {
    let root = tempfile::tempdir().expect("folder");
    let (store, faults) = open_faulty(&small(root.path())).await;
    put(&store, "n:a", "1").await;
    faults.plan("read", 0, 1, IoKind::Other);
    let read = || store.read(vec![Read { key: key("n:a"), lease: None }]);
    assert_eq!(read().await.expect_err("fails").kind(), ErrorKind::Unavailable);
    assert!(matches!(read().await.expect("answers")[0], Found::Miss));
    put(&store, "n:a", "2").await;
    assert!(get(&store, "n:a").await.is_some());
}

#[tokio::test]
async fn opening_a_folder_that_cannot_be_written_is_a_clear_error() {
    let root = tempfile::tempdir().expect("folder");
    let calls = {
        let faults = Arc::<Faults>::default();
        faults.plan("", usize::MAX, 0, IoKind::Other);
        let clock = HandClock::at(1);
        let store =
            DiskStore::open_with_faults(small(root.path()), clock, Arc::clone(&faults)).await.expect("opens");
        crash(store).await;
        faults.heal()
    };
    for pass in 0..calls {
        let fresh = root.path().join(pass.to_string());
        let faults = Arc::<Faults>::default();
        faults.plan("", pass, usize::MAX, IoKind::ReadOnlyFilesystem);
        if let Err(error) = DiskStore::open_with_faults(small(&fresh), HandClock::at(1), faults).await {
            assert!(matches!(error.kind(), ErrorKind::Unavailable | ErrorKind::Invalid), "{error}");
            assert!(error.to_string().contains(&*fresh.to_string_lossy()), "{error}");
        }
        assert_eq!(count(&open(&small(&fresh)).await).await, 0);
    }
}

#[tokio::test]
async fn what_a_failed_write_left_behind_does_not_spoil_what_follows() {
    for truncate_fails in [false, true] {
        let root = tempfile::tempdir().expect("folder");
        let settings = small(root.path());
        let (store, faults) = open_faulty(&settings).await;
        put(&store, "n:a", "before").await;
        faults.plan("write", 0, 1, IoKind::ReadOnlyFilesystem);
        if truncate_fails {
            // The write is the first call of an append that the log has room for, cutting back the second.
            faults.plan("", 0, 2, IoKind::ReadOnlyFilesystem);
        }
        try_put(&store, "n:b", vec![b'x'; 5_000]).await.expect_err("fails");
        faults.heal();
        put(&store, "n:c", "after").await;
        crash(store).await;
        let store = open(&settings).await;
        assert_eq!(
            get(&store, "n:a").await.as_deref(),
            Some(&b"before"[..]),
            "truncate fails: {truncate_fails}"
        );
        assert_eq!(get(&store, "n:b").await, None);
        assert_eq!(get(&store, "n:c").await.as_deref(), Some(&b"after"[..]));
        assert_eq!(store.stats().segments, if truncate_fails { 2 } else { 1 });
    }
}

#[tokio::test]
async fn a_failed_fsync_in_the_background_ends_its_segment() {
    let root = tempfile::tempdir().expect("folder");
    let faults = Arc::<Faults>::default();
    let clock = HandClock::at(10_000_000_000);
    let store = DiskStore::open_with_faults(small(root.path()), clock.clone(), Arc::clone(&faults))
        .await
        .expect("opens");
    put(&store, "n:a", "1").await;
    faults.plan("sync", 0, 1, IoKind::Other);
    clock.pass(Duration::from_secs(1));
    // The writer looks at the clock when it has something to do.
    store.ping().await.expect("writable");
    store.ping().await.expect("writable");
    while store.stats().failures == 0 {
        tokio::task::yield_now().await;
    }
    put(&store, "n:b", "2").await;
    assert_eq!(store.stats().segments, 2);
    assert!(get(&store, "n:a").await.is_some());
    store.close().await.expect_err("says that not everything may be on the device");
}
