//! Runs the simulation, built as a release is.

use std::process::Command;

use crate::{
    run::{Problem, Workspace, step},
    test::Tally,
};

/// How much of it is part of the tests: seeds of ten simulated minutes each.
const SEEDS_IN_TESTS: &str = "101";
/// Known faults that are found within seconds, and what it may take.
const CANARIES_IN_TESTS: [&str; 6] = ["--canary", "quick", "--seeds", "24", "--minutes", "4"];

/// Runs it with these arguments, or with as many seeds as the tests take.
pub(crate) fn run(workspace: &Workspace, args: &[&str]) -> Result<bool, Problem> {
    let args = if args.is_empty() { &["--seeds", SEEDS_IN_TESTS] } else { args };
    Ok(step("simulation", command(workspace).args(args)))
}

/// What of it is part of the tests: some seeds find nothing, and known faults are found.
pub(crate) fn check(workspace: &Workspace, tally: &mut Tally) {
    let seeds = ["--seeds", SEEDS_IN_TESTS];
    tally.add(step("simulation", command(workspace).args(seeds)));
    tally.add(step("simulation, known faults", command(workspace).args(CANARIES_IN_TESTS)));
}

/// The program, with what makes tokio's own chance come from the seed, and with known faults that wait to be asked for:
/// one build for both, which without a canary does what the engine does.
fn command(workspace: &Workspace) -> Command {
    let mut command = workspace.cargo(&[
        "run",
        "--quiet",
        "--profile",
        "sim",
        "--package",
        "larder-testkit",
        "--features",
        "simulation",
        "--bin",
        "larder-sim",
        "--",
    ]);
    command.env("RUSTFLAGS", "--cfg tokio_unstable --cfg larder_canary");
    command
}
