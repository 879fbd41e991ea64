//! The `larder` command: one file (or folder) for each verb.

mod demo;
mod fault;
mod fleet;

use std::{io::Write, process::ExitCode};

use clap::{Parser, Subcommand, error::ErrorKind};

use fault::Fault;

/// Larder: a multi-tier cache for Rust services.
#[derive(Debug, Parser)]
#[command(name = "larder", version, arg_required_else_help = true)]
struct Line {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    Demo(demo::DemoArgs),
    /// One process of `larder demo --nodes`
    #[command(hide = true)]
    FleetNode(fleet::NodeArgs),
}

fn main() -> ExitCode {
    let line = match Line::try_parse() {
        Ok(line) => line,
        Err(error) => return refused(&error),
    };
    let outcome = match line.verb {
        Verb::Demo(args) => match args.nodes {
            Some(nodes) => fleet::run(nodes, args.redis, args.report == demo::Form::Json),
            None => demo::run(args),
        },
        Verb::FleetNode(args) => fleet::run_node(args),
    };
    match outcome {
        Ok(code) => ExitCode::from(code),
        Err(fault) => {
            complain(&fault.to_string());
            ExitCode::from(fault.code())
        }
    }
}

/// A wrong value is said in one line; help, versions and everything else as clap does.
fn refused(error: &clap::Error) -> ExitCode {
    if matches!(error.kind(), ErrorKind::ValueValidation | ErrorKind::InvalidValue) {
        let text = error.to_string();
        let first = text.lines().next().unwrap_or_default();
        let fault = Fault::usage(first.strip_prefix("error: ").unwrap_or(first));
        complain(&fault.to_string());
        return ExitCode::from(fault.code());
    }
    error.exit()
}

fn complain(text: &str) {
    // Where stderr is closed there is nobody to tell.
    drop(writeln!(std::io::stderr(), "error: {text}"));
}
