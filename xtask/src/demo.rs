//! Runs the demo for a second and believes only its report.

use std::{
    io::Read,
    process::{Child, Stdio},
    thread,
    time::Duration,
};

use serde_json::Value;

use crate::run::{Problem, Workspace, step, wait_at_most};
use crate::test::Tally;

/// Three phases of one second, the opening of the data and a slow machine; a hang is found here.
const LIMIT: Duration = Duration::from_secs(180);

const DEMO: [&str; 5] = ["demo", "--report", "json", "--for", "1s"];

/// Builds the demo as its users do, lets it run, and checks what it says.
pub(crate) fn run(workspace: &Workspace, tally: &mut Tally) -> Result<(), Problem> {
    let folder = workspace.scratch("demo")?;
    let built = step("demo, build", &mut workspace.cargo(&["build", "--release", "--package", "larder-cli"]));
    let mut command =
        workspace.cargo(&["run", "--quiet", "--release", "--package", "larder-cli", "--manifest-path"]);
    command.arg(workspace.root.join("Cargo.toml")).arg("--").args(DEMO);
    command.current_dir(&folder).stdout(Stdio::piped());
    println!("==> demo");
    let verdict = if built {
        command.spawn().map_err(|e| e.to_string()).and_then(report_of).and_then(|report| check(&report))
    } else {
        Err("does not compile".to_owned())
    };
    println!("==> demo: {}", verdict.as_ref().err().map_or("ok", String::as_str));
    tally.add(verdict.is_ok());
    Ok(())
}

/// What the demo printed, when it ended well and in time.
fn report_of(mut demo: Child) -> Result<String, Problem> {
    let mut stdout = demo.stdout.take().ok_or("its output is not a pipe")?;
    let reader = thread::spawn(move || {
        let mut report = String::new();
        stdout.read_to_string(&mut report).map(|_| report)
    });
    let ended = wait_at_most(&mut demo, LIMIT).map_err(|e| e.to_string())?;
    let report = reader.join().map_err(|_| "its output could not be read")?.map_err(|e| e.to_string())?;
    match ended {
        Some(status) if status.success() => Ok(report),
        Some(status) => Err(format!("failed, {status}")),
        None => Err(format!("did not end within {LIMIT:?}")),
    }
}

/// One JSON object, no wrong answer, one origin call for the whole stampede.
fn check(report: &str) -> Result<(), Problem> {
    let report: Value =
        serde_json::from_str(report).map_err(|e| format!("its report is not one JSON object: {e}"))?;
    let number =
        |value: &Value, what: &str| value.as_u64().ok_or_else(|| format!("its report has no {what}"));
    let wrong_answers = number(&report["wrong_answers"], "wrong_answers")?;
    let origin_calls = number(&report["stampede"]["origin_calls"], "stampede.origin_calls")?;
    match (wrong_answers, origin_calls) {
        (0, 1) => Ok(()),
        _ => Err(format!(
            "wrong_answers is {wrong_answers}, not 0, or stampede.origin_calls is {origin_calls}, not 1"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_without_wrong_answers_and_with_one_load_for_the_stampede_passes() {
        assert_eq!(check(r#"{"wrong_answers":0,"stampede":{"callers":1000,"origin_calls":1}}"#), Ok(()));
    }

    #[test]
    fn wrong_answers_a_second_load_and_unreadable_reports_do_not_pass() {
        for report in [
            r#"{"wrong_answers":1,"stampede":{"origin_calls":1}}"#,
            r#"{"wrong_answers":0,"stampede":{"origin_calls":2}}"#,
            r#"{"stampede":{"origin_calls":1}}"#,
            r#"{"wrong_answers":0}"#,
            r#"{"wrong_answers":0,"stampede":{"origin_calls":1}} {}"#,
            "",
        ] {
            assert!(check(report).is_err(), "{report}");
        }
    }
}
