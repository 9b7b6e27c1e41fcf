//! PostgreSQL statements of held-message leases.

use async_trait::async_trait;
use sqlx::postgres::PgRow;
use uuid::Uuid;

use crate::{
    HeldMessages, MessageId, PartnerId, Result, Timestamp,
    postgres::{Postgres, get, limit},
};

/// Renews the node's lease and adds partners. The final `SELECT` sees the table as it was before the insert.
const ATTEND: &str = "WITH node AS (
        INSERT INTO nodes AS known (id, until) VALUES ($1, $2)
        ON CONFLICT (id) DO UPDATE SET until = greatest(known.until, excluded.until)
    ), there AS (
        INSERT INTO attendances (partner_id, node_id) SELECT partner_id, $1 FROM unnest($3::bigint[]) AS t(partner_id)
        ON CONFLICT DO NOTHING
    )
    SELECT EXISTS (SELECT FROM attendances WHERE node_id = $1) AS knows_somebody";
const DEPART: &str = "DELETE FROM attendances WHERE node_id = $1 AND partner_id = ANY ($2)";
/// Condition: the partner is connected to a node with an unexpired lease.
macro_rules! attending {
    ($partner:literal, $at:literal) => {
        concat!(
            "EXISTS (SELECT FROM attendances a JOIN nodes n ON n.id = a.node_id WHERE a.partner_id = ",
            $partner,
            " AND n.until >= ",
            $at,
            ")"
        )
    };
}
const IS_ATTENDING: &str = concat!("SELECT ", attending!("$1", "$2"), " AS attending");
const HELD_BY: &str = "SELECT id FROM messages WHERE held AND deleted_at IS NULL AND author_id = $1 ORDER BY id LIMIT $2";
const HELD_BY_NOBODY: &str = concat!(
    "SELECT m.id FROM messages m WHERE m.held AND m.deleted_at IS NULL AND NOT ",
    attending!("m.author_id", "$1"),
    " ORDER BY m.author_id, m.id LIMIT $2"
);
fn ids(rows: &[PgRow]) -> Result<Vec<MessageId>> {
    rows.iter().map(|row| Ok(MessageId(get(row, "id")?))).collect()
}

fn numbers(partners: &[PartnerId]) -> Vec<i64> {
    partners.iter().map(|partner| partner.0).collect()
}

#[async_trait]
impl HeldMessages for Postgres {
    async fn renew_held_lease(&self, node: Uuid, until: Timestamp, partners: &[PartnerId]) -> Result<bool> {
        let attend = sqlx::query(ATTEND).bind(node).bind(until).bind(numbers(partners));
        Ok(get(&self.only_row(attend).await?, "knows_somebody")?)
    }

    async fn end_held_lease(&self, node: Uuid, partners: &[PartnerId]) -> Result<()> {
        self.rows(sqlx::query(DEPART).bind(node).bind(numbers(partners))).await.map(drop)
    }

    async fn has_held_lease(&self, partner: PartnerId, at: Timestamp) -> Result<bool> {
        Ok(get(&self.only_row(sqlx::query(IS_ATTENDING).bind(partner.0).bind(at)).await?, "attending")?)
    }

    async fn held_messages_of(&self, partner: PartnerId, most: usize) -> Result<Vec<MessageId>> {
        ids(&self.rows(sqlx::query(HELD_BY).bind(partner.0).bind(limit(most))).await?)
    }

    async fn held_without_lease(&self, at: Timestamp, most: usize) -> Result<Vec<MessageId>> {
        ids(&self.rows(sqlx::query(HELD_BY_NOBODY).bind(at).bind(limit(most))).await?)
    }
}
