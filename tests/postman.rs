//! Tests of the Postman collection with newman: it passes, covers every route, and fails on a server that misbehaves.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    time::Duration,
};

use serde_json::Value;
use tokio::process::Command;

use crate::{
    on_every_backend,
    support::{Backend, Server},
};

/// Time-out of newman, far beyond its usual duration.
const PATIENCE: Duration = Duration::from_secs(150);

on_every_backend! {
    async fn the_whole_collection_passes(server) {
        let run = newman(server, &[]).await;
        assert_eq!(run.failures, [""; 0]);
        assert!(run.assertions > 0, "it asserts something");
    }

    /// Folders on their own and repeatedly, as developers run them.
    async fn a_folder_can_be_run_by_itself_again_and_again(server) {
        for folder in [
            "Notifications",
            "Two users chatting",
            "An im_chat client",
            "im_chat",
            "Uploads",
            "tokens",
            "Notifications",
            "im_chat",
            "Uploads",
            "tokens",
        ] {
            let run = newman(server, &["Log in", folder]).await;
            assert_eq!(run.failures, [""; 0], "{folder}");
            assert!(run.assertions > 0, "{folder} asserts something");
        }
    }
}

#[tokio::test]
async fn a_server_that_answers_otherwise_is_noticed() {
    let server = Server::builder(Backend::memory()).set("MESSAGING__AUTHOR_ID", "user").start().await;
    let run = newman(&server, &["Log in", "Messages"]).await;
    let [failure] = run.failures.as_slice() else { panic!("one assertion is about the author's id, not {:?}", run.failures) };
    assert!(failure.contains("The newest is the one that was sent"), "{failure}");
}

/// Requests named "Error:" are no examples of a route. Every other request must match a route of the document.
#[tokio::test]
async fn every_route_of_the_openapi_document_is_in_the_collection_and_the_other_way_round() {
    /// Routes without a description: the documents, their pages, and the redirect to them.
    const UNDESCRIBED: [(&str, &str); 5] =
        [("GET", "/openapi.json"), ("GET", "/asyncapi"), ("GET", "/asyncapi/{dialect}"), ("GET", "/docs"), ("GET", "/")];

    let server = Server::demo(Backend::memory()).await;
    let document: Value = server.get("/openapi.json").await.json().await.expect("the document is JSON");
    let described: BTreeSet<_> = routes_of(&document).into_iter().collect();
    let routes = described.iter().map(|(method, path)| (method.as_str(), path.as_str())).chain(UNDESCRIBED);

    let requests = requests_of(&read("dragoman.postman_collection.json"));
    let mut unknown: BTreeSet<_> = requests.iter().collect();
    let mut missing = Vec::new();
    let mut by_precision: Vec<_> = routes.collect();
    // A request counts for the route with the fewest placeholders that fits.
    by_precision.sort_by_key(|(_, path)| path.matches('{').count());
    for (method, path) in by_precision {
        let asking: Vec<_> = unknown.iter().copied().filter(|(m, p)| m == method && fits(path, p)).collect();
        if asking.is_empty() {
            missing.push(format!("{method} {path}"));
        }
        for request in asking {
            unknown.remove(request);
        }
    }
    assert!(missing.is_empty(), "these routes need a request in {}:\n{}", collection().display(), missing.join("\n"));
    assert!(unknown.is_empty(), "these requests of the collection are for no route: {unknown:?}");
}

/// Result of a newman run.
struct Run {
    assertions: u64,
    /// Failed assertions and scripts, each with its request.
    failures: Vec<String>,
}

/// Runs some folders of the collection, or all of it, against `server`.
async fn newman(server: &Server, folders: &[&str]) -> Run {
    let newman = std::env::var("DRAGOMAN_TEST_NEWMAN").expect("run the tests with .ci/test, which installs newman");
    let directory = tempfile::tempdir().expect("a directory can be made");
    let report = directory.path().join("report.json");
    let mut command = Command::new(newman);
    command
        .arg("run")
        .arg(collection())
        .arg("--environment")
        .arg(file("dragoman.postman_environment.json"))
        .arg("--env-var")
        .arg(format!("base_url={}", server.url("")))
        .arg("--working-dir")
        .arg(file(""))
        // Longer than any long poll.
        .args(["--timeout-request", "70000", "--reporters", "json", "--reporter-json-export"])
        .arg(&report)
        .args(folders.iter().flat_map(|folder| ["--folder", *folder]))
        .kill_on_drop(true);
    let output = tokio::time::timeout(PATIENCE, command.output()).await.expect("newman ends").expect("newman can be started");
    let report = std::fs::read(&report).unwrap_or_else(|error| panic!("newman wrote no report: {error}: {output:?}"));
    let report: Value = serde_json::from_slice(&report).expect("the report is JSON");
    let failures = report["run"]["failures"].as_array().expect("the report lists failures").iter().map(said).collect::<Vec<_>>();
    assert_eq!(output.status.success(), failures.is_empty(), "newman's exit code and its report agree: {output:?}");
    Run { assertions: report["run"]["stats"]["assertions"]["total"].as_u64().expect("assertions are counted"), failures }
}

fn said(failure: &Value) -> String {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let [folder, request] = [&failure["parent"]["name"], &failure["source"]["name"]].map(text);
    let [test, message] = [&failure["error"]["test"], &failure["error"]["message"]].map(text);
    format!("{folder} / {request}: {test}: {message}")
}

/// Methods and paths of an OpenAPI document.
fn routes_of(document: &Value) -> Vec<(String, String)> {
    let paths = document["paths"].as_object().expect("it describes paths");
    let methods = |(path, methods): (&String, &Value)| {
        let methods = methods.as_object().expect("a path has methods").keys();
        methods.map(|method| (method.to_ascii_uppercase(), path.clone())).collect::<Vec<_>>()
    };
    paths.iter().flat_map(methods).collect()
}

/// Methods and paths of the requests in a folder that do not expect an error.
fn requests_of(folder: &Value) -> Vec<(String, String)> {
    let request = |item: &Value| {
        if item["item"].is_array() {
            return requests_of(item);
        }
        let [name, method, url] = [&item["name"], &item["request"]["method"], &item["request"]["url"]]
            .map(|text| text.as_str().unwrap_or_else(|| panic!("name, method and address are texts: {item}")));
        if name.starts_with("Error:") {
            return Vec::new();
        }
        let path = url.strip_prefix("{{base_url}}").unwrap_or_else(|| panic!("{name} asks the server under test, not {url}"));
        vec![(method.to_owned(), path.split('?').next().unwrap_or_default().to_owned())]
    };
    folder["item"].as_array().expect("a folder has items").iter().flat_map(request).collect()
}

/// True if a path fits a route's pattern.
fn fits(pattern: &str, path: &str) -> bool {
    let [pattern, path] = [pattern, path].map(|text| text.split('/').collect::<Vec<_>>());
    pattern.len() == path.len() && pattern.iter().zip(&path).all(|(a, b)| a == b || a.starts_with('{'))
}

fn collection() -> PathBuf {
    file("dragoman.postman_collection.json")
}

fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("postman").join(name)
}

fn read(name: &str) -> Value {
    serde_json::from_str(&std::fs::read_to_string(file(name)).expect("the file is there")).expect("the file is JSON")
}
