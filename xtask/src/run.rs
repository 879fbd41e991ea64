//! Runs other programs, and says so.

use std::{
    io::{BufRead, BufReader, Read},
    path::PathBuf,
    process::{Child, Command, ExitStatus, Stdio},
    thread,
    time::{Duration, Instant},
};

/// Why a task could not be done, for a person to read.
pub(crate) type Problem = String;

/// Where the project is.
pub(crate) struct Workspace {
    /// The folder of the workspace's `Cargo.toml`.
    pub(crate) root: PathBuf,
}

impl Workspace {
    /// The workspace this program belongs to.
    pub(crate) fn find() -> Result<Self, Problem> {
        let manifest_dir =
            std::env::var_os("CARGO_MANIFEST_DIR").unwrap_or_else(|| env!("CARGO_MANIFEST_DIR").into());
        let root = PathBuf::from(manifest_dir).parent().map(PathBuf::from);
        root.filter(|root| root.join("Cargo.toml").is_file())
            .map(|root| Self { root })
            .ok_or_else(|| "the workspace has moved: run this through `cargo xtask`".to_owned())
    }

    /// The cargo that started us, in the workspace's folder.
    pub(crate) fn cargo(&self, args: &[&str]) -> Command {
        let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        // What cargo told us about our own package is nothing to its next run: build scripts that
        // watch these variables would run again.
        for (name, _) in std::env::vars_os() {
            let of_xtask = name.to_str().is_some_and(|name| {
                ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_BIN_", "CARGO_CRATE_"]
                    .iter()
                    .any(|p| name.starts_with(p))
            });
            if of_xtask {
                command.env_remove(name);
            }
        }
        if let Some(target) = std::env::var_os("CARGO_TARGET_DIR") {
            command.env("CARGO_TARGET_DIR", self.root.join(target));
        }
        command.args(args).current_dir(&self.root).stdin(Stdio::null());
        command
    }

    /// Where cargo builds, and where reports go.
    pub(crate) fn target(&self) -> PathBuf {
        let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| "target".into(), PathBuf::from);
        self.root.join(target)
    }

    /// An empty folder for a program to run in, under the target directory.
    pub(crate) fn scratch(&self, name: &str) -> Result<PathBuf, Problem> {
        let folder = self.target().join("xtask").join(name);
        if folder.exists() {
            std::fs::remove_dir_all(&folder)
                .map_err(|e| format!("cannot empty {}: {e}", folder.display()))?;
        }
        std::fs::create_dir_all(&folder).map_err(|e| format!("cannot create {}: {e}", folder.display()))?;
        Ok(folder)
    }
}

/// Runs one step with its output shown; says what it was, how it ended and how long it took.
pub(crate) fn step(name: &str, command: &mut Command) -> bool {
    step_reading(name, command.stdout(Stdio::inherit()), |_| {})
}

/// As [`step`], with each line of its standard output passed through `read` when that is a pipe.
pub(crate) fn step_reading(name: &str, command: &mut Command, mut read: impl FnMut(&str)) -> bool {
    println!("==> {name}: {}", text_of(command));
    let started = now();
    let ended = command.spawn().and_then(|mut child| {
        if let Some(stdout) = child.stdout.take() {
            each_line(stdout, &mut read);
        }
        child.wait()
    });
    let ok = matches!(&ended, Ok(status) if status.success());
    let seconds = started.elapsed().as_secs_f32();
    match ended {
        Ok(_) if ok => println!("==> {name}: ok ({seconds:.1} s)"),
        Ok(status) => println!("==> {name}: failed, {status} ({seconds:.1} s)"),
        Err(e) => println!("==> {name}: cannot be started: {e}"),
    }
    ok
}

/// Runs a program quietly; its standard output, if it ended well.
pub(crate) fn output_of(command: &mut Command) -> Result<String, Problem> {
    let text = text_of(command);
    let output = command.output().map_err(|e| format!("`{text}` cannot be started: {e}"))?;
    if output.status.success() {
        return String::from_utf8(output.stdout).map_err(|_| format!("`{text}` did not print UTF-8"));
    }
    Err(format!("`{text}` failed, {}\n{}", output.status, String::from_utf8_lossy(&output.stderr)))
}

/// Waits for a child's end, kills it when it takes too long (`None`).
pub(crate) fn wait_at_most(child: &mut Child, limit: Duration) -> std::io::Result<Option<ExitStatus>> {
    let started = now();
    while started.elapsed() < limit {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        thread::sleep(Duration::from_millis(20));
    }
    child.kill()?;
    child.wait()?;
    Ok(None)
}

fn each_line(from: impl Read, read: &mut impl FnMut(&str)) {
    let mut lines = BufReader::new(from);
    let mut line = Vec::new();
    while matches!(lines.read_until(b'\n', &mut line), Ok(1..)) {
        read(String::from_utf8_lossy(&line).trim_end_matches('\n'));
        line.clear();
    }
}

fn text_of(command: &Command) -> String {
    let program = PathBuf::from(command.get_program());
    let mut text = program.file_name().unwrap_or_default().to_string_lossy().into_owned();
    for arg in command.get_args() {
        text.push(' ');
        text.push_str(&arg.to_string_lossy());
    }
    text
}

#[expect(clippy::disallowed_methods, reason = "a tool that times its steps is no part of the cache")]
fn now() -> Instant {
    Instant::now()
}
