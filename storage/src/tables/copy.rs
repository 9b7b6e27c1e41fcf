//! Verbatim copy of all tables from one store to another, and the comparison of both.

use futures_util::TryStreamExt as _;
use sha2::{Digest as _, Sha256};

use super::{LOG, TABLES, Table, TableRow, Tables, Value};
use crate::{Error, Result};

/// Limits of a transaction of the target, which keeps its duration in the order of 100 ms.
const BATCH_ROWS: usize = 1_000;
const BATCH_BYTES: usize = 1_000_000;

/// Callback for progress: the number of rows that were just copied or compared.
pub type OnRows<'a> = &'a mut (dyn FnMut(u64) + Send);

/// Number of rows of a table, and a hash of their values in the order of the key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TableDigest {
    pub rows: u64,
    pub sha256: [u8; 32],
}

/// Digests of a table in both stores.
#[derive(Clone, Copy, Debug)]
pub struct Comparison {
    pub table: &'static str,
    pub source: TableDigest,
    pub target: TableDigest,
}

impl Comparison {
    pub fn is_equal(&self) -> bool {
        self.source == self.target
    }
}

/// Copies all tables, then reads the target again and compares it with what was read from the source.
///
/// # Errors
/// Those of both stores. The target then holds a part of the rows.
///
/// # Cancel safety
/// A dropped call leaves a part of the rows in the target.
pub async fn copy(source: &mut dyn Tables, target: &mut dyn Tables, on_rows: OnRows<'_>) -> Result<Vec<Comparison>> {
    let mut copied = Vec::new();
    for table in target.order() {
        if !LOG.contains(&table.name) {
            copied.push((table.name, copy_table(source, target, table, on_rows).await?));
        }
    }
    copied.extend(import_log(source, target, on_rows).await?);
    let mut compared = Vec::new();
    for table in TABLES {
        let (_, of_source) = copied.iter().find(|(name, _)| *name == table.name).expect("the order has all tables");
        let of_target = digest(target, table, on_rows).await?;
        compared.push(Comparison { table: table.name, source: *of_source, target: of_target });
    }
    Ok(compared)
}

/// Copies the event log, its memberships and its head verbatim. Returns the digests of the source.
///
/// # Errors
/// `Conflict` if the event log of the target is not empty; those of both stores.
///
/// # Cancel safety
/// A dropped call leaves a part of the event log in the target.
pub async fn import_log(
    source: &mut dyn Tables,
    target: &mut dyn Tables,
    on_rows: OnRows<'_>,
) -> Result<Vec<(&'static str, TableDigest)>> {
    let log = LOG.map(Table::named);
    let [head, events, memberships] = log;
    let position = target.rows(head).try_next().await?;
    let is_at_start = position.is_none_or(|row| row.last() == Some(&Value::Integer(0)));
    if !is_at_start || target.count(events).await? > 0 || target.count(memberships).await? > 0 {
        return Err(Error::Conflict("the event log, which is not empty"));
    }
    target.clear(&log).await?;
    let mut copied = Vec::new();
    for table in log {
        copied.push((table.name, copy_table(source, target, table, on_rows).await?));
    }
    Ok(copied)
}

async fn copy_table(
    source: &mut dyn Tables,
    target: &mut dyn Tables,
    table: &'static Table,
    on_rows: OnRows<'_>,
) -> Result<TableDigest> {
    let mut digester = Digester::default();
    let (mut batch, mut bytes) = (Vec::new(), 0);
    let mut rows = source.rows(table);
    while let Some(row) = rows.try_next().await? {
        digester.add(&row);
        bytes += row.iter().map(Value::size).sum::<usize>();
        batch.push(row);
        if batch.len() == BATCH_ROWS || bytes >= BATCH_BYTES {
            insert(target, table, std::mem::take(&mut batch), on_rows).await?;
            bytes = 0;
        }
    }
    if !batch.is_empty() {
        insert(target, table, batch, on_rows).await?;
    }
    Ok(digester.finish())
}

async fn insert(target: &mut dyn Tables, table: &'static Table, rows: Vec<TableRow>, on_rows: OnRows<'_>) -> Result<()> {
    let inserted = rows.len() as u64;
    target.insert(table, rows).await?;
    on_rows(inserted);
    Ok(())
}

async fn digest(tables: &mut dyn Tables, table: &'static Table, on_rows: OnRows<'_>) -> Result<TableDigest> {
    let mut digester = Digester::default();
    let mut rows = tables.rows(table);
    while let Some(row) = rows.try_next().await? {
        digester.add(&row);
        on_rows(1);
    }
    Ok(digester.finish())
}

#[derive(Default)]
struct Digester {
    rows: u64,
    hash: Sha256,
}

impl Digester {
    /// Adds the values of a row, each with its type and its length: no two rows have the same encoding.
    fn add(&mut self, row: &TableRow) {
        self.rows += 1;
        for value in row {
            match value {
                Value::Null => self.hash.update([0]),
                Value::Integer(number) => {
                    self.hash.update([1]);
                    self.hash.update(number.to_be_bytes());
                }
                Value::Text(text) => self.add_bytes(2, text.as_bytes()),
                Value::Bytes(bytes) => self.add_bytes(3, bytes),
            }
        }
    }

    fn add_bytes(&mut self, kind: u8, bytes: &[u8]) {
        self.hash.update([kind]);
        self.hash.update((bytes.len() as u64).to_be_bytes());
        self.hash.update(bytes);
    }

    fn finish(self) -> TableDigest {
        TableDigest { rows: self.rows, sha256: self.hash.finalize().into() }
    }
}
