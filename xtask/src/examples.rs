//! Runs every program in `examples/` to its end. Programs beside a crate that need arguments are only compiled.

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

/// Runs them, each in an empty folder of its own.
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
    let mut programs: Vec<PathBuf> =
        messages.lines().filter_map(|it| example_in(it, &workspace.root)).collect();
    programs.sort();
    Ok(programs)
}

/// The program that one of cargo's messages is about, if its source is in the workspace's `examples/`.
fn example_in(message: &str, root: &Path) -> Option<PathBuf> {
    let message: Value = serde_json::from_str(message).ok()?;
    let built = message["reason"] == "compiler-artifact";
    let ours = Path::new(message["target"]["src_path"].as_str()?).starts_with(root.join("examples"));
    (built && ours).then(|| message["executable"].as_str().map(PathBuf::from))?
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
    fn programs_in_the_examples_folder_are_run_and_nothing_else_is() {
        let artifact = |source: &str, executable: &str| {
            format!(
                r#"{{"reason":"compiler-artifact","target":{{"src_path":"{source}"}},"executable":{executable}}}"#
            )
        };
        let messages = [
            artifact("/w/examples/quickstart.rs", r#""/t/quickstart""#),
            artifact("/w/crates/larder-cli/examples/tool.rs", r#""/t/tool""#),
            artifact("/w/examples/lib.rs", "null"),
            r#"{"reason":"build-finished","success":true}"#.to_owned(),
            "not json".to_owned(),
        ];
        let found: Vec<_> = messages.iter().filter_map(|it| example_in(it, Path::new("/w"))).collect();
        assert_eq!(found, [PathBuf::from("/t/quickstart")]);
    }
}
