//! Runs the benchmarks: the disk tier beside plain reads, and the memory tier beside its peers, which are a workspace of
//! their own so that nobody else compiles them.

use std::process::Command;

use crate::run::{Problem, Workspace, step};

/// Where the peers are.
pub(crate) const MANIFEST: &str = "bench/Cargo.toml";
/// The scenario that is the disk tier's own benchmark.
const DISK: &str = "disk";

/// Runs what `args` name, or everything.
pub(crate) fn run(workspace: &Workspace, args: &[&str]) -> Result<bool, Problem> {
    let named = |arg: &&str| !arg.starts_with('-');
    let all = !args.iter().any(named);
    let disk = all || args.contains(&DISK);
    let args: Vec<&str> = args.iter().copied().filter(|arg| *arg != DISK).collect();
    let mut ok = true;
    if disk {
        ok &= step("bench, disk tier", &mut workspace.cargo(&["bench", "--package", "larder-disk"]));
    }
    if all || args.iter().any(named) {
        ok &= peers(workspace, &args);
    }
    Ok(ok)
}

/// The memory tier beside its peers; the report goes to `bench/report.json` of the target directory.
pub(crate) fn peers(workspace: &Workspace, args: &[&str]) -> bool {
    let report = workspace.target().join("bench/report.json");
    // What only shows that it runs need not be fast, but soon.
    let profile = if args.contains(&"--quick") { "quick" } else { "release" };
    let mut command = cargo(workspace, "run");
    command.args(["--profile", profile, "--"]).args(args).arg("--report").arg(report);
    step("bench, peers", &mut command)
}

/// Cargo, about the workspace of the peers; it builds where the other one does.
pub(crate) fn cargo(workspace: &Workspace, subcommand: &str) -> Command {
    let mut command = workspace.cargo(&[subcommand, "--manifest-path", MANIFEST, "--target-dir"]);
    command.arg(workspace.target());
    command
}
