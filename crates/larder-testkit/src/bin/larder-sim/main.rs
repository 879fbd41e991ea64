//! Runs simulations: `larder-sim --seeds N [--seed S] [--hours H] [--minutes M]`, or `larder-sim --explain S`.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a command-line tool speaks")]

use std::{process::ExitCode, time::Duration};

use larder_testkit::simulation::Simulation;

/// How much simulated chaos a seed has unless `--minutes` says otherwise.
const MINUTES: u64 = 10;

/// What is asked for.
struct Args {
    seed: u64,
    seeds: u64,
    minutes: u64,
    explain: Option<u64>,
}

fn main() -> ExitCode {
    let args = match parse(std::env::args().skip(1)) {
        Ok(args) => args,
        Err(problem) => {
            eprintln!("larder-sim: {problem}");
            return ExitCode::FAILURE;
        }
    };
    let simulation = || {
        Simulation::seeds(args.seed, args.seeds).chaos(Duration::from_secs(args.minutes * 60)).telling(
            |seed, violations| {
                if let Some(violation) = violations.first() {
                    println!("seed {seed} fails: {violation}");
                }
            },
        )
    };
    if let Some(seed) = args.explain {
        println!("{}", simulation().explain(seed));
        return ExitCode::SUCCESS;
    }
    let report = simulation().run();
    println!("{report}");
    let repeats = cfg!(not(tokio_unstable)) || simulation().repeats();
    if !repeats {
        println!("seed {} comes to something else when it is run again", args.seed);
    }
    if let Some(failure) = report.failures.first() {
        println!("\n{}", simulation().explain(failure.seed));
    }
    if report.failures.is_empty() && repeats { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn parse(mut args: impl Iterator<Item = String>) -> Result<Args, String> {
    let mut parsed = Args { seed: 1, seeds: 24, minutes: MINUTES, explain: None };
    while let Some(arg) = args.next() {
        let value = args.next().ok_or_else(|| format!("`{arg}` wants a number"))?;
        let number: u64 = value.parse().map_err(|_| format!("`{arg} {value}`: not a number"))?;
        match arg.as_str() {
            "--seed" => parsed.seed = number,
            "--seeds" => parsed.seeds = number,
            "--minutes" => parsed.minutes = number.max(1),
            "--hours" => parsed.seeds = number * 60 / parsed.minutes,
            "--explain" => parsed.explain = Some(number),
            _ => return Err(format!("I do not know `{arg}`")),
        }
    }
    Ok(parsed)
}
