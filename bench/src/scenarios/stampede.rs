//! A stampede: a hundred thousand tasks want one key that is not there, and its loader is slow.

use std::{
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use tokio::sync::OnceCell;

use super::{Effort, Findings, Pair};
use crate::{
    alloc::held_by,
    clock::wall_now,
    measure::{Who, summary},
    peers::{Loads, amalgam, elsewhere, foyer, larder, moka, quick_cache},
    report::{Figure, Group},
    workload::{Key, Value},
};

const TASKS: usize = 100_000;
const LOADER: Duration = Duration::from_millis(50);
const MIB: f64 = (1 << 20) as f64;
/// Room that is never used up.
const ROOM: u64 = 1_000;
/// Tasks that wait for a cell, and nothing else: the limit.
const ONCE: Who = Who { name: "tokio", how: "OnceCell, bare tasks" };

/// Someone who can be overrun; makes a cache of its own for each stampede.
struct Herd {
    who: Who,
    run: fn(usize) -> Outcome,
}

/// What a stampede took.
struct Outcome {
    calls: u64,
    millis: f64,
    peak_mib: f64,
}

/// Loader calls, time and memory.
pub(crate) fn run(effort: Effort, findings: &mut Findings) {
    let tasks = if effort == Effort::Full { TASKS } else { TASKS / 10 };
    let herds = herds();
    let mut outcomes: Vec<Vec<Outcome>> = herds.iter().map(|_| Vec::new()).collect();
    for round in 0..=effort.rounds(7) {
        for turn in 0..herds.len() {
            let at = (turn + round) % herds.len();
            let outcome = (herds[at].run)(tasks);
            if round > 0 {
                outcomes[at].push(outcome);
            }
        }
    }
    let group = |what: &str, unit, of: fn(&Outcome) -> f64| {
        let figures = herds.iter().zip(&outcomes).map(|(herd, outcomes)| Figure {
            who: herd.who,
            cost: summary(outcomes.iter().map(of).collect()),
        });
        let scenario =
            format!("stampede of {tasks} tasks on one key, {} ms loader, {what}", LOADER.as_millis());
        Group { scenario, unit, figures: figures.collect() }
    };
    let pairs = || [Pair { target: "P8", larder: larder::LOADING, peer: ONCE, at_most: 1.2 }];
    let calls = group("loader calls", "calls", |outcome| outcome.calls as f64);
    calls.of(larder::LOADING).into_iter().for_each(|ours| findings.limit("P8", &calls, ours, 1.0));
    findings.add(calls, larder::LOADING, &[]);
    findings.add(group("wall time", "ms", |outcome| outcome.millis), larder::LOADING, &pairs());
    findings.add(group("extra memory", "MiB", |outcome| outcome.peak_mib), larder::LOADING, &pairs());
}

fn herds() -> [Herd; 7] {
    let herd = |who, run| Herd { who, run };
    [
        herd(ONCE, |tasks| overrun(tasks, Once::default)),
        herd(larder::LOADING, |tasks| overrun(tasks, || larder::Get::<String>::new(ROOM))),
        herd(quick_cache::LOADING, |tasks| {
            overrun(tasks, || quick_cache::Plain::<String>::new(ROOM as usize))
        }),
        herd(moka::LOADING, |tasks| overrun(tasks, || moka::Future::<String>::plain(ROOM))),
        herd(foyer::LOADING, |tasks| overrun(tasks, || foyer::Plain::<String>::new(ROOM as usize))),
        herd(foyer::HYBRID_LOADING, |tasks| overrun(tasks, || foyer::Hybrid::<String>::new(ROOM as usize))),
        herd(amalgam::LOADING, |tasks| overrun(tasks, || amalgam::Get::new(ROOM))),
    ]
}

/// Spawns all tasks from one that waits for them, and says what it took from the first to the last.
fn overrun<C: Loads<String>>(tasks: usize, cache: impl FnOnce() -> C) -> Outcome {
    let (cache, calls) = (Arc::new(cache()), Arc::new(AtomicU64::new(0)));
    let (began, key) = (wall_now(), Arc::<str>::from(<String as Key>::of(0)));
    let stampede = {
        let calls = Arc::clone(&calls);
        async move {
            let mut running = Vec::with_capacity(tasks);
            for _ in 0..tasks {
                let (cache, calls, key) = (Arc::clone(&cache), Arc::clone(&calls), Arc::clone(&key));
                running.push(tokio::spawn(async move { cache.load(&key, move || slow(calls)).await }));
            }
            for task in running {
                assert!(task.await.expect("loading does not panic"), "everyone gets the value");
            }
        }
    };
    let ((), held) = held_by(|| elsewhere(stampede));
    let millis = (wall_now() - began).as_secs_f64() * 1e3;
    Outcome { calls: calls.load(Relaxed), millis, peak_mib: held.peak_bytes as f64 / MIB }
}

async fn slow(calls: Arc<AtomicU64>) -> Value {
    calls.fetch_add(1, Relaxed);
    tokio::time::sleep(LOADER).await;
    Value::of(0)
}

/// A cell for one value.
#[derive(Default)]
struct Once(OnceCell<Arc<Value>>);

impl Loads<String> for Once {
    async fn load<L, F>(&self, _: &str, loader: L) -> bool
    where
        L: FnOnce() -> F + Send + 'static,
        F: Future<Output = Value> + Send + 'static,
    {
        self.0.get_or_init(async || Arc::new(loader().await)).await.id == 0
    }
}
