//! Search of a store for texts: its rows, and the bytes of its files.

use std::{collections::HashSet, path::PathBuf};

use sqlx::{AssertSqlSafe, ConnectOptions, Connection, PgConnection, Row, sqlite::SqliteConnectOptions};

use crate::support::Backend;

/// A row that holds one of the texts; `None` if there is none, or if the store has no rows.
pub async fn row_with(backend: &Backend, texts: &[&str]) -> Option<String> {
    match backend.kind() {
        "postgres" => row_of_database(backend.url(), texts).await,
        "sqlite" => row_of_file(backend, texts).await,
        _ => None,
    }
}

async fn row_of_database(url: &str, texts: &[&str]) -> Option<String> {
    let mut database = PgConnection::connect(url).await.expect("the database is there");
    let tables = "SELECT table_name::text FROM information_schema.tables WHERE table_schema = 'public'";
    let tables: Vec<String> = sqlx::query_scalar(tables).fetch_all(&mut database).await.expect("tables can be listed");
    let patterns: Vec<_> = texts.iter().map(|text| format!("%{text}%")).collect();
    for table in tables {
        let query = AssertSqlSafe(format!("SELECT t::text FROM {table} t WHERE t::text LIKE ANY ($1) LIMIT 1"));
        let found: Option<String> =
            sqlx::query_scalar(query).bind(&patterns).fetch_optional(&mut database).await.expect("it is read");
        if let Some(found) = found {
            return Some(format!("{table}: {found}"));
        }
    }
    None
}

async fn row_of_file(backend: &Backend, texts: &[&str]) -> Option<String> {
    let options = SqliteConnectOptions::new().filename(file(backend)).read_only(true);
    let mut database = options.connect().await.expect("the file is there");
    let tables = "SELECT name FROM sqlite_schema WHERE type = 'table'";
    let tables: Vec<String> = sqlx::query_scalar(tables).fetch_all(&mut database).await.expect("tables can be listed");
    for table in tables {
        let rows = sqlx::query(AssertSqlSafe(format!("SELECT * FROM \"{table}\""))).fetch_all(&mut database).await;
        for row in rows.expect("it is read") {
            for column in 0..row.len() {
                let value: Option<Vec<u8>> = row.try_get_unchecked(column).expect("every value has bytes");
                let value = String::from_utf8_lossy(value.as_deref().unwrap_or_default()).into_owned();
                if texts.iter().any(|text| value.contains(text)) {
                    return Some(format!("{table}: {value}"));
                }
            }
        }
    }
    None
}

/// Words of this length in the files of a database file that begin with the mark.
pub fn words_in_files(backend: &Backend, mark: &str, length: usize) -> HashSet<String> {
    let bytes = ["", "-wal"].map(|suffix| {
        let mut path = file(backend).into_os_string();
        path.push(suffix);
        std::fs::read(path).unwrap_or_default()
    });
    let words = bytes.iter().flat_map(|bytes| bytes.windows(length)).filter(|word| word.starts_with(mark.as_bytes()));
    words.map(|word| String::from_utf8_lossy(word).into_owned()).collect()
}

fn file(backend: &Backend) -> PathBuf {
    backend.url().strip_prefix("sqlite:").expect("it is a file").into()
}
