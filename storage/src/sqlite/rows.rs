//! Decoding of rows, and encoding of parameters.

use serde::Serialize;
use sqlx::sqlite::SqliteRow;

use crate::{Error, PartnerId, Result, Timestamp};

/// Decodes a column; the schema guarantees its type.
pub(super) fn get<'r, T, I>(row: &'r SqliteRow, column: I) -> Result<T>
where
    T: sqlx::Decode<'r, sqlx::Sqlite> + sqlx::Type<sqlx::Sqlite>,
    I: sqlx::ColumnIndex<SqliteRow>,
{
    sqlx::Row::try_get(row, column).map_err(|error| Error::Corrupt(error.to_string()))
}

/// Decodes a time, which is stored in microseconds.
pub(super) fn time(row: &SqliteRow, column: &'static str) -> Result<Timestamp> {
    time_of(get(row, column)?)
}

pub(super) fn optional_time(row: &SqliteRow, column: &'static str) -> Result<Option<Timestamp>> {
    get::<Option<i64>, _>(row, column)?.map(time_of).transpose()
}

pub(super) fn time_of(micros: i64) -> Result<Timestamp> {
    Timestamp::from_timestamp_micros(micros).ok_or_else(|| Error::Corrupt(format!("{micros} is no time")))
}

/// Converts a time to its stored form.
pub(super) fn micros(time: Timestamp) -> i64 {
    time.timestamp_micros()
}

/// Decodes a column with the text form of an enum.
pub(super) fn word<T>(row: &SqliteRow, column: &'static str, parse: impl FnOnce(&str) -> Option<T>) -> Result<T> {
    let word: &str = get(row, column)?;
    parse(word).ok_or_else(|| Error::Corrupt(format!("{column} is {word:?}")))
}

/// Groups rows of two partners, sorted by the first: each first one with its others.
pub(super) fn partners_of(rows: &[SqliteRow]) -> Result<Vec<(PartnerId, Vec<PartnerId>)>> {
    let mut grouped: Vec<(PartnerId, Vec<PartnerId>)> = Vec::new();
    for row in rows {
        let (of, other) = (PartnerId(get(row, 0)?), PartnerId(get(row, 1)?));
        match grouped.last_mut() {
            Some((last, others)) if *last == of => others.push(other),
            _ => grouped.push((of, vec![other])),
        }
    }
    Ok(grouped)
}

/// Takes the row of a statement that always returns one.
pub(super) fn only<T>(row: Option<T>) -> Result<T> {
    row.ok_or_else(|| Error::Internal("a statement returned no row".into()))
}

/// Converts a limit to SQLite's integer.
pub(super) fn limit(rows: usize) -> i64 {
    i64::try_from(rows).unwrap_or(i64::MAX)
}

/// Converts a list to the JSON that a statement reads with `json_each`.
pub(super) fn list<T: Serialize>(items: impl IntoIterator<Item = T>) -> String {
    let items: Vec<T> = items.into_iter().collect();
    serde_json::to_string(&items).expect("lists of numbers and texts are JSON")
}

/// Hexadecimal form of bytes, which `unhex` reads in a list.
pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
