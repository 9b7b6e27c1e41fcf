//! Tests of deadlocks and serialization failures caused outside of the server: an undone transaction is retried, and takes
//! effect once.

use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection};

use crate::support::{ADMIN, Backend, Client, JANE, JOHN, Server, until};

/// Trigger that fails writes, with either code, until the sequence reaches 3. A rollback does not reset a sequence.
const UNDOES: &str = "CREATE SEQUENCE undone MINVALUE -1000000;
    CREATE FUNCTION undo() RETURNS trigger LANGUAGE plpgsql AS $$ DECLARE number bigint := nextval('undone'); BEGIN
        IF number < 3 AND number % 2 = 0 THEN
            RAISE EXCEPTION 'undone' USING ERRCODE = 'deadlock_detected';
        ELSIF number < 3 THEN
            RAISE EXCEPTION 'undone' USING ERRCODE = 'serialization_failure';
        END IF;
        RETURN NULL;
    END $$";

async fn send(client: &Client, body: &str) -> Value {
    client.messaging("message/send", json!({"thread_id": 1, "body": body})).await
}

/// Makes the next commits of writes to `table` fail.
async fn undo(database: &mut PgConnection, table: &str, times: i64) {
    let trigger = format!(
        "CREATE CONSTRAINT TRIGGER undo AFTER INSERT OR UPDATE OR DELETE ON {table} DEFERRABLE INITIALLY DEFERRED
         FOR EACH ROW EXECUTE FUNCTION undo()"
    );
    sqlx::query("SELECT setval('undone', $1, false)").bind(3 - times).execute(&mut *database).await.unwrap();
    database.execute(AssertSqlSafe(trigger)).await.unwrap();
}

async fn undone(database: &mut PgConnection, table: &str) {
    database.execute(AssertSqlSafe(format!("DROP TRIGGER undo ON {table}"))).await.unwrap();
    let number: i64 = sqlx::query_scalar("SELECT last_value FROM undone").fetch_one(database).await.unwrap();
    assert!(number >= 3, "{table}: all tries but the last have failed: {number}");
}

/// Failure at the commit, after every statement has succeeded, for each verb.
#[tokio::test]
async fn whatever_is_undone_is_done_again() {
    let backend = Backend::postgres().await;
    let mut server = Server::builder(backend.clone()).set("TOKENS__SECRET", "s".repeat(32)).start().await;
    let mut database = PgConnection::connect(backend.url()).await.unwrap();
    database.execute(sqlx::raw_sql(UNDOES)).await.unwrap();
    let (admin, john) = (server.log_in(ADMIN).await, server.log_in(JOHN).await);
    let said = send(&john, "before").await;

    undo(&mut database, "messages", 2).await;
    let again = send(&john, "again").await;
    undone(&mut database, "messages").await;
    undo(&mut database, "messages", 2).await;
    john.messaging("message/edit", json!({"message_id": again["message_id"], "body": "edited"})).await;
    undone(&mut database, "messages").await;
    undo(&mut database, "reactions", 2).await;
    admin.messaging("message/reaction", json!({"message_id": said["message_id"], "content": "👍", "action": "add"})).await;
    undone(&mut database, "reactions").await;
    undo(&mut database, "sessions", 2).await;
    let jane = server.log_in(JANE).await;
    undone(&mut database, "sessions").await;
    undo(&mut database, "conversations", 2).await;
    admin.messaging("thread/create", json!({"name": "one more", "partner_ids": [5, 7]})).await;
    undone(&mut database, "conversations").await;
    undo(&mut database, "participants", 2).await;
    admin.messaging("message/read", json!({"message_id": again["message_id"]})).await;
    undone(&mut database, "participants").await;
    undo(&mut database, "attachments", 2).await;
    let part = reqwest::multipart::Part::bytes(b"x".to_vec()).file_name("a.txt");
    let upload = jane.request(reqwest::Method::POST, "/api/messaging/attachment/upload");
    let uploaded = crate::support::Answer::of(upload.multipart(reqwest::multipart::Form::new().part("file", part))).await;
    assert!(uploaded.json()["attachment_id"].is_number(), "{uploaded:?}");
    undone(&mut database, "attachments").await;
    undo(&mut database, "refresh_tokens", 2).await;
    let [_, refresh] = server.tokens(JOHN).await;
    undone(&mut database, "refresh_tokens").await;
    undo(&mut database, "refresh_tokens", 2).await;
    let renewed = john.post("/auth/token/refresh", &json!({"refresh": refresh})).await;
    assert!(renewed.status.is_success(), "{renewed:?}");
    undone(&mut database, "refresh_tokens").await;
    undo(&mut database, "users", 2).await;
    backend.administer(&["user", "add", "new@example.com", "--name", "New"], "a long password").await;
    undone(&mut database, "users").await;

    let page = admin.messaging("messages", json!({"thread_id": 1})).await;
    let bodies: Vec<_> = page["messages"].as_array().unwrap().iter().map(|message| &message["body"]).collect();
    assert_eq!(bodies, ["edited", "before"], "each is there once");
    assert!(!server.log().contains("ERROR"), "{}", server.log());
    server.stop().await;
}

/// Retries exhausted: unavailable, neither a client error nor an internal one.
#[tokio::test]
async fn what_is_undone_again_and_again_is_unavailable() {
    let backend = Backend::postgres().await;
    let mut server = Server::demo(backend.clone()).await;
    let john = server.log_in(JOHN).await;
    let mut database = PgConnection::connect(backend.url()).await.unwrap();
    database.execute(sqlx::raw_sql(UNDOES)).await.unwrap();
    undo(&mut database, "messages", 1_000).await;
    let answer = john.call("/api/messaging/message/send", json!({"thread_id": 1, "body": "lost"})).await;
    assert_eq!(answer["error"]["data"]["name"], "psycopg2.OperationalError", "{answer}");
    database.execute("DROP TRIGGER undo ON messages").await.unwrap();
    send(&john, "after").await;
    let page = john.messaging("messages", json!({"thread_id": 1})).await;
    assert_eq!(page["messages"].as_array().map(Vec::len), Some(1), "{page}");
    server.stop().await;
}

/// Real deadlock: another transaction locks the event log's head and then the conversation; the server locks them in reverse
/// order.
#[tokio::test]
async fn a_deadlock_is_survived() {
    let backend = Backend::postgres().await;
    let (database, name) = backend.url().rsplit_once('/').unwrap();
    let mut admin = PgConnection::connect(&format!("{database}/postgres")).await.unwrap();
    let notice = format!("ALTER DATABASE {name} SET deadlock_timeout = '50ms'");
    admin.execute(AssertSqlSafe(notice)).await.unwrap();
    let mut server = Server::demo(backend.clone()).await;
    let (john, admin) = (server.log_in(JOHN).await, server.log_in(ADMIN).await);
    let said = send(&john, "before").await;
    let verbs = [
        ("message/send", json!({"thread_id": 1, "body": "sent"})),
        ("message/edit", json!({"message_id": said["message_id"], "body": "edited"})),
        ("message/delete", json!({"message_id": said["message_id"]})),
    ];
    for (verb, params) in verbs {
        let mut other = PgConnection::connect(backend.url()).await.unwrap();
        let mut watcher = PgConnection::connect(backend.url()).await.unwrap();
        // Victim: the server's transaction, by its shorter `deadlock_timeout`.
        other.execute("SET deadlock_timeout = '1h'").await.unwrap();
        other.execute("BEGIN").await.unwrap();
        other.execute("SELECT FROM log_head FOR UPDATE").await.unwrap();
        let doing = {
            let john = john.clone();
            tokio::spawn(async move { john.messaging(verb, params).await })
        };
        until("the server", async || {
            let waiting = "SELECT count(*) FROM pg_locks WHERE NOT granted AND pid <> pg_backend_pid()";
            let waiting: i64 = sqlx::query_scalar(waiting).fetch_one(&mut watcher).await.unwrap();
            (waiting > 0).then_some(())
        })
        .await;
        other.execute("SELECT FROM conversations WHERE id = 1 FOR UPDATE").await.unwrap();
        other.execute("COMMIT").await.unwrap();
        doing.await.unwrap_or_else(|_| panic!("{verb} is done: {}", server.log()));
    }
    let page = admin.messaging("messages", json!({"thread_id": 1})).await;
    assert_eq!(page["messages"].as_array().map(Vec::len), Some(2), "{page}");
    server.stop().await;
}
