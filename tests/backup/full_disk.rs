//! Tests of backups and restorations for which there is no room. A limit of the size of files stands in for a full disk.

use std::process::{Output, Stdio};

use tokio::process::Command;
use uuid::Uuid;

use super::{Place, file, messages, on_durable_stores, path, refused, say, send_file};
use crate::support::{JOHN, files_below};

/// Less than the rows take.
const NO_ROWS: u64 = 200_000;
/// More than the rows take, and less than the file.
const NO_FILE: u64 = 2_000_000;
const FILE: usize = 3_000_000;

/// Runs a command whose writes beyond a size fail.
async fn run_within(bytes: u64, place: &Place, command: &str, archive: &std::path::Path) -> Output {
    let mut limited = Command::new("sh");
    // Ignored signal: a write beyond the limit returns an error instead.
    limited.args(["-c", "trap '' XFSZ; exec prlimit --fsize=\"$0\" \"$@\"", &bytes.to_string()]);
    limited.args([env!("CARGO_BIN_EXE_dragoman"), command, path(archive)]).envs(place.environment());
    limited.stdin(Stdio::null()).kill_on_drop(true).output().await.unwrap()
}

/// A store whose server has stopped, with a file. Returns a session of its owner, and the file's id.
async fn filled(place: &Place) -> (Option<String>, serde_json::Value) {
    let mut server = place.server().start().await;
    let john = server.log_in(JOHN).await;
    // However the rows are compressed.
    for _ in 0..20 {
        let digits: String = (0..900).map(|_| Uuid::new_v4().simple().to_string()).collect();
        say(&john, &digits).await;
    }
    let (_, id) = send_file(&john, &vec![7; FILE]).await;
    server.stop().await;
    (john.session().map(str::to_owned), id)
}

on_durable_stores! {
    async fn a_backup_that_does_not_fit_leaves_nothing(place) {
        filled(&place).await;
        let rows = if place.backend.is_postgres() { "pg_dump" } else { "backup.tar.rows" };
        for (bytes, part) in [(NO_ROWS, rows), (NO_FILE, "backup.tar.part")] {
            let said = refused(&run_within(bytes, &place, "backup", &place.archive()).await);
            assert!(said.contains(part), "{said}");
            let names = std::fs::read_dir(place.directory.path()).unwrap().map(|entry| entry.unwrap().file_name());
            assert_eq!(names.collect::<Vec<_>>(), ["files"], "{said}");
        }
        let mut server = place.start().await;
        assert_eq!(server.metric("dragoman_backups_running").await, 0.0, "no lease is left");
        server.stop().await;
        place.save().await;
    }

    async fn a_restoration_that_does_not_fit_leaves_no_half_of_it(place) {
        let (session, id) = filled(&place).await;
        place.save().await;
        let other = place.elsewhere().await;
        for bytes in [NO_ROWS, NO_FILE] {
            let said = refused(&run_within(bytes, &other, "restore", &place.archive()).await);
            assert!(said.contains("File too large"), "{said}");
            assert!(files_below(&other.files()).is_empty(), "{said}");
            if other.backend.is_postgres() {
                let said = other.refused_start().await;
                assert!(said.contains("run `dragoman restore` again"), "{said}");
            } else {
                assert!(other.has_no_store().await, "{said}");
            }
        }
        other.restore(&place.archive()).await;
        let mut server = other.start().await;
        let john = server.client().with_session(session.as_deref());
        assert_eq!(messages(&john).await.len(), 21);
        assert_eq!(file(&john, &id).await.len(), FILE);
        server.stop().await;
    }
}
