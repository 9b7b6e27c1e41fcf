//! Tests of files that are deleted while a backup runs.

use std::{fs::File, io::Read, path::PathBuf, process::Command};

use serde_json::{Value, json};

use super::{Place, on_durable_stores, send_file, succeeded};
use crate::support::{JOHN, files_below, until};

const RUNNING: &str = "dragoman_backups_running";

/// Bytes of all files in an archive.
fn saved(archive: &std::path::Path) -> Vec<Vec<u8>> {
    let (mut archive, mut files) = (tar::Archive::new(File::open(archive).unwrap()), Vec::new());
    for member in archive.entries().unwrap() {
        let mut member = member.unwrap();
        if member.path_bytes().starts_with(b"files/") {
            let mut bytes = Vec::new();
            member.read_to_end(&mut bytes).unwrap();
            files.push(bytes);
        }
    }
    files
}

/// Sends a file. Returns the ids of message and attachment, and the file of the object.
async fn sent(place: &Place, john: &crate::support::Client, bytes: &[u8]) -> (i64, Value, PathBuf) {
    let before = files_below(&place.files());
    let (message, id) = send_file(john, bytes).await;
    let object = files_below(&place.files()).into_iter().find(|file| !before.contains(file)).unwrap();
    (message, id, object)
}

on_durable_stores! {
    /// The object that comes first is a pipe: the backup has copied the rows, and waits there.
    async fn what_is_deleted_during_a_backup_is_in_it(place) {
        let server = place.server().set("RETENTION__EVERY_SECONDS", 1).set("RETENTION__SWEEP_EVERY_SECONDS", 1);
        let mut server = server.start().await;
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
        std::fs::remove_file(first).unwrap();
        assert!(Command::new("mkfifo").arg(first).status().unwrap().success());
        let archive = place.archive();
        let backup = place.run("backup", &archive);
        let deletions = async {
            let beside = |extension| place.archive().with_added_extension(extension);
            let are_rows_written = || std::fs::metadata(beside("part")).is_ok_and(|part| part.len() > 0);
            until("the files' turn", async || (are_rows_written() && !beside("rows").exists()).then_some(())).await;
            assert_eq!(server.metric(RUNNING).await, 1.0);
            let deleted = john.messaging("message/delete", json!({"message_id": message})).await;
            assert_eq!(deleted["success"], true, "{deleted}");
            let deleted = john.messaging(&format!("attachment/delete/{attachment}"), json!({})).await;
            assert_eq!(deleted["success"], true, "{deleted}");
            // Two rounds of the tasks that delete.
            let round = async || server.metric("dragoman_store_seconds_count{operation=\"delete sessions\"}").await;
            let before = round().await;
            until("retention", async || (round().await >= before + 2.0).then_some(())).await;
            assert!(second.exists() && third.exists(), "their bytes wait");
            let pipe = first.clone();
            tokio::task::spawn_blocking(move || drop(File::options().write(true).open(pipe).unwrap())).await.unwrap();
        };
        let (output, ()) = tokio::join!(backup, deletions);
        succeeded(&output);
        let saved = saved(&place.archive());
        let expected: Vec<_> = files[1..].iter().map(|(_, bytes)| bytes.clone()).collect();
        assert!(saved[1..] == expected, "all are saved, in the order of their names");
        assert!(saved[0].is_empty(), "nothing came out of the pipe");
        until("the end of the bytes", async || (!second.exists() && !third.exists()).then_some(())).await;
        assert_eq!(server.metric(RUNNING).await, 0.0);
        server.stop().await;
    }
}
