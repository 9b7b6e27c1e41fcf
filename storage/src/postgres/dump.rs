//! Dumps by PostgreSQL's own programs, `pg_dump` and `pg_restore`. A snapshot that `pg_dump` shares with a connection of this
//! program tells what the dump contains.

use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use percent_encoding::percent_decode_str;
use sqlx::postgres::{PgConnectOptions, PgRow};
use sqlx::{ConnectOptions as _, Executor as _, PgConnection};
use tokio::io::{AsyncRead, AsyncWriteExt as _};
use tokio::process::Command;
use uuid::Uuid;

use super::accounts::people_index::CREATE_EXTENSION;
use super::circuit_breaker::CircuitBreaker;
use super::messages::attachments::{OBJECTS, named_object};
use super::{MIGRATIONS, Options, Postgres, get, limit};
use crate::dump::RESTORED_STATEMENT_TIMEOUT;
use crate::tables::Copyable as _;
use crate::{Dump, Dumps, Error, NamedObject, Restoration, Result, RowCounts, Storage, Workspaces};

const SNAPSHOT: &str = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SELECT pg_export_snapshot()";
const COUNTS: &str = "SELECT (SELECT count(*) FROM users), (SELECT count(*) FROM conversations), (SELECT count(*) FROM messages)";
const SCHEMA: &str = "SELECT max(version) FROM _sqlx_migrations";
/// Table that marks a database whose restoration was begun. No dump contains it.
const MARK: &str = "dragoman_restoration";
const SET_MARK: &str = "CREATE TABLE IF NOT EXISTS dragoman_restoration (begun_at timestamptz NOT NULL DEFAULT now())";
const REMOVE_MARK: &str = "DROP TABLE IF EXISTS dragoman_restoration";
/// Settings of a session of `pg_restore`: what is not there to be dropped is no news.
const QUIET: &str = "-c client_min_messages=warning";
/// Size limit of what a failed program says, in bytes.
const SAID_BYTES: usize = 1_000;

#[async_trait]
impl Dumps for Postgres {
    async fn dump(&self, file: &Path) -> Result<Box<dyn Dump>> {
        let mut connection = self.unlimited_connection(Duration::ZERO).await?;
        let explain = |error| self.gate.explain(error);
        // One text, so that no statement is prepared before the transaction.
        let row = sqlx::raw_sql(SNAPSHOT).fetch_one(&mut connection).await.map_err(explain)?;
        let snapshot: String = get(&row, 0)?;
        let mut pg_dump = client_program("pg_dump", &self.server);
        pg_dump.args(["--format=custom", "--no-owner", "--no-privileges"]);
        let schema = quoted(&self.schema);
        pg_dump.arg(format!("--schema={schema}")).arg(format!("--snapshot={snapshot}"));
        // Leases of the nodes that serve this database: they do not serve another one.
        pg_dump.arg(format!("--exclude-table-data={schema}.nodes"));
        pg_dump.arg("--file").arg(file).stdin(Stdio::null());
        require_success("pg_dump", pg_dump.output().await)?;
        Ok(Box::new(PostgresDump { connection, gate: Arc::clone(&self.gate) }))
    }

    async fn row_counts(&self) -> Result<RowCounts> {
        counts(&self.only_row(sqlx::query(COUNTS)).await?)
    }
}

/// Transaction on the snapshot of a dump.
struct PostgresDump {
    connection: PgConnection,
    gate: Arc<CircuitBreaker>,
}

#[async_trait]
impl Dump for PostgresDump {
    async fn schema(&mut self) -> Result<i64> {
        let row = sqlx::query(SCHEMA).fetch_one(&mut self.connection).await;
        Ok(get(&row.map_err(|error| self.gate.explain(error))?, 0)?)
    }

    async fn row_counts(&mut self) -> Result<RowCounts> {
        let row = sqlx::query(COUNTS).fetch_one(&mut self.connection).await;
        counts(&row.map_err(|error| self.gate.explain(error))?)
    }

    async fn objects(&mut self, after: &str, most: usize) -> Result<Vec<NamedObject>> {
        let rows = sqlx::query(OBJECTS).bind(after).bind(limit(most)).fetch_all(&mut self.connection).await;
        rows.map_err(|error| self.gate.explain(error))?.iter().map(named_object).collect()
    }
}

fn counts(row: &PgRow) -> Result<RowCounts> {
    Ok(RowCounts { users: get(row, 0)?, conversations: get(row, 1)?, messages: get(row, 2)? })
}

/// Restoration into a database without data. A table marks the database until the end; the connection has the advisory lock.
struct PostgresRestoration {
    connection: PgConnection,
    options: Options,
    gate: Arc<CircuitBreaker>,
    server: PgConnectOptions,
    schema: Arc<str>,
    replaced: Option<Uuid>,
}

impl Postgres {
    /// Begins to restore a dump into a database without data, or one whose restoration was not finished.
    ///
    /// # Errors
    /// `Internal` if the database has data, or tables of another user; `Unavailable` if it cannot be reached, a node serves it, or
    /// another process restores into it.
    ///
    /// # Cancel safety
    /// A dropped call leaves nothing behind.
    pub async fn begin_restoration(options: &Options) -> Result<Box<dyn Restoration>> {
        let store = Self::open(options).await?;
        store.require_writable().await?;
        let mut connection = store.unlimited_connection(Duration::ZERO).await?;
        store.require_alone(&mut connection).await?;
        let gate = Arc::clone(&store.gate);
        let replaced = store.replaceable().await?;
        let (server, schema) = (store.server.clone(), Arc::clone(&store.schema));
        store.close().await;
        Ok(Box::new(PostgresRestoration { connection, options: options.clone(), gate, server, schema, replaced }))
    }

    /// Refuses a database into which a restoration was begun and not finished.
    ///
    /// # Errors
    /// `Internal` for such a database.
    ///
    /// # Cancel safety
    /// A dropped call leaves nothing behind.
    pub async fn require_restored(&self) -> Result<()> {
        if self.has_table(MARK).await? {
            return Err(self.gate.unusable("a restoration into it has not ended", "run `dragoman restore` again"));
        }
        Ok(())
    }

    /// Refuses a database with data, with a node, or of another user. Returns its workspace.
    async fn replaceable(&self) -> Result<Option<Uuid>> {
        if !self.has_table("partners").await? {
            return Ok(None);
        }
        self.require_owner().await?;
        self.require_unserved().await?;
        if !self.is_empty().await? && !self.has_table(MARK).await? {
            return Err(self.gate.unusable("it holds data", "restore into an empty database"));
        }
        Ok(self.workspace().await?.uuid)
    }
}

#[async_trait]
impl Restoration for PostgresRestoration {
    fn schema(&self) -> i64 {
        MIGRATIONS.iter().map(|migration| migration.version).max().unwrap_or_default()
    }

    fn replaced(&self) -> Option<Uuid> {
        self.replaced
    }

    async fn load(&mut self, dump: &mut (dyn AsyncRead + Send + Unpin)) -> Result<Arc<dyn Storage>> {
        self.connection.execute(SET_MARK).await.map_err(|error| self.gate.explain(error))?;
        // The index of people in the dump needs it. Without the right to create it the index tells what is missing.
        let _ = self.connection.execute(CREATE_EXTENSION).await;
        let mut pg_restore = client_program("pg_restore", &self.server);
        // The schema alone: neither the schema itself nor extensions are made anew. One transaction: all rows or none.
        pg_restore.args(["--clean", "--if-exists", "--single-transaction", "--exit-on-error", "--no-owner", "--no-privileges"]);
        pg_restore.arg(format!("--schema={}", self.schema));
        pg_restore.arg(format!("--dbname={}", self.server.get_database().unwrap_or(self.server.get_username())));
        pg_restore.env("PGOPTIONS", format!("{} {QUIET}", self.server.get_options().unwrap_or_default()));
        pg_restore.stdin(Stdio::piped());
        let mut child = pg_restore.spawn().map_err(|error| unstartable("pg_restore", &error))?;
        let mut stdin = child.stdin.take().expect("it is piped");
        let fed = async {
            tokio::io::copy(dump, &mut stdin).await?;
            stdin.shutdown().await
        }
        .await;
        drop(stdin);
        require_success("pg_restore", child.wait_with_output().await)?;
        // A program that ends early says why; this comes after it.
        fed.map_err(|error| Error::Internal(format!("pg_restore: {error}").into()))?;
        let limits = Options { statement_timeout: RESTORED_STATEMENT_TIMEOUT, ..self.options.clone() };
        let store = Postgres::open(&limits).await?;
        store.migrate().await?;
        Ok(Arc::new(store))
    }

    async fn finish(mut self: Box<Self>) -> Result<()> {
        self.connection.execute(REMOVE_MARK).await.map(drop).map_err(|error| self.gate.explain(error))
    }
}

/// A program of PostgreSQL that connects to this server. The environment has the address: a list of processes shows arguments.
fn client_program(name: &str, server: &PgConnectOptions) -> Command {
    // For what sqlx tells in no other way. Not every name of a user or host can be in an address that it makes.
    let url = server.clone().host("localhost").username("any").to_url_lossy();
    let host = server.get_host().trim_matches(['[', ']']);
    let host = server.get_socket().map_or_else(|| PathBuf::from(host), Clone::clone);
    let mut program = Command::new(name);
    program.arg("--no-password").kill_on_drop(true).stdout(Stdio::piped()).stderr(Stdio::piped());
    program.env("PGHOST", host).env("PGPORT", server.get_port().to_string()).env("PGUSER", server.get_username());
    program.env("PGAPPNAME", "dragoman");
    if let Some(database) = server.get_database() {
        program.env("PGDATABASE", database);
    }
    if let Some(options) = server.get_options() {
        program.env("PGOPTIONS", options);
    }
    if let Some(password) = url.password() {
        program.env("PGPASSWORD", percent_decode_str(password).decode_utf8_lossy().as_ref());
    }
    for (key, value) in url.query_pairs() {
        if let "sslmode" | "sslrootcert" | "sslcert" | "sslkey" = &*key {
            program.env(format!("PG{}", key.to_uppercase()), &*value);
        }
    }
    program
}

fn require_success(name: &str, output: std::io::Result<Output>) -> Result<()> {
    let output = output.map_err(|error| unstartable(name, &error))?;
    if output.status.success() {
        return Ok(());
    }
    let said = &output.stderr[..output.stderr.len().min(SAID_BYTES)];
    let said = String::from_utf8_lossy(said).split_whitespace().collect::<Vec<_>>().join(" ");
    Err(Error::Internal(format!("{name} failed ({}): {said}", output.status).into()))
}

fn unstartable(name: &str, error: &std::io::Error) -> Error {
    let remedy =
        "install PostgreSQL's client programs of the server's version (Debian: postgresql-client), and put them into PATH";
    Error::Unavailable(format!("{name} cannot be started: {error}; {remedy}").into())
}

/// Quotes a name for patterns of `pg_dump`, which would take wildcards and capital letters otherwise.
fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}
