//! Tests of the generated OpenAPI document: the copy in `openapi/` equals the served one, and every operation is described.

use serde_json::Value;

use crate::support::{Backend, Server};

fn copy() -> Value {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/openapi/dragoman.json");
    serde_json::from_str(&std::fs::read_to_string(path).expect("the copy is there")).expect("the copy is JSON")
}

#[tokio::test]
async fn the_copy_in_the_repository_is_what_is_served() {
    let mut server = Server::demo(Backend::memory()).await;
    let served: Value = server.get("/openapi.json").await.json().await.expect("the document is JSON");
    assert_eq!(served, copy(), "run: cargo run -- openapi > openapi/dragoman.json");
    server.stop().await;
}

#[tokio::test]
async fn the_command_prints_the_copy() {
    let output = tokio::process::Command::new(env!("CARGO_BIN_EXE_dragoman")).arg("openapi").output().await.expect("it runs");
    assert!(output.status.success());
    let printed: Value = serde_json::from_slice(&output.stdout).expect("it prints JSON");
    assert_eq!(printed, copy());
}

/// Completeness: each operation has a summary, an id, a tag, answers, and a request body where it takes one.
#[test]
fn every_operation_is_described() {
    let document = copy();
    let mut operations = 0;
    for (path, methods) in document["paths"].as_object().expect("there are paths") {
        for (method, operation) in methods.as_object().expect("a path has methods") {
            operations += 1;
            let described = |key: &str| operation[key].as_str().is_some_and(|text| !text.is_empty());
            assert!(described("summary"), "{method} {path} has no summary");
            assert!(described("operationId"), "{method} {path} has no id");
            assert!(operation["tags"].as_array().is_some_and(|tags| tags.len() == 1), "{method} {path} has not one tag");
            assert!(operation["responses"].as_object().is_some_and(|responses| !responses.is_empty()), "{method} {path}");
            // `/auth/session` takes its token in a header alone.
            if method == "post" && path != "/auth/session" {
                assert!(operation["requestBody"]["content"].is_object(), "{method} {path} does not say what it takes");
            }
        }
    }
    assert!(operations > 40, "only {operations} operations");
}

#[test]
fn the_sections_are_in_the_order_of_a_first_visit() {
    let document = copy();
    let sections: Vec<_> = document["tags"].as_array().expect("there are sections").iter().map(|tag| &tag["name"]).collect();
    assert_eq!(sections, ["odoo", "messaging", "im_chat", "room", "tokens", "uploads", "Operation"]);
}

/// The page works on a machine without a network.
#[tokio::test]
async fn the_docs_need_nothing_from_elsewhere() {
    let mut server = Server::demo(Backend::memory()).await;
    for path in ["/docs", "/docs/"] {
        let answer = server.get(path).await;
        let policy = answer.headers()["content-security-policy"].to_str().unwrap().to_owned();
        assert!(policy.contains("img-src 'self' blob: data:"), "the favicon is shown: {policy}");
        let page = answer.text().await.expect("it is a page");
        let served = server.get("/openapi.json").await.text().await.expect("it is a document");
        for part in ["swagger-ui", "<title>Dragoman</title><link rel=\"icon\" href=\"data:", &served] {
            assert!(page.contains(part), "{path} lacks {part}");
        }
        for source in ["src=\"http", "href=\"http", "@import url(http", "url(http"] {
            assert!(!page.contains(source), "{path} loads something by {source}");
        }
    }
    server.stop().await;
}
