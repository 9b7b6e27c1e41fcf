//! Tests of the description of all tables, which a copy of a store goes by: nothing that a migration adds is left out of it.

use std::collections::BTreeSet;
use std::time::Duration;

use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions, Row};
use storage::sqlite::{Options, Sqlite};
use storage::tables::{ColumnKind, Copyable, TABLES, Table, import_log};
use storage::{Error, Fact, NO_CLIENT, Storage, Topic};

use super::Migrated;

const PATIENCE: Duration = Duration::from_secs(20);

/// Columns of PostgreSQL: name, type, and place in the primary key.
const COLUMNS: &str = "SELECT c.table_name || '.' || c.column_name || ' ' || c.udt_name || ' ' || coalesce((
        SELECT k.place FROM pg_constraint p, unnest(p.conkey) WITH ORDINALITY k(number, place)
        WHERE p.contype = 'p' AND p.conrelid = format('public.%I', c.table_name)::regclass AND k.number = c.ordinal_position
    ), 0)
    FROM information_schema.columns c WHERE c.table_schema = 'public'
        AND c.table_name NOT IN ('_sqlx_migrations', 'nodes', 'attendances', 'commits')
        AND (c.table_name, c.column_name) <> ('events', 'mark')";
const SEQUENCES: &str = "SELECT sequencename::text FROM pg_sequences WHERE schemaname = 'public'";
/// The same of SQLite. Generated columns are hidden.
const FILE_COLUMNS: &str = "SELECT t.name || '.' || c.name || ' ' || c.type || ' ' || c.pk
    FROM sqlite_schema t, pragma_table_xinfo(t.name) c
    WHERE t.type = 'table' AND c.hidden = 0 AND t.name NOT LIKE 'partners_folded%'
        AND t.name NOT IN ('_sqlx_migrations', 'nodes', 'attendances')";
const FILE_SEQUENCES: &str = "SELECT name FROM sequences";

fn described(has_sequences: bool, type_of: impl Fn(ColumnKind) -> &'static str) -> BTreeSet<String> {
    let tables = TABLES.iter().filter(|table| has_sequences || table.name != "sequences");
    let columns = tables.flat_map(|table| table.columns.iter().enumerate().map(move |column| (table, column)));
    let lines = columns.map(|(table, (at, column))| {
        let place = if at < table.keys { at + 1 } else { 0 };
        format!("{}.{} {} {place}", table.name, column.name, type_of(column.kind))
    });
    lines.collect()
}

async fn new_file(directory: &tempfile::TempDir, name: &str) -> Sqlite {
    let options = Options {
        path: directory.path().join(name),
        readers: 2,
        acquire_timeout: PATIENCE,
        statement_timeout: PATIENCE,
        transaction_timeout: PATIENCE,
        max_bytes: None,
    };
    let store = Sqlite::open(&options).await.unwrap();
    store.migrate().await.unwrap();
    store
}

#[tokio::test]
async fn every_column_is_described() {
    let mut migrated = Migrated::from(i64::MAX, "").await;
    let columns: BTreeSet<_> = migrated.texts(COLUMNS).await.into_iter().collect();
    let type_of = |kind| match kind {
        ColumnKind::Integer => "int8",
        ColumnKind::Small => "int4",
        ColumnKind::Boolean => "bool",
        ColumnKind::Time => "timestamptz",
        ColumnKind::Text => "text",
        ColumnKind::Json => "json",
        ColumnKind::Uuid => "uuid",
        ColumnKind::Bytes => "bytea",
    };
    assert_eq!(described(false, type_of), columns);
    let sequences: BTreeSet<_> = migrated.texts(SEQUENCES).await.into_iter().collect();
    migrated.drop().await;

    let directory = tempfile::tempdir().unwrap();
    let store = new_file(&directory, "a.db").await;
    let mut file = SqliteConnectOptions::new().filename(directory.path().join("a.db")).connect().await.unwrap();
    let mut texts = async |statement: &'static str| -> BTreeSet<String> {
        let rows = sqlx::query(statement).fetch_all(&mut file).await.unwrap();
        rows.iter().map(|row| row.get::<String, _>(0)).collect()
    };
    let type_of = |kind| match kind {
        ColumnKind::Integer | ColumnKind::Small | ColumnKind::Boolean | ColumnKind::Time => "INTEGER",
        ColumnKind::Text | ColumnKind::Json => "TEXT",
        ColumnKind::Uuid | ColumnKind::Bytes => "BLOB",
    };
    assert_eq!(described(true, type_of), texts(FILE_COLUMNS).await);
    assert_eq!(sequences, texts(FILE_SEQUENCES).await, "both databases have the same sequences");
    store.close().await;
}

/// The event log is copied into an empty one only: positions of both would mean different events.
#[tokio::test]
async fn an_event_log_is_imported_into_an_empty_one_only() {
    let directory = tempfile::tempdir().unwrap();
    let (told, empty) = (new_file(&directory, "told.db").await, new_file(&directory, "empty.db").await);
    let record = async |store: &Sqlite| {
        let mut tx = store.begin().await.unwrap();
        tx.record(Topic::Partner(NO_CLIENT), Fact::StoreChanged, chrono::Utc::now());
        tx.commit().await.unwrap();
    };
    record(&told).await;
    let mut source = told.open_source().await.unwrap();
    let mut target = empty.open_target().await.unwrap();
    let imported = import_log(source.as_mut(), target.as_mut(), &mut |_| {}).await.unwrap();
    assert_eq!(
        imported.iter().map(|(table, digest)| (*table, digest.rows)).collect::<Vec<_>>(),
        [("log_head", 1), ("events", 1), ("memberships", 0)]
    );
    assert_eq!(target.count(Table::named("events")).await.unwrap(), 1);
    let refused = import_log(source.as_mut(), target.as_mut(), &mut |_| {}).await;
    assert!(matches!(refused, Err(Error::Conflict(_))), "{refused:?}");
    source.close().await.unwrap();
    target.close().await.unwrap();
}
