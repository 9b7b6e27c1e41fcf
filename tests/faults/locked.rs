//! Tests of a row lock on a conversation, held by another transaction for any time.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use sqlx::{Connection, Executor, PgConnection};

use crate::support::{ADMIN, Backend, Client, JOHN, Server, until};

/// Statement time-out. The lock time-out is somewhat shorter.
const LIMIT: Duration = Duration::from_secs(1);
/// Time limit of the test, far beyond the expected one.
const PATIENCE: Duration = Duration::from_secs(10);

async fn send(client: &Client, thread: i64, key: &str) -> Value {
    client.call("/api/messaging/message/send", json!({"thread_id": thread, "body": key, "client_key": key})).await
}

async fn bodies(client: &Client, thread: i64) -> Vec<String> {
    let page = client.messaging("messages", json!({"thread_id": thread})).await;
    page["messages"].as_array().unwrap().iter().map(|message| message["body"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn a_locked_conversation_keeps_nobody_else_and_loses_nothing() {
    let backend = Backend::postgres().await;
    let server = Server::builder(backend.clone()).set("POSTGRES__STATEMENT_MILLISECONDS", LIMIT.as_millis());
    let mut server = server.start().await;
    let (john, admin) = (server.log_in(JOHN).await, server.log_in(ADMIN).await);
    let mut database = PgConnection::connect(backend.url()).await.unwrap();
    let mut holder = database.begin().await.unwrap();
    holder.execute("SELECT FROM conversations WHERE id = 1 FOR UPDATE").await.unwrap();

    let begun = Instant::now();
    let waiting: Vec<_> = (0..4)
        .map(|number| {
            let john = john.clone();
            tokio::spawn(async move { send(&john, 1, &format!("kept {number}")).await })
        })
        .collect();
    until("those who wait", async || {
        let waits = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'";
        let waits: i64 = sqlx::query_scalar(waits).fetch_one(&mut *holder).await.unwrap();
        (waits > 0).then_some(())
    })
    .await;
    for number in 0..20 {
        assert!(send(&admin, 2, &format!("goes on {number}")).await["result"]["message_id"].is_number());
        assert_eq!(bodies(&john, 1).await, [""; 0]);
    }
    for waiting in waiting {
        let answer = waiting.await.unwrap();
        assert_eq!(answer["error"]["data"]["name"], "psycopg2.OperationalError", "{answer}");
    }
    assert!(begun.elapsed() < PATIENCE, "{:?}", begun.elapsed());
    let log = server.log();
    assert_eq!(log.lines().filter(|line| line.contains("WARN") && line.contains("pg_locks")).count(), 1, "{log}");

    let last = {
        let john = john.clone();
        tokio::spawn(async move { send(&john, 1, "last").await })
    };
    holder.rollback().await.unwrap();
    assert!(last.await.unwrap()["result"]["message_id"].is_number());
    for number in 0..4 {
        for _ in 0..2 {
            assert!(send(&john, 1, &format!("kept {number}")).await["result"]["message_id"].is_number());
        }
    }
    assert_eq!(bodies(&john, 1).await, ["kept 3", "kept 2", "kept 1", "kept 0", "last"]);
    assert_eq!(bodies(&john, 2).await.len(), 20);
    server.stop().await;
}
