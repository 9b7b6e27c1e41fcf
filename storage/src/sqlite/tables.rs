//! Tables of a file for a verbatim copy, on a connection without the time limits of requests.

use async_trait::async_trait;
use futures_util::stream::{BoxStream, StreamExt as _};
use sqlx::sqlite::{SqliteConnection, SqliteRow};
use sqlx::types::Json;
use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _, Executor as _};

use super::{Sqlite, connection::writer_options, get, workspace::workspace};
use crate::tables::{ColumnKind, Copyable, SET_WORKSPACE, TABLES, Table, TableRow, Tables, Value, WORKSPACE};
use crate::{Error, Result, Storage as _, Workspace};

const HAS_TABLE: &str = "SELECT EXISTS (SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = $1)";
const BEGIN_WRITE: &str = "BEGIN IMMEDIATE";
const COMMIT: &str = "COMMIT";

/// Rows of one statement: each statement costs a trip to the connection's thread.
const ROWS: usize = 50;

#[async_trait]
impl Copyable for Sqlite {
    async fn require_no_server(&self) -> Result<()> {
        self.lock_exclusive()
    }

    async fn has_current_schema(&self) -> Result<bool> {
        Ok(!self.needs_migration())
    }

    async fn make_schema_current(&self) -> Result<()> {
        self.migrate().await
    }

    async fn occupied_table(&self) -> Result<Option<&'static str>> {
        for table in Table::of_users() {
            let has_row = AssertSqlSafe(format!("SELECT EXISTS (SELECT 1 FROM \"{}\")", table.name));
            if get(&self.only_row(sqlx::query(HAS_TABLE).bind(table.name)).await?, 0)?
                && get(&self.only_row(sqlx::query(has_row)).await?, 0)?
            {
                return Ok(Some(table.name));
            }
        }
        Ok(None)
    }

    async fn open_source(&self) -> Result<Box<dyn Tables>> {
        let mut tables = SqliteTables::open(self).await?;
        // Commands work beside the lock file's owner, and wait for this transaction in vain.
        tables.run(BEGIN_WRITE.into()).await?;
        Ok(Box::new(SqliteTables { has_begun: true, ..tables }))
    }

    async fn open_target(&self) -> Result<Box<dyn Tables>> {
        Ok(Box::new(SqliteTables::open(self).await?))
    }
}

struct SqliteTables {
    connection: SqliteConnection,
    store: Sqlite,
    /// True for the one transaction of a source.
    has_begun: bool,
}

impl SqliteTables {
    /// Opens a connection that does not look up what a row refers to: the order of the tables has another purpose here.
    async fn open(store: &Sqlite) -> Result<Self> {
        let options = writer_options(store.core.files.database(), None).foreign_keys(false);
        let connection = options.connect().await.map_err(|error| store.core.explain(error))?;
        Ok(Self { connection, store: store.clone(), has_begun: false })
    }

    async fn run(&mut self, statement: String) -> Result<()> {
        let done = self.connection.execute(AssertSqlSafe(statement)).await;
        done.map(drop).map_err(|error| self.store.core.explain(error))
    }

    fn stream<T: Send + 'static>(
        &mut self,
        statement: String,
        decode: impl Fn(&SqliteRow) -> Result<T> + Send + 'static,
    ) -> BoxStream<'_, Result<T>> {
        let core = &self.store.core;
        let rows = sqlx::query(AssertSqlSafe(statement)).persistent(false).fetch(&mut self.connection);
        rows.map(move |row| decode(&row.map_err(|error| core.explain(error))?)).boxed()
    }
}

#[async_trait]
impl Tables for SqliteTables {
    /// Rows come before those to which they refer: triggers that would change these find none.
    fn order(&self) -> Vec<&'static Table> {
        TABLES.iter().rev().collect()
    }

    fn rows<'a>(&'a mut self, table: &'static Table) -> BoxStream<'a, Result<TableRow>> {
        let key = table.key().iter().map(|column| format!("\"{}\"", column.name)).collect::<Vec<_>>().join(", ");
        let (columns, name, condition) = (table.column_names(), table.name, table.condition());
        let select = format!("SELECT {columns} FROM \"{name}\"{condition} ORDER BY {key}");
        self.stream(select, move |row| table.columns.iter().enumerate().map(|(at, column)| value(row, at, column.kind)).collect())
    }

    async fn count(&mut self, table: &'static Table) -> Result<u64> {
        let count = format!("SELECT count(*) FROM \"{}\"{}", table.name, table.condition());
        let mut counted = self.stream(count, |row| get::<i64, _>(row, 0));
        let rows = counted.next().await.unwrap_or(Ok(0))?;
        u64::try_from(rows).map_err(|_| Error::Corrupt(format!("negative count {rows}")))
    }

    async fn clear(&mut self, tables: &[&'static Table]) -> Result<()> {
        let delete = |table: &&Table| format!("DELETE FROM \"{}\"{};\n", table.name, table.condition());
        let deletions: String = tables.iter().map(delete).collect();
        self.run(format!("{BEGIN_WRITE};\n{deletions}{COMMIT};")).await
    }

    async fn insert(&mut self, table: &'static Table, mut rows: Vec<TableRow>) -> Result<()> {
        let core = &self.store.core;
        let explain = |error| core.explain(error);
        let mut tx = self.connection.begin_with(BEGIN_WRITE).await.map_err(explain)?;
        while !rows.is_empty() {
            let chunk = rows.drain(..ROWS.min(rows.len()));
            let mut query = sqlx::query(AssertSqlSafe(insertion(table, chunk.len()))).persistent(chunk.len() == ROWS);
            for value in chunk.flatten() {
                query = match value {
                    Value::Null => query.bind(None::<i64>),
                    Value::Integer(number) => query.bind(number),
                    Value::Text(text) => query.bind(text),
                    Value::Bytes(bytes) => query.bind(bytes),
                };
            }
            query.execute(&mut *tx).await.map_err(explain)?;
        }
        tx.commit().await.map_err(explain)
    }

    async fn workspace(&mut self) -> Result<Workspace> {
        let found = sqlx::query(WORKSPACE).fetch_optional(&mut self.connection).await;
        workspace(found.map_err(|error| self.store.core.explain(error))?)
    }

    async fn set_workspace(&mut self, workspace: &Workspace) -> Result<()> {
        let done = sqlx::query(SET_WORKSPACE).bind(Json(workspace)).execute(&mut self.connection).await;
        done.map(drop).map_err(|error| self.store.core.explain(error))
    }

    async fn close(mut self: Box<Self>) -> Result<()> {
        if self.has_begun {
            self.store.core.files.check()?;
            self.run(COMMIT.into()).await?;
        }
        let Self { connection, store, .. } = *self;
        // An error says that the thread has ended already.
        let _ = connection.close().await;
        store.close().await;
        Ok(())
    }
}

fn insertion(table: &Table, rows: usize) -> String {
    let row = format!("({})", vec!["?"; table.columns.len()].join(", "));
    format!("INSERT INTO \"{}\" ({}) VALUES {}", table.name, table.column_names(), vec![row; rows].join(", "))
}

fn value(row: &SqliteRow, at: usize, kind: ColumnKind) -> Result<Value> {
    let value = match kind {
        ColumnKind::Integer | ColumnKind::Small | ColumnKind::Boolean | ColumnKind::Time => {
            get::<Option<i64>, _>(row, at)?.map(Value::Integer)
        }
        ColumnKind::Text | ColumnKind::Json => get::<Option<String>, _>(row, at)?.map(Value::Text),
        ColumnKind::Uuid | ColumnKind::Bytes => get::<Option<Vec<u8>>, _>(row, at)?.map(Value::Bytes),
    };
    Ok(value.unwrap_or(Value::Null))
}
