//! Runs the benchmarks, which live in a workspace of their own so that nobody else compiles the peers.

use crate::run::{Problem, Workspace, step};

/// Runs all of them.
pub(crate) fn run(workspace: &Workspace) -> Result<bool, Problem> {
    let manifest = "bench/Cargo.toml";
    if !workspace.root.join(manifest).is_file() {
        return Err(format!("there are no benchmarks yet: {manifest} does not exist"));
    }
    Ok(step("bench", &mut workspace.cargo(&["bench", "--manifest-path", manifest])))
}
