//! Tests of statement metrics: every statement is counted, and so is its failure.

use serde_json::json;
use sqlx::{Connection, Executor, PgConnection};

use crate::support::{ADMIN, Backend, Bus, JOHN, Node, Proxy, Road, Server, until};

const FAILURES: &str = "dragoman_store_failures_total";

async fn failed(server: &Server, operation: &str) -> f64 {
    server.metric(&format!("{FAILURES}{{operation=\"{operation}\"}}")).await
}

#[tokio::test]
async fn a_failure_is_counted_whatever_fails() {
    let backend = Backend::postgres().await;
    let proxy = Proxy::before(&backend).await;
    let server = Server::builder(proxy.backend(&backend)).node(&Bus::postgres()).set("POSTGRES__STATEMENT_MILLISECONDS", 500);
    let mut server = server.start().await;
    server.ready().await;
    let (john, admin) = (server.log_in(JOHN).await, server.log_in(ADMIN).await);
    let mut database = PgConnection::connect(backend.url()).await.unwrap();
    let send = async |body: &str| {
        john.call("/api/messaging/message/send", json!({"thread_id": 1, "body": body})).await["error"].is_object()
    };
    assert!(!send("before").await);
    for operation in
        ["begin", "commit", "listen", "select", "select log_head", "insert messages", "insert events", "insert nodes"]
    {
        let series = format!("dragoman_store_seconds_count{{operation=\"{operation}\"}}");
        assert!(
            server.metric(&series).await >= 1.0,
            "{operation} is counted: {}",
            server.get("/metrics").await.text().await.unwrap()
        );
        assert_eq!(failed(&server, operation).await, 0.0, "{operation}");
    }

    // Missing table: failing reads and writes.
    database.execute("ALTER TABLE users RENAME TO users_away").await.unwrap();
    server.client().call("/web/session/authenticate", json!({"db": "odoo2", "login": JOHN, "password": "123456"})).await;
    assert!(failed(&server, "select users").await >= 1.0);
    database.execute("ALTER TABLE users_away RENAME TO users").await.unwrap();
    let said = john.messaging("messages", json!({"thread_id": 1})).await["messages"][0]["id"].clone();
    database.execute("ALTER TABLE reactions RENAME TO reactions_away").await.unwrap();
    admin.call("/api/messaging/message/reaction", json!({"message_id": said, "content": "👍", "action": "add"})).await;
    assert!(failed(&server, "delete reactions").await + failed(&server, "select reactions").await >= 1.0);
    database.execute("ALTER TABLE reactions_away RENAME TO reactions").await.unwrap();

    // Lock time-out: failing write.
    let mut holder = database.begin().await.unwrap();
    holder.execute("SELECT FROM log_head FOR UPDATE").await.unwrap();
    assert!(send("waits").await);
    holder.rollback().await.unwrap();
    assert!(failed(&server, "insert events").await >= 1.0);

    // Refused commit.
    let refuse = "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'refused'; END $$;
        CREATE CONSTRAINT TRIGGER refuse AFTER INSERT ON messages DEFERRABLE INITIALLY DEFERRED
        FOR EACH ROW EXECUTE FUNCTION refuse()";
    database.execute(sqlx::raw_sql(refuse)).await.unwrap();
    assert!(send("refused").await);
    assert!(failed(&server, "commit").await >= 1.0);
    database.execute("DROP TRIGGER refuse ON messages").await.unwrap();

    // Database outage: failing connection.
    let before = failed(&server, "connect").await;
    proxy.set(Road::Cut);
    assert!(send("lost").await);
    until("failures", async || (failed(&server, "connect").await > before).then_some(())).await;
    until("the bell's", async || (failed(&server, "notify").await + failed(&server, "listen").await > 0.0).then_some(())).await;
    proxy.set(Road::Open);
    server.ready().await;
    assert!(!send("after").await);
    // Cardinality: one series for each operation on a table, whatever the caller.
    let metrics = server.get("/metrics").await.text().await.unwrap();
    let operations = metrics.lines().filter(|line| line.starts_with("dragoman_store_seconds_count")).count();
    assert!(operations < 100, "{operations}");
    server.stop().await;
}
