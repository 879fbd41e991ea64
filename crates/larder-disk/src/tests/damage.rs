//! Damaged, torn, stale and missing files: never a wrong value, never a removed key.

use std::{collections::BTreeMap, path::PathBuf};

use super::*;
use crate::{PowerLoss, frame, session::Session};

type Contents = BTreeMap<String, Vec<u8>>;

/// A store with overwritten, removed, cleared and plain entries, ended by a crash. Answers, for each length of its
/// only segment at which a frame ends, what the store held then.
async fn history(settings: &DiskSettings) -> (PathBuf, BTreeMap<u64, Contents>) {
    let store = open(settings).await;
    let mut held = Contents::new();
    let mut at = BTreeMap::from([(frame::SEGMENT_HEAD_BYTES as u64, Contents::new())]);
    for step in 0..24 {
        let name = format!("n:{}", step % 7);
        match step {
            17 => {
                store.clear(KeyPrefix::all()).await.expect("clears");
                held.clear();
            }
            5 | 9 | 12 | 20 => {
                remove(&store, &name).await;
                held.remove(&name);
            }
            _ => {
                let value = format!("{name}={step}").into_bytes();
                put(&store, &name, value.clone()).await;
                held.insert(name, value);
            }
        }
        at.insert(store.stats().used_bytes, held.clone());
    }
    crash(store).await;
    (settings.path.join("00000001.seg"), at)
}

async fn contents(settings: &DiskSettings) -> Contents {
    let store = open(settings).await;
    let mut found = Contents::new();
    for n in 0..7 {
        let name = format!("n:{n}");
        found.extend(get(&store, &name).await.map(|value| (name, value)));
    }
    found
}

/// Copies a folder, with one file changed.
pub(super) fn copy(from: &Path, to: &Path, file: &Path, bytes: &[u8]) {
    std::fs::create_dir_all(to).expect("creates");
    for entry in std::fs::read_dir(from).expect("readable") {
        let path = entry.expect("readable").path();
        std::fs::copy(&path, to.join(path.file_name().expect("named"))).expect("copies");
    }
    std::fs::write(to.join(file.file_name().expect("named")), bytes).expect("writes");
}

#[tokio::test]
async fn a_log_cut_anywhere_gives_what_was_acknowledged_up_to_there() {
    let root = tempfile::tempdir().expect("folder");
    let settings = small(&root.path().join("store"));
    let (segment, at) = history(&settings).await;
    let whole = std::fs::read(&segment).expect("readable");
    for len in 0..=whole.len() {
        let cut = small(&root.path().join("cut"));
        copy(&settings.path, &cut.path, &segment, &whole[..len]);
        let empty = Contents::new();
        let expected = at.range(..=len as u64).next_back().map_or(&empty, |(_, held)| held);
        assert_eq!(contents(&cut).await, *expected, "cut to {len}");
        std::fs::remove_dir_all(&cut.path).expect("removes");
    }
}

#[tokio::test]
async fn no_flipped_bit_brings_back_an_older_value_or_a_removed_key() {
    let root = tempfile::tempdir().expect("folder");
    let settings = small(&root.path().join("store"));
    let (segment, at) = history(&settings).await;
    let held = at.values().next_back().expect("not empty").clone();
    let mut files = vec![segment, settings.path.join("larder.session")];
    let clean = small(&root.path().join("clean"));
    copy(&settings.path, &clean.path, &files[0], &std::fs::read(&files[0]).expect("readable"));
    open(&clean).await.close().await.expect("closes");
    files.push(clean.path.join("larder.index"));
    for file in &files {
        let from = file.parent().expect("in a folder");
        let whole = std::fs::read(file).expect("readable");
        for byte in 0..whole.len() {
            let mut damaged = whole.clone();
            damaged[byte] ^= 1 << (byte % 8);
            let copied = small(&root.path().join("copy"));
            copy(from, &copied.path, file, &damaged);
            for (name, value) in contents(&copied).await {
                assert_eq!(held.get(&name), Some(&value), "{}, byte {byte}, {name}", file.display());
            }
            // And again, as the first opening left it.
            for (name, value) in contents(&copied).await {
                assert_eq!(held.get(&name), Some(&value), "{}, byte {byte}, {name}, again", file.display());
            }
            std::fs::remove_dir_all(&copied.path).expect("removes");
        }
    }
}

#[tokio::test]
async fn a_damaged_payload_costs_its_own_entry_only() {
    let root = tempfile::tempdir().expect("folder");
    let settings = small(root.path());
    let store = open(&settings).await;
    put(&store, "n:a", "older").await;
    put(&store, "n:a", "damaged").await;
    let end = store.stats().used_bytes as usize;
    put(&store, "n:b", "whole").await;
    let path = root.path().join("00000001.seg");
    let mut bytes = std::fs::read(&path).expect("readable");
    bytes[end - 1] ^= 1;
    std::fs::write(&path, bytes).expect("writes");
    // While the store is open, and after.
    assert_eq!(get(&store, "n:a").await, None);
    assert_eq!(store.stats().damaged, 1);
    crash(store).await;
    let store = open(&settings).await;
    assert_eq!(get(&store, "n:a").await, None);
    assert!(get(&store, "n:b").await.is_some());
}

#[tokio::test]
async fn a_stale_index_file_is_not_believed() {
    let root = tempfile::tempdir().expect("folder");
    let settings = small(root.path());
    let store = open(&settings).await;
    put(&store, "n:a", "old").await;
    put(&store, "n:b", "removed").await;
    store.close().await.expect("closes");
    let stale = std::fs::read(root.path().join("larder.index")).expect("readable");
    let store = open(&settings).await;
    put(&store, "n:a", "new").await;
    remove(&store, "n:b").await;
    crash(store).await;
    assert!(!root.path().join("larder.index").exists());
    std::fs::write(root.path().join("larder.index"), stale).expect("writes");
    let store = open(&settings).await;
    assert_eq!(get(&store, "n:a").await.as_deref(), Some(&b"new"[..]));
    assert_eq!(get(&store, "n:b").await, None);
}

/// Fills several segments, removing what the first ones hold.
async fn several_segments(settings: &DiskSettings) -> DiskStore {
    let store = open(settings).await;
    for n in 0..200 {
        put(&store, &format!("n:{n}"), vec![1; 1_000]).await;
    }
    for n in 0..150 {
        remove(&store, &format!("n:{n}")).await;
    }
    assert!(store.stats().segments >= 3);
    store
}

#[tokio::test]
async fn a_missing_segment_takes_everything_older_with_it() {
    for clean in [true, false] {
        for missing in [1, 2, 3] {
            let root = tempfile::tempdir().expect("folder");
            let settings = small(root.path());
            let store = several_segments(&settings).await;
            let (lineage, last) = (store.lineage(), put(&store, "n:last", "v").await);
            if clean {
                store.close().await.expect("closes");
            }
            crash(store).await;
            std::fs::remove_file(root.path().join(format!("{missing:08x}.seg"))).expect("removes");
            let store = open(&settings).await;
            for n in 0..150 {
                assert_eq!(get(&store, &format!("n:{n}")).await, None, "missing {missing}, clean {clean}");
            }
            if clean || missing == 2 {
                assert_ne!(store.lineage(), lineage);
                assert!(put(&store, "n:x", "v").await > last);
            }
            crash(store).await;
            let store = open(&settings).await;
            for n in 0..150 {
                assert_eq!(
                    get(&store, &format!("n:{n}")).await,
                    None,
                    "again, missing {missing}, clean {clean}"
                );
            }
        }
    }
}

#[tokio::test]
async fn after_the_machine_went_down_only_what_was_surely_written_is_believed() {
    use crate::Fsync::{Always, EverySecond};
    for (fsync, power_loss, close, kept) in [
        (EverySecond, PowerLoss::Forget, false, false),
        (EverySecond, PowerLoss::Forget, true, true),
        (EverySecond, PowerLoss::Trust, false, true),
        (Always, PowerLoss::Forget, false, true),
    ] {
        let root = tempfile::tempdir().expect("folder");
        let settings = small(root.path()).with_fsync(fsync).with_power_loss(power_loss);
        let store = open(&settings).await;
        let version = put(&store, "n:a", "1").await;
        let lineage = store.lineage();
        if close {
            store.close().await.expect("closes");
        }
        crash(store).await;
        // As if the machine had been started anew since. Opening waits for the lock first.
        drop(open_folder(root.path()).lock().expect("free"));
        let folder = open_folder(root.path());
        let last = Session::load(&folder).expect("readable").expect("there");
        Session { boot: Some("another".into()), ..last }.store(&folder).expect("writes");
        let store = open(&settings).await;
        assert_eq!(get(&store, "n:a").await.is_some(), kept, "{fsync:?} {power_loss:?} {close}");
        assert_eq!(store.lineage() == lineage, kept);
        crash(store).await;
        assert!(put(&open(&settings).await, "n:b", "2").await > version, "the sequence goes on");
    }
}

fn open_folder(path: &Path) -> crate::files::Folder {
    crate::files::Folder::open(path, Arc::default()).expect("opens")
}

#[tokio::test]
async fn files_full_of_nonsense_are_an_empty_store() {
    let sparse_bytes = 100 << 30;
    for nonsense in [&b""[..], b"x", b"{\"v\":1}", &[0; 4_096], &[255; 4_096]] {
        for name in ["00000001.seg", "larder.index", "larder.session"] {
            let root = tempfile::tempdir().expect("folder");
            std::fs::write(root.path().join(name), nonsense).expect("writes");
            let store = open(&small(root.path())).await;
            assert_eq!(count(&store).await, 0);
            put(&store, "n:a", "1").await;
            crash(store).await;
            assert!(get(&open(&small(root.path())).await, "n:a").await.is_some(), "{name}");
        }
    }
    for name in ["00000001.seg", "larder.index"] {
        let root = tempfile::tempdir().expect("folder");
        let file = std::fs::File::create(root.path().join(name)).expect("creates");
        file.set_len(sparse_bytes).expect("is sparse");
        assert_eq!(count(&open(&small(root.path())).await).await, 0);
    }
}
