//! All rows of a store as texts, read without the program: stores of one kind are compared by them.

use std::collections::BTreeMap;

use sqlx::{AssertSqlSafe, ConnectOptions, Connection, PgConnection, Row, SqliteConnection, sqlite::SqliteConnectOptions};

use crate::support::Backend;

/// Rows of each table, in their own order.
pub type Dump = BTreeMap<String, Vec<String>>;

/// Tables that a move leaves to the target.
const OWN: [&str; 4] = ["_sqlx_migrations", "nodes", "attendances", "commits"];
/// Columns of each table, without the marks of commits.
const TABLES: &str = "SELECT table_name::text, string_agg(format('%I', column_name), ', ' ORDER BY column_name)
    FROM information_schema.columns WHERE table_schema = 'public' AND (table_name, column_name) <> ('events', 'mark')
    GROUP BY table_name";
const SEQUENCES: &str = "SELECT sequencename || ' ' || coalesce(last_value, 0) FROM pg_sequences ORDER BY sequencename";
/// The index of people is made of tables of its own.
const FILE_TABLES: &str = "SELECT t.name, group_concat('quote(\"' || c.name || '\")', ' || '' '' || ')
    FROM sqlite_schema t, pragma_table_info(t.name) c WHERE t.type = 'table' AND t.name NOT LIKE 'partners_folded%'
    GROUP BY t.name";

pub async fn dump(backend: &Backend) -> Dump {
    match backend.url().strip_prefix("sqlite:") {
        Some(file) => dump_file(file_connection(file).await).await,
        None => dump_database(PgConnection::connect(backend.url()).await.expect("the throwaway PostgreSQL is up")).await,
    }
}

pub async fn file_connection(file: &str) -> SqliteConnection {
    SqliteConnectOptions::new().filename(file).connect().await.expect("the file is there")
}

/// Numbers of rows, which stores of both kinds have alike.
pub fn counts(dump: &Dump) -> BTreeMap<&str, usize> {
    dump.iter().map(|(table, rows)| (table.as_str(), rows.len())).collect()
}

/// The workspace row names the store that it is in.
fn condition(table: &str) -> &'static str {
    if table == "workspace" { " WHERE key <> 'workspace'" } else { "" }
}

async fn dump_database(mut database: PgConnection) -> Dump {
    let mut dump = Dump::new();
    for found in sqlx::query(TABLES).fetch_all(&mut database).await.expect("the tables can be listed") {
        let (table, columns): (String, String) = (found.get(0), found.get(1));
        let rows = format!("SELECT ROW({columns})::text FROM \"{table}\"{} ORDER BY 1", condition(&table));
        let rows = sqlx::query_scalar(AssertSqlSafe(rows)).fetch_all(&mut database).await.expect("the table can be read");
        dump.insert(table, rows);
    }
    let sequences = sqlx::query_scalar(SEQUENCES).fetch_all(&mut database).await.expect("the sequences can be read");
    dump.insert("sequences".into(), sequences);
    dump.retain(|table, _| !OWN.contains(&table.as_str()));
    dump
}

async fn dump_file(mut file: SqliteConnection) -> Dump {
    let mut dump = Dump::new();
    for found in sqlx::query(FILE_TABLES).fetch_all(&mut file).await.expect("the tables can be listed") {
        let (table, columns): (String, String) = (found.get(0), found.get(1));
        let rows = format!("SELECT {columns} FROM \"{table}\"{} ORDER BY 1", condition(&table));
        let rows = sqlx::query_scalar(AssertSqlSafe(rows)).fetch_all(&mut file).await.expect("the table can be read");
        dump.insert(table, rows);
    }
    dump.retain(|table, _| !OWN.contains(&table.as_str()));
    dump
}
