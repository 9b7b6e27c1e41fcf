//! Tests of the systemd unit, the settings, the dashboard and the alerts in `deploy/`, with systemd's, Prometheus' and the
//! program's own checks.

use std::{collections::BTreeSet, fmt::Write, fs, path::Path};

use dragoman::config::Config;
use serde_json::Value;
use tokio::process::Command;

use super::nginx::SHIPPED as NGINX;
use crate::support::{run, run_to_its_end};

const UNIT: &str = include_str!("../../deploy/dragoman.service");
const COMPOSE: &str = include_str!("../../deploy/compose.yaml");
const DASHBOARD: &str = include_str!("../../deploy/grafana/dashboard.json");
const ALERTS: &str = include_str!("../../deploy/prometheus/alerts.yml");
const SETTINGS: &str = include_str!("../../deploy/dragoman.toml");
const METRICS: &str = include_str!("../../src/metrics.rs");
/// Longest wait of a message poll, and time-out of the services after the last request at a stop.
const POLL_SECONDS: u64 = 60;
const SERVICES_SECONDS: u64 = 10;

/// All values of a setting, without their units.
fn values(text: &str, name: &str) -> Vec<u64> {
    let lines = text.lines().filter_map(|line| line.trim().strip_prefix(name));
    let digits =
        lines.map(|rest| rest.chars().skip_while(|c| " =:".contains(*c)).take_while(char::is_ascii_digit).collect::<String>());
    digits.filter_map(|digits| digits.parse().ok()).collect()
}

#[test]
fn who_waits_for_the_program_waits_longer_than_it_takes() {
    let Config { limits, sockets, im_chat, .. } = Config::load_defaults().expect("the defaults are good");
    let longest = POLL_SECONDS.max(im_chat.poll_seconds).max(sockets.ping_seconds);
    assert!(values(NGINX, "proxy_read_timeout").iter().all(|seconds| *seconds > longest));
    let stopped = limits.stop_seconds + SERVICES_SECONDS;
    assert!(values(UNIT, "TimeoutStopSec").iter().all(|seconds| *seconds > stopped));
    assert!(values(COMPOSE, "stop_grace_period").iter().all(|seconds| *seconds > stopped));
    let [upstream, _clients] = values(NGINX, "keepalive_timeout")[..] else { panic!("one for the nodes, one for the clients") };
    assert!(upstream < limits.header_seconds, "a node must not be the one who closes an idle connection");
    let [json, files] = values(NGINX, "client_max_body_size")[..] else { panic!("one for JSON, one for files") };
    assert!(json << 20 > limits.body_bytes as u64);
    assert!(files << 20 > limits.upload_bytes + (1 << 20), "the form around a file may be as large as that");
}

#[test]
fn nothing_that_is_secret_has_a_default() {
    let references: Vec<_> = COMPOSE.split("${").skip(1).filter_map(|rest| rest.split('}').next()).collect();
    assert!(references.len() > 5, "{references:?}");
    assert!(references.iter().all(|reference| reference.contains(":?")), "{references:?}");
}

/// Checks that the program accepts the whole file: it fails only afterwards, since a store in memory cannot be migrated.
async fn assert_read(settings: &str) {
    let directory = tempfile::tempdir().expect("a directory can be made");
    let file = directory.path().join("dragoman.toml");
    fs::write(&file, settings).expect("the directory is ours");
    let file = file.to_str().expect("temporary directories have plain names");
    let output = run(&["migrate", "--config", file, "--storage", "memory:"], &[], "").await;
    let said = String::from_utf8(output.stderr).expect("it is text");
    assert!(said.starts_with("dragoman: storage: memory: ends with the server"), "{said}");
}

#[tokio::test]
async fn the_settings_are_read() {
    assert_read(SETTINGS).await;
    // Commented settings are valid as well.
    let is_setting = |line: &&str| line.strip_prefix("# ").is_some_and(|rest| rest.split(' ').nth(1) == Some("="));
    let commented: Vec<_> = SETTINGS.lines().filter(is_setting).collect();
    assert!(commented.len() > 10, "{commented:?}");
    let also_given = "files = \"file:/var/lib/dragoman/files\"";
    let all = commented.iter().fold(SETTINGS.replace(also_given, ""), |text, line| text.replace(line, &line[2..]));
    assert_read(&all).await;
}

#[tokio::test]
async fn systemd_takes_the_unit() {
    let directory = tempfile::tempdir().expect("a directory can be made");
    let unit = directory.path().join("dragoman.service");
    let installed = "ExecStart=/usr/local/bin/dragoman ";
    assert!(UNIT.contains(installed));
    let here = format!("ExecStart={} ", env!("CARGO_BIN_EXE_dragoman"));
    fs::write(&unit, UNIT.replace(installed, &here)).expect("the directory is ours");
    let said = run_to_its_end(Command::new("systemd-analyze").args(["verify", "--man=no"]).arg(&unit)).await;
    assert_eq!(said, "", "it has nothing to remark");
    // Threshold in tenths of systemd's exposure level, which runs to 10. Below 50 systemd says OK.
    let strict = ["security", "--offline=yes", "--threshold=20", "--no-pager"];
    run_to_its_end(Command::new("systemd-analyze").args(strict).arg(&unit)).await;
}

/// Names of the program's metrics in a text, without the suffixes of histograms.
fn metrics(text: &str) -> BTreeSet<String> {
    let words = text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).filter(|word| word.starts_with("dragoman_"));
    let parts = ["_bucket", "_sum", "_count"];
    words.map(|word| parts.iter().find_map(|part| word.strip_suffix(part)).unwrap_or(word).to_owned()).collect()
}

/// Prometheus queries of the dashboard.
fn expressions(dashboard: &Value) -> Vec<&str> {
    let panels = dashboard["panels"].as_array().expect("it has panels").iter();
    let targets = panels.filter_map(|panel| panel["targets"].as_array()).flatten();
    targets.map(|target| target["expr"].as_str().expect("it asks for something")).collect()
}

#[test]
fn dashboard_and_alerts_name_what_the_program_counts() {
    let dashboard: Value = serde_json::from_str(DASHBOARD).expect("it is JSON");
    let counted = metrics(METRICS);
    for named in [metrics(&expressions(&dashboard).join(" ")), metrics(ALERTS)] {
        assert!(named.len() > 5, "{named:?}");
        assert_eq!(named.difference(&counted).collect::<Vec<_>>(), Vec::<&String>::new());
    }
}

#[tokio::test]
async fn prometheus_takes_the_alerts_and_what_the_dashboard_asks() {
    let promtool = std::env::var("DRAGOMAN_TEST_PROMTOOL").expect("run the tests with .ci/test, which brings promtool");
    let alerts = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/prometheus/alerts.yml");
    run_to_its_end(Command::new(&promtool).args(["check", "rules"]).arg(alerts)).await;

    let dashboard: Value = serde_json::from_str(DASHBOARD).expect("it is JSON");
    let mut rules = "groups: [{name: dashboard, rules: [\n".to_owned();
    for (number, expression) in expressions(&dashboard).into_iter().enumerate() {
        let expression = expression.replace("$__rate_interval", "5m").replace("$instance", ".*");
        let _ = writeln!(rules, "{{record: panel{number}, expr: {}}},", Value::from(expression));
    }
    rules.push_str("]}]\n");
    let directory = tempfile::tempdir().expect("a directory can be made");
    let file = directory.path().join("dashboard.yml");
    fs::write(&file, rules).expect("the directory is ours");
    run_to_its_end(Command::new(&promtool).args(["check", "rules"]).arg(file)).await;
}
