//! SQLite statements of held-message leases.

use async_trait::async_trait;
use sqlx::sqlite::SqliteRow;
use uuid::Uuid;

use crate::{
    HeldMessages, MessageId, PartnerId, Result, Timestamp,
    sqlite::{Sqlite, get, limit, list, micros, only},
};

/// Renews the node's lease and adds partners, having looked who was there before.
const ATTEND: &str = "SELECT EXISTS (SELECT 1 FROM attendances WHERE node_id = $1) AS knows_somebody;
    INSERT INTO nodes AS known (id, until) VALUES ($1, $2)
    ON CONFLICT (id) DO UPDATE SET until = max(known.until, excluded.until);
    INSERT INTO attendances (partner_id, node_id) SELECT value, $1 FROM json_each($3) WHERE true ON CONFLICT DO NOTHING";
const DEPART: &str = "DELETE FROM attendances WHERE node_id = $1 AND partner_id IN (SELECT value FROM json_each($2))";
/// Condition: the partner is connected to a node with an unexpired lease.
macro_rules! attending {
    ($partner:literal, $at:literal) => {
        concat!(
            "EXISTS (SELECT 1 FROM attendances a CROSS JOIN nodes n ON n.id = a.node_id WHERE a.partner_id = ",
            $partner,
            " AND n.until >= ",
            $at,
            ")"
        )
    };
}
const IS_ATTENDING: &str = concat!("SELECT ", attending!("$1", "$2"), " AS attending");
const HELD_BY: &str = "SELECT id FROM messages WHERE held AND deleted_at IS NULL AND author_id = $1 ORDER BY id LIMIT +$2";
const HELD_BY_NOBODY: &str = concat!(
    "SELECT m.id FROM messages m WHERE m.held AND m.deleted_at IS NULL AND NOT ",
    attending!("m.author_id", "$1"),
    " ORDER BY m.author_id, m.id LIMIT +$2"
);

fn ids(rows: &[SqliteRow]) -> Result<Vec<MessageId>> {
    rows.iter().map(|row| Ok(MessageId(get(row, "id")?))).collect()
}

#[async_trait]
impl HeldMessages for Sqlite {
    async fn renew_held_lease(&self, node: Uuid, until: Timestamp, partners: &[PartnerId]) -> Result<bool> {
        let attend = sqlx::query(ATTEND).bind(node).bind(micros(until)).bind(list(partners));
        get(only(self.write(attend).await?.first())?, "knows_somebody")
    }

    async fn end_held_lease(&self, node: Uuid, partners: &[PartnerId]) -> Result<()> {
        self.write(sqlx::query(DEPART).bind(node).bind(list(partners))).await.map(drop)
    }

    async fn has_held_lease(&self, partner: PartnerId, at: Timestamp) -> Result<bool> {
        get(&self.only_row(sqlx::query(IS_ATTENDING).bind(partner.0).bind(micros(at))).await?, "attending")
    }

    async fn held_messages_of(&self, partner: PartnerId, most: usize) -> Result<Vec<MessageId>> {
        ids(&self.rows(sqlx::query(HELD_BY).bind(partner.0).bind(limit(most))).await?)
    }

    async fn held_without_lease(&self, at: Timestamp, most: usize) -> Result<Vec<MessageId>> {
        ids(&self.rows(sqlx::query(HELD_BY_NOBODY).bind(micros(at)).bind(limit(most))).await?)
    }
}
