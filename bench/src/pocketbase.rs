//! PocketBase, which is a server with a SQLite file, too: its data, its process, and requests to it.

use std::{path::PathBuf, process::Command};

use crate::{
    Result,
    children::{self, Server},
    directory::Directory,
    http::{self, Connection, Request},
    requests::BODY,
};

const LOGIN: &str = "bench@example.com";
const PASSWORD: &str = "a long password";
/// Collection with the columns of a message that a server cannot do without, and the index by which a page of them is found.
const COLLECTION: &str = r#"{"name": "messages", "type": "base", "fields": [
    {"name": "conversation", "type": "number"}, {"name": "author", "type": "number"}, {"name": "body", "type": "text"},
    {"name": "created", "type": "autodate", "onCreate": true}
], "indexes": ["CREATE INDEX messages_of_conversation ON messages (conversation)"]}"#;

/// Data of a PocketBase with its usual settings, and the token of its administrator.
pub(crate) struct PocketBase {
    program: PathBuf,
    directory: Directory,
    token: String,
}

impl PocketBase {
    /// Prepares the data; `None` unless `DRAGOMAN_BENCH_POCKETBASE` names the program.
    pub(crate) async fn prepare() -> Result<Option<Self>> {
        let Some(program) = std::env::var_os("DRAGOMAN_BENCH_POCKETBASE") else { return Ok(None) };
        let mut prepared = Self { program: program.into(), directory: Directory::create("pocketbase")?, token: String::new() };
        let mut command = Command::new(&prepared.program);
        children::output_of(command.args(["superuser", "upsert", LOGIN, PASSWORD, "--dir"]).arg(prepared.data()))?;
        let server = prepared.start()?;
        let mut connection = Connection::open(server.address).await?;
        let log_in = format!(r#"{{"identity": "{LOGIN}", "password": "{PASSWORD}"}}"#);
        let answer = connection.exchange(&prepared.post("/api/collections/_superusers/auth-with-password", &log_in)).await?;
        let answer: serde_json::Value = serde_json::from_slice(answer.body)?;
        prepared.token = answer["token"].as_str().ok_or("no token")?.to_owned();
        connection.exchange(&prepared.post("/api/collections", COLLECTION)).await?;
        Ok(Some(prepared))
    }

    pub(crate) fn start(&self) -> Result<Server> {
        Server::pocketbase(&self.program, &self.data())
    }

    /// The request that stores a message.
    pub(crate) fn send(&self, author: i64, conversation: i64) -> Request {
        let message = format!(r#"{{"conversation":{conversation},"author":{author},"body":"{BODY}"}}"#);
        self.post("/api/collections/messages/records", &message)
    }

    fn post(&self, path: &str, body: &str) -> Request {
        http::post_with(path, &format!("Authorization: {}", self.token), body)
    }

    fn data(&self) -> PathBuf {
        self.directory.path().join("data")
    }
}
