//! Tests of a database that stops answering, on some connections or on all.

use sqlx::{Connection, Executor, PgConnection};

use super::Stage;
use crate::support::{Backend, Road, until};

/// Waits until exactly this many transactions wait for the head of the event log.
pub(super) async fn waiting(database: &mut PgConnection, transactions: i64) {
    let waiting = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'";
    until("all transactions", async || {
        let waiting: i64 = sqlx::query_scalar(waiting).fetch_one(&mut *database).await.unwrap();
        (waiting == transactions).then_some(())
    })
    .await;
}

/// Existing connections stop answering within their transactions. New ones work and replace them.
#[tokio::test]
async fn connections_that_stay_silent_are_given_up() {
    let backend = Backend::postgres().await;
    let settings = [("MAX_CONNECTIONS", 4), ("ACQUIRE_MILLISECONDS", 10_000), ("STATEMENT_MILLISECONDS", 8_000)];
    let mut stage = Stage::before(&backend, |server| {
        settings.iter().fold(server, |server, (key, value)| server.set(&format!("POSTGRES__{key}"), value))
    })
    .await;
    let mut database = PgConnection::connect(backend.url()).await.unwrap();
    for is_stranded in [true, true, false] {
        let mut holder = database.begin().await.unwrap();
        holder.execute("SELECT FROM log_head FOR UPDATE").await.unwrap();
        let creates: Vec<_> = (0..3).map(|_| stage.create()).collect();
        let mut watcher = PgConnection::connect(backend.url()).await.unwrap();
        waiting(&mut watcher, 3).await;
        if is_stranded {
            stage.proxy.strand();
        }
        holder.rollback().await.unwrap();
        for create in creates {
            let answer = create.await.expect("it ends");
            if is_stranded {
                assert_eq!(answer["error"]["data"]["name"], "psycopg2.OperationalError", "{answer}");
            } else {
                assert!(answer["error"].is_null(), "{answer}");
            }
        }
        stage.comes_back().await;
    }
    stage.server.stop().await;
}

/// The network time-out applies whatever the statement time-out: a silent database is given up.
#[tokio::test]
async fn who_waits_for_an_answer_learns_that_there_is_none() {
    let mut stage =
        Stage::before(&Backend::postgres().await, |server| server.set("POSTGRES__STATEMENT_MILLISECONDS", 3_600_000)).await;
    stage.send("before").await.expect("it is stored");
    stage.proxy.set(Road::Silent);
    let read = stage.john.call("/api/messaging/threads", serde_json::json!({})).await;
    assert_eq!(read["error"]["data"]["name"], "psycopg2.OperationalError", "{read}");
    stage.send("meanwhile").await.expect_err("it cannot be stored");
    stage.proxy.set(Road::Open);
    stage.comes_back().await;
    stage.send("after").await.expect("it is stored");
    stage.server.stop().await;
}

#[tokio::test]
async fn a_server_stops_though_the_database_is_silent() {
    let mut stage = Stage::before(&Backend::postgres().await, |server| server.set("LIMITS__STOP_SECONDS", 1)).await;
    stage.send("before").await.expect("it is stored");
    stage.proxy.set(Road::Silent);
    stage.send("lost").await.expect_err("it cannot be stored");
    stage.server.stop().await;
}
