//! Tests of external ids, the names of users in the tokens of other systems.

use serde_json::json;

use crate::support::{Backend, JANE, JOHN, Server, token, until};

const ADDED: &str = "a password\n";

async fn refusal(backend: &Backend, arguments: &[&str]) -> String {
    let output = backend.run(arguments, "").await;
    let said = String::from_utf8(output.stderr).expect("it prints text");
    assert!(!output.status.success() && said.lines().count() == 1, "{arguments:?}: {said}");
    said
}

/// The log lines up to the start of the listener.
async fn log_of_start(server: &Server) -> String {
    until("the start", async || Some(server.log()).filter(|log| log.contains(": listening"))).await
}

async fn link(backend: &Backend, login: &str, id: &str) -> String {
    backend.administer(&["user", "edit", login, "--external-id", id], "").await
}

#[tokio::test]
async fn an_external_id_is_checked_and_belongs_to_one_user() {
    let backend = Backend::postgres().await;
    backend.administer(&["migrate"], "").await;
    for login in ["anne", "ben"] {
        backend.administer(&["user", "add", login, "--name", login], ADDED).await;
    }
    let longest = "x".repeat(255);
    let longer = format!("{longest}x");
    for (bad, reason) in [
        ("", "must not be empty"),
        ("@17", "must not begin with @"),
        ("1\n7", "must not contain control characters"),
        ("\u{1b}[31m", "must not contain control characters"),
        (longer.as_str(), "must not be longer than 255 bytes"),
    ] {
        let said = refusal(&backend, &["user", "edit", "anne", "--external-id", bad]).await;
        assert_eq!(said, format!("dragoman: the external_id {reason}\n"), "{bad:?}");
    }
    link(&backend, "anne", &longest).await;
    link(&backend, "anne", &longest).await;
    let said = refusal(&backend, &["user", "edit", "anne", "--external-id", "17", "--moderator", "true"]).await;
    assert_eq!(said, format!("dragoman: anne has the external id {longest}: remove it first\n"));
    assert!(!backend.administer(&["user", "list"], "").await.contains("moderator"), "all of it or nothing");
    let said = refusal(&backend, &["user", "edit", "ben", "--external-id", &longest]).await;
    assert_eq!(said, format!("dragoman: the external id {longest} belongs to another user\n"));
    backend.administer(&["user", "edit", "anne", "--no-external-id"], "").await;
    link(&backend, "ben", &longest).await;
    link(&backend, "anne", "ä 17/b").await;
    let output = backend.run(&["user", "edit", "anne"], "").await;
    assert!(!output.status.success(), "something is to be changed");
}

/// Upgrade from the first release, whose tokens named users by uid: a warning at the start, as long as no user has an
/// external id.
#[tokio::test]
async fn where_nobody_is_linked_a_server_that_verifies_tokens_says_so() {
    const WARNING: &str = "tokens of other services match no user";
    let backend = Backend::postgres().await;
    backend.administer(&["migrate"], "").await;
    backend.administer(&["user", "add", "anne", "--name", "Anne"], ADDED).await;
    let server = Server::builder(backend.clone()).empty();
    for (builder, is_warned) in [
        (server.clone(), false),
        (server.clone().with_tokens(), true),
        (server.clone().with_tokens().set("TOKENS__USER_CLAIM_NAMES", "uid"), false),
        (server.clone().with_tokens().set("TOKENS__USER_CLAIM_NAMES", "external_id"), false),
    ] {
        let mut server = builder.start().await;
        let log = log_of_start(&server).await;
        assert_eq!(log.contains(WARNING), is_warned, "{log}");
        server.stop().await;
    }
    // The server issues tokens to users without an external id as well. Those name no user for other services.
    let mut own = server.clone().with_tokens().start().await;
    let pair = own.client().post("/auth/token", &json!({"login": "anne", "password": "a password"})).await.json();
    let access = pair["access"].as_str().expect("it is a text");
    let claims = crate::tokens::claims(access);
    assert!(claims.get("user_id").is_none(), "{claims}");
    let threads = own.client().request(reqwest::Method::GET, "/chat/user/threads").bearer_auth(access);
    assert_eq!(crate::support::Answer::of(threads).await.status, 200);
    own.stop().await;
    link(&backend, "anne", "17").await;
    let mut linked = server.with_tokens().start().await;
    assert!(!log_of_start(&linked).await.contains(WARNING));
    linked.stop().await;
}

/// Demo data: every user's external id is the uid.
#[tokio::test]
async fn demo_users_are_linked() {
    let backend = Backend::postgres().await;
    let mut server = Server::with_tokens(backend.clone()).await;
    for (login, uid) in [(JOHN, 4), (JANE, 6), ("concierge@example.com", 32_314)] {
        let request = server.client().request(reqwest::Method::GET, "/auth/token").bearer_auth(token(uid));
        assert_eq!(crate::support::Answer::of(request).await.json()["login"], login);
    }
    let said = refusal(&backend, &["user", "edit", JOHN, "--external-id", "17"]).await;
    assert!(said.contains("has the external id 4"), "{said}");
    server.stop().await;
}
