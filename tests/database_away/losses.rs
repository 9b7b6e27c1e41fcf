//! Tests of a database that is reachable but refuses writes, or may lose committed ones.

use sqlx::{Connection, Executor, PgConnection};

use super::Stage;
use crate::support::{Backend, Server};

const FULL: &str = "CREATE FUNCTION no_space() RETURNS trigger LANGUAGE plpgsql AS
        $$ BEGIN RAISE EXCEPTION 'no space left' USING ERRCODE = 'disk_full'; END $$;
    CREATE TRIGGER no_space BEFORE INSERT ON messages EXECUTE FUNCTION no_space()";

/// Failover: existing connections stay at the former primary after it has become a standby.
#[tokio::test]
async fn a_database_that_takes_no_writes_is_unavailable_to_who_writes() {
    let backend = Backend::postgres().await;
    let mut stage = Stage::before(&backend, |server| server).await;
    let (server, name) = backend.url().rsplit_once('/').unwrap();
    let mut admin = PgConnection::connect(&format!("{server}/postgres")).await.unwrap();
    let set = async |admin: &mut PgConnection, setting: &str| {
        admin.execute(sqlx::AssertSqlSafe(format!("ALTER DATABASE {name} SET {setting}"))).await.unwrap();
        // Existing connections keep the old setting.
        stage.proxy.reset();
    };
    set(&mut admin, "default_transaction_read_only = on").await;
    stage.server.not_ready("the store takes no writes").await;
    let refused = stage.send("meanwhile").await.expect_err("it cannot be stored");
    assert_eq!(refused["error"]["data"]["name"], "psycopg2.OperationalError", "{refused}");
    stage.john.messaging("threads", serde_json::json!({})).await;
    set(&mut admin, "default_transaction_read_only = off").await;
    stage.comes_back().await;
    stage.send("after").await.expect("it is stored");
    stage.server.stop().await;
}

#[tokio::test]
async fn a_full_database_is_not_ready() {
    let backend = Backend::postgres().await;
    let mut stage = Stage::before(&backend, |server| server).await;
    let mut database = PgConnection::connect(backend.url()).await.unwrap();
    database.execute(sqlx::raw_sql(FULL)).await.unwrap();
    let refused = stage.send("meanwhile").await.expect_err("it cannot be stored");
    assert_eq!(refused["error"]["data"]["name"], "psycopg2.OperationalError", "{refused}");
    stage.server.not_ready("the store takes no writes").await;
    database.execute("DROP TRIGGER no_space ON messages").await.unwrap();
    stage.send("after").await.expect("it is stored");
    stage.server.ready().await;
    stage.server.stop().await;
}

#[tokio::test]
async fn settings_that_lose_what_was_confirmed_are_warned_of() {
    let backend = Backend::postgres().await;
    let warning = |setting: &str| format!("database may lose confirmed commits: this setting is off setting=\"{setting}\"");
    let mut server = Server::demo(backend.clone()).await;
    assert!(!server.log().contains(&warning("synchronous_commit")), "{}", server.log());
    server.stop().await;
    let name = backend.url().rsplit_once('/').unwrap().1;
    let mut database = PgConnection::connect(backend.url()).await.unwrap();
    let set = format!("ALTER DATABASE {name} SET synchronous_commit = off");
    database.execute(sqlx::AssertSqlSafe(set)).await.unwrap();
    let mut server = Server::demo(backend.clone()).await;
    assert!(server.log().contains(&warning("synchronous_commit")), "{}", server.log());
    server.stop().await;
}
