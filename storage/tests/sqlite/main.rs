//! Tests of the SQLite backend beyond the suite: crashes, copies, limits, broken files, and query plans.
#![cfg(feature = "sqlite")]
// `.clippy.toml` allows these only in functions that are marked as tests themselves.
#![allow(clippy::unwrap_used)]

mod crash;
mod deletion;
mod files;
mod limits;
#[allow(dead_code, reason = "the suite uses the others")]
#[path = "../suite/people.rs"]
mod people;
mod plans;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions, Row, SqliteConnection};
use storage::sqlite::{Options, Sqlite};
use storage::{ConversationId, EventLog, Fact, Messages, Page, PartnerId, Position, Scope, Storage, User};

use people::{conversation, say, users};

/// Time-outs that no test reaches.
fn options(path: &Path) -> Options {
    Options {
        path: path.to_owned(),
        readers: 4,
        acquire_timeout: Duration::from_secs(20),
        statement_timeout: Duration::from_secs(20),
        transaction_timeout: Duration::from_secs(20),
        max_bytes: None,
    }
}

async fn open(path: &Path) -> Sqlite {
    let store = Sqlite::open(&options(path)).await.unwrap();
    store.migrate().await.unwrap();
    store
}

/// A directory with a store, of one user in one conversation.
struct Room {
    _directory: tempfile::TempDir,
    path: PathBuf,
    store: Sqlite,
    ann: User,
    room: ConversationId,
}

impl Room {
    async fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("dragoman.db");
        let store = open(&path).await;
        let (ann, room) = furnish(&store).await;
        Self { _directory: directory, path, store, ann, room }
    }

    async fn say(&self, text: &str) {
        say(&shared(&self.store), self.room, &self.ann, text).await;
    }
}

/// Stores a user and a conversation.
async fn furnish(store: &Sqlite) -> (User, ConversationId) {
    let store = shared(store);
    let [ann] = users(&store, ["ann"]).await;
    let room = conversation(&store, &[&ann]).await;
    (ann, room)
}

fn shared(store: &Sqlite) -> Arc<dyn Storage> {
    Arc::new(store.clone())
}

/// Texts of all messages of the first conversation, oldest first. The event log must tell the same.
async fn texts(store: &Sqlite) -> Vec<String> {
    let all = store.messages(ConversationId(1), PartnerId(2), Page::Newest { offset: 0, limit: 100_000 }).await.unwrap();
    let texts: Vec<_> = all.into_iter().rev().map(|seen| seen.message.body).collect();
    let events = store.events(Position(0), Scope::Everything, 100_000).await.unwrap();
    assert!(events.iter().map(|event| event.position.0).eq(1..=texts.len() as i64), "positions have a gap");
    let told = events.iter().map(|event| match &event.fact {
        Fact::MessagePosted(message) => message.body.clone(),
        fact => panic!("{fact:?}"),
    });
    assert!(told.eq(texts.iter().cloned()), "the event log tells something else");
    texts
}

/// Connection to the file beside the store.
async fn connect(path: &Path) -> SqliteConnection {
    SqliteConnectOptions::new().filename(path).connect().await.unwrap()
}

/// Checks the whole file.
async fn expect_intact(path: &Path) {
    let mut file = connect(path).await;
    let found = sqlx::query("PRAGMA integrity_check").fetch_all(&mut file).await.unwrap();
    assert_eq!(found.iter().map(|row| row.get::<String, _>(0)).collect::<Vec<_>>(), ["ok"]);
    let broken = sqlx::query("PRAGMA foreign_key_check").fetch_all(&mut file).await.unwrap();
    assert!(broken.is_empty(), "rows refer to nothing");
    let index = "INSERT INTO partners_folded (partners_folded, rank) VALUES ('integrity-check', 1)";
    sqlx::query(index).execute(&mut file).await.unwrap();
}
