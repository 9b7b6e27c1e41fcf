//! Tests of invalid settings.

use serde_json::json;

use crate::support::{Backend, Server, run};

/// Runs the program, which does not start, and returns its output.
async fn refusal(arguments: &[&str], environment: &[(&str, &str)]) -> String {
    let output = run(arguments, environment, "").await;
    assert!(!output.status.success(), "{arguments:?} {environment:?}");
    assert!(output.stdout.is_empty(), "{output:?}");
    let text = String::from_utf8(output.stderr).unwrap();
    assert_eq!(text.trim_end().lines().count(), 1, "{text}");
    text
}

/// Unknown setting: one line names it.
#[tokio::test]
async fn an_unknown_setting_stops_the_start() {
    let text = refusal(&["serve"], &[("DRAGOMAN__SESSION__LIFETIME", "5")]).await;
    assert!(text.contains("lifetime"), "{text}");
    let text = refusal(&["serve"], &[("DRAGOMAN__NONSENSE", "5")]).await;
    assert!(text.contains("nonsense"), "{text}");
}

/// Strings in the environment that look like numbers: unchanged.
#[tokio::test]
async fn texts_in_the_environment_stay_texts() {
    let mut server = Server::builder(Backend::memory()).set("DATABASE", "007").set("ODOO__SERVER_VERSION", "16.0").start().await;
    let client = server.client();
    assert_eq!(client.result("/web/database/list", json!({})).await, json!(["007"]));
    assert_eq!(client.result("/web/webclient/version_info", json!({})).await["server_version"], "16.0");
    server.stop().await;
}

/// Invalid value: one line names the setting.
#[tokio::test]
async fn a_bad_value_stops_the_start() {
    let cases = [
        ("DRAGOMAN__SESSION__LIFETIME_SECONDS", "soon", "session.lifetime_seconds"),
        ("DRAGOMAN__SESSION__LIFETIME_SECONDS", "0", "session.lifetime_seconds"),
        ("DRAGOMAN__LIMITS__BODY_BYTES", "-1", "limits.body_bytes"),
        ("DRAGOMAN__STORAGE", "mysql://localhost/chat", "storage"),
        ("DRAGOMAN__BASE_URL", "chat.example", "base_url"),
        ("DRAGOMAN__CORS__ORIGINS", "https://app.example/path", "cors.origins"),
        ("DRAGOMAN__MESSAGING__AUTHOR_ID", "nobody", "messaging.author_id"),
        ("DRAGOMAN__DATABASE", "", "database"),
        ("DRAGOMAN__LISTEN", "nowhere", "listen"),
        ("DRAGOMAN__FILES", "ftp://files", "files"),
    ];
    for (key, value, name) in cases {
        let text = refusal(&["serve"], &[(key, value)]).await;
        assert!(text.contains(name), "{key}={value}: {text}");
    }
}

/// Password in an address: not printed.
#[tokio::test]
async fn the_line_does_not_give_a_password_away() {
    let text = refusal(&["serve"], &[("DRAGOMAN__STORAGE", "postgres://chat:s3cret@127.0.0.1:1/chat")]).await;
    assert!(!text.contains("s3cret"), "{text}");
}
