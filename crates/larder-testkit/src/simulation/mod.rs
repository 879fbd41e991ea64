//! Nodes of the real engine over a simulated network, store, clocks and origin, on paused time, from one seed.
//!
//! A seed draws everything: how many nodes and keys there are, how entries age, who reads and writes how often, and
//! what goes wrong when. Every answer is judged as it comes; a run ends with everything healed, and looks whether all
//! recovered. The same seed gives the same run, to the last event: its hash is the proof.

mod aims;
mod books;
mod bounds;
mod bus;
mod check;
mod dice;
mod director;
mod extremes;
mod failovers;
mod faults;
mod fleet;
mod gate;
mod heal;
mod history;
mod link;
mod network;
mod newer;
mod node;
mod origin;
mod plan;
mod rates;
mod regressions;
mod report;
mod server;
mod shrink;
mod sweeps;
mod tally;
mod timeline;
mod value;
mod watch;
mod wide;
mod workload;
mod world;

use std::{
    cmp::Reverse,
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

use plan::{Cut, Plan};
use world::Outcome;

pub use check::{Invariant, Violation};
pub use faults::FaultClass;
pub use regressions::{Regression, regressions};
pub use report::{Failure, Report};

/// Who is told of each seed that ended, with what it broke.
type Told = Box<dyn Fn(u64, &[Violation]) + Send + Sync>;

/// A run of many seeds.
///
/// ```
/// use std::time::Duration;
/// use larder_testkit::simulation::Simulation;
///
/// let report = Simulation::seeds(1, 2).chaos(Duration::from_secs(5)).run();
/// assert!(report.reads > 0 && report.failures.is_empty(), "{report}");
/// ```
pub struct Simulation {
    first: u64,
    seeds: u64,
    chaos: Option<Duration>,
    threads: usize,
    told: Option<Told>,
    /// Ends with the first seed that fails.
    hunts: bool,
    #[cfg(larder_canary)]
    canary: Option<larder::canary::Canary>,
}

impl std::fmt::Debug for Simulation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Simulation")
            .field("first", &self.first)
            .field("seeds", &self.seeds)
            .finish_non_exhaustive()
    }
}

impl Simulation {
    /// This many seeds, from `first` on.
    #[must_use]
    pub fn seeds(first: u64, seeds: u64) -> Self {
        let threads = thread::available_parallelism().map_or(1, usize::from);
        Self {
            first,
            seeds,
            chaos: None,
            threads,
            told: None,
            hunts: false,
            #[cfg(larder_canary)]
            canary: None,
        }
    }

    /// Lets each seed have this much simulated chaos. Default: ten minutes.
    #[must_use]
    pub fn chaos(mut self, chaos: Duration) -> Self {
        self.chaos = Some(chaos);
        self
    }

    /// Runs on so many threads. Default: as many as there are processors.
    #[must_use]
    pub fn threads(mut self, threads: usize) -> Self {
        self.threads = threads.max(1);
        self
    }

    /// Begins no further seed once one has failed.
    #[must_use]
    pub fn until_found(mut self) -> Self {
        self.hunts = true;
        self
    }

    /// Puts a known fault into the engine.
    #[cfg(larder_canary)]
    #[must_use]
    pub fn with_canary(mut self, canary: Option<larder::canary::Canary>) -> Self {
        self.canary = canary;
        self
    }

    /// Tells of each seed when it has ended, on the thread that ran it.
    #[must_use]
    pub fn telling(mut self, told: impl Fn(u64, &[Violation]) + Send + Sync + 'static) -> Self {
        self.told = Some(Box::new(told));
        self
    }

    /// Whether the first seed comes to the same twice. Without tokio's own chance seeded (`--cfg tokio_unstable`) it
    /// need not.
    #[must_use]
    pub fn repeats(&self) -> bool {
        let hash = || self.play(self.first, Cut::default(), None).hash;
        thread::scope(|scope| {
            let twin = scope.spawn(hash);
            hash() == twin.join().expect("a run whose panic ends its thread ends this, too")
        })
    }

    /// Runs one seed again and tells its plan; if it fails, the little that its failure needs, and the history of the key
    /// that it is about.
    #[must_use]
    pub fn explain(&self, seed: u64) -> String {
        let plan = |cut| Plan::of(seed, self.chaos, cut);
        let (whole, first) = (plan(Cut::default()), self.play(seed, Cut::default(), None));
        let Some(violation) = first.violations.first() else {
            return format!("seed {seed}: {}\nno violation, hash {:016x}", whole.summary(), first.hash);
        };
        let shrunk = shrink::shrink(&whole, violation, &|cut, recorded| self.play(seed, cut, recorded));
        let again = self.play(seed, shrunk.cut.clone(), Some(shrunk.violation.key.unwrap_or(u32::MAX)));
        let needs = shrink::describe(&whole, &plan(shrunk.cut.clone()), again.steps.len(), &shrunk);
        let mut lines = again.lines;
        lines.retain(|line| line.at_ms <= shrunk.violation.at_ms);
        let timeline = timeline::draw(&lines, whole.nodes);
        format!("seed {seed}: {}\n{violation}\n{needs}{timeline}{}", whole.summary(), shrunk.violation)
    }

    /// Whether a seed fails without the known fault that is looked for: then it does not prove that it is found.
    fn fails_anyway(&self, seed: u64) -> bool {
        #[cfg(larder_canary)]
        if self.canary.is_some() {
            return !world::run(Plan::of(seed, self.chaos, Cut::default()), None).violations.is_empty();
        }
        let _ = seed;
        false
    }

    /// Runs one seed on this thread.
    fn play(&self, seed: u64, cut: Cut, recorded: Option<u32>) -> Outcome {
        #[cfg(larder_canary)]
        larder::canary::activate(self.canary);
        let outcome = world::run(Plan::of(seed, self.chaos, cut), recorded);
        #[cfg(larder_canary)]
        larder::canary::activate(None);
        outcome
    }

    /// The seeds, those that take longest first, so that no thread waits long for the last of another's. Who hunts wants the
    /// first that finds something.
    fn order(&self) -> Vec<u64> {
        let mut seeds: Vec<u64> = (self.first..self.first + self.seeds).collect();
        if !self.hunts {
            let plan = |seed: u64| Plan::of(seed, self.chaos, Cut::default());
            seeds.sort_by_cached_key(|seed| Reverse(plan(*seed).reads_a_second()));
        }
        seeds
    }

    /// Runs them all, each on a thread of its own, to its end or its first violation.
    #[must_use]
    pub fn run(&self) -> Report {
        let order = self.order();
        let (next, reports) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
        let found = AtomicBool::new(false);
        thread::scope(|scope| {
            for _ in 0..self.threads {
                scope.spawn(|| {
                    loop {
                        let seed = order.get(next.fetch_add(1, Ordering::Relaxed));
                        let Some(&seed) = seed.filter(|_| !self.hunts || !found.load(Ordering::Relaxed))
                        else {
                            return;
                        };
                        let mut outcome = self.play(seed, Cut::default(), None);
                        if self.hunts && !outcome.violations.is_empty() && self.fails_anyway(seed) {
                            outcome.violations.clear();
                        }
                        found.fetch_or(!outcome.violations.is_empty(), Ordering::Relaxed);
                        if let Some(told) = &self.told {
                            told(seed, &outcome.violations);
                        }
                        reports.lock().expect("no panics under this lock").push((seed, outcome));
                    }
                });
            }
        });
        let mut outcomes = reports.into_inner().expect("no panics under this lock");
        outcomes.sort_by_key(|(seed, _)| *seed);
        Report::of(&outcomes)
    }
}
