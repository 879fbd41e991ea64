//! Runs simulations: `larder-sim --seeds N [--seed S] [--hours H] [--minutes M]`, `larder-sim --explain S`, or, built
//! with `--cfg larder_canary`, `larder-sim --canary all`.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a command-line tool speaks")]

mod args;
#[cfg(larder_canary)]
mod canaries;

use std::{process::ExitCode, time::Duration};

use args::Args;
use larder_testkit::simulation::Simulation;

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
        (None, None) => Ok(run(args)),
        (None, Some(seed)) => {
            println!("{}", simulation(args).explain(seed));
            Ok(true)
        }
        (Some(names), explained) => with_canaries(args, names, explained),
    }
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
    if let Some(failure) = report.failures.first() {
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
    Ok(canaries::hunt(&canaries, args.seeds, || simulation(args)))
}

#[cfg(not(larder_canary))]
fn with_canaries(_: &Args, _: &str, _: Option<u64>) -> Result<bool, String> {
    Err("there are no canaries in this build; `cargo xtask sim --canary NAME` makes one".to_owned())
}

fn simulation(args: &Args) -> Simulation {
    Simulation::seeds(args.seed, args.seeds).chaos(Duration::from_secs(args.minutes * 60))
}
