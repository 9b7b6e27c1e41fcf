//! Tests of files that are deleted while a backup runs.

use std::{
    fs::File,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::Arc,
    time::Duration,
};

use serde_json::{Value, json};
use storage::{Storage, Workspace, postgres, sqlite};

use super::{Place, archive::Archive, on_durable_stores, path, send_file, succeeded};
use crate::support::{Client, JOHN, Server, files_below, until};

const RUNNING: &str = "dragoman_backups_running";

/// Sends a file. Returns the ids of message and attachment, and the file of the object.
async fn sent(place: &Place, john: &Client, bytes: &[u8]) -> (i64, Value, PathBuf) {
    let before = files_below(&place.files());
    let (message, id) = send_file(john, bytes).await;
    let object = files_below(&place.files()).into_iter().find(|file| !before.contains(file)).unwrap();
    (message, id, object)
}

/// Server whose tasks that delete run every second.
fn deleting(place: &Place) -> crate::support::ServerBuilder {
    place.server().set("RETENTION__EVERY_SECONDS", 1).set("RETENTION__SWEEP_EVERY_SECONDS", 1)
}

/// Waits for two rounds of these tasks.
async fn rounds(server: &Server) {
    let round = async || server.metric("dragoman_store_seconds_count{operation=\"delete sessions\"}").await;
    let before = round().await;
    until("retention", async || (round().await >= before + 2.0).then_some(())).await;
}

/// Puts a pipe in the place of an object: a backup waits there until somebody writes.
fn replace_by_pipe(object: &Path) {
    std::fs::remove_file(object).unwrap();
    assert!(Command::new("mkfifo").arg(object).status().unwrap().success());
}

/// Lets the reader of the pipe read nothing.
async fn end_pipe(pipe: &Path) {
    let pipe = pipe.to_owned();
    tokio::task::spawn_blocking(move || drop(File::options().write(true).open(pipe).unwrap())).await.unwrap();
}

/// Waits until a backup has copied the rows, and begins with the files.
async fn files_begin(place: &Place) {
    let beside = |extension| place.archive().with_added_extension(extension);
    let are_rows_written = || std::fs::metadata(beside("part")).is_ok_and(|part| part.len() > 0);
    until("the files' turn", async || (are_rows_written() && !beside("rows").exists()).then_some(())).await;
}

async fn delete_message(john: &Client, message: i64) {
    let deleted = john.messaging("message/delete", json!({"message_id": message})).await;
    assert_eq!(deleted["success"], true, "{deleted}");
}

/// The store itself, beside its server.
async fn open(place: &Place) -> Arc<dyn Storage> {
    const PATIENCE: Duration = Duration::from_secs(60);
    match place.backend.url().strip_prefix("sqlite:") {
        Some(file) => {
            let [acquire_timeout, statement_timeout, transaction_timeout] = [PATIENCE; 3];
            let path = file.into();
            let options =
                sqlite::Options { path, readers: 1, acquire_timeout, statement_timeout, transaction_timeout, max_bytes: None };
            Arc::new(sqlite::Sqlite::open(&options).await.unwrap())
        }
        None => {
            let (url, [acquire_timeout, statement_timeout]) = (place.backend.url().to_owned(), [PATIENCE; 2]);
            let options = postgres::Options { url, max_connections: 2, acquire_timeout, statement_timeout };
            Arc::new(postgres::Postgres::open(&options).await.unwrap())
        }
    }
}

async fn change_workspace(storage: &dyn Storage, change: impl FnOnce(&mut Workspace)) {
    let mut tx = storage.begin().await.unwrap();
    let mut workspace = tx.lock_workspace().await.unwrap();
    change(&mut workspace);
    tx.set_workspace(&workspace).await.unwrap();
    tx.commit().await.unwrap();
}

on_durable_stores! {
    /// The object that comes first is a pipe: the backup has copied the rows, and waits there.
    async fn what_is_deleted_during_a_backup_is_in_it(place) {
        let mut server = deleting(&place).start().await;
        let john = server.log_in(JOHN).await;
        let mut files = Vec::new();
        for number in 0..4_u8 {
            let bytes = vec![number; 1_000];
            files.push((sent(&place, &john, &bytes).await, bytes));
        }
        files.sort_by(|((.., one), _), ((.., other), _)| one.cmp(other));
        let [((.., first), _), ((message, _, second), _), ((_, attachment, third), _), _] = &files[..] else {
            panic!("{files:?}")
        };
        replace_by_pipe(first);
        let archive = place.archive();
        let backup = place.run("backup", &archive);
        let deletions = async {
            files_begin(&place).await;
            assert_eq!(server.metric(RUNNING).await, 1.0);
            delete_message(&john, *message).await;
            let deleted = john.messaging(&format!("attachment/delete/{attachment}"), json!({})).await;
            assert_eq!(deleted["success"], true, "{deleted}");
            rounds(&server).await;
            assert!(second.exists() && third.exists(), "their bytes wait");
            end_pipe(first).await;
        };
        let (output, ()) = tokio::join!(backup, deletions);
        succeeded(&output);
        let saved: Vec<_> = Archive::read(&archive).files.into_iter().map(|(_, bytes)| bytes).collect();
        let expected: Vec<_> = files[1..].iter().map(|(_, bytes)| bytes.clone()).collect();
        assert!(saved[1..] == expected, "all are saved, in the order of their names");
        assert!(saved[0].is_empty(), "nothing came out of the pipe");
        until("the end of the bytes", async || (!second.exists() && !third.exists()).then_some(())).await;
        until("no backup", async || (server.metric(RUNNING).await == 0.0).then_some(())).await;
        server.stop().await;
    }

    /// Its lease ends by itself. Another backup removes what is left of it.
    async fn a_killed_backup_delays_deletions_for_a_minute(place) {
        let mut server = deleting(&place).start().await;
        let john = server.log_in(JOHN).await;
        let mut files = [sent(&place, &john, b"one").await, sent(&place, &john, b"two").await];
        files.sort_by(|(.., one), (.., other)| one.cmp(other));
        let [(.., first), (message, _, second)] = &files;
        replace_by_pipe(first);
        let archive = place.archive();
        let mut backup = tokio::process::Command::new(env!("CARGO_BIN_EXE_dragoman"))
            .args(["backup", path(&archive)])
            .envs(place.environment())
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        files_begin(&place).await;
        backup.kill().await.unwrap();
        // A bucket still reads for it.
        let _writer = File::options().read(true).write(true).open(first).unwrap();
        let storage = open(&place).await;
        let now = storage.now(chrono::Utc::now()).await.unwrap();
        let leases: Vec<_> = storage.workspace().await.unwrap().backups.into_values().collect();
        assert!(leases.len() == 1 && leases[0] <= now + chrono::TimeDelta::seconds(60), "{leases:?}");
        // The rest of the test may take longer than the lease.
        let later = now + chrono::TimeDelta::hours(1);
        change_workspace(storage.as_ref(), |workspace| workspace.backups.values_mut().for_each(|until| *until = later)).await;
        delete_message(&john, *message).await;
        rounds(&server).await;
        assert!(second.exists() && server.metric(RUNNING).await == 1.0, "its bytes wait");

        change_workspace(storage.as_ref(), |workspace| workspace.backups.values_mut().for_each(|until| *until = now)).await;
        until("the end of the bytes", async || (!second.exists()).then_some(())).await;
        until("no backup", async || (server.metric(RUNNING).await == 0.0).then_some(())).await;
        std::fs::remove_file(first).unwrap();
        std::fs::write(first, "one").unwrap();
        place.save().await;
        let left = storage.workspace().await.unwrap().backups;
        assert!(left.is_empty() && !archive.with_added_extension("part").exists(), "{left:?}");
        server.stop().await;
    }
}
