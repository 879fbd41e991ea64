//! Runs simulations: `larder-sim --seeds N [--seed S] [--hours H] [--minutes M]`, `larder-sim --explain S`, or, built
//! with `--cfg larder_canary`, `larder-sim --canary all`.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a command-line tool speaks")]

mod args;
#[cfg(larder_canary)]
mod canaries;

use std::{process::ExitCode, sync::Mutex, thread, time::Duration};

use args::Args;
use larder_testkit::simulation::{Regression, Simulation, regressions};

fn main() -> ExitCode {
    match Args::parse(std::env::args().skip(1)).and_then(|args| perform(&args)) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(problem) => {
            eprintln!("larder-sim: {problem}");
            ExitCode::FAILURE
        }
    }
}

/// Does what is asked. False: something was found, and said, or was not found.
fn perform(args: &Args) -> Result<bool, String> {
    match (&args.canary, args.explain) {
        (None, None) => Ok(run_regressions() & run(args)),
        (None, Some(seed)) => {
            println!("{}", simulation(args).explain(seed));
            Ok(true)
        }
        (Some(names), explained) => with_canaries(args, names, explained),
    }
}

/// The seeds that once found something, on as many threads as there are processors.
fn run_regressions() -> bool {
    let waiting = Mutex::new(regressions().into_iter());
    let next = || waiting.lock().expect("no panics under this lock: a list is read").next();
    let work = || std::iter::from_fn(next).fold(true, |went_well, seed| holds(&seed) & went_well);
    let threads = thread::available_parallelism().map_or(1, usize::from);
    thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        workers.into_iter().fold(true, |went_well, worker| {
            worker.join().expect("a seed whose panic ends a thread ends this, too") & went_well
        })
    })
}

/// Whether a seed finds nothing any more; says so.
fn holds(Regression { seed, minutes, commit, found }: &Regression) -> bool {
    let report = Simulation::seeds(*seed, 1).chaos(Duration::from_secs(minutes * 60)).run();
    match report.failures.first() {
        None => println!("regression seed {seed}: ok ({found}; mended by {commit})"),
        Some(failure) => {
            println!("regression seed {seed} ({minutes} minutes) fails: {}", failure.violation);
        }
    }
    report.failures.is_empty()
}

fn run(args: &Args) -> bool {
    let told = simulation(args).telling(|seed, violations| {
        if let Some(violation) = violations.first() {
            println!("seed {seed} fails: {violation}");
        }
    });
    let report = told.run();
    println!("{report}");
    let repeats = cfg!(not(tokio_unstable)) || simulation(args).repeats();
    if !repeats {
        println!("seed {} comes to something else when it is run again", args.seed);
    }
    if let Some(failure) = report.failures.first().filter(|_| args.shrink) {
        println!("\n{}", simulation(args).explain(failure.seed));
    }
    report.failures.is_empty() && repeats
}

#[cfg(larder_canary)]
fn with_canaries(args: &Args, names: &str, explained: Option<u64>) -> Result<bool, String> {
    let canaries = canaries::named(names)?;
    if let Some(seed) = explained {
        for canary in canaries {
            println!("{}", simulation(args).with_canary(Some(canary)).explain(seed));
        }
        return Ok(true);
    }
    let sound = names != canaries::ALL || canaries::nothing_is_found(&simulation(args));
    Ok(canaries::hunt(&canaries, args.seeds, || simulation(args)) && sound)
}

#[cfg(not(larder_canary))]
fn with_canaries(_: &Args, _: &str, _: Option<u64>) -> Result<bool, String> {
    Err("there are no canaries in this build; `cargo xtask sim --canary NAME` makes one".to_owned())
}

fn simulation(args: &Args) -> Simulation {
    Simulation::seeds(args.seed, args.seeds).chaos(Duration::from_secs(args.minutes * 60))
}
