//! Runs everything that can prove the project wrong: tests of all kinds, doctests, examples, the demo, counts.

use std::process::Stdio;

use crate::install::{Missing, ensure};
use crate::run::{Problem, Workspace, step_reading};
use crate::{demo, examples, instructions, sim};

/// How many checks passed and failed.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    passed: u64,
    failed: u64,
}

impl Tally {
    /// Counts one check.
    pub(crate) fn add(&mut self, passed: bool) {
        if passed { self.passed += 1 } else { self.failed += 1 }
    }

    /// Whether nothing failed.
    pub(crate) fn is_clean(&self) -> bool {
        self.failed == 0
    }

    /// Counts what a test binary says at its end.
    fn read(&mut self, line: &str) {
        if let Some((passed, failed)) = closing_line(line) {
            self.passed += passed;
            self.failed += failed;
        }
    }
}

/// Runs everything, whatever fails on the way. Its last line is `N passed, N failed`.
pub(crate) fn run(workspace: &Workspace, missing: Missing) -> Result<bool, Problem> {
    if !ensure(missing)? {
        return Ok(false);
    }
    let mut tally = Tally::default();
    cargo_test(workspace, &mut tally);
    examples::run(workspace, &mut tally)?;
    demo::run(workspace, &mut tally)?;
    sim::check(workspace, &mut tally);
    instructions::check(workspace, &mut tally)?;
    println!("{} passed, {} failed", tally.passed, tally.failed);
    Ok(tally.is_clean())
}

/// Unit, property, conformance and integration tests, and doctests.
fn cargo_test(workspace: &Workspace, tally: &mut Tally) {
    let mut command = workspace.cargo(&["test", "--workspace", "--all-features", "--no-fail-fast"]);
    let ok = step_reading("tests", command.stdout(Stdio::piped()), |line| {
        println!("{line}");
        tally.read(line);
    });
    // What does not compile or dies on the way has no closing line.
    if !ok && tally.is_clean() {
        tally.add(false);
    }
}

/// `test result: ok. 3 passed; 0 failed; 0 ignored; …`: passed and failed.
fn closing_line(line: &str) -> Option<(u64, u64)> {
    let (_, counts) = line.strip_prefix("test result: ")?.split_once(". ")?;
    let count = |what: &str| counts.split("; ").find_map(|part| part.strip_suffix(what)?.trim().parse().ok());
    Some((count("passed")?, count("failed")?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn closing_lines_are_added_up_and_other_lines_are_not() {
        let mut tally = Tally::default();
        for line in [
            "test result: ok. 12 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.00s",
            "test result: FAILED. 3 passed; 2 failed; 0 ignored; 0 measured; 0 filtered out; finished in 1.20s",
            "test a_test ... ok",
            "the test result: ok. 9 passed; 9 failed;",
            "test result: odd",
        ] {
            tally.read(line);
        }
        assert_eq!(tally, Tally { passed: 15, failed: 2 });
    }
}
