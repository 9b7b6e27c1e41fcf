//! Tests of a commit with an unknown outcome that the server cannot look up for a while.

use sqlx::{Connection, Executor, PgConnection};

use super::Stage;
use crate::support::{Backend, Cluster, Loss, Road, until};

async fn stored(database: &mut PgConnection, body: &str) -> bool {
    let stored = sqlx::query_scalar("SELECT EXISTS (SELECT FROM messages WHERE body = $1)").bind(body);
    stored.fetch_one(database).await.unwrap()
}

/// Crash of the database at a commit. It forgets the transaction and its id, and gives the id to another transaction before
/// the server asks for the outcome, or to none.
#[tokio::test]
async fn the_commit_of_somebody_else_does_not_pass_for_ones_own() {
    let cluster = Cluster::start().await;
    let backend = cluster.backend();
    let mut stage = Stage::before(&backend, |server| server).await;
    let mut database = PgConnection::connect(backend.url()).await.unwrap();
    // Only a commit writes the write-ahead log to disk.
    database.execute("ALTER SYSTEM SET wal_writer_delay = '10s'").await.unwrap();
    database.execute("SELECT pg_reload_conf()").await.unwrap();
    for others in [0, 300, 0, 300] {
        stage.send("before").await.expect("it is stored");
        stage.proxy.lose(Loss::CommitAndRoad);
        let sending = stage.sending("never stored");
        until("the loss", async || stage.proxy.has_lost().then_some(())).await;
        cluster.restart().await;
        let mut database = PgConnection::connect(backend.url()).await.unwrap();
        for _ in 0..others {
            database.execute("SELECT pg_current_xact_id()").await.unwrap();
        }
        stage.proxy.set(Road::Open);
        let refused = sending.await.expect("it ends").expect_err("the database has forgotten it");
        assert_eq!(refused["error"]["data"]["name"], "psycopg2.OperationalError", "{refused}");
        assert!(!stored(&mut database, "never stored").await);
        stage.comes_back().await;
    }
    stage.server.stop().await;
}

/// A database that accepts no connections gives no outcome either.
#[tokio::test]
async fn nothing_is_said_while_the_database_lets_nobody_in() {
    let backend = Backend::postgres().await;
    let mut stage = Stage::before(&backend, |server| server).await;
    let (server, name) = backend.url().rsplit_once('/').unwrap();
    let mut admin = PgConnection::connect(&format!("{server}/postgres")).await.unwrap();
    let mut database = PgConnection::connect(backend.url()).await.unwrap();

    stage.proxy.lose(Loss::AnswerAndRoad);
    let sending = stage.sending("stored");
    until("the message", async || stored(&mut database, "stored").await.then_some(())).await;
    let allow = async |admin: &mut PgConnection, is_allowed: bool| {
        let allow = format!("ALTER DATABASE {name} ALLOW_CONNECTIONS {is_allowed}");
        admin.execute(sqlx::AssertSqlSafe(allow)).await.unwrap();
    };
    allow(&mut admin, false).await;
    let end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1";
    sqlx::query(end).bind(name).execute(&mut admin).await.unwrap();
    let before = stage.proxy.arrivals();
    stage.proxy.set(Road::Open);
    until("several questions", async || (stage.proxy.arrivals() >= before + 3).then_some(())).await;
    assert!(!sending.is_finished());

    allow(&mut admin, true).await;
    sending.await.expect("it ends").expect("the database has done it");
    stage.comes_back().await;
    let page = stage.john.messaging("messages", serde_json::json!({"thread_id": 1})).await;
    assert_eq!(page["messages"].as_array().unwrap().len(), 1, "{page}");
    stage.server.stop().await;
}
