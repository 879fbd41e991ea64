//! `larder demo`: a real service over real data, first without Larder, then with it.

mod again;
mod args;
mod caches;
mod chart;
mod checker;
mod client;
mod clock;
mod data;
mod folder;
mod http;
mod interrupt;
mod load;
mod model;
mod origin;
mod progress;
mod report;
mod run;
mod service;
mod sql;
mod stages;
mod stampede;
mod table;
mod text;
mod traffic;

pub(crate) use args::{DemoArgs, Form};

use crate::fault::Fault;

/// Runs the demo and returns the exit code (see the help for what each means).
///
/// # Errors
/// If it cannot begin or go on.
pub(crate) fn run(args: DemoArgs) -> Result<u8, Fault> {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| Fault::because("cannot start the runtime", &error))?
        .block_on(run::run(args))
}
