//! Test of WebSocket conformance: the Autobahn suite against an echo on the socket loop of all dialects.

mod echo;

use std::{collections::BTreeMap, process::Stdio, time::Duration};

use serde_json::{Value, json};
use tokio::process::Command;

use echo::Echo;

/// Excluded cases, with the reason.
const EXPLAINED: [(&str, &str); 5] = [
    ("1.2.*", "binary messages: no dialect has any, so the loop answers each with its dialect's error"),
    ("9.*", "speed with messages of up to 16 MiB, half of them binary: the server takes 64 KiB, and has its own benchmarks"),
    ("10.*", "the same with one message"),
    ("12.*", "compression, which is not offered"),
    ("13.*", "compression, which is not offered"),
];
/// Accepted outcomes. "Informational" are those without a rule in the protocol.
const RIGHT: [&str; 3] = ["OK", "NON-STRICT", "INFORMATIONAL"];
/// Time limit of all cases, far beyond the expected one; only a hang reaches it.
const PATIENCE: Duration = Duration::from_secs(170);

#[tokio::test]
async fn all_cases_pass() {
    let Ok(python) = std::env::var("DRAGOMAN_TEST_AUTOBAHN") else {
        eprintln!("skipped: Autobahn's test suite is not installed; it needs a Python 2.7, see .ci/tools");
        return;
    };
    let echo = Echo::start().await;
    let directory = tempfile::tempdir().expect("a directory can be made");
    let excluded: Vec<_> = EXPLAINED.iter().map(|(cases, _)| cases).collect();
    let spec = json!({
        "outdir": directory.path().join("reports"),
        "servers": [{"agent": "dragoman", "url": echo.url()}],
        "cases": ["*"],
        "exclude-cases": excluded,
        "exclude-agent-cases": {},
    });
    let path = directory.path().join("spec.json");
    std::fs::write(&path, spec.to_string()).expect("the file can be written");
    let mut suite = Command::new(python);
    suite.args(["-c", "from autobahntestsuite.wstest import run; run()", "--mode", "fuzzingclient", "--spec"]).arg(path);
    suite.current_dir(directory.path()).stdin(Stdio::null()).kill_on_drop(true);
    let output = tokio::time::timeout(PATIENCE, suite.output()).await.expect("the suite ends").expect("it can be started");
    let report = std::fs::read(directory.path().join("reports/index.json"));
    let report = report.unwrap_or_else(|error| panic!("there is no report: {error}: {output:?}"));
    let report: BTreeMap<String, BTreeMap<String, Value>> = serde_json::from_slice(&report).expect("the report is JSON");
    let cases = &report["dragoman"];
    let is_right =
        |case: &Value| ["behavior", "behaviorClose"].iter().all(|key| RIGHT.contains(&case[key].as_str().unwrap_or_default()));
    let wrong: Vec<_> = cases.iter().filter(|(_, case)| !is_right(case)).collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert!(cases.len() > 200, "all cases were tried, not only {}", cases.len());
    echo.stop().await;
}

/// Echo: the endpoint repeats each message.
#[tokio::test]
async fn the_echo_echoes() {
    let echo = Echo::start().await;
    let mut socket = crate::support::Socket::open(echo.url()).await;
    for said in [json!("hello"), json!({"a": [1, 2, 3]}), json!("x".repeat(1_000_000))] {
        socket.say(said.clone()).await;
        assert_eq!(socket.hear().await, said);
    }
    socket.close().await;
    echo.stop().await;
}
