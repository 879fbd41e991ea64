//! The store's own behaviour, beyond what every store promises.

use std::os::unix::fs::PermissionsExt;

use larder_core::{Cursor, ErrorKind, Namespace};

use super::*;

#[tokio::test]
async fn entries_leases_and_versions_survive_what_they_should() {
    let root = tempfile::tempdir().expect("folder");
    let settings = small(root.path());
    let store = open(&settings).await;
    let first = put(&store, "n:a", "1").await;
    put(&store, "n:b", "2").await;
    let lineage = store.lineage();
    let lease = granted(&store, "n:c", 7).await;
    let Removed::Done(last) = remove(&store, "n:b").await else { panic!("not removed") };
    assert!(last > first);
    crash(store).await;
    for clean in [true, false, true] {
        let store = open_after(&settings, clean).await;
        assert_eq!(get(&store, "n:a").await.as_deref(), Some(&b"1"[..]), "clean: {clean}");
        assert_eq!(get(&store, "n:b").await, None, "clean: {clean}");
        assert!(matches!(fill(&store, "n:c", lease, "late").await, Filled::Refused));
        assert!(put(&store, "n:d", "4").await > last);
        assert_eq!(store.lineage(), lineage);
        crash(store).await;
    }

    async fn open_after(settings: &DiskSettings, clean: bool) -> DiskStore {
        let store = open(settings).await;
        if clean {
            store.close().await.expect("closes");
        }
        drop(store);
        open(settings).await
    }
}

#[tokio::test]
async fn deadlines_resume_and_never_grow_whatever_the_wall_clock_says() {
    let root = tempfile::tempdir().expect("folder");
    let settings = small(root.path());
    for clean in [true, false] {
        let clock = HandClock::at(10_000_000_000);
        let store = DiskStore::open_with_clock(settings.clone(), clock.clone()).await.expect("opens");
        put(&store, "n:a", "1").await;
        clock.pass(HOUR / 2);
        assert!(get(&store, "n:a").await.is_some());
        if clean {
            store.close().await.expect("closes");
        }
        crash(store).await;
        // The clock was set back by a day: no more than the time it was kept for.
        let back = HandClock::at(10_000_000_000 - 86_400_000);
        let store = DiskStore::open_with_clock(settings.clone(), back.clone()).await.expect("opens");
        assert!(get(&store, "n:a").await.is_some());
        back.pass(HOUR);
        assert_eq!(get(&store, "n:a").await, None);
        assert_eq!(count(&store).await, 0);
        crash(store).await;
    }
}

#[tokio::test]
async fn an_expired_entry_does_not_uncover_the_older_one() {
    let root = tempfile::tempdir().expect("folder");
    let settings = small(root.path());
    let clock = HandClock::at(10_000_000_000);
    let store = DiskStore::open_with_clock(settings.clone(), clock.clone()).await.expect("opens");
    put(&store, "n:a", "old").await;
    let short = Write { keep: Duration::from_millis(10), ..write_of("n:a", "new") };
    store.write(vec![short]).await.expect("stored");
    crash(store).await;
    clock.pass(Duration::from_millis(20));
    let store = DiskStore::open_with_clock(settings, clock).await.expect("opens");
    assert_eq!(get(&store, "n:a").await, None);
}

#[tokio::test]
async fn clear_and_scan_stay_within_their_prefix_also_after_a_crash() {
    let root = tempfile::tempdir().expect("folder");
    let settings = small(root.path());
    let store = open(&settings).await;
    for n in 0..50 {
        put(&store, &format!("users:{n}"), "u").await;
        put(&store, &format!("users_old:{n}"), "o").await;
    }
    let users = KeyPrefix::of(&Namespace::new("users").expect("valid"));
    let mut keys = Vec::new();
    let mut from = Cursor::START;
    loop {
        let page = store.scan(users.clone(), from, 7).await.expect("scans");
        assert!(page.entries.len() <= 7);
        keys.extend(page.entries.into_iter().map(|entry| entry.key));
        match page.next {
            Some(next) => from = next,
            None => break,
        }
    }
    assert_eq!(keys.len(), 50);
    assert!(keys.iter().all(|key| key.starts_with(b"users:")));
    assert_eq!(store.clear(users.clone()).await.expect("clears"), 50);
    crash(store).await;
    let store = open(&settings).await;
    assert_eq!(store.len(users).await.expect("counts"), 0);
    assert_eq!(count(&store).await, 50);
    for forged in ["", "zzz", "\u{0}", "users:"] {
        let page =
            store.scan(KeyPrefix::all(), Cursor(forged.to_owned().into()), usize::MAX).await.expect("scans");
        assert!(page.entries.len() <= 50);
    }
}

#[tokio::test]
async fn a_value_that_is_too_large_is_rejected_and_the_old_one_leaves_for_good() {
    let root = tempfile::tempdir().expect("folder");
    let settings = small(root.path()).with_max_entry_bytes(1_000);
    let store = open(&settings).await;
    put(&store, "n:a", "old").await;
    let answers = store.write(vec![write_of("n:a", vec![0; 1_001]), write_of("n:b", vec![0; 1_000])]).await;
    let answers = answers.expect("answers");
    assert!(matches!(&answers[0], Written::Rejected(error) if error.kind() == ErrorKind::Rejected));
    assert!(matches!(answers[1], Written::Stored(_)));
    crash(store).await;
    let store = open(&settings).await;
    assert_eq!(get(&store, "n:a").await, None);
    assert_eq!(get(&store, "n:b").await.map(|bytes| bytes.len()), Some(1_000));
}

#[tokio::test]
async fn close_waits_for_what_was_asked_and_everything_after_it_is_closed() {
    let root = tempfile::tempdir().expect("folder");
    let store = open(&small(root.path())).await;
    let writes: Vec<_> = (0..500).map(|n| write_of(&format!("n:{n}"), "v")).collect();
    let (written, closed, again) = tokio::join!(store.write(writes), store.close(), store.close());
    assert_eq!(written.expect("stored").len(), 500);
    closed.expect("closes");
    again.expect("closes");
    store.close().await.expect("is idempotent");
    assert_eq!(store.ping().await.expect_err("closed").kind(), ErrorKind::Closed);
    assert_eq!(store.read(Vec::new()).await.expect_err("closed").kind(), ErrorKind::Closed);
    assert_eq!(store.write(vec![write_of("n:x", "v")]).await.expect_err("closed").kind(), ErrorKind::Closed);
    // The folder is free at once, although this handle lives on.
    assert_eq!(count(&open(&small(root.path())).await).await, 500);
}

#[tokio::test]
async fn a_folder_belongs_to_one_store_at_a_time() {
    let root = tempfile::tempdir().expect("folder");
    let settings = small(&root.path().join("cache"));
    let store = open(&settings).await;
    let error = DiskStore::open(settings.clone()).await.expect_err("in use");
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(error.to_string().contains("in use") && error.to_string().contains("cache"), "{error}");
    put(&store, "n:a", "1").await;
    crash(store).await;
    assert!(get(&open(&settings).await, "n:a").await.is_some());
}

#[tokio::test]
async fn paths_that_are_no_folder_of_ours_are_refused_without_waiting() {
    let root = tempfile::tempdir().expect("folder");
    let at = |name: &str| root.path().join(name);
    std::fs::create_dir(at("real")).expect("creates");
    std::os::unix::fs::symlink(at("real"), at("link")).expect("links");
    std::os::unix::fs::symlink(at("missing"), at("dangling")).expect("links");
    std::fs::write(at("file"), "mine").expect("writes");
    make_pipe(&at("pipe"));
    std::fs::create_dir(at("open")).expect("creates");
    std::fs::set_permissions(at("open"), std::fs::Permissions::from_mode(0o777)).expect("sets");
    for bad in ["link", "link/", "link/.", "dangling", "file", "file/under", "pipe", "open"] {
        let error = DiskStore::open(small(&at(bad))).await.expect_err(bad);
        assert_eq!(error.kind(), ErrorKind::Invalid, "{bad}: {error}");
    }
    for bad in ["", "nul\0byte", &"x".repeat(5_000)] {
        let error = DiskStore::open(small(Path::new(bad))).await.expect_err("refused");
        assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
    }
    assert_eq!(std::fs::read(at("file")).expect("still there"), b"mine");
    assert_eq!(std::fs::read_dir(at("real")).expect("readable").count(), 0);
}

fn make_pipe(path: &Path) {
    let status = std::process::Command::new("mkfifo").arg(path).status().expect("mkfifo runs");
    assert!(status.success());
}

#[tokio::test]
async fn links_and_pipes_in_place_of_files_are_refused_and_foreign_files_left_alone() {
    for name in ["larder.lock", "00000001.seg"] {
        let root = tempfile::tempdir().expect("folder");
        std::fs::write(root.path().join("victim"), "mine").expect("writes");
        std::os::unix::fs::symlink(root.path().join("victim"), root.path().join(name)).expect("links");
        DiskStore::open(small(root.path())).await.expect_err(name);
        std::fs::remove_file(root.path().join(name)).expect("removes");
        make_pipe(&root.path().join(name));
        DiskStore::open(small(root.path())).await.expect_err(name);
        assert_eq!(std::fs::read(root.path().join("victim")).expect("still there"), b"mine");
    }
    let root = tempfile::tempdir().expect("folder");
    for name in ["larder.index", "larder.session", "larder.index.new", "larder.probe"] {
        std::os::unix::fs::symlink(root.path().join("victim"), root.path().join(name)).expect("links");
    }
    let foreign = ["victim", "1.seg", "00000001.SEG", "0000000g.seg", "notes.txt"];
    foreign.iter().for_each(|name| std::fs::write(root.path().join(name), "mine").expect("writes"));
    let store = open(&small(root.path())).await;
    put(&store, "n:a", "1").await;
    store.ping().await.expect("writable");
    store.close().await.expect("closes");
    for name in foreign {
        assert_eq!(std::fs::read(root.path().join(name)).expect("still there"), b"mine", "{name}");
    }
}

#[tokio::test]
async fn folder_and_files_are_for_their_owner_alone() {
    let root = tempfile::tempdir().expect("folder");
    let settings = small(&root.path().join("a/b"));
    let store = open(&settings).await;
    put(&store, "n:a", "1").await;
    store.close().await.expect("closes");
    let mode = |path: &Path| std::fs::metadata(path).expect("there").permissions().mode() & 0o777;
    assert_eq!(mode(&settings.path), 0o700);
    for entry in std::fs::read_dir(&settings.path).expect("readable") {
        let path = entry.expect("readable").path();
        assert_eq!(mode(&path), 0o600, "{}", path.display());
    }
}

#[tokio::test]
async fn settings_are_checked_and_the_error_says_which() {
    let root = tempfile::tempdir().expect("folder");
    let good = small(root.path());
    for (bad, names) in [
        (good.clone().with_max_bytes(0), "max_bytes"),
        (good.clone().with_max_entries(0), "max_entries"),
        (good.clone().with_segment_bytes(1), "segment_bytes"),
        (good.clone().with_segment_bytes(1 << 20), "segment_bytes"),
        (good.clone().with_max_entry_bytes(0), "max_entry_bytes"),
        (good.clone().with_max_entry_bytes(u64::MAX), "max_entry_bytes"),
        (good.clone().with_timeout(Duration::ZERO), "timeout"),
    ] {
        let error = DiskStore::open(bad).await.expect_err(names);
        assert!(error.kind() == ErrorKind::Invalid && error.to_string().contains(names), "{error}");
    }
}

#[tokio::test]
async fn a_call_that_is_dropped_at_any_point_leaves_the_store_usable() {
    let root = tempfile::tempdir().expect("folder");
    let store = open(&small(root.path())).await;
    for polls in 0..12_usize {
        let name = format!("n:{polls}");
        poll_times(store.write(vec![write_of(&name, "1")]), polls).await;
        poll_times(store.remove(vec![key(&name).into()]), polls).await;
        poll_times(store.clear(KeyPrefix::all()), polls).await;
        poll_times(store.read(vec![Read { key: key(&name), lease: None }]), polls).await;
        poll_times(store.len(KeyPrefix::all()), polls).await;
        poll_times(store.ping(), polls).await;
        put(&store, &name, "2").await;
        assert_eq!(get(&store, &name).await.as_deref(), Some(&b"2"[..]));
    }
    poll_times(store.close(), 1).await;
    store.close().await.expect("the first close goes on");
}

async fn poll_times(future: impl Future, polls: usize) {
    let mut future = std::pin::pin!(future);
    for _ in 0..polls {
        let pending = std::future::poll_fn(|context| {
            std::task::Poll::Ready(future.as_mut().poll(context).is_pending())
        });
        if !pending.await {
            return;
        }
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn large_values_come_back_whole_also_beside_small_ones() {
    let root = tempfile::tempdir().expect("folder");
    let store = open(&DiskSettings::new(root.path())).await;
    let large: Vec<u8> = (0..16_u32 << 20).map(|n| (n % 251) as u8).collect();
    put(&store, "n:large", large.clone()).await;
    put(&store, "n:small", "s").await;
    let reads = ["n:small", "n:large", "n:none", "n:small"].map(|name| Read { key: key(name), lease: None });
    let found = store.read(reads.to_vec()).await.expect("readable");
    let sizes: Vec<usize> = found
        .iter()
        .map(|found| if let Found::Hit(stored) = found { stored.bytes.len() } else { 0 })
        .collect();
    assert_eq!(sizes, [1, large.len(), 0, 1]);
    assert_eq!(get(&store, "n:large").await.expect("there"), large);
}

#[tokio::test]
async fn a_sequence_that_is_used_up_is_an_error_and_does_not_wrap() {
    let root = tempfile::tempdir().expect("folder");
    let settings = small(root.path());
    let folder = crate::files::Folder::open(root.path(), Arc::default()).expect("opens");
    let sequence = Version::MAX.get() - 1;
    crate::session::Session { boot: None, always_synced: true, lineage: 1, sequence, barriers: 0 }
        .store(&folder)
        .expect("writes");
    crate::session::Session::load(&folder).expect("readable").expect("there");
    let store = open(&settings).await;
    // Opening after an unclean end skipped what was left.
    assert_eq!(try_put(&store, "n:a", "1").await.expect_err("used up").kind(), ErrorKind::Unavailable);
    assert!(matches!(remove(&store, "n:a").await, Removed::Failed(_)));
    store.clear(KeyPrefix::all()).await.expect_err("used up");
    let exactly = Write { stamp: Stamp::Exactly(Version::new(9)), ..write_of("n:a", "1") };
    assert!(matches!(store.write(vec![exactly]).await.expect("answers")[0], Written::Stored(_)));
    assert!(get(&store, "n:a").await.is_some());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn readers_see_whole_and_never_older_values_while_the_log_goes_round() {
    let root = tempfile::tempdir().expect("folder");
    let store = open(&small(root.path())).await;
    put(&store, "n:0", 0_u32.to_le_bytes().repeat(400)).await;
    let readers: Vec<_> = (0..3)
        .map(|_| {
            let store = store.clone();
            tokio::spawn(async move {
                let mut last = 0;
                while last < 5_000 {
                    let value = get(&store, "n:0").await.expect("always there");
                    let number = u32::from_le_bytes(*value.first_chunk().expect("four bytes"));
                    assert_eq!(value, number.to_le_bytes().repeat(400));
                    assert!(number >= last, "{number} after {last}");
                    last = number;
                }
            })
        })
        .collect();
    for number in 1..=5_000_u32 {
        put(&store, "n:0", number.to_le_bytes().repeat(400)).await;
    }
    for reader in readers {
        reader.await.expect("reads on");
    }
    assert_eq!(store.stats().damaged, 0);
}
