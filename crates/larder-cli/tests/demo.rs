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

/// The one JSON object of a run that ended well.
#[track_caller]
fn report(output: &Output) -> Value {
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!((output.status.code(), said.as_ref()), (Some(0), ""), "the run ends well");
    serde_json::from_slice(&output.stdout).expect("one JSON object and nothing else")
}

fn number(report: &Value, path: &str) -> f64 {
    report.pointer(path).and_then(Value::as_f64).unwrap_or_else(|| panic!("no {path} in {report}"))
}

#[test]
fn a_run_reports_every_stage_without_a_wrong_answer_and_a_second_one_finds_the_disk_tier() {
    let folder = tempfile::tempdir().unwrap();
    let arguments = in_folder(folder.path(), &["--for", "1s", "--report", "json", "--writes", "5%"]);
    let first = report(&run(&arguments));
    for (phase, fields) in [
        ("uncached", &["requests", "rps", "p50_us", "p95_us", "p99_us", "origin_calls"][..]),
        (
            "cached",
            &["requests", "rps", "p50_us", "p95_us", "p99_us", "origin_calls", "hit_ratio", "coalesced"],
        ),
        ("cached/hits", &["memory", "disk", "redis"]),
        ("restart", &["reopen_ms", "first_reads", "origin_calls"]),
    ] {
        for field in fields {
            number(&first, &format!("/{phase}/{field}"));
        }
    }
    assert!(number(&first, "/uncached/requests") > 0.0 && number(&first, "/cached/hits/memory") > 0.0);
    assert_eq!((&first["wrong_answers"], &first["failed_requests"]), (&0.into(), &0.into()), "{first}");
    assert_eq!(first["stampede"]["callers"], first["stampede"]["answered"]);
    assert_eq!(
        (number(&first, "/stampede/callers"), number(&first, "/stampede/origin_calls")),
        (1_000.0, 1.0)
    );
    assert!(number(&first, "/restart/disk_share") >= 0.9, "{first}");
    let chart = fs::read_to_string(folder.path().join("latency.svg")).unwrap();
    assert!(chart.starts_with("<svg"));

    let second = report(&run(&arguments));
    assert!(number(&second, "/cached/hits/disk") > 0.0, "the first run's entries are found: {second}");
    assert_eq!(second["wrong_answers"], 0, "{second}");
}

#[test]
fn changes_that_no_cache_was_told_of_are_told_to_the_next_run() {
    let folder = tempfile::tempdir().unwrap();
    let arguments = in_folder(folder.path(), &["--for", "300ms", "--report", "json", "--writes", "0%"]);
    report(&run(&arguments));
    // As if the process had been killed between the commit and the caches.
    let database = rusqlite::Connection::open(folder.path().join("cities.db")).unwrap();
    database
        .execute_batch(
            "UPDATE state SET change = change + 1;
             UPDATE city SET population = 5, version = (SELECT change FROM state) WHERE id = 1796236;
             INSERT INTO pending SELECT change, 1796236, 'Shanghai' FROM state;",
        )
        .unwrap();
    drop(database);
    let second = report(&run(&arguments));
    assert_eq!(second["wrong_answers"], 0, "{second}");
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
        (&["--skew", "9"], "between"),
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

#[test]
fn a_redis_url_that_is_none_is_refused_without_repeating_its_password() {
    let folder = tempfile::tempdir().unwrap();
    let output = run(&in_folder(folder.path(), &["--redis", "http://user:hunter2@localhost"]));
    assert_refused(&output, 2, &["--redis"]);
    assert!(!String::from_utf8_lossy(&output.stderr).contains("hunter2"));
}

#[test]
fn a_redis_that_does_not_answer_is_a_clear_error() {
    let folder = tempfile::tempdir().unwrap();
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let output = run(&in_folder(folder.path(), &["--redis", &format!("redis://:hunter2@{free}")]));
    assert_refused(&output, 1, &["--redis", &free.port().to_string()]);
    assert!(!String::from_utf8_lossy(&output.stderr).contains("hunter2"));
}

/// With Redis, without it, and with it again: what one run changed, the tiers of another did not hear of.
#[tokio::test]
async fn runs_with_and_without_redis_on_one_folder_never_answer_what_another_changed() {
    let redis = larder_testkit::RedisServer::start().await;
    let (folder, url) = (tempfile::tempdir().unwrap(), redis.url());
    let plain = ["--for", "300ms", "--report", "json", "--writes", "10%"];
    let with = [&plain[..], &["--redis", &url]].concat();
    for arguments in [&plain[..], &with, &plain, &with, &with] {
        let arguments: Vec<String> =
            in_folder(folder.path(), arguments).iter().map(|&text| text.to_owned()).collect();
        let running = tokio::task::spawn_blocking(move || {
            run(&arguments.iter().map(String::as_str).collect::<Vec<_>>())
        });
        let report = report(&running.await.unwrap());
        assert_eq!(
            (&report["wrong_answers"], &report["failed_requests"]),
            (&0.into(), &0.into()),
            "{report}"
        );
        assert!(number(&report, "/restart/warm_share") >= 0.9, "{report}");
    }
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
