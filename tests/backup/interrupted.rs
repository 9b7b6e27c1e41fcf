//! Tests of restorations that are killed.

use std::{
    fs::File,
    io::{ErrorKind, Write},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use sqlx::{Connection, PgConnection};
use uuid::Uuid;

use super::{Place, file, messages, on_durable_stores, path, say, send_file};
use crate::support::{JOHN, files_below, until};

/// Writes a part of an archive to a pipe, once it is read.
async fn feed(pipe: PathBuf, bytes: Vec<u8>) -> File {
    let fed = tokio::task::spawn_blocking(move || {
        let mut pipe = File::options().write(true).open(pipe).unwrap();
        pipe.write_all(&bytes).unwrap();
        pipe
    });
    fed.await.unwrap()
}

/// Writes a whole archive to a pipe. Meanwhile another pipe takes its name, for the next time that the archive is opened.
async fn feed_whole(pipe: PathBuf, bytes: Vec<u8>) {
    let next = pipe.with_extension("next");
    make_pipe(&next);
    let fed = tokio::task::spawn_blocking(move || {
        let mut first = File::options().write(true).open(&pipe).unwrap();
        let (begin, rest) = bytes.split_at(bytes.len() / 2);
        first.write_all(begin).unwrap();
        std::fs::rename(next, pipe).unwrap();
        match first.write_all(rest) {
            // A reader that has met the end of the archive closes the pipe before the padding behind it.
            Err(error) if error.kind() == ErrorKind::BrokenPipe => {}
            written => written.unwrap(),
        }
    });
    fed.await.unwrap();
}

fn make_pipe(pipe: &Path) {
    assert!(Command::new("mkfifo").arg(pipe).status().unwrap().success());
}

/// True once a restoration writes rows.
async fn has_begun(place: &Place) -> bool {
    const MARK: &str = "SELECT to_regclass('dragoman_restoration') IS NOT NULL";
    match place.backend.url().strip_prefix("sqlite:") {
        Some(file) => std::fs::exists(format!("{file}.restoring")).unwrap(),
        None => {
            let mut database = PgConnection::connect(place.backend.url()).await.unwrap();
            sqlx::query_scalar(MARK).fetch_one(&mut database).await.unwrap()
        }
    }
}

on_durable_stores! {
    /// A restoration reads its archive twice. In the second time it gets a part and waits for more, and is killed.
    async fn a_killed_restoration_can_be_repeated(place) {
        let mut server = place.server().start().await;
        let john = server.log_in(JOHN).await;
        // More rows than the buffers between the archive and the store take, however they are compressed.
        for _ in 0..20 {
            let digits: String = (0..900).map(|_| Uuid::new_v4().simple().to_string()).collect();
            say(&john, &digits).await;
        }
        let mut sent = Vec::new();
        for number in 0..3_u8 {
            let bytes = vec![number; 300_000];
            sent.push((send_file(&john, &bytes).await.1, bytes));
        }
        server.stop().await;
        place.save().await;
        let archive = std::fs::read(place.archive()).unwrap();
        let rows = archive.len() - 900_000;
        let pipe = place.directory.path().join("pipe");
        make_pipe(&pipe);
        let other = place.elsewhere().await;
        // In the middle of the rows, and of the files.
        for (length, has_files) in [(rows / 2, false), (archive.len() - 500_000, true)] {
            let mut restoring = tokio::process::Command::new(env!("CARGO_BIN_EXE_dragoman"))
                .args(["restore", path(&pipe)])
                .envs(other.environment())
                .stdin(Stdio::null())
                .kill_on_drop(true)
                .spawn()
                .unwrap();
            feed_whole(pipe.clone(), archive.clone()).await;
            let held = feed(pipe.clone(), archive[..length].to_vec()).await;
            until("its turn", async || match has_files {
                true => (!files_below(&other.files()).is_empty()).then_some(()),
                false => has_begun(&other).await.then_some(()),
            })
            .await;
            restoring.kill().await.unwrap();
            drop(held);
            let said = other.refused_start().await;
            let why = if other.backend.is_postgres() { "run `dragoman restore` again" } else { "belongs to workspace" };
            assert!(said.contains(why), "{said}");
        }
        other.restore(&place.archive()).await;
        let mut server = other.start().await;
        let john = server.client().with_session(john.session());
        assert!(messages(&john).await.values().filter(|body| *body == "look").count() == 3);
        for (id, bytes) in &sent {
            assert!(file(&john, id).await == *bytes, "{id}");
        }
        server.stop().await;
    }
}
