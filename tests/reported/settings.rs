//! Tests of the bounds of settings: a value out of bounds prevents the start, and every value within them works.

use dragoman::config::BOUNDS;
use futures_util::{StreamExt, stream};
use serde_json::json;

use crate::support::{Backend, JANE, JOHN, Server, run};

fn variable(name: &str) -> String {
    format!("DRAGOMAN__{}", name.to_uppercase().replace('.', "__"))
}

/// Standard error of a start that fails: one line.
async fn refusal(arguments: &[&str], environment: &[(&str, &str)]) -> String {
    let output = run(arguments, environment, "").await;
    let said = String::from_utf8(output.stderr).expect("it prints text");
    assert!(!output.status.success() && said.lines().count() == 1, "{environment:?}: {said}");
    said
}

#[tokio::test(flavor = "multi_thread")]
async fn a_number_that_is_too_large_stops_the_start() {
    let refused = stream::iter(BOUNDS).map(async |bound| {
        let value = u64::MAX.to_string();
        let said = refusal(&["serve", "--listen", "127.0.0.1:0"], &[(&variable(bound.name), &value)]).await;
        let expected = format!("{} must be between {} and {}, not {value}", bound.name, bound.least, bound.most);
        assert_eq!(said, format!("dragoman: {expected}\n"));
    });
    refused.buffer_unordered(4).collect::<Vec<()>>().await;
}

#[tokio::test]
async fn a_file_is_refused_as_the_environment_is() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("settings.toml");
    for (settings, named) in [
        ("[limits]\nheader_seconds = 9223372036854775807", "limits.header_seconds must be between 1 and 86400"),
        (
            "[limits] # so\n header_seconds=18_446_744_073_709_551_615 # forever",
            "limits.header_seconds must be between 1 and 86400",
        ),
        ("session.lifetime_seconds = 99999999999999999999", "session.lifetime_seconds must be between 1 and "),
        ("[limits]\nheader_seconds = 1\nheader_seconds = 2", "header_seconds"),
        ("[limits]\nheader_seconds = 1.5", "limits.header_seconds must be between 1 and 86400, not 1.5"),
        ("[limits]\nconnections_per_address = -1", "limits.connections_per_address must be between 0 and 10000000, not -1"),
        ("limits = 5", "limits"),
        ("proxies = [\"nginx\"]", "proxies"),
        ("proxies = [\"10.0.0.0/33\"]", "proxies"),
        ("proxies = \"10.0.0.0\"", "proxies"),
    ] {
        std::fs::write(&file, settings).unwrap();
        let said = refusal(&["serve", "--config", file.to_str().unwrap()], &[]).await;
        assert!(said.contains(named), "{settings}: {said}");
    }
    let said = refusal(&["serve"], &[("DRAGOMAN__PROXIES", "10.0.0.1, nginx")]).await;
    assert!(said.contains("proxies") && said.contains("nginx"), "{said}");
}

/// All upper bounds together: no sum, product or time overflows.
#[tokio::test]
async fn the_largest_numbers_work() {
    let builder = BOUNDS.iter().fold(Server::builder(Backend::memory()), |builder, bound| {
        let name = variable(bound.name);
        builder.set(name.strip_prefix("DRAGOMAN__").unwrap(), bound.most)
    });
    let mut server = builder.set("LIMITS__STOP_SECONDS", 30).set("SOCKETS__DRAIN_SECONDS", 1).start().await;
    let (john, jane) = (server.log_in(JOHN).await, server.log_in(JANE).await);
    let thread = john.messaging("thread/create", json!({"name": "New", "partner_ids": [7]})).await["thread_id"].take();
    assert_eq!(john.messaging("message/send", json!({"thread_id": thread, "body": "hello"})).await["success"], true);
    let poll = json!({"thread_id": thread, "last_message_id": 0, "timeout": 60});
    assert_eq!(john.messaging("poll/messages", poll).await["messages"][0]["body"], "hello");
    let found = john.result("/longpolling/poll", json!({"channels": [], "last": 1})).await;
    assert!(!found.as_array().unwrap().is_empty(), "{found}");
    assert!(jane.messaging("partners/search", json!({"query": "john"})).await["partners"].is_array());
    let tokens = john.post("/auth/token", &json!({})).await;
    assert_eq!(tokens.status, 200, "{tokens:?}");
    let access = tokens.json()["access"].as_str().unwrap().to_owned();
    let wish = json!({"filename": "a.png", "mimeType": "image/png", "type": "chat-images"});
    let wish = server.client().request(reqwest::Method::POST, "/file-new/get-upload-url").bearer_auth(&access).json(&wish);
    assert_eq!(crate::support::Answer::of(wish).await.status, 200);
    let mut socket = crate::support::Socket::open(server.socket_url(&format!("/conversations/1/?token={access}"))).await;
    socket.say(json!({"action": "send_message", "content": "hello"})).await;
    socket.hear_until(|told| told["type"] == "new_message" || told["message"]["content"] == "hello").await;
    socket.close().await;
    assert_eq!(server.metric("dragoman_panics_total").await, 0.0);
    assert!(!server.log().contains("panicked"), "{}", server.log());
    server.stop().await;
}
