//! Barriers: they hold as long as the entries do that they are about, whatever becomes of the log.

use bytes::Bytes;
use larder_core::{Barrier, ErrorKind, Raise, Raised, Standing, first_number};

use super::*;
use crate::PowerLoss;

/// The clock's time in most of these tests.
const BEGAN: u64 = 1_000_000;

async fn open_at(settings: &DiskSettings, clock: &Arc<HandClock>) -> DiskStore {
    DiskStore::open_with_clock(settings.clone(), Arc::clone(clock) as Arc<dyn Clock>).await.expect("opens")
}

fn raise_of(name: &str, note: &str, keep: Duration) -> Raise {
    let barriers = vec![(Bytes::from(name.to_owned()), Bytes::from(note.to_owned()))];
    Raise { barriers, expected: None, keep, news: None }
}

async fn raise(store: &DiskStore, name: &str, note: &str) -> Barrier {
    match store.raise(raise_of(name, note, HOUR)).await.expect("raises") {
        Raised::At(at) => at,
        Raised::Unchanged => panic!("nothing was expected"),
    }
}

async fn standing(store: &DiskStore, name: &str) -> Option<Standing> {
    store.barriers(vec![Bytes::from(name.to_owned())]).await.expect("tells").found.remove(0)
}

/// The tip and the floor.
async fn numbers(store: &DiskStore) -> (u64, u64) {
    let known = store.barriers(Vec::new()).await.expect("tells");
    (known.tip.number, known.floor.get())
}

fn first_at(wall_ms: u64) -> u64 {
    first_number(Timestamp::from_millis(wall_ms))
}

#[tokio::test]
async fn they_survive_a_close_and_a_crash_and_their_sequence_never_goes_back() {
    let root = tempfile::tempdir().expect("folder");
    let (settings, clock) = (small(root.path()), HandClock::at(BEGAN));
    let mut store = open_at(&settings, &clock).await;
    let begin = first_at(BEGAN);
    assert_eq!(numbers(&store).await, (begin, begin), "a young sequence is above old ones");
    let at = raise(&store, "b", "note").await;
    assert_eq!(at, Barrier::new(begin + 1));
    for is_clean in [true, false, true, false, false] {
        let tip = numbers(&store).await.0;
        match is_clean {
            true => store.close().await.expect("closes"),
            false => crash(store).await,
        }
        store = open_at(&settings, &clock).await;
        assert_eq!(standing(&store, "b").await, Some(Standing { at, note: "note".into() }));
        let (now, floor) = numbers(&store).await;
        assert!(now >= tip && (now == tip || !is_clean), "{now} after {tip}, closed: {is_clean}");
        assert_eq!(floor, begin, "entries that are newer stand");
        let other = raise(&store, "other", "").await;
        assert!(other.get() > now);
    }
}

#[tokio::test]
async fn they_are_no_entries() {
    let root = tempfile::tempdir().expect("folder");
    let store = open(&small(root.path())).await;
    raise(&store, "n:a", "note").await;
    assert_eq!(get(&store, "n:a").await, None);
    put(&store, "n:a", "value").await;
    assert_eq!((count(&store).await, store.stats().entries), (1, 1));
    assert_eq!(store.clear(KeyPrefix::all()).await.expect("clears"), 1);
    assert!(standing(&store, "n:a").await.is_some());
    let page = store.scan(KeyPrefix::all(), larder_core::Cursor::START, 10).await.expect("lists");
    assert!(page.entries.is_empty() && page.next.is_none());
}

#[tokio::test]
async fn they_are_forgotten_when_no_older_entry_can_live_and_not_before_however_clocks_step() {
    let root = tempfile::tempdir().expect("folder");
    let (settings, clock) = (small(root.path()), HandClock::at(BEGAN * 100));
    let store = open_at(&settings, &clock).await;
    raise(&store, "b", "").await;
    clock.pass(HOUR / 2);
    store.close().await.expect("closes");
    // The wall clock goes back by two days.
    clock.wall_ms.fetch_sub(172_800_000 / 2, Ordering::Relaxed);
    let store = open_at(&settings, &clock).await;
    clock.pass(HOUR - Duration::from_millis(1));
    assert!(standing(&store, "b").await.is_some(), "an entry that it is about may live as long");
    clock.pass(Duration::from_millis(1));
    assert_eq!(standing(&store, "b").await, None);
    let again = Raise { expected: Some(Barrier::ZERO), ..raise_of("b", "", HOUR) };
    assert!(matches!(store.raise(again).await.expect("answers"), Raised::At(_)), "it stands nowhere");
}

#[tokio::test]
async fn they_outlive_the_segments_in_which_they_were_raised() {
    let root = tempfile::tempdir().expect("folder");
    let (settings, clock) = (small(root.path()), HandClock::at(BEGAN));
    let mut store = open_at(&settings, &clock).await;
    let mut raised = Vec::new();
    for round in 0..40 {
        raised.push((format!("b{round}"), raise(&store, &format!("b{round}"), "note").await));
        for n in 0..100 {
            put(&store, &format!("n:{n}"), vec![7; 1_500]).await;
        }
        if round % 7 == 6 {
            crash(store).await;
            store = open_at(&settings, &clock).await;
        }
        assert!(store.stats().used_bytes <= 1 << 20);
    }
    assert!(std::fs::metadata(root.path().join("00000001.seg")).is_err(), "the log went round");
    crash(store).await;
    let store = open_at(&settings, &clock).await;
    for (name, at) in raised {
        assert_eq!(standing(&store, &name).await.map(|standing| standing.at), Some(at), "{name}");
    }
    assert_eq!(numbers(&store).await.1, first_at(BEGAN), "nothing else became invalid");
}

#[tokio::test]
async fn at_the_bound_everything_older_is_invalid_and_so_it_stays() {
    let root = tempfile::tempdir().expect("folder");
    let settings = small(root.path());
    let store = open(&settings).await;
    let mut last = Barrier::ZERO;
    let mut raised = 0;
    while numbers(&store).await.1 < last.get() || raised == 0 {
        last = raise(&store, &format!("b{raised}"), &"x".repeat(1_000)).await;
        raised += 1;
        assert!(raised < 100, "32 KiB are allowed");
    }
    assert!(raised > 20);
    assert_eq!(standing(&store, "b0").await, None);
    let again = raise(&store, "b0", "").await;
    crash(store).await;
    for is_clean in [false, true, false] {
        let store = open(&settings).await;
        assert_eq!(numbers(&store).await.1, last.get());
        assert_eq!(standing(&store, "b0").await.map(|standing| standing.at), Some(again));
        if is_clean {
            store.close().await.expect("closes");
        } else {
            crash(store).await;
        }
    }
}

#[tokio::test]
async fn one_name_raised_for_ever_takes_one_place_and_a_name_too_long_none() {
    let root = tempfile::tempdir().expect("folder");
    let store = open(&small(root.path())).await;
    let floor = numbers(&store).await.1;
    for _ in 0..3_000 {
        raise(&store, "b", "a note of some length").await;
    }
    assert_eq!(numbers(&store).await.1, floor);
    for (name, note) in [("x".repeat(1_025), String::new()), ("x".into(), "x".repeat(40 << 10))] {
        let tip = numbers(&store).await;
        let error = store.raise(raise_of(&name, &note, HOUR)).await.expect_err("too long");
        assert_eq!((error.kind(), numbers(&store).await), (ErrorKind::Rejected, tip));
    }
}

#[tokio::test]
async fn raised_together_they_survive_together_or_not_at_all() {
    let root = tempfile::tempdir().expect("folder");
    let settings = small(&root.path().join("store"));
    let store = open(&settings).await;
    raise(&store, "before", "").await;
    let before = store.stats().used_bytes;
    let names = ["a", "b", "c"].map(|name| (Bytes::from(name), Bytes::from("note")));
    let together = Raise { barriers: names.to_vec(), ..raise_of("", "", HOUR) };
    store.raise(together).await.expect("raises");
    let after = store.stats().used_bytes;
    crash(store).await;
    let whole = std::fs::read(settings.path.join("00000001.seg")).expect("readable");
    for len in before..=after {
        let cut = small(&root.path().join("cut"));
        damage::copy(&settings.path, &cut.path, Path::new("00000001.seg"), &whole[..len as usize]);
        let store = open(&cut).await;
        for name in ["a", "b", "c"] {
            assert_eq!(standing(&store, name).await.is_some(), len == after, "{name}, cut to {len}");
        }
        assert!(standing(&store, "before").await.is_some());
        drop(store);
        std::fs::remove_dir_all(&cut.path).expect("removes");
    }
}

#[tokio::test]
async fn wherever_a_bit_flips_a_barrier_stands_or_all_that_is_older_is_invalid() {
    let root = tempfile::tempdir().expect("folder");
    let settings = small(&root.path().join("store")).with_power_loss(PowerLoss::Trust);
    let store = open(&settings).await;
    put(&store, "n:a", "value").await;
    let at = raise(&store, "b", "note").await;
    put(&store, "n:b", "value").await;
    crash(store).await;
    let whole = std::fs::read(settings.path.join("00000001.seg")).expect("readable");
    for bit in 0..whole.len() * 8 {
        let mut flipped = whole.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        let other = small(&root.path().join("flipped")).with_power_loss(PowerLoss::Trust);
        damage::copy(&settings.path, &other.path, Path::new("00000001.seg"), &flipped);
        let store = open(&other).await;
        let stands = standing(&store, "b").await.is_some_and(|standing| standing.at == at);
        let (tip, floor) = numbers(&store).await;
        assert!(stands || floor >= at.get(), "bit {bit}: the floor is {floor}, it stood at {at}");
        assert!(tip >= at.get() && raise(&store, "next", "").await > at, "bit {bit}");
        drop(store);
        std::fs::remove_dir_all(&other.path).expect("removes");
    }
}

#[tokio::test]
async fn damage_before_entries_that_stay_makes_them_invalid_until_all_barriers_are_written_anew() {
    let root = tempfile::tempdir().expect("folder");
    let settings = small(root.path());
    let store = open(&settings).await;
    let frame = store.stats().used_bytes.max(crate::frame::SEGMENT_HEAD_BYTES as u64) as usize;
    let at = raise(&store, "b", "note").await;
    for n in 0..5 {
        put(&store, &format!("n:{n}"), vec![7; 30_000]).await;
    }
    crash(store).await;
    let first = root.path().join("00000001.seg");
    let mut bytes = std::fs::read(&first).expect("readable");
    bytes[frame + 4] ^= 1;
    std::fs::write(&first, bytes).expect("writes");
    let store = open(&settings).await;
    assert!(get(&store, "n:4").await.is_some(), "it stands behind the damage");
    let floor = numbers(&store).await.1;
    assert!(floor >= at.get());
    let next = raise(&store, "next", "").await;
    crash(store).await;
    let store = open(&settings).await;
    assert_eq!(numbers(&store).await.1, floor);
    assert_eq!(standing(&store, "next").await.map(|standing| standing.at), Some(next));
}

#[tokio::test]
async fn where_all_that_stands_is_lost_the_floor_rises_once() {
    let root = tempfile::tempdir().expect("folder");
    let settings = small(root.path());
    let store = open(&settings).await;
    let at = raise(&store, "b", "note").await;
    crash(store).await;
    std::fs::remove_file(root.path().join("00000001.seg")).expect("removes");
    let store = open(&settings).await;
    let (tip, floor) = numbers(&store).await;
    assert!(floor > at.get() && tip == floor);
    put(&store, "n:a", "value").await;
    crash(store).await;
    let store = open(&settings).await;
    assert_eq!(numbers(&store).await.1, floor, "what was stored since stands");
    assert!(get(&store, "n:a").await.is_some());
}

#[tokio::test]
async fn what_could_not_be_written_was_not_raised() {
    let root = tempfile::tempdir().expect("folder");
    let settings = small(root.path());
    let (store, faults) = open_faulty(&settings).await;
    let at = raise(&store, "b", "old").await;
    faults.plan("write", 0, usize::MAX, std::io::ErrorKind::ReadOnlyFilesystem);
    store.raise(raise_of("b", "new", HOUR)).await.expect_err("nothing can be written");
    assert_eq!(standing(&store, "b").await, Some(Standing { at, note: "old".into() }));
    faults.heal();
    assert!(raise(&store, "b", "new").await > at);
}

#[tokio::test]
async fn a_segment_that_leaves_a_full_device_with_barriers_unwritten_is_noticed() {
    let root = tempfile::tempdir().expect("folder");
    let settings = small(root.path());
    let (store, faults) = open_faulty(&settings).await;
    let at = raise(&store, "b", "note").await;
    for n in 0..8 {
        put(&store, &format!("n:{n}"), vec![7; 30_000]).await;
    }
    // The entry's own write, and that of the barriers when the oldest segment is given for it.
    faults.plan("write", 0, 2, std::io::ErrorKind::StorageFull);
    put(&store, "n:last", vec![7; 30_000]).await;
    assert_eq!(faults.heal(), 3, "two failed, the third was taken");
    assert!(standing(&store, "b").await.is_some(), "it still stands here");
    assert!(std::fs::metadata(root.path().join("00000001.seg")).is_err());
    crash(store).await;
    let store = open(&settings).await;
    assert_eq!(standing(&store, "b").await, None);
    assert!(numbers(&store).await.1 >= at.get());
}
