//! PostgreSQL statements of the audit trail.

use async_trait::async_trait;
use sqlx::postgres::{PgArguments, PgRow};
use sqlx::query::Query;

use crate::{
    ActorKind, Audit, AuditEntry, AuditFilter, NewAuditEntry, Result, Timestamp, WriteAudit,
    postgres::{Postgres, PostgresTx, alone, count, get, limit, word},
};

const INSERT: &str = "INSERT INTO audit (at, actor_kind, actor_id, address, action, object, outcome, correlation)
    SELECT at, actor_kind, actor_id, address, action, object, outcome, correlation
    FROM unnest($1::timestamptz[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[], $8::text[])
        WITH ORDINALITY AS new(at, actor_kind, actor_id, address, action, object, outcome, correlation, place)
    ORDER BY place";
/// Keyset page of entries, with the columns that [`entry`] reads.
macro_rules! entries {
    ($condition:literal) => {
        concat!(
            "SELECT id, at, actor_kind, actor_id, address, action, object, outcome, correlation FROM audit
             WHERE id < $1",
            $condition,
            " ORDER BY id DESC LIMIT $2"
        )
    };
}
const ENTRIES: &str = entries!("");
const ENTRIES_OF: &str = entries!(" AND actor_kind = $3 AND actor_id = $4");
const FORGET: &str = concat!(
    "WITH old AS MATERIALIZED (
        SELECT id FROM audit WHERE at < $1 AND ",
    alone!("audit"),
    " ORDER BY at LIMIT $2
    ), gone AS (
        DELETE FROM audit a USING old WHERE a.id = old.id RETURNING a.id
    )
    SELECT count(*) FROM gone"
);

fn entry(row: &PgRow) -> Result<AuditEntry> {
    let entry = NewAuditEntry {
        at: get(row, "at")?,
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

fn insert(entries: &[NewAuditEntry]) -> Query<'_, sqlx::Postgres, PgArguments> {
    let texts = |text: fn(&NewAuditEntry) -> Option<&str>| entries.iter().map(text).collect::<Vec<_>>();
    sqlx::query(INSERT)
        .bind(entries.iter().map(|entry| entry.at).collect::<Vec<_>>())
        .bind(texts(|entry| Some(entry.actor.as_str())))
        .bind(texts(|entry| entry.actor_id.as_deref()))
        .bind(texts(|entry| entry.address.as_deref()))
        .bind(texts(|entry| Some(&entry.action)))
        .bind(texts(|entry| entry.object.as_deref()))
        .bind(texts(|entry| Some(&entry.outcome)))
        .bind(texts(|entry| entry.correlation.as_deref()))
}

#[async_trait]
impl Audit for Postgres {
    async fn audit(&self, entries: &[NewAuditEntry]) -> Result<()> {
        self.rows(insert(entries)).await.map(drop)
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
        count(&self.only_row(sqlx::query(FORGET).bind(before).bind(limit(most))).await?)
    }
}

#[async_trait]
impl WriteAudit for PostgresTx {
    async fn insert_audit(&mut self, entry: &NewAuditEntry) -> Result<()> {
        self.rows(insert(std::slice::from_ref(entry))).await.map(drop)
    }
}
