//! Tables of a database for a verbatim copy, on a connection without the time-outs of requests.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::stream::{BoxStream, StreamExt as _};
use sqlx::postgres::{PgArguments, PgConnection, PgRow};
use sqlx::query::Query;
use sqlx::{AssertSqlSafe, Connection as _, Executor as _};
use uuid::Uuid;

use super::{
    Postgres, get, sequences,
    session::{PinnedSettings, SessionTimeouts},
    start::reach,
};
use crate::tables::{Column, ColumnKind, Copyable, SET_WORKSPACE, TABLES, Table, TableRow, Tables, Value, WORKSPACE};
use crate::{Error, Result, Storage as _, Timestamp, Workspace};

/// Nodes with an unexpired lease, by the database's clock.
const SERVED_UNTIL: &str = "SELECT max(until) FROM nodes WHERE until >= clock_timestamp()";
/// Advisory lock: one process at a time fills a database. Ends with the connection.
const ALONE: &str = "SELECT pg_try_advisory_lock(73201, hashtext('fill'))";
/// Owner of one of our tables, if this user may not do what only owners may: switch off triggers, or drop a table.
const FOREIGN_OWNER: &str = "SELECT min(pg_get_userbyid(relowner)::text) FROM pg_class
    WHERE relnamespace = (SELECT oid FROM pg_namespace WHERE nspname = current_schema()) AND relkind = 'r'
        AND relname = ANY ($1) AND NOT pg_has_role(relowner, 'USAGE')";
/// One state of the store for all statements, from the first that reads on.
const BEGIN: &str = "BEGIN ISOLATION LEVEL REPEATABLE READ";
const COMMIT: &str = "COMMIT";
const SEQUENCES: &str = concat!(
    "SELECT sequencename::text, coalesce(last_value, 0) FROM pg_sequences
    WHERE schemaname = current_schema() AND sequencename = ANY (",
    sequences!(),
    ") ORDER BY sequencename COLLATE \"C\""
);
const OWNER_OF_UPLOAD: &str = "coalesce(partner_id, (SELECT account.partner_id FROM users account WHERE account.id = owner_id))";
/// A sequence without a value has given none.
const SET_SEQUENCES: &str = "SELECT setval(format('%I.%I', current_schema(), name)::regclass, greatest(value, 1), value > 0)
    FROM unnest($1::text[], $2::bigint[]) AS s(name, value)";

#[async_trait]
impl Copyable for Postgres {
    async fn require_no_server(&self) -> Result<()> {
        self.require_writable().await?;
        self.require_unserved().await
    }

    async fn require_owner(&self) -> Result<()> {
        let tables: Vec<_> = TABLES.iter().map(|table| table.name).collect();
        match get::<Option<String>, _>(&self.only_row(sqlx::query(FOREIGN_OWNER).bind(tables)).await?, 0)? {
            None => Ok(()),
            Some(owner) => Err(self.gate.unusable(
                format!("its tables belong to {owner}, and only their owner may fill them from another store"),
                "name that user in the address",
            )),
        }
    }

    async fn has_current_schema(&self) -> Result<bool> {
        self.has_known_schema().await
    }

    async fn make_schema_current(&self) -> Result<()> {
        self.migrate().await?;
        if !self.index_people().await? {
            tracing::warn!("people search has no index: extension pg_trgm is missing and cannot be created");
        }
        Ok(())
    }

    async fn occupied_table(&self) -> Result<Option<&'static str>> {
        for table in Table::of_users() {
            let has_row = AssertSqlSafe(format!("SELECT EXISTS (SELECT FROM \"{}\")", table.name));
            if self.has_table(table.name).await? && get(&self.only_row(sqlx::query(has_row)).await?, 0)? {
                return Ok(Some(table.name));
            }
        }
        Ok(None)
    }

    async fn open_source(&self) -> Result<Box<dyn Tables>> {
        self.require_sequence_rights().await?;
        let mut tables = PostgresTables::open(self).await?;
        tables.run(BEGIN.into()).await?;
        // Writers wait, for longer than their time-outs. Earlier writes are seen.
        tables.run(format!("LOCK TABLE nodes, {} IN SHARE MODE", names(&tables.order()))).await?;
        let served_until = sqlx::query_scalar(SERVED_UNTIL).fetch_one(&mut tables.connection).await;
        self.refuse_if_served(served_until.map_err(|error| self.gate.explain(error))?)?;
        Ok(Box::new(PostgresTables { has_begun: true, ..tables }))
    }

    async fn open_target(&self) -> Result<Box<dyn Tables>> {
        self.require_sequence_rights().await?;
        let mut tables = PostgresTables::open(self).await?;
        self.require_alone(&mut tables.connection).await?;
        Ok(Box::new(tables))
    }
}

impl Postgres {
    /// Opens a connection without the time-outs of requests, but for that of locks.
    pub(super) async fn unlimited_connection(&self, lock: Duration) -> Result<PgConnection> {
        let pins = PinnedSettings::new(SessionTimeouts { lock, ..SessionTimeouts::default() }, Some(&self.schema));
        reach(&self.gate, &self.server, self.gate.patience(), &pins).await
    }

    /// Takes the lock of the only process that fills the database, until the connection ends.
    pub(super) async fn require_alone(&self, connection: &mut PgConnection) -> Result<()> {
        let is_alone = sqlx::query_scalar(ALONE).fetch_one(connection).await;
        if is_alone.map_err(|error| self.gate.explain(error))? {
            Ok(())
        } else {
            Err(self.gate.unavailable("another process fills it", "wait for that process, or end it"))
        }
    }

    /// Refuses a database that a node serves.
    pub(super) async fn require_unserved(&self) -> Result<()> {
        if self.has_table("nodes").await? {
            self.refuse_if_served(get(&self.only_row(sqlx::query(SERVED_UNTIL)).await?, 0)?)?;
        }
        Ok(())
    }

    fn refuse_if_served(&self, until: Option<Timestamp>) -> Result<()> {
        match until {
            None => Ok(()),
            Some(until) => Err(self.gate.unavailable(
                format!("a node serves it, with a lease until {}", until.to_rfc3339()),
                "stop all servers; if they are dead, wait until then",
            )),
        }
    }
}

struct PostgresTables {
    connection: PgConnection,
    store: Postgres,
    /// True for the one transaction of a source.
    has_begun: bool,
}

impl PostgresTables {
    async fn open(store: &Postgres) -> Result<Self> {
        let connection = store.unlimited_connection(store.patience).await?;
        Ok(Self { connection, store: store.clone(), has_begun: false })
    }

    async fn run(&mut self, statement: String) -> Result<()> {
        let done = self.connection.execute(AssertSqlSafe(statement)).await;
        done.map(drop).map_err(|error| self.store.gate.explain(error))
    }

    fn stream<T: Send + 'static>(
        &mut self,
        statement: String,
        decode: impl Fn(&PgRow) -> sqlx::Result<T> + Send + 'static,
    ) -> BoxStream<'_, Result<T>> {
        let gate = Arc::clone(&self.store.gate);
        let rows = sqlx::query(AssertSqlSafe(statement)).persistent(false).fetch(&mut self.connection);
        rows.map(move |row| row.and_then(|row| decode(&row)).map_err(|error| gate.explain(error))).boxed()
    }
}

#[async_trait]
impl Tables for PostgresTables {
    /// Rows come after those to which they refer, which the database checks.
    fn order(&self) -> Vec<&'static Table> {
        TABLES.iter().collect()
    }

    fn rows<'a>(&'a mut self, table: &'static Table) -> BoxStream<'a, Result<TableRow>> {
        self.stream(selection(table), move |row| {
            table.columns.iter().enumerate().map(|(at, column)| value(row, at, column.kind)).collect()
        })
    }

    async fn count(&mut self, table: &'static Table) -> Result<u64> {
        let mut counted =
            self.stream(format!("SELECT count(*) FROM ({}) AS copied", selection(table)), |row| get::<i64, _>(row, 0));
        let rows = counted.next().await.unwrap_or(Ok(0))?;
        u64::try_from(rows).map_err(|_| Error::Corrupt(format!("negative count {rows}")))
    }

    async fn clear(&mut self, tables: &[&'static Table]) -> Result<()> {
        let (kept, emptied): (Vec<_>, Vec<_>) =
            tables.iter().copied().filter(|table| !is_sequences(table)).partition(|table| !table.condition().is_empty());
        let delete = |table: &&Table| format!("DELETE FROM \"{}\"{};\n", table.name, table.condition());
        let deletions: String = kept.iter().map(delete).collect();
        // Attendances refer to partners.
        self.run(format!("BEGIN;\n{deletions}TRUNCATE attendances, {};\nCOMMIT;", names(&emptied))).await
    }

    async fn insert(&mut self, table: &'static Table, rows: Vec<TableRow>) -> Result<()> {
        let statement = if is_sequences(table) { SET_SEQUENCES.into() } else { insertion(table) };
        let mut query = sqlx::query(AssertSqlSafe(statement));
        for (at, column) in table.columns.iter().enumerate() {
            let values = rows.iter().map(|row| &row[at]);
            let wrong = || Error::Corrupt(format!("{}.{} has a value of another type", table.name, column.name));
            query = bind(query, column.kind, values).ok_or_else(wrong)?;
        }
        let gate = &self.store.gate;
        let explain = |error| gate.explain(error);
        let triggers = |verb: &str| AssertSqlSafe(format!("ALTER TABLE \"{}\" {verb} TRIGGER USER", table.name));
        let mut tx = self.connection.begin().await.map_err(explain)?;
        if !is_sequences(table) {
            tx.execute(triggers("DISABLE")).await.map_err(explain)?;
        }
        query.execute(&mut *tx).await.map_err(explain)?;
        if !is_sequences(table) {
            tx.execute(triggers("ENABLE")).await.map_err(explain)?;
        }
        tx.commit().await.map_err(explain)
    }

    async fn workspace(&mut self) -> Result<Workspace> {
        let mut found = self.stream(WORKSPACE.into(), |row| get::<String, _>(row, 0));
        let Some(text) = found.next().await else { return Ok(Workspace::default()) };
        serde_json::from_str(&text?).map_err(|error| Error::Corrupt(error.to_string()))
    }

    async fn set_workspace(&mut self, workspace: &Workspace) -> Result<()> {
        let text = serde_json::to_string(workspace).expect("a workspace is JSON");
        let done = sqlx::query(SET_WORKSPACE).bind(text).execute(&mut self.connection).await;
        done.map(drop).map_err(|error| self.store.gate.explain(error))
    }

    async fn close(mut self: Box<Self>) -> Result<()> {
        if self.has_begun {
            self.run(COMMIT.into()).await?;
        } else {
            // The planner knows nothing of so many new rows.
            self.run(format!("ANALYZE {}", names(&self.order()))).await?;
        }
        // All is committed.
        let Self { connection, store, .. } = *self;
        let _ = connection.close().await;
        store.close().await;
        Ok(())
    }
}

fn is_sequences(table: &Table) -> bool {
    table.name == "sequences"
}

/// Names of tables, quoted, without that of the sequences.
fn names(tables: &[&Table]) -> String {
    let names = tables.iter().filter(|table| !is_sequences(table)).map(|table| format!("\"{}\"", table.name));
    names.collect::<Vec<_>>().join(", ")
}

fn selection(table: &Table) -> String {
    if is_sequences(table) {
        return SEQUENCES.into();
    }
    let columns = table.columns.iter().map(|column| match (table.name, column.name, column.kind) {
        // The first release writes none.
        ("uploads", "partner_id", _) => OWNER_OF_UPLOAD.into(),
        (_, name, ColumnKind::Json) => format!("\"{name}\"::text"),
        (_, name, _) => format!("\"{name}\""),
    });
    let columns = columns.collect::<Vec<_>>().join(", ");
    // By bytes, whatever the database sorts by: both stores of a copy have the same order.
    let by_bytes = |column: &Column| match column.kind {
        ColumnKind::Text => format!("\"{}\" COLLATE \"C\"", column.name),
        _ => format!("\"{}\"", column.name),
    };
    let key = table.key().iter().map(by_bytes).collect::<Vec<_>>().join(", ");
    format!("SELECT {columns} FROM \"{}\"{} ORDER BY {key}", table.name, table.condition())
}

/// Statement that inserts an array for each column.
fn insertion(table: &Table) -> String {
    let arrays = table.columns.iter().enumerate().map(|(at, column)| {
        let kind = match column.kind {
            ColumnKind::Integer | ColumnKind::Small => "bigint",
            ColumnKind::Boolean => "boolean",
            ColumnKind::Time => "timestamptz",
            ColumnKind::Text | ColumnKind::Json => "text",
            ColumnKind::Uuid => "uuid",
            ColumnKind::Bytes => "bytea",
        };
        format!("${}::{kind}[]", at + 1)
    });
    let values = table.columns.iter().map(|column| match column.kind {
        ColumnKind::Small => format!("\"{}\"::int", column.name),
        ColumnKind::Json => format!("\"{}\"::json", column.name),
        _ => format!("\"{}\"", column.name),
    });
    let (arrays, values) = (arrays.collect::<Vec<_>>().join(", "), values.collect::<Vec<_>>().join(", "));
    let (name, columns) = (table.name, table.column_names());
    format!("INSERT INTO \"{name}\" ({columns}) OVERRIDING SYSTEM VALUE SELECT {values} FROM unnest({arrays}) AS r({columns})")
}

/// Binds the values of a column as an array; `None` if one is no value of its type.
fn bind<'q>(
    query: Query<'q, sqlx::Postgres, PgArguments>,
    kind: ColumnKind,
    values: impl Iterator<Item = &'q Value>,
) -> Option<Query<'q, sqlx::Postgres, PgArguments>> {
    Some(match kind {
        ColumnKind::Integer | ColumnKind::Small => query.bind(all(values, number)?),
        ColumnKind::Boolean => query.bind(all(values, |value| number(value).map(|number| number != 0))?),
        ColumnKind::Time => query.bind(all(values, |value| number(value).and_then(Timestamp::from_timestamp_micros))?),
        ColumnKind::Uuid => query.bind(all(values, |value| bytes(value).and_then(|bytes| Uuid::from_slice(bytes).ok()))?),
        ColumnKind::Bytes => query.bind(all(values, bytes)?),
        ColumnKind::Text | ColumnKind::Json => query.bind(all(values, text)?),
    })
}

fn all<'q, T>(values: impl Iterator<Item = &'q Value>, convert: impl Fn(&'q Value) -> Option<T>) -> Option<Vec<Option<T>>> {
    values.map(|value| if *value == Value::Null { Some(None) } else { convert(value).map(Some) }).collect()
}

fn text(value: &Value) -> Option<&str> {
    if let Value::Text(text) = value { Some(text) } else { None }
}

fn number(value: &Value) -> Option<i64> {
    if let Value::Integer(number) = value { Some(*number) } else { None }
}

fn bytes(value: &Value) -> Option<&[u8]> {
    if let Value::Bytes(bytes) = value { Some(bytes) } else { None }
}

fn value(row: &PgRow, at: usize, kind: ColumnKind) -> sqlx::Result<Value> {
    let value = match kind {
        ColumnKind::Integer => get::<Option<i64>, _>(row, at)?.map(Value::Integer),
        ColumnKind::Small => get::<Option<i32>, _>(row, at)?.map(|number| Value::Integer(number.into())),
        ColumnKind::Boolean => get::<Option<bool>, _>(row, at)?.map(|is_true| Value::Integer(is_true.into())),
        ColumnKind::Time => get::<Option<Timestamp>, _>(row, at)?.map(|time| Value::Integer(time.timestamp_micros())),
        ColumnKind::Text | ColumnKind::Json => get::<Option<String>, _>(row, at)?.map(Value::Text),
        ColumnKind::Uuid => get::<Option<Uuid>, _>(row, at)?.map(|uuid| Value::Bytes(uuid.as_bytes().to_vec())),
        ColumnKind::Bytes => get::<Option<Vec<u8>>, _>(row, at)?.map(Value::Bytes),
    };
    Ok(value.unwrap_or(Value::Null))
}
