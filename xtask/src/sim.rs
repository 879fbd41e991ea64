//! Runs the simulation, built as a release is.

use std::process::Command;

use crate::run::{Problem, Workspace, step};

/// How much of it is part of the tests: seeds of ten simulated minutes each.
pub(crate) const SEEDS_IN_TESTS: &str = "24";

/// Runs it with these arguments, or with as many seeds as the tests take.
pub(crate) fn run(workspace: &Workspace, args: &[&str]) -> Result<bool, Problem> {
    let args = if args.is_empty() { &["--seeds", SEEDS_IN_TESTS] } else { args };
    Ok(step("simulation", command(workspace).args(args)))
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
