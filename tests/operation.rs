//! Tests of operation: health, readiness, and warnings in the log lines.

use serde_json::{Value, json};
use sqlx::{Connection, Executor, PgConnection};

use crate::{
    on_every_backend,
    support::{Backend, RawConnection, Server, until},
};

on_every_backend! {
    /// Both routes pass once the server accepts requests.
    async fn healthy_and_ready(server) {
        let kind = server.backend().kind();
        let ready = json!({"status": "pass", "epoch": 0, "storage": kind});
        let healthy = [("/healthz", json!({"status": "pass"})), ("/readyz", ready)];
        for (path, health) in healthy {
            let answer = server.get(path).await;
            assert_eq!(answer.status(), 200, "{path}");
            assert_eq!(answer.json::<Value>().await.unwrap(), health, "{path}");
        }
        assert_eq!(server.metric("dragoman_log_unread_seconds").await, 0.0);
        assert_eq!(server.metric(&format!("dragoman_store_info{{storage=\"{kind}\"}}")).await, 1.0);
    }
}

/// Addresses for clients cannot come from the listener if it listens on all interfaces.
#[tokio::test]
async fn who_listens_everywhere_is_to_say_how_to_be_reached() {
    const EVERYWHERE: &str = "0.0.0.0:0";
    for (base_url, warned) in [("", true), ("https://chat.example.com", false)] {
        let mut server = Server::builder(Backend::memory()).set("BASE_URL", base_url).start().await;
        server.stop().await;
        assert!(!server.log().contains("base_url"), "it listened at one address: {}", server.log());
        server.start_again(EVERYWHERE.parse().expect("it is an address")).await;
        assert_eq!(server.get("/healthz").await.status(), 200);
        assert_eq!(server.log().contains("base_url is not set"), warned, "{}", server.log());
        server.stop().await;
    }
}

/// Readiness: a node that cannot read the event log delivers no events, so the load balancer must avoid it.
#[tokio::test]
async fn a_node_that_cannot_read_the_log_is_not_ready() {
    let backend = Backend::postgres().await;
    let mut server = Server::demo(backend.clone()).await;
    // The server reads the event log at its start as well.
    server.ready().await;
    let mut database = PgConnection::connect(backend.url()).await.unwrap();
    database.execute("ALTER TABLE events RENAME TO lost").await.unwrap();
    server.not_ready("the log cannot be read").await;
    assert!(server.metric("dragoman_log_unread_seconds").await >= 5.0);
    database.execute("ALTER TABLE lost RENAME TO events").await.unwrap();
    server.ready().await;
    assert_eq!(server.metric("dragoman_log_unread_seconds").await, 0.0);
    server.stop().await;
}

/// A single log line, however long the condition lasts.
#[tokio::test]
async fn that_no_connection_can_be_accepted_is_said_once() {
    const FILES: u64 = 64;
    let mut server = Server::builder(Backend::memory()).most_files(FILES).start().await;
    let mut waiting = Vec::new();
    for _ in 0..2 * FILES {
        waiting.push(RawConnection::to(&server).await);
    }
    let begins = "connections cannot be accepted";
    until(begins, async || server.log().contains(begins).then_some(())).await;
    drop(waiting);
    let over = "connections are accepted again";
    until(over, async || {
        server.get("/healthz").await;
        server.log().contains(over).then_some(())
    })
    .await;
    assert_eq!(server.log().matches(begins).count(), 1, "{}", server.log());
    server.stop().await;
}
