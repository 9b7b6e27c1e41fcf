//! Tests of retention: expired files, sessions and events are deleted, and clients that return to them get no error.

use reqwest::{Method, multipart};
use serde_json::{Value, json};
use sqlx::{Connection, PgConnection};

use crate::{
    support::{ADMIN, Answer, Backend, Client, JOHN, Server, until},
    with_every_backend,
};

async fn upload(client: &Client) -> Value {
    let file = multipart::Part::bytes(b"bytes".to_vec()).file_name("a.txt");
    let form = multipart::Form::new().part("file", file).text("thread_id", "1");
    let request = client.request(Method::POST, "/api/messaging/attachment/upload").multipart(form);
    Answer::of(request).await.json()["attachment_id"].clone()
}

with_every_backend! {
    async fn a_file_that_was_never_sent_goes_away(backend) {
        let files = tempfile::tempdir().unwrap();
        let server = Server::builder(backend)
            .set("FILES", format!("file:{}", files.path().display()))
            .set("RETENTION__UNSENT_ATTACHMENTS_SECONDS", 1)
            .set("RETENTION__EVERY_SECONDS", 1);
        let mut server = server.start().await;
        let john = server.log_in(JOHN).await;
        let sent = upload(&john).await;
        john.messaging("message/send", json!({"thread_id": 1, "body": "look", "attachment_ids": [sent]})).await;
        let unsent = upload(&john).await;
        let info = async |id: &Value| john.messaging(&format!("attachment/info/{id}"), json!({})).await;
        until("the end of the file", async || (info(&unsent).await["error"] == "Attachment not found").then_some(())).await;
        until("the end of its bytes", async || {
            let objects = std::fs::read_dir(files.path().join("attachments")).unwrap().count();
            (objects == 1).then_some(())
        })
        .await;
        assert_eq!(info(&sent).await["name"], "a.txt");
        let lent = json!({"thread_id": 1, "body": "look", "attachment_ids": [unsent]});
        assert_eq!(john.messaging("message/send", lent).await, json!({"error": "Access denied"}));
        server.stop().await;
    }
}

#[tokio::test]
async fn an_old_session_goes_away() {
    let backend = Backend::postgres().await;
    let server = Server::builder(backend.clone()).set("SESSION__LIFETIME_SECONDS", 1).set("RETENTION__EVERY_SECONDS", 1);
    let mut server = server.start().await;
    server.log_in(JOHN).await;
    let mut database = PgConnection::connect(backend.url()).await.unwrap();
    until("the end of the session", async || {
        let left: i64 = sqlx::query_scalar("SELECT count(*) FROM sessions").fetch_one(&mut database).await.unwrap();
        (left == 0).then_some(())
    })
    .await;
    server.stop().await;
}

/// Clock skew: a node whose clock is days ahead deletes nothing, since the database's clock counts. In this test the
/// database's clock is behind, with everything stored so far.
#[tokio::test]
async fn what_is_old_is_so_by_the_clock_of_the_database() {
    let backend = Backend::postgres().await;
    let mut server = Server::demo(backend.clone()).await;
    let admin = server.log_in(ADMIN).await;
    admin.messaging("message/send", json!({"thread_id": 1, "body": "x"})).await;
    server.stop().await;
    assert!(!server.log().contains("clock"), "{}", server.log());
    let mut database = PgConnection::connect(backend.url()).await.unwrap();
    // Only in this database.
    let behind = "UPDATE events SET at = at - interval '8 days';
        UPDATE sessions SET last_used_at = last_used_at - interval '8 days';
        SET allow_system_table_mods = on;
        ALTER FUNCTION pg_catalog.clock_timestamp() RENAME TO true_clock_timestamp;
        CREATE FUNCTION pg_catalog.clock_timestamp() RETURNS timestamptz LANGUAGE sql VOLATILE
            AS $$ SELECT pg_catalog.true_clock_timestamp() - interval '8 days' $$";
    sqlx::raw_sql(behind).execute(&mut database).await.unwrap();
    let counts = "SELECT (SELECT count(*) FROM events), (SELECT count(*) FROM sessions)";
    let before: (i64, i64) = sqlx::query_as(counts).fetch_one(&mut database).await.unwrap();
    assert!(before.0 > 0 && before.1 > 0, "{before:?}");

    let mut server = Server::builder(backend.clone()).set("RETENTION__EVERY_SECONDS", 1).start().await;
    let warning = "clock skew between this machine and the database";
    until(warning, async || server.log().contains(warning).then_some(())).await;
    // A statement of each retention round, after those that delete events and sessions.
    let last = "dragoman_store_seconds_count{operation=\"delete refresh_tokens\"} ";
    until("two rounds", async || {
        let metrics = server.get("/metrics").await.text().await.unwrap();
        let rounds = metrics.lines().find_map(|line| line.strip_prefix(last)?.parse::<u64>().ok());
        rounds.filter(|rounds| *rounds >= 2)
    })
    .await;
    let after: (i64, i64) = sqlx::query_as(counts).fetch_one(&mut database).await.unwrap();
    assert_eq!(after, before);
    server.stop().await;
}

/// Event log: retention removes the oldest events first, and a client with an older position receives the rest.
#[tokio::test]
async fn a_log_that_was_cut_short_is_read_on_without_an_error() {
    let backend = Backend::postgres().await;
    let server = Server::builder(backend.clone()).set("RETENTION__EVERY_SECONDS", 1).set("LIMITS__RECENT_EVENTS", 1);
    let mut server = server.start().await;
    let (admin, john) = (server.log_in(ADMIN).await, server.log_in(JOHN).await);
    let say = async |body: &str| admin.messaging("message/send", json!({"thread_id": 1, "body": body})).await;
    for body in ["old", "older than a week"] {
        say(body).await;
    }
    let mut database = PgConnection::connect(backend.url()).await.unwrap();
    sqlx::query("UPDATE events SET at = at - interval '8 days'").execute(&mut database).await.unwrap();
    for body in ["young", "younger"] {
        say(body).await;
    }
    until("the end of what is old", async || {
        let left: i64 = sqlx::query_scalar("SELECT count(*) FROM events").fetch_one(&mut database).await.unwrap();
        (left == 2).then_some(())
    })
    .await;
    for last in [0, 1, 1 << 20, 2 << 20] {
        let told = john.result("/longpolling/poll", json!({"channels": [], "last": last})).await;
        let texts: Vec<_> = told.as_array().unwrap().iter().map(|told| &told["message"]["message"]).collect();
        assert_eq!(texts, ["young", "younger"], "after {last}");
    }
    assert_eq!(john.messaging("messages", json!({"thread_id": 1})).await["messages"].as_array().unwrap().len(), 4);
    // An empty event log still delivers new events.
    sqlx::query("UPDATE events SET at = at - interval '8 days'").execute(&mut database).await.unwrap();
    until("the end of everything", async || {
        let left: i64 = sqlx::query_scalar("SELECT count(*) FROM events").fetch_one(&mut database).await.unwrap();
        (left == 0).then_some(())
    })
    .await;
    let (told, ()) = tokio::join!(john.result("/longpolling/poll", json!({"channels": [], "last": 1})), async {
        server.polls_waiting(1).await;
        say("new").await;
    });
    assert_eq!(told[0]["message"]["message"], "new");
    server.stop().await;
}

#[tokio::test]
async fn a_log_of_less_than_a_day_is_refused() {
    let environment = [("DRAGOMAN__RETENTION__LOG_SECONDS", "86399")];
    let output = crate::support::run(&["serve", "--listen", "127.0.0.1:0"], &environment, "").await;
    assert!(!output.status.success());
    let errors = String::from_utf8(output.stderr).unwrap();
    assert!(errors.contains("retention.log_seconds must be between 86400 and "), "{errors}");
}
