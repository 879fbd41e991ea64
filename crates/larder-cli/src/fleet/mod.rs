//! `larder demo --nodes N --redis URL`: one key's life across several processes, and how old an answer ever is.

mod clock;
mod node;
mod peer;
mod relay;
mod report;
mod run;
mod staleness;

use std::io::Write;

pub(crate) use node::NodeArgs;

use crate::fault::Fault;

/// Runs the demo of several nodes and returns the exit code.
///
/// # Errors
/// If it cannot begin or go on.
pub(crate) fn run(nodes: u8, redis: Option<String>, json: bool) -> Result<u8, Fault> {
    let Some(redis) = redis else {
        return Err(Fault::usage("--nodes needs --redis: the processes share a store and its bus"));
    };
    runtime()?.block_on(run::run(nodes, &redis, json))
}

/// Runs one of the processes.
///
/// # Errors
/// If it cannot begin.
pub(crate) fn run_node(args: NodeArgs) -> Result<u8, Fault> {
    runtime()?.block_on(node::run(args))
}

/// Prints a line; a reader who went away is no fault.
fn print(line: &str) {
    drop(writeln!(std::io::stdout().lock(), "{line}"));
}

fn runtime() -> Result<tokio::runtime::Runtime, Fault> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    runtime.map_err(|error| Fault::because("cannot start the runtime", &error))
}
