//! The workshop: everything the project does to itself.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a command-line tool speaks")]

mod bench;
mod demo;
mod examples;
mod install;
mod instructions;
mod lint;
mod run;
mod sim;
mod test;
mod tidy;

use std::process::ExitCode;

use crate::install::Missing;
use crate::run::{Problem, Workspace};

const HELP: &str = "\
cargo xtask <task>

  test [--no-install]     installs what the tests need, then runs all of them, the examples, the demo, and counts
                          the instructions of a hit
  ci [--no-install]       lint, then test: what a change must pass
  lint                    formatting, tidy, clippy, docs, feature checks
  tidy                    the house rules: import directions, lengths, words, licences, duplicate versions
  servers [--no-install]  lists the servers and tools that the tests start, and installs the missing ones
  bench [scenario ..]     the benchmarks, or those named: `memory` is the memory tier beside its peers, `disk` the disk
                          tier; an unknown name lists them all. `--quick` only shows that they run
  sim [--seeds N] [--seed S] [--hours H] [--minutes M] [--explain S] [--canary NAME]
                          nodes of the real engine over simulated stores, clocks and an origin, on paused time: each
                          seed has ten minutes of faults, every answer is judged; a seed that fails is explained.
                          With a canary, or `all`: puts a known fault into the engine and looks until it is found
  instructions [--bless]  counts the instructions of each way to hit memory and compares them with those on record;
                          `--bless` puts these on record

  --no-install            lists what is missing and how to install it, and ends with 1 if anything is
";

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    match perform(&args) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(problem) => {
            eprintln!("xtask: {problem}");
            ExitCode::FAILURE
        }
    }
}

/// Does one task. False: it failed and has said why.
fn perform(args: &[&str]) -> Result<bool, Problem> {
    let workspace = Workspace::find()?;
    match *args {
        ["test"] => test::run(&workspace, Missing::Install),
        ["test", "--no-install"] => test::run(&workspace, Missing::List),
        ["ci"] => ci(&workspace, Missing::Install),
        ["ci", "--no-install"] => ci(&workspace, Missing::List),
        ["lint"] => lint::run(&workspace),
        ["tidy"] => tidy::run(&workspace),
        ["servers"] => install::servers(Missing::Install),
        ["servers", "--no-install"] => install::servers(Missing::List),
        ["instructions"] => instructions::run(&workspace, Missing::Install, false),
        ["instructions", "--bless"] => instructions::run(&workspace, Missing::Install, true),
        ["sim", ref args @ ..] => sim::run(&workspace, args),
        ["bench", ref args @ ..] => bench::run(&workspace, args),
        [] | ["help" | "--help" | "-h"] => {
            print!("{HELP}");
            Ok(true)
        }
        _ => Err(format!("I do not know `{}`\n\n{HELP}", args.join(" "))),
    }
}

/// Both halves run, whatever the first one finds.
fn ci(workspace: &Workspace, missing: Missing) -> Result<bool, Problem> {
    let linted = lint::run(workspace)?;
    let tested = test::run(workspace, missing)?;
    Ok(linted && tested)
}
