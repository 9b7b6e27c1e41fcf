//! SQLite statements of the audit trail.

use async_trait::async_trait;
use sqlx::query::Query;
use sqlx::sqlite::{SqliteArguments, SqliteRow};

use crate::{
    ActorKind, Audit, AuditEntry, AuditFilter, NewAuditEntry, Result, Timestamp, WriteAudit,
    sqlite::{Sqlite, SqliteTx, get, limit, list, micros, time, word},
};

const INSERT: &str = "UPDATE sequences SET value = value + $2 WHERE name = 'audit_id_seq';
    INSERT INTO audit (id, at, actor_kind, actor_id, address, action, object, outcome, correlation)
    SELECT (SELECT value FROM sequences WHERE name = 'audit_id_seq') - $2 + 1 + key, value ->> 0, value ->> 1, value ->> 2,
        value ->> 3, value ->> 4, value ->> 5, value ->> 6, value ->> 7
    FROM json_each($1)";
/// Keyset page of entries, with the columns that [`entry`] reads.
macro_rules! entries {
    ($condition:literal) => {
        concat!(
            "SELECT id, at, actor_kind, actor_id, address, action, object, outcome, correlation FROM audit
             WHERE id < $1",
            $condition,
            " ORDER BY id DESC LIMIT +$2"
        )
    };
}
const ENTRIES: &str = entries!("");
const ENTRIES_OF: &str = entries!(" AND actor_kind = $3 AND actor_id = $4");
const FORGET: &str = "DELETE FROM audit WHERE id IN (SELECT id FROM audit WHERE at < $1 ORDER BY at LIMIT +$2) RETURNING id";

fn entry(row: &SqliteRow) -> Result<AuditEntry> {
    let entry = NewAuditEntry {
        at: time(row, "at")?,
        actor: word(row, "actor_kind", ActorKind::parse)?,
        actor_id: get(row, "actor_id")?,
        address: get(row, "address")?,
        action: get(row, "action")?,
        object: get(row, "object")?,
        outcome: get(row, "outcome")?,
        correlation: get(row, "correlation")?,
    };
    Ok(AuditEntry { id: get(row, "id")?, entry })
}

fn insert(entries: &[NewAuditEntry]) -> Query<'static, sqlx::Sqlite, SqliteArguments> {
    let rows = entries.iter().map(|entry| {
        let NewAuditEntry { at, actor, actor_id, address, action, object, outcome, correlation } = entry;
        (micros(*at), actor.as_str(), actor_id, address, action, object, outcome, correlation)
    });
    sqlx::query(INSERT).bind(list(rows)).bind(limit(entries.len()))
}

#[async_trait]
impl Audit for Sqlite {
    async fn audit(&self, entries: &[NewAuditEntry]) -> Result<()> {
        self.write(insert(entries)).await.map(drop)
    }

    async fn audit_entries(&self, filter: AuditFilter<'_>, most: usize) -> Result<Vec<AuditEntry>> {
        let before = filter.before.unwrap_or(i64::MAX);
        let entries = match filter.actor {
            None => sqlx::query(ENTRIES).bind(before).bind(limit(most)),
            Some((kind, id)) => sqlx::query(ENTRIES_OF).bind(before).bind(limit(most)).bind(kind.as_str()).bind(id),
        };
        self.rows(entries).await?.iter().map(entry).collect()
    }

    async fn forget_audit(&self, before: Timestamp, most: usize) -> Result<u64> {
        let gone = self.write_in_steps(most, |step| sqlx::query(FORGET).bind(micros(before)).bind(step)).await?;
        Ok(gone.len() as u64)
    }
}

#[async_trait]
impl WriteAudit for SqliteTx {
    async fn insert_audit(&mut self, entry: &NewAuditEntry) -> Result<()> {
        self.rows(insert(std::slice::from_ref(entry))).await.map(drop)
    }
}
