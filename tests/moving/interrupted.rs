//! A large store, and moves of it that are killed.

use std::process::Stdio;

use serde_json::json;
use sqlx::Executor;
use tokio::process::Command;

use super::{
    dump::{dump, file_connection},
    files_in, move_store, refused, refused_server, succeeded,
};
use crate::support::{ADMIN, Backend, Server, until};

/// A conversation with 100,000 messages, and the event log of them.
const FILL: &str = r#"
    CREATE TEMP TABLE numbers AS WITH RECURSIVE n (seq) AS (SELECT 1 UNION ALL SELECT seq + 1 FROM n WHERE seq < 100000)
        SELECT seq, (SELECT last_message_id FROM conversations WHERE id = 1) AS last FROM n;
    INSERT INTO messages (id, conversation_id, seq, author_id, message_type, has_attachments, created_at, body, metadata)
        SELECT 1000 + seq, 1, (SELECT last_seq FROM conversations WHERE id = 1) + seq, 3, 'text', 0, 1700000000000000 + seq,
            'Message ' || seq || ' of a usual length, żółć, 你好', iif(seq % 7, NULL, '{"number": ' || seq || '}') FROM numbers;
    INSERT INTO events (position, conversation_id, at, message_id, seq, fact)
        SELECT (SELECT position FROM log_head) + seq, 1, unixepoch() * 1000000, 1000 + seq, seq,
            '{"fact":"read","of":{"number":' || seq || '}}' FROM numbers;
    UPDATE conversations SET last_seq = last_seq + 100000, last_message_id = 101000 WHERE id = 1;
    UPDATE log_head SET position = position + 100000;
    UPDATE sequences SET value = 101000 WHERE name = 'messages_id';
"#;

/// Number of rows that a move has brought so far; 0 while there is no table.
async fn rows(backend: &Backend) -> usize {
    const COUNT: &str = "SELECT count(*) FROM events";
    let counted: sqlx::Result<i64> = match backend.url().strip_prefix("sqlite:") {
        Some(file) if std::path::Path::new(file).exists() => {
            sqlx::query_scalar(COUNT).fetch_one(&mut file_connection(file).await).await
        }
        Some(_) => Ok(0),
        None => {
            let mut database = <sqlx::PgConnection as sqlx::Connection>::connect(backend.url()).await.unwrap();
            sqlx::query_scalar(COUNT).fetch_one(&mut database).await
        }
    };
    counted.map_or(0, |rows| usize::try_from(rows).unwrap())
}

/// A move that is killed once it has brought some rows: the source is as it was, and no server opens the rest. The same move
/// again brings everything.
async fn killed_and_repeated(from: &Backend, to: &Backend, files: &str) {
    let mut moving = Command::new(env!("CARGO_BIN_EXE_dragoman"))
        .args(["move", "--from", from.url(), "--to", to.url(), "--from-files", files, "--to-files", files])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    until("some rows", async || (rows(to).await > 0).then_some(())).await;
    moving.kill().await.unwrap();
    assert!(rows(to).await < 100_000, "it was killed before its end");

    let said = refused_server(to).await;
    assert!(said.contains("has not finished filling this store"), "{said}");
    let elsewhere = if from.is_postgres() { Backend::postgres().await } else { Backend::sqlite() };
    Server::demo(elsewhere.clone()).await.stop().await;
    let said = until("the locks of the one that was killed", async || {
        let said = refused(&move_store((&elsewhere, files), (to, files), &[]).await);
        (!said.contains("another copy")).then_some(said)
    })
    .await;
    assert!(said.contains("repeat that move"), "{said}");
    Server::builder(from.clone()).empty().set("FILES", files).start().await.stop().await;
    succeeded(&move_store((from, files), (to, files), &[]).await);
}

#[tokio::test]
async fn a_killed_move_begins_anew() {
    let directory = tempfile::tempdir().unwrap();
    let files = files_in(&directory);
    let stores = [Backend::sqlite(), Backend::empty_postgres().await, Backend::sqlite()];
    let mut server = Server::builder(stores[0].clone()).set("FILES", &files).start().await;
    let admin = server.log_in(ADMIN).await;
    server.stop().await;
    let path = stores[0].url().strip_prefix("sqlite:").unwrap();
    let mut file = file_connection(path).await;
    file.execute(FILL).await.unwrap();
    drop(file);
    let before = dump(&stores[0]).await;
    assert!(before["messages"].len() >= 100_000);
    killed_and_repeated(&stores[0], &stores[1], &files).await;
    killed_and_repeated(&stores[1], &stores[2], &files).await;
    let after = dump(&stores[2]).await;
    assert!(after["messages"] == before["messages"] && after["events"] == before["events"], "all rows are the same");

    let mut server = Server::builder(stores[2].clone()).empty().set("FILES", &files).start().await;
    let admin = server.client().with_session(admin.session());
    let page = admin.messaging("messages", json!({"thread_id": 1, "limit": 1})).await;
    assert_eq!(page["messages"][0]["body"], "Message 100000 of a usual length, żółć, 你好", "{page}");
    server.stop().await;
}
