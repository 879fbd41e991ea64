//! Runs the benchmarks: the disk tier beside plain reads, and, once it is there, the workspace against the peers, which
//! stands apart so that nobody else compiles them.

use crate::run::{Problem, Workspace, step};

/// Runs all that there are.
pub(crate) fn run(workspace: &Workspace) -> Result<bool, Problem> {
    let disk = step("bench, disk tier", &mut workspace.cargo(&["bench", "--package", "larder-disk"]));
    let peers = "bench/Cargo.toml";
    if !workspace.root.join(peers).is_file() {
        return Ok(disk);
    }
    Ok(step("bench, peers", &mut workspace.cargo(&["bench", "--manifest-path", peers])) && disk)
}
