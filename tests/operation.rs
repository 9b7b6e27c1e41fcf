//! What whoever runs the server relies on.

use sqlx::{Connection, Executor, PgConnection};

use crate::{
    on_every_backend,
    support::{Backend, Server},
};

on_every_backend! {
    /// Both say so once requests are served.
    async fn healthy_and_ready(server) {
        for path in ["/healthz", "/readyz"] {
            let answer = server.get(path).await;
            assert_eq!(answer.status(), 200, "{path}");
            assert_eq!(answer.json::<serde_json::Value>().await.unwrap(), serde_json::json!({"status": "pass"}), "{path}");
        }
        assert_eq!(server.metric("dragoman_log_unread_seconds").await, 0.0);
    }
}

/// The database answers, and yet nobody is told anything: whoever sends requests to nodes is to know.
#[tokio::test]
async fn a_node_that_cannot_read_the_log_is_not_ready() {
    let backend = Backend::postgres().await;
    let mut server = Server::demo(backend.clone()).await;
    let mut database = PgConnection::connect(backend.url()).await.unwrap();
    database.execute("ALTER TABLE events RENAME TO lost").await.unwrap();
    server.not_ready("the log cannot be read").await;
    assert!(server.metric("dragoman_log_unread_seconds").await >= 5.0);
    database.execute("ALTER TABLE lost RENAME TO events").await.unwrap();
    server.ready().await;
    assert_eq!(server.metric("dragoman_log_unread_seconds").await, 0.0);
    server.stop().await;
}
