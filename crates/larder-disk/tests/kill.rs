//! Kill -9 at random moments: what was acknowledged holds, what was removed stays away, versions only rise.

use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader, Write as _},
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

use larder_core::{
    Barrier, Condition, Found, Key, KeyPrefix, Namespace, Raise, Raised, Read, Removed, Rng, Stamp, Store,
    Version, Write, Written,
};
use larder_disk::{DiskSettings, DiskStore, Fsync};
use larder_testkit::SeededRng;

const FOLDER: &str = "LARDER_DISK_KILL_FOLDER";
const SEED: &str = "LARDER_DISK_KILL_SEED";
const KEYS: &str = "LARDER_DISK_KILL_KEYS";
/// A child is killed before it has told so many lines, two for each change.
const LINES_MAX: u64 = 3_000;
const TASKS: u64 = 4;
const DAY: Duration = Duration::from_secs(86_400);

#[test]
fn a_store_with_room_loses_nothing_acknowledged_when_killed() {
    torture(400, 64 << 20, 40, Evicts::Never);
}

#[test]
fn a_store_that_keeps_cleaning_up_brings_nothing_back_when_killed() {
    torture(400, 1 << 20, 30, Evicts::Never);
}

#[test]
fn a_store_that_keeps_evicting_brings_nothing_back_when_killed() {
    torture(2_000, 1 << 20, 40, Evicts::Often);
}

#[test]
fn a_folder_that_another_process_has_is_refused_until_it_ends() {
    let root = tempfile::tempdir().expect("folder");
    let mut child = spawn(root.path(), 1, 400, 1 << 20);
    let lines = BufReader::new(child.stdout.take().expect("piped")).lines();
    let mut lines = lines.map_while(Result::ok).skip_while(|line| line != "ready");
    assert!(lines.next().is_some(), "the child could not open the store");
    let listener = std::thread::spawn(move || lines.count());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("runtime");
    let settings = || DiskSettings::new(root.path()).with_max_bytes(1 << 20);
    let error = runtime.block_on(DiskStore::open(settings())).expect_err("in use");
    assert!(error.to_string().contains("in use"), "{error}");
    child.kill().expect("kills");
    child.wait().expect("ends");
    listener.join().expect("listens");
    runtime.block_on(DiskStore::open(settings())).expect("free again");
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Evicts {
    Never,
    Often,
}

/// What a key may hold: what its last acknowledged change left, or what the unanswered one would.
#[derive(Debug, Default)]
struct Expected {
    acknowledged: u64,
    /// Told to begin, not told to be done: at most one for each key, and a clear on top.
    begun: Vec<u64>,
}

fn torture(keys: u64, max_bytes: u64, kills: u64, evicts: Evicts) {
    let seed = SeededRng::unpredictable().next_u64();
    let rng = SeededRng::new(seed);
    let root = tempfile::tempdir().expect("folder");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("runtime");
    let mut expected: BTreeMap<String, Expected> = BTreeMap::new();
    let (mut last_version, mut last_barrier) = (Version::ZERO, Barrier::ZERO);
    for kill in 0..kills {
        let child = spawn(root.path(), rng.next_u64(), keys, max_bytes);
        last_version = last_version.max(watch(child, rng.below(LINES_MAX), &mut expected));
        runtime.block_on(async {
            let store = open(root.path(), max_bytes).await;
            for (name, expected) in &mut expected {
                let found = match is_barrier(name) {
                    true => standing(&store, name, &mut last_barrier).await,
                    false => get(&store, name).await,
                };
                let allowed = found == expected.acknowledged
                    || expected.begun.contains(&found)
                    || (found == 0 && evicts == Evicts::Often && !is_barrier(name));
                assert!(
                    allowed,
                    "seed {seed:#x}, kill {kill}, key {name}: found {found}, expected {expected:?}"
                );
                *expected = Expected { acknowledged: found, begun: Vec::new() };
            }
            let Some(Removed::Done(version)) =
                store.remove(vec![key("x:x").into()]).await.expect("removes").pop()
            else {
                panic!("not removed")
            };
            assert!(version > last_version, "seed {seed:#x}, kill {kill}: {version} after {last_version}");
            last_version = version;
            let at = raise(&store, "x", 0).await;
            assert!(at > last_barrier, "seed {seed:#x}, kill {kill}: {at} after {last_barrier}");
            last_barrier = at;
            assert!(store.stats().used_bytes <= max_bytes);
            if rng.below(3) == 0 {
                store.close().await.expect("closes");
            }
        });
    }
    assert!(expected.len() > 50, "the children hardly did anything: {}", expected.len());
}

fn spawn(folder: &Path, seed: u64, keys: u64, max_bytes: u64) -> Child {
    Command::new(std::env::current_exe().expect("this test"))
        .args(["--exact", "the_child_that_is_killed", "--nocapture", "--test-threads=1"])
        .env(FOLDER, folder)
        .env(SEED, seed.to_string())
        .env(KEYS, format!("{keys} {max_bytes}"))
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("the child starts")
}

/// Lets the child say so many lines, kills it, and notes what it said. Answers the largest version it was given.
fn watch(mut child: Child, lines_max: u64, expected: &mut BTreeMap<String, Expected>) -> Version {
    let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines();
    let ready = lines.by_ref().map_while(Result::ok).any(|line| line == "ready");
    assert!(ready, "the child could not open the store");
    let (say, said) = std::sync::mpsc::channel();
    let reader = std::thread::spawn(move || lines.map_while(Result::ok).try_for_each(|line| say.send(line)));
    let mut heard: Vec<String> = Vec::new();
    for _ in 0..lines_max {
        heard.push(said.recv_timeout(Duration::from_secs(20)).expect("the child goes on"));
    }
    child.kill().expect("kills");
    child.wait().expect("ends");
    let mut largest = Version::ZERO;
    reader.join().expect("reads").expect("somebody listens");
    heard.extend(said);
    for line in heard {
        let words: Vec<&str> = line.split(' ').collect();
        // The last line may be torn.
        let &[what, name, number, version, "."] = &words[..] else { continue };
        let (number, version) = (number.parse().expect("a number"), version.parse().expect("a version"));
        largest = largest.max(Version::new(version));
        for (_, key) in under(expected, name) {
            match what {
                "begin" => key.begun.push(number),
                "done" => *key = Expected { acknowledged: number, begun: Vec::new() },
                _ => panic!("{line}"),
            }
        }
    }
    largest
}

/// The key of that name, or all keys with that prefix.
fn under<'a>(
    expected: &'a mut BTreeMap<String, Expected>,
    name: &'a str,
) -> impl Iterator<Item = (&'a String, &'a mut Expected)> {
    if !name.ends_with(':') {
        expected.entry(name.to_owned()).or_default();
    }
    expected.iter_mut().filter(move |(key, _)| *key == name || (name.ends_with(':') && key.starts_with(name)))
}

/// Run by [`spawn`] alone: changes the store until it is killed, telling each step before and after.
#[test]
fn the_child_that_is_killed() {
    let Ok(folder) = std::env::var(FOLDER) else { return };
    let seed: u64 = std::env::var(SEED).expect("given").parse().expect("a number");
    let numbers = std::env::var(KEYS).expect("given");
    let (keys, max_bytes) = numbers.split_once(' ').expect("two numbers");
    let (keys, max_bytes): (u64, u64) =
        (keys.parse().expect("a number"), max_bytes.parse().expect("a number"));
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("runtime");
    runtime.block_on(async move {
        let store = open(Path::new(&folder), max_bytes).await;
        // The test harness has begun a line of its own.
        tell("\nready");
        let tasks: Vec<_> = (0..TASKS)
            .map(|task| tokio::spawn(change_for_ever(store.clone(), task, keys, SeededRng::new(seed ^ task))))
            .collect();
        // Bounded, in case nobody is left to kill it.
        let working = async {
            for task in tasks {
                task.await.expect("it goes on for ever");
            }
        };
        tokio::time::timeout(Duration::from_secs(20), working).await.ok();
    });
}

async fn change_for_ever(store: DiskStore, task: u64, keys: u64, rng: SeededRng) {
    let namespace = format!("t{task}");
    loop {
        let name = format!("{namespace}:{}", rng.below(keys / TASKS));
        let number = rng.next_u64() | 1;
        match rng.below(1_000) {
            0 => {
                tell(&format!("begin {namespace}: 0 0 ."));
                let prefix = KeyPrefix::of(&Namespace::new(&namespace).expect("valid"));
                store.clear(prefix).await.expect("clears");
                tell(&format!("done {namespace}: 0 0 ."));
            }
            1..300 => {
                tell(&format!("begin {name} 0 0 ."));
                let removed = store.remove(vec![key(&name).into()]).await.expect("removes").pop();
                let Some(Removed::Done(version)) = removed else { panic!("{removed:?}") };
                tell(&format!("done {name} 0 {version} ."));
            }
            300..400 => _ = get(&store, &name).await,
            400..500 => {
                let name = format!("barrier{task}:{}", rng.below(10));
                tell(&format!("begin {name} {number} 0 ."));
                raise(&store, &name, number).await;
                tell(&format!("done {name} {number} 0 ."));
            }
            _ => {
                tell(&format!("begin {name} {number} 0 ."));
                let (stamp, condition) = (Stamp::Next, Condition::Always);
                let bytes = value(&name, number).into();
                let write = Write {
                    key: key(&name),
                    bytes,
                    keep: DAY,
                    stamp,
                    condition,
                    news: None,
                    tags: Vec::new(),
                };
                let written = store.write(vec![write]).await.expect("writes").pop();
                let Some(Written::Stored(version)) = written else { panic!("{written:?}") };
                tell(&format!("done {name} {number} {version} ."));
            }
        }
    }
}

/// One `write` call for each line, so that what was told was told.
fn tell(line: &str) {
    std::io::stdout().lock().write_all(format!("{line}\n").as_bytes()).expect("the parent listens");
}

/// A value that says whose it is, which one it is, and whether it is whole.
fn value(name: &str, number: u64) -> Vec<u8> {
    let mut value = format!("{name} {number} ").into_bytes();
    value.resize(64 + (number % 1_500) as usize, (number % 251) as u8);
    value
}

fn is_barrier(name: &str) -> bool {
    name.starts_with("barrier")
}

/// Raises a barrier with a note of some length that tells the number.
async fn raise(store: &DiskStore, name: &str, number: u64) -> Barrier {
    let barriers = vec![(name.to_owned().into(), value(name, number % 100).into())];
    let numbered = (format!("{name}#").into(), number.to_le_bytes().to_vec().into());
    let barriers = barriers.into_iter().chain([numbered]).collect();
    let raise = Raise { barriers, expected: None, keep: DAY, news: None };
    match store.raise(raise).await.expect("raises") {
        Raised::At(at) => at,
        Raised::Unchanged => panic!("nothing was expected"),
    }
}

/// The number that a barrier's note tells; 0 if it does not stand. Those raised together stand together.
async fn standing(store: &DiskStore, name: &str, last: &mut Barrier) -> u64 {
    let names = vec![name.to_owned().into(), format!("{name}#").into()];
    let found = store.barriers(names).await.expect("tells").found;
    let [Some(one), Some(other)] = &found[..] else {
        assert_eq!(found, [None, None], "{name}");
        return 0;
    };
    let number = u64::from_le_bytes(*other.note.first_chunk().expect("eight bytes"));
    assert_eq!((one.at, &one.note[..]), (other.at, &value(name, number % 100)[..]), "{name}");
    *last = (*last).max(one.at);
    number
}

/// The number of the value under a key; 0 for none.
async fn get(store: &DiskStore, name: &str) -> u64 {
    match store.read(vec![Read { key: key(name), lease: None }]).await.expect("readable").pop() {
        Some(Found::Hit(stored)) => {
            let text = String::from_utf8_lossy(&stored.bytes);
            let number = text.split(' ').nth(1).and_then(|word| word.parse().ok()).expect("a number");
            assert_eq!(stored.bytes, value(name, number), "{name} holds something else");
            number
        }
        Some(Found::Miss) => 0,
        other => panic!("{other:?}"),
    }
}

async fn open(folder: &Path, max_bytes: u64) -> DiskStore {
    let settings = DiskSettings::new(folder).with_max_bytes(max_bytes).with_fsync(Fsync::EverySecond);
    DiskStore::open(settings).await.expect("opens")
}

fn key(name: &str) -> Key {
    Key::from_escaped(name.to_owned()).expect("valid")
}
