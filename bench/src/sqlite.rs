//! A SQLite file with the schema, people and conversations of the databases on PostgreSQL.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use sqlx::{AssertSqlSafe, ConnectOptions, Connection, SqliteConnection, sqlite::SqliteConnectOptions};

use crate::{
    Result, children,
    database::{Databases, sql_list},
    directory::Directory,
};

const SEED: &str = include_str!("../sqlite/seed.sql");
const LARGE: &str = include_str!("../sqlite/large.sql");
const SESSIONS: &str = "INSERT INTO sessions (key, user_id, created_at, last_used_at)
    SELECT unhex(value ->> 0), value ->> 1, unixepoch() * 1000000, unixepoch() * 1000000 FROM json_each($1)
    WHERE value ->> 1 IN (SELECT id FROM users)
    ON CONFLICT DO NOTHING";

/// Temporary SQLite file.
pub(crate) struct SqliteFile {
    directory: Directory,
}

impl SqliteFile {
    /// Creates and fills the file. Its sessions are those of the server's database on PostgreSQL.
    pub(crate) async fn create(server: &Path, databases: &Databases) -> Result<Self> {
        let file = Self { directory: Directory::create("sqlite")? };
        children::output_of(Command::new(server).args(["migrate", "--storage", &file.storage()]))?;
        file.run(SEED, databases).await?;
        Ok(file)
    }

    /// Adds the conversations with these numbers of messages, and their readers.
    pub(crate) async fn add_histories(&self, histories: &[u32], databases: &Databases) -> Result<()> {
        self.run(&LARGE.replace("HISTORIES", &sql_list(histories)), databases).await
    }

    /// Moves the write-ahead log into the file, as the last connection does when it is closed. No server may have it open.
    pub(crate) async fn settle(&self) -> Result<()> {
        let mut connection = self.connect().await?;
        sqlx::raw_sql("PRAGMA wal_checkpoint(TRUNCATE)").execute(&mut connection).await?;
        Ok(connection.close().await?)
    }

    pub(crate) fn storage(&self) -> String {
        format!("sqlite:{}", self.path().display())
    }

    async fn run(&self, script: &str, databases: &Databases) -> Result<()> {
        let mut connection = self.connect().await?;
        sqlx::raw_sql(AssertSqlSafe(script)).execute(&mut connection).await?;
        sqlx::query(SESSIONS).bind(databases.sessions().await?).execute(&mut connection).await?;
        Ok(connection.close().await?)
    }

    async fn connect(&self) -> Result<SqliteConnection> {
        Ok(SqliteConnectOptions::new().filename(self.path()).connect().await?)
    }

    fn path(&self) -> PathBuf {
        self.directory.path().join("dragoman.db")
    }
}
