//! Runs every example to its end.

use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use serde_json::Value;

use crate::run::{Problem, Workspace, output_of, wait_at_most};
use crate::test::Tally;

/// An example ends by itself, well before this.
const LIMIT: Duration = Duration::from_secs(60);

/// Runs the examples of all packages, each in an empty folder of its own.
pub(crate) fn run(workspace: &Workspace, tally: &mut Tally) -> Result<(), Problem> {
    let programs = match build(workspace) {
        Ok(programs) => programs,
        Err(problem) => {
            println!("==> examples: {problem}");
            tally.add(false);
            return Ok(());
        }
    };
    for program in programs {
        let name = program.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let folder = workspace.scratch(&format!("example-{name}"))?;
        println!("==> example {name}");
        let verdict = run_one(&program, &folder);
        println!("==> example {name}: {}", verdict.as_ref().err().map_or("ok", String::as_str));
        tally.add(verdict.is_ok());
    }
    Ok(())
}

/// Builds them as the tests did, so that nothing is compiled twice, and answers where they are.
fn build(workspace: &Workspace) -> Result<Vec<PathBuf>, Problem> {
    let args =
        ["build", "--workspace", "--all-features", "--examples", "--message-format=json-render-diagnostics"];
    let messages = output_of(&mut workspace.cargo(&args))?;
    let mut programs: Vec<PathBuf> = messages.lines().filter_map(example_in).collect();
    programs.sort();
    Ok(programs)
}

/// The program that one of cargo's messages is about, if it is an example.
fn example_in(message: &str) -> Option<PathBuf> {
    let message: Value = serde_json::from_str(message).ok()?;
    let kinds = message["target"]["kind"].as_array()?;
    let is_example = message["reason"] == "compiler-artifact" && kinds.iter().any(|kind| kind == "example");
    is_example.then(|| message["executable"].as_str().map(PathBuf::from))?
}

fn run_one(program: &Path, folder: &Path) -> Result<(), Problem> {
    let mut command = Command::new(program);
    let mut child = command
        .current_dir(folder)
        .stdin(Stdio::null())
        .spawn()
        .map_err(|e| format!("cannot be started: {e}"))?;
    match wait_at_most(&mut child, LIMIT).map_err(|e| e.to_string())? {
        Some(status) if status.success() => Ok(()),
        Some(status) => Err(format!("failed, {status}")),
        None => Err(format!("did not end within {LIMIT:?}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_examples_with_a_program_are_run() {
        let example =
            r#"{"reason":"compiler-artifact","target":{"kind":["example"]},"executable":"/t/quickstart"}"#;
        let library = r#"{"reason":"compiler-artifact","target":{"kind":["lib"]},"executable":null}"#;
        let built = r#"{"reason":"build-finished","success":true}"#;
        let found: Vec<_> =
            [example, library, built, "not json"].into_iter().filter_map(example_in).collect();
        assert_eq!(found, [PathBuf::from("/t/quickstart")]);
    }
}
