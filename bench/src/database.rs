//! Two databases with the same schema and the same people: one for the server, one for its limits.

use std::{collections::HashMap, path::Path, process::Command};

use sqlx::{AssertSqlSafe, Connection, PgConnection};

use crate::{Result, children};

/// Stores one message, for pgbench and for the bare handler.
const SEND: &str = include_str!("../send.sql");
const TRANSACTION: &str = include_str!("../transaction.sql");
const SEED: &str = include_str!("../seed.sql");
const LARGE: &str = include_str!("../large.sql");
const LARGE_CONVERSATIONS: &str = include_str!("../crowds.sql");
const PEOPLE: &str = include_str!("../people.sql");
const MIX: &str = include_str!("../mix.sql");
/// Event log entry of such a message, as long as the server's own. It has no colon before a letter, which pgbench would
/// take for a variable.
const FACT: &str = r#"{"fact": "message_posted", "of": {"id": 100000, "seq": 1000, "conversation": 500, "author": {"partner": 10, "user": 1010, "name": "Person 10"}, "message_type": "text", "body": "A message of a usual length, neither short nor long.", "metadata": null, "attachments": [], "client_key": null, "created_at": "2026-01-01T000000.000000Z", "edited_at": null, "deleted_at": null}}"#;

/// Statements with which pgbench stores a message.
#[derive(Clone, Copy)]
pub(crate) enum WriteMode {
    /// One statement, the fastest way.
    SingleStatement,
    /// A transaction of four statements, as applications do it.
    Transaction,
}

/// Temporary databases.
pub(crate) struct Databases {
    admin: String,
    names: [String; 2],
    pub(crate) ours: String,
    pub(crate) limits: String,
}

impl Databases {
    /// Creates and fills both databases, on the server of this URL.
    pub(crate) async fn create(admin: &str, server: &Path) -> Result<Self> {
        let names = ["ours", "limits"].map(|name| format!("dragoman_bench_{}_{name}", std::process::id()));
        let (address, options) = admin.split_once('?').unwrap_or((admin, ""));
        let (address, _) = address.rsplit_once('/').ok_or("the address names no database")?;
        let [ours, limits] = names.each_ref().map(|name| format!("{address}/{name}?{options}"));
        let databases = Self { admin: admin.into(), names, ours, limits };
        let mut connection = PgConnection::connect(admin).await?;
        for name in &databases.names {
            sqlx::raw_sql(AssertSqlSafe(format!("CREATE DATABASE {name}"))).execute(&mut connection).await?;
        }
        for url in [&databases.ours, &databases.limits] {
            children::output_of(Command::new(server).args(["migrate", "--storage", url]))?;
            let mut connection = PgConnection::connect(url).await?;
            sqlx::raw_sql(SEED).execute(&mut connection).await?;
            connection.close().await?;
        }
        connection.close().await?;
        Ok(databases)
    }

    /// Number of transactions of the server's database. PostgreSQL's backends report theirs with a delay of up to ten
    /// seconds.
    pub(crate) async fn transactions(&self) -> Result<i64> {
        let mut connection = PgConnection::connect(&self.admin).await?;
        let seen = sqlx::query_scalar("SELECT xact_commit + xact_rollback FROM pg_stat_database WHERE datname = $1")
            .bind(&self.names[0])
            .fetch_one(&mut connection)
            .await?;
        connection.close().await?;
        Ok(seen)
    }

    /// Fills the server's database with conversations that have these numbers of messages.
    pub(crate) async fn add_histories(&self, histories: &[u32]) -> Result<()> {
        self.run(&LARGE.replace("HISTORIES", &sql_list(histories))).await
    }

    /// Fills it with people in these numbers of conversations, and with conversations of these numbers of people.
    pub(crate) async fn add_large_conversations(&self, conversations: &[u32], people: &[u32]) -> Result<()> {
        self.run(&LARGE_CONVERSATIONS.replace("OWN", &sql_list(conversations)).replace("CROWDS", &sql_list(people))).await
    }

    /// Adds 50,000 people to it.
    pub(crate) async fn add_people(&self) -> Result<()> {
        self.run(PEOPLE).await
    }

    /// Adds 200 people to it, and a conversation of all of them.
    pub(crate) async fn add_mix_people(&self) -> Result<()> {
        self.run(MIX).await
    }

    async fn run(&self, script: &str) -> Result<()> {
        let mut connection = PgConnection::connect(&self.ours).await?;
        // One statement at a time: several at once would form a transaction, and VACUUM must not be in one.
        for statement in script.split_inclusive(";\n") {
            sqlx::raw_sql(AssertSqlSafe(statement)).execute(&mut connection).await?;
        }
        Ok(connection.close().await?)
    }

    /// Vacuums, analyses and checkpoints both databases, so that earlier work does not disturb the next measurement.
    pub(crate) async fn settle(&self) -> Result<()> {
        for url in [&self.ours, &self.limits] {
            let mut connection = PgConnection::connect(url).await?;
            sqlx::raw_sql("VACUUM ANALYZE").execute(&mut connection).await?;
            sqlx::raw_sql("CHECKPOINT").execute(&mut connection).await?;
            connection.close().await?;
        }
        Ok(())
    }

    /// PostgreSQL's version.
    pub(crate) async fn version(&self) -> Result<String> {
        let mut connection = PgConnection::connect(&self.admin).await?;
        let version = sqlx::query_scalar("SHOW server_version").fetch_one(&mut connection).await?;
        connection.close().await?;
        Ok(version)
    }

    /// The id of the message with this number in a conversation.
    pub(crate) async fn message(&self, conversation: i64, seq: i64) -> Result<i64> {
        let mut connection = PgConnection::connect(&self.ours).await?;
        let id = sqlx::query_scalar("SELECT id FROM messages WHERE conversation_id = $1 AND seq = $2");
        let id = id.bind(conversation).bind(seq).fetch_one(&mut connection).await?;
        connection.close().await?;
        Ok(id)
    }

    /// The sessions: for each its key in hexadecimal digits and its user, as JSON.
    pub(crate) async fn sessions(&self) -> Result<String> {
        let mut connection = PgConnection::connect(&self.ours).await?;
        let sessions = "SELECT json_agg(json_build_array(encode(key, 'hex'), user_id))::text FROM sessions";
        let sessions = sqlx::query_scalar(sessions).fetch_one(&mut connection).await?;
        connection.close().await?;
        Ok(sessions)
    }

    /// The uuids of the people, by their numbers in `seed.sql`.
    pub(crate) async fn uuids(&self) -> Result<HashMap<i64, String>> {
        let mut connection = PgConnection::connect(&self.ours).await?;
        let uuids: Vec<(i64, String)> =
            sqlx::query_as("SELECT partner_id, uuid::text FROM users").fetch_all(&mut connection).await?;
        connection.close().await?;
        Ok(uuids.into_iter().collect())
    }

    pub(crate) async fn drop(self) -> Result<()> {
        let mut connection = PgConnection::connect(&self.admin).await?;
        for name in &self.names {
            let drop = format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)");
            sqlx::raw_sql(AssertSqlSafe(drop)).execute(&mut connection).await?;
        }
        Ok(connection.close().await?)
    }
}

/// Elements of an array, in SQL and in JSON.
pub(crate) fn sql_list(sizes: &[u32]) -> String {
    sizes.iter().map(u32::to_string).collect::<Vec<_>>().join(", ")
}

/// The script for pgbench.
pub(crate) fn script(of: WriteMode) -> String {
    let script = match of {
        WriteMode::SingleStatement => SEND,
        WriteMode::Transaction => TRANSACTION,
    };
    script.replace("FACT", FACT)
}

/// The statement of the script, with these in place of its variables.
pub(crate) fn send(conversation: &str, author: &str) -> String {
    let statement: Vec<_> = SEND.lines().filter(|line| !line.starts_with(['-', '\\'])).collect();
    statement.join("\n").replace(":conversation", conversation).replace(":author", author).replace("FACT", FACT)
}
