//! Tests of `dragoman backup` and `dragoman restore`, on both kinds of durable stores.

mod archive;
mod bucket;
mod damaged;
mod deletions;
mod files_gone;
mod full_disk;
mod interrupted;
mod litestream;
mod saved;
mod schemas;

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    process::Output,
};

use reqwest::{Method, multipart};
use serde_json::{Value, json};
use sqlx::{ConnectOptions, Connection, Executor, PgConnection, sqlite::SqliteConnectOptions};
use tempfile::TempDir;

use crate::support::{Answer, Backend, Bucket, Client, MARKER, Server, ServerBuilder, files_below, run};

/// A store, and a directory for its files and backups.
struct Place {
    backend: Backend,
    directory: TempDir,
    /// Place of the files, instead of the directory.
    bucket: Option<Bucket>,
}

impl Place {
    fn new(backend: Backend) -> Self {
        Self { backend, directory: tempfile::tempdir().unwrap(), bucket: None }
    }

    async fn with_bucket() -> Self {
        Self { bucket: Some(Bucket::start().await), ..Self::new(Backend::sqlite()) }
    }

    /// An empty place for a store of the same kind, which is not there yet.
    async fn elsewhere(&self) -> Self {
        match &self.bucket {
            Some(_) => Self::with_bucket().await,
            None => Self::new(if self.backend.is_postgres() { Backend::empty_postgres().await } else { Backend::sqlite() }),
        }
    }

    fn files(&self) -> PathBuf {
        match &self.bucket {
            Some(bucket) => bucket.file(""),
            None => self.directory.path().join("files"),
        }
    }

    fn address_of_files(&self) -> String {
        let files = self.environment().into_iter().find(|(key, _)| key == "DRAGOMAN__FILES");
        files.expect("it is set").1
    }

    /// Settings of store and files.
    fn environment(&self) -> Vec<(String, String)> {
        self.server().environment()
    }

    fn archive(&self) -> PathBuf {
        self.directory.path().join("backup.tar")
    }

    fn server(&self) -> ServerBuilder {
        let server = Server::builder(self.backend.clone());
        match &self.bucket {
            Some(bucket) => bucket.holds_the_files_of(server),
            None => server.set("FILES", format!("file:{}", self.files().display())),
        }
    }

    /// A server on a store that has users.
    async fn start(&self) -> Server {
        self.server().empty().start().await
    }

    /// Output of a server that does not start.
    async fn refused_start(&self) -> String {
        let output = self.command(&["serve", "--listen", "127.0.0.1:0"]).await;
        // Files are claimed once it listens.
        refused(&Output { stdout: Vec::new(), ..output })
    }

    /// Runs a command with the settings of this place.
    async fn command(&self, arguments: &[&str]) -> Output {
        let environment = self.environment();
        let environment: Vec<_> = environment.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
        run(arguments, &environment, "").await
    }

    async fn run(&self, command: &str, archive: &Path) -> Output {
        let files = self.address_of_files();
        self.command(&[command, path(archive), "--storage", self.backend.url(), "--files", &files]).await
    }

    /// Runs statements on the store, beside the program.
    async fn execute(&self, statements: &'static str) {
        match self.backend.url().strip_prefix("sqlite:") {
            Some(file) => {
                let mut file = SqliteConnectOptions::new().filename(file).connect().await.unwrap();
                file.execute(sqlx::raw_sql(statements)).await.unwrap();
                file.close().await.unwrap();
            }
            None => {
                let mut database = PgConnection::connect(self.backend.url()).await.unwrap();
                database.execute(sqlx::raw_sql(statements)).await.unwrap();
            }
        }
    }

    async fn save(&self) -> String {
        succeeded(&self.run("backup", &self.archive()).await)
    }

    async fn restore(&self, archive: &Path) -> String {
        succeeded(&self.run("restore", archive).await)
    }

    /// True if nothing is in the place of the store, and of the files.
    async fn is_untouched(&self) -> bool {
        self.has_no_store().await && files_below(&self.files()).is_empty() && !self.files().join(MARKER).exists()
    }

    /// True if there is no table, or no file but the lock file.
    async fn has_no_store(&self) -> bool {
        const IS_EMPTY: &str = "SELECT NOT EXISTS (SELECT FROM pg_class WHERE relnamespace = 'public'::regnamespace)";
        match self.backend.url().strip_prefix("sqlite:") {
            Some(file) => {
                let lock = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "lock");
                files_below(Path::new(file).parent().unwrap()).iter().all(lock)
            }
            None => {
                let mut database = PgConnection::connect(self.backend.url()).await.unwrap();
                sqlx::query_scalar(IS_EMPTY).fetch_one(&mut database).await.unwrap()
            }
        }
    }
}

fn path(path: &Path) -> &str {
    path.to_str().unwrap()
}

fn succeeded(output: &Output) -> String {
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
    String::from_utf8(output.stdout.clone()).unwrap()
}

/// The one line of a command that fails.
fn refused(output: &Output) -> String {
    let said = String::from_utf8(output.stderr.clone()).unwrap();
    assert!(!output.status.success() && output.stdout.is_empty(), "{output:?}");
    // The log of a server comes before it.
    let last = said.lines().next_back().unwrap_or_default();
    assert!(last.starts_with("dragoman: "), "{said}");
    last.to_owned()
}

async fn say(client: &Client, body: &str) -> i64 {
    let sent = client.messaging("message/send", json!({"thread_id": 1, "body": body})).await;
    sent["message_id"].as_i64().unwrap_or_else(|| panic!("{sent}"))
}

/// Sends a message with a file. Returns the ids of the message and of the attachment.
async fn send_file(client: &Client, bytes: &[u8]) -> (i64, Value) {
    let file = multipart::Part::bytes(bytes.to_vec()).file_name("a.bin");
    let form = multipart::Form::new().part("file", file).text("thread_id", "1");
    let request = client.request(Method::POST, "/api/messaging/attachment/upload").multipart(form);
    let id = Answer::of(request).await.json()["attachment_id"].clone();
    let sent = client.messaging("message/send", json!({"thread_id": 1, "body": "look", "attachment_ids": [id]})).await;
    (sent["message_id"].as_i64().unwrap_or_else(|| panic!("{sent}")), id)
}

async fn file(client: &Client, attachment: &Value) -> Vec<u8> {
    let response = client.request(Method::GET, &format!("/api/messaging/attachment/{attachment}")).send().await.unwrap();
    assert_eq!(response.status(), 200);
    response.bytes().await.unwrap().to_vec()
}

/// Messages of the first thread, by id.
async fn messages(client: &Client) -> BTreeMap<i64, String> {
    let (mut found, mut before) = (BTreeMap::new(), json!(1_000_000_000_000_000_i64));
    loop {
        let page = client.messaging("messages", json!({"thread_id": 1, "limit": 50, "before_id": before})).await;
        let page = page["messages"].as_array().expect("it is a page").clone();
        let Some(oldest) = page.iter().filter_map(|message| message["id"].as_i64()).min() else { return found };
        for message in &page {
            found.insert(message["id"].as_i64().unwrap(), message["body"].as_str().unwrap().to_owned());
        }
        before = json!(oldest);
    }
}

/// Makes a test for each kind of store that outlives its server.
macro_rules! on_durable_stores {
    ($($(#[$meta:meta])* async fn $name:ident($place:ident) $body:block)+) => {
        $(
            pub(in crate::backup) mod $name {
                #[allow(unused_imports, reason = "a test may need nothing from its file")]
                use super::*;

                $(#[$meta])*
                pub(in crate::backup) async fn check($place: $crate::backup::Place) $body

                #[tokio::test]
                async fn sqlite() {
                    check($crate::backup::Place::new($crate::support::Backend::sqlite())).await;
                }

                #[tokio::test]
                async fn postgres() {
                    check($crate::backup::Place::new($crate::support::Backend::postgres().await)).await;
                }
            }
        )+
    };
}
use on_durable_stores;
