//! Any history of changes, clean and unclean ends: the store answers as a map does.

use std::{collections::BTreeMap, path::Path, time::Duration};

use bytes::Bytes;
use larder_core::{
    Barrier, Condition, Cursor, Found, Key, KeyPrefix, Namespace, Raise, Raised, Read, Removed, Stamp,
    Standing, Store, Stored, Version, Write, Written,
};
use larder_disk::{DiskSettings, DiskStore};
use proptest::{
    collection::vec,
    prelude::{Just, ProptestConfig, Strategy, any, prop_oneof, proptest},
};

const KEYS: u8 = 12;

#[derive(Clone, Debug)]
enum Step {
    Write(u8, u16),
    WriteExactly(u8, u16, u64),
    Swap(u8, u16, bool),
    Remove(u8),
    Clear(u8),
    /// Two barriers together; if the number is odd, only where the first one stands.
    Raise(u8, u8, u16),
    Close,
    Crash,
}

fn step() -> impl Strategy<Value = Step> {
    let key = 0..KEYS;
    prop_oneof![
        8 => (key.clone(), 0_u16..9_000).prop_map(|(key, len)| Step::Write(key, len)),
        2 => (key.clone(), 0_u16..900, 0_u64..40).prop_map(|(key, len, version)| Step::WriteExactly(key, len, version)),
        2 => (key.clone(), 0_u16..900, any::<bool>()).prop_map(|(key, len, right)| Step::Swap(key, len, right)),
        3 => key.prop_map(Step::Remove),
        1 => (0_u8..3).prop_map(Step::Clear),
        3 => (0_u8..5, 0_u8..5, 0_u16..900).prop_map(|(one, other, len)| Step::Raise(one, other, len)),
        1 => Just(Step::Close),
        1 => Just(Step::Crash),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn the_store_answers_as_a_map_does(steps in vec(step(), 1..120)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("runtime");
        runtime.block_on(play(steps));
    }
}

type Model = BTreeMap<Vec<u8>, (Version, Vec<u8>)>;

async fn play(steps: Vec<Step>) {
    let root = tempfile::tempdir().expect("folder");
    let mut store = open(root.path()).await;
    let mut model = Model::new();
    let mut last = Version::ZERO;
    let mut barriers = Barriers::new();
    let mut tip = 0;
    for (nth, step) in steps.into_iter().enumerate() {
        match step {
            Step::Write(key, len) => last = write(&store, &mut model, key, nth, len, Stamp::Next, last).await,
            Step::WriteExactly(key, len, version) => {
                let stamp = Stamp::Exactly(Version::new(version));
                last = write(&store, &mut model, key, nth, len, stamp, last).await;
            }
            Step::Swap(key, len, right) => swap(&store, &mut model, key, nth, len, right).await,
            Step::Remove(n) => {
                let removed = store.remove(vec![key_of(n).into()]).await.expect("answers").pop();
                let Some(Removed::Done(version)) = removed else { panic!("{removed:?}") };
                assert!(version > last);
                last = version;
                model.remove(key_of(n).as_bytes());
            }
            Step::Clear(n) => {
                let prefix = KeyPrefix::of(&Namespace::new(&format!("ns{n}")).expect("valid"));
                let before = model.len();
                model.retain(|key, _| !prefix.covers(key));
                assert_eq!(store.clear(prefix).await.expect("clears"), (before - model.len()) as u64);
            }
            Step::Raise(one, other, len) => raise(&store, &mut barriers, [one, other], nth, len).await,
            Step::Close => {
                store.close().await.expect("closes");
                store = open(root.path()).await;
            }
            Step::Crash => {
                drop(store);
                store = open(root.path()).await;
            }
        }
        compare(&store, &model).await;
        tip = compare_barriers(&store, &barriers, tip).await;
    }
}

async fn write(
    store: &DiskStore,
    model: &mut Model,
    key: u8,
    nth: usize,
    len: u16,
    stamp: Stamp,
    last: Version,
) -> Version {
    let bytes = value(nth, len);
    let (key, keep) = (key_of(key), Duration::from_secs(3_600));
    let held = model.get(key.as_bytes()).map(|(version, _)| *version);
    let write = Write {
        key: key.clone(),
        bytes: bytes.clone().into(),
        keep,
        stamp,
        condition: Condition::Always,
        news: None,
        tags: Vec::new(),
    };
    match (store.write(vec![write]).await.expect("answers").pop(), stamp) {
        (Some(Written::Stored(version)), Stamp::Next) => {
            assert!(version > last);
            model.insert(key.as_bytes().to_vec(), (version, bytes));
            version
        }
        (Some(Written::Stored(version)), Stamp::Exactly(wanted)) => {
            assert!(version == wanted && held.is_none_or(|held| held <= wanted));
            model.insert(key.as_bytes().to_vec(), (version, bytes));
            last
        }
        (Some(Written::Unchanged), Stamp::Exactly(wanted)) => {
            assert!(held.is_some_and(|held| held > wanted));
            last
        }
        other => panic!("{other:?}"),
    }
}

async fn swap(store: &DiskStore, model: &mut Model, key: u8, nth: usize, len: u16, right: bool) {
    let key = key_of(key);
    let there = model.get(key.as_bytes()).cloned();
    let held = there.as_ref().map(|(version, _)| *version);
    let version = if right { held.unwrap_or(Version::new(5)) } else { Version::new(1 << 40) };
    let read = Stored { version, bytes: there.unwrap_or_default().1.into() };
    let bytes = value(nth, len);
    let (stamp, keep) = (Stamp::Exactly(version), Duration::from_secs(3_600));
    let condition = Condition::IfUnchanged(read);
    let write = Write {
        key: key.clone(),
        bytes: bytes.clone().into(),
        keep,
        stamp,
        condition,
        news: None,
        tags: Vec::new(),
    };
    match store.write(vec![write]).await.expect("answers").pop() {
        Some(Written::Stored(stored)) => {
            assert_eq!(held, Some(stored));
            model.insert(key.as_bytes().to_vec(), (stored, bytes));
        }
        Some(Written::Unchanged) => assert_ne!(held, Some(version)),
        other => panic!("{other:?}"),
    }
}

type Barriers = BTreeMap<u8, Standing>;

fn name_of(n: u8) -> Bytes {
    // One of them reads as a key does.
    if n == 0 { key_of(0).to_bytes() } else { format!("barrier {n}").into() }
}

async fn raise(store: &DiskStore, model: &mut Barriers, names: [u8; 2], nth: usize, len: u16) {
    let stands = model.get(&names[0]).map_or(Barrier::ZERO, |standing| standing.at);
    let newest = model.values().map(|standing| standing.at).max();
    for expected in [Some(Barrier::new(stands.get() + 1)), (len % 2 == 1).then_some(stands)] {
        let note = Bytes::from(value(nth, len));
        let barriers = names.map(|n| (name_of(n), note.clone())).to_vec();
        let raise = Raise { barriers, expected, keep: Duration::from_secs(3_600), news: None };
        match store.raise(raise).await.expect("answers") {
            Raised::At(at) => {
                assert!(expected.is_none_or(|expected| expected == stands) && Some(at) > newest);
                model.extend(names.map(|n| (n, Standing { at, note: note.clone() })));
            }
            Raised::Unchanged => assert!(expected.is_some_and(|expected| expected != stands)),
        }
    }
}

/// Answers the tip, which was at least `last`.
async fn compare_barriers(store: &DiskStore, model: &Barriers, last: u64) -> u64 {
    let known = store.barriers((0..5).map(name_of).collect()).await.expect("tells");
    let expected: Vec<_> = (0..5).map(|n| model.get(&n).cloned()).collect();
    assert_eq!(known.found, expected);
    assert!(known.tip.number >= last);
    let oldest = model.values().map(|standing| standing.at).min();
    assert!(oldest.is_none_or(|at| known.floor <= at), "nothing was lost");
    known.tip.number
}

async fn compare(store: &DiskStore, model: &Model) {
    let reads = (0..KEYS).map(|n| Read { key: key_of(n), lease: None }).collect();
    for (n, found) in (0..KEYS).zip(store.read(reads).await.expect("readable")) {
        let expected = model.get(key_of(n).as_bytes());
        match found {
            Found::Hit(stored) => assert_eq!(Some(&(stored.version, stored.bytes.to_vec())), expected),
            Found::Miss => assert_eq!(expected, None),
            other => panic!("{other:?}"),
        }
    }
    let page = store.scan(KeyPrefix::all(), Cursor::START, 100).await.expect("scans");
    assert!(page.entries.iter().map(|entry| &entry.key[..]).eq(model.keys().map(|key| &key[..])));
    assert_eq!(store.len(KeyPrefix::all()).await.expect("counts"), model.len() as u64);
}

/// Small enough a log that it goes round, with room for all keys.
async fn open(folder: &Path) -> DiskStore {
    DiskStore::open(DiskSettings::new(folder).with_max_bytes(1 << 20)).await.expect("opens")
}

fn value(nth: usize, len: u16) -> Vec<u8> {
    let mut value = nth.to_le_bytes().to_vec();
    value.resize(8 + usize::from(len), nth as u8);
    value
}

fn key_of(n: u8) -> Key {
    Key::from_escaped(format!("ns{}:{n}", n % 3)).expect("valid")
}
