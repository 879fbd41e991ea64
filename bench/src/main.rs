//! Larder's memory tier beside its peers: interleaved in one process, in ratios.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a command-line tool speaks")]

mod alloc;
mod clock;
mod measure;
mod peers;
mod ratio;
mod report;
mod scenarios;
mod show;
mod workload;

use std::{path::PathBuf, process::ExitCode};

use crate::scenarios::{Effort, Findings, MEMORY, REDIS, Scenario};

#[global_allocator]
static ALLOCATOR: alloc::Counting = alloc::Counting;

/// What the command line asks for.
struct Wish {
    scenarios: Vec<&'static Scenario>,
    effort: Effort,
    report: PathBuf,
}

fn main() -> ExitCode {
    let wish = match wish(std::env::args().skip(1)) {
        Ok(wish) => wish,
        Err(problem) => {
            eprintln!("{problem}\n\n{}", help());
            return ExitCode::FAILURE;
        }
    };
    let versions = report::versions(include_str!("../Cargo.lock"));
    let shown = versions.clone();
    let mut findings = Findings::new(move |group| println!("{}", show::group(group, &shown)));
    for scenario in wish.scenarios {
        println!("\n==> {}: {}", scenario.name, scenario.about);
        (scenario.run)(wish.effort, &mut findings);
    }
    println!("{}", show::goals(&findings.rows));
    match report::write(&findings.rows, &versions, &wish.report) {
        Ok(()) => {
            println!("\nwritten to {}", wish.report.display());
            ExitCode::SUCCESS
        }
        Err(problem) => {
            eprintln!("cannot write {}: {problem}", wish.report.display());
            ExitCode::FAILURE
        }
    }
}

fn wish(args: impl Iterator<Item = String>) -> Result<Wish, String> {
    let mut wish = Wish {
        scenarios: Vec::new(),
        effort: Effort::Full,
        report: PathBuf::from("target/bench/report.json"),
    };
    let mut args = args;
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "--quick" => wish.effort = Effort::Quick,
            "--report" => wish.report = args.next().ok_or("--report needs a path")?.into(),
            "memory" => wish.scenarios.extend(&MEMORY),
            name => {
                let found = all().find(|scenario| scenario.name == name);
                wish.scenarios.push(found.ok_or_else(|| format!("there is no scenario `{name}`"))?);
            }
        }
    }
    if wish.scenarios.is_empty() {
        wish.scenarios.extend(all());
    }
    Ok(wish)
}

fn all() -> impl Iterator<Item = &'static Scenario> {
    MEMORY.iter().chain(&REDIS)
}

fn help() -> String {
    let list = |scenarios: &[Scenario]| -> String {
        scenarios.iter().map(|it| format!("  {:<12}{}\n", it.name, it.about)).collect()
    };
    let (memory, redis) = (list(&MEMORY), list(&REDIS));
    format!(
        "[scenario ..] [--quick] [--report path]\n\n  memory      all of these\n{memory}\nover a redis-server of their own:\n{redis}"
    )
}
