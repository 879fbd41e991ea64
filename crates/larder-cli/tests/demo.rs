//! The built binary, run as a person or a script runs it.

use std::{
    fs,
    net::TcpListener,
    path::Path,
    process::{Command, Output, Stdio},
    time::Duration,
};

use serde_json::Value;

fn larder(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_larder"));
    command.arg("demo").args(arguments).stdin(Stdio::null());
    command
}

fn run(arguments: &[&str]) -> Output {
    larder(arguments).output().expect("the binary was built for this test")
}

fn in_folder<'a>(folder: &'a Path, arguments: &[&'a str]) -> Vec<&'a str> {
    [arguments, &["--data", folder.to_str().expect("temporary folders have plain names")]].concat()
}

/// Whether the run was refused in one line that says `words`, with exit code `code` and nothing on stdout.
#[track_caller]
fn assert_refused(output: &Output, code: i32, words: &[&str]) {
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{said}");
    assert!(output.stdout.is_empty());
    assert_eq!(said.trim_end().lines().count(), 1, "{said}");
    assert!(words.iter().all(|word| said.contains(word)), "{said}");
}

#[test]
fn a_busy_port_is_a_clear_error_before_any_work() {
    let folder = tempfile::tempdir().unwrap();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let output = run(&in_folder(folder.path(), &["--listen", &address]));
    assert_refused(&output, 1, &["cannot listen", &address, "in use"]);
}

#[test]
fn a_file_in_the_place_of_the_data_folder_is_a_clear_error() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    fs::write(&file, "mine").unwrap();
    assert_refused(&run(&in_folder(&file, &[])), 1, &["data folder", "file"]);
    assert_eq!(fs::read(&file).unwrap(), b"mine");
}

#[test]
fn a_database_that_is_none_is_a_clear_error_and_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let database = folder.path().join("cities.db");
    fs::write(&database, "this is no database, but somebody may need it").unwrap();
    assert_refused(&run(&in_folder(folder.path(), &[])), 1, &["cannot open the database", "cities.db"]);
    assert!(fs::read(&database).unwrap().starts_with(b"this is no"));
}

#[test]
fn wrong_arguments_are_refused_in_one_line_with_exit_code_two() {
    for (arguments, word) in [
        (&["--for", "10"][..], "unit"),
        (&["--for", "-5s"], "--for"),
        (&["--for", "0s"], "between"),
        (&["--writes", "1"], "percent"),
        (&["--writes", "101%"], "between"),
        (&["--concurrency", "0"], "concurrency"),
        (&["--report", "xml"], "report"),
    ] {
        let arguments: Vec<String> =
            arguments.chunks(2).map(|pair| format!("{}={}", pair[0], pair[1])).collect();
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        assert_refused(&run(&arguments), 2, &[word]);
    }
}

#[test]
fn a_reader_that_leaves_ends_the_demo_quietly() {
    let folder = tempfile::tempdir().unwrap();
    let mut child = larder(&in_folder(folder.path(), &["--for", "100ms"]))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), output.stderr.as_slice()), (Some(0), &b""[..]));
}

#[cfg(unix)]
#[test]
fn ctrl_c_ends_a_long_run_cleanly_with_what_is_known() {
    let folder = tempfile::tempdir().unwrap();
    let child = larder(&in_folder(folder.path(), &["--for", "1h", "--writes", "5%", "--report", "json"]))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    wait_until_under_load(folder.path());
    let killed = Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    assert!(killed.success());
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(130), "{}", String::from_utf8_lossy(&output.stderr));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&report["interrupted"], &report["wrong_answers"]), (&true.into(), &0.into()));
    assert!(report["uncached"]["requests"].as_u64().unwrap() > 0);
}

/// Waits until the load has changed a city, for at most a minute.
#[cfg(unix)]
fn wait_until_under_load(folder: &Path) {
    let changed = || {
        let flags = rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY;
        let database = rusqlite::Connection::open_with_flags(folder.join("cities.db"), flags).ok()?;
        database.query_row("SELECT change > 1 FROM state", [], |row| row.get(0)).ok()
    };
    for _ in 0..600 {
        if changed() == Some(true) {
            return;
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    panic!("the demo never wrote its database");
}
