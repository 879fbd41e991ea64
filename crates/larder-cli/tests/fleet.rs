//! `larder demo --nodes`, run as an operator runs it, over a real Redis. What it measures depends on the machine; what it
//! promises does not.

use std::process::{Command, Output, Stdio};

use larder_testkit::RedisServer;
use serde_json::Value;

fn demo(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_larder"));
    command.args(["demo", "--nodes", "3"]).args(arguments).stdin(Stdio::null());
    command.output().expect("the binary was built for this test")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_processes_keep_the_bound_with_the_bus_up_and_cut_and_wait_for_a_dead_one_once() {
    let redis = RedisServer::start().await;
    let url = redis.url();
    let output = tokio::task::spawn_blocking(move || demo(&["--redis", &url, "--report", "json"]));
    let output = output.await.expect("it ends");
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!((output.status.code(), said.as_ref()), (Some(0), ""), "what Larder promises held");

    let report: Value = serde_json::from_slice(&output.stdout).expect("one JSON object and nothing else");
    let number = |path: &str| {
        report.pointer(path).and_then(Value::as_u64).unwrap_or_else(|| panic!("no {path} in {report}"))
    };
    for phase in ["healthy", "bus_cut"] {
        assert!(number(&format!("/{phase}/writes")) > 10, "{report}");
        assert_eq!(number(&format!("/{phase}/unseen")), 0, "every write was seen at every node: {report}");
        assert!(number(&format!("/{phase}/stale_max_us")) <= 3_000_000, "{report}");
    }
    assert!(number("/healthy/stale_max_us") > 0, "somebody looked: {report}");
    let (p50, dead) = (number("/everywhere_p50_us"), number("/everywhere_with_a_dead_node_us"));
    assert!(
        p50 < dead && dead <= 3_000_000,
        "a dead node is waited for, and no longer than the bound: {report}"
    );
}

#[test]
fn without_a_server_to_share_several_processes_are_refused() {
    let output = demo(&[]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("--redis <URL>"), "{said}");
}
