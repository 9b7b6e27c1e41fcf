use async_trait::async_trait;
use sqlx::postgres::{PgArguments, PgRow};
use sqlx::query::Query;
use uuid::Uuid;

use super::{Postgres, PostgresTx, get};
use crate::{ConversationId, Directory, Document, GroupId, PartnerId, Result, WriteDirectory};

/// The condition that `conversations AS c` is about the document $1, $2 alone, or about none if it is null.
macro_rules! is_about {
    () => {
        "CASE WHEN $1::text IS NULL
            THEN NOT EXISTS (SELECT FROM conversation_documents d WHERE d.conversation_id = c.id)
            ELSE (SELECT count(*) = 1 AND bool_and(d.model = $1 AND d.record_id = $2)
                  FROM conversation_documents d WHERE d.conversation_id = c.id)
        END"
    };
}

const BY_UUID: &str = "SELECT id, uuid FROM conversations WHERE uuid = ANY ($1)";
const UUIDS: &str = "SELECT id, uuid FROM conversations WHERE id = ANY ($1)";
/// Whoever is in it with somebody, and with nobody else: two at most, one of whom is the other.
const DIRECT: &str = concat!(
    "SELECT c.id FROM participants p
      JOIN participants other ON other.conversation_id = p.conversation_id AND other.partner_id = $4
      JOIN conversations c ON c.id = p.conversation_id
      WHERE p.partner_id = $3 AND c.kind = 'direct' AND ",
    is_about!(),
    " AND NOT EXISTS (SELECT FROM participants third WHERE third.conversation_id = c.id AND third.partner_id NOT IN ($3, $4))
      ORDER BY c.id LIMIT 1"
);
/// The same, whatever it is about.
const ALL_DIRECT: &str = "SELECT c.id FROM participants p
      JOIN participants other ON other.conversation_id = p.conversation_id AND other.partner_id = $2
      JOIN conversations c ON c.id = p.conversation_id
      WHERE p.partner_id = $1 AND c.kind = 'direct'
          AND NOT EXISTS (SELECT FROM participants third WHERE third.conversation_id = c.id AND third.partner_id NOT IN ($1, $2))
      ORDER BY c.id";
const OF_GROUP: &str =
    concat!("SELECT c.id FROM conversations c WHERE c.group_id = $3 AND ", is_about!(), " ORDER BY c.id LIMIT 1");
const SET_KEY: &str = "UPDATE conversations SET key = $2 WHERE id = $1";

fn found(rows: &[PgRow]) -> Result<Vec<(ConversationId, Uuid)>> {
    rows.iter().map(|row| Ok((ConversationId(get(row, "id")?), get(row, "uuid")?))).collect()
}

fn about_query<'q>(statement: &'static str, about: Option<&'q Document>) -> Query<'q, sqlx::Postgres, PgArguments> {
    sqlx::query(statement).bind(about.map(|document| document.model.as_str())).bind(about.map(|document| document.id))
}

#[async_trait]
impl Directory for Postgres {
    async fn conversations_by_uuid(&self, uuids: &[Uuid]) -> Result<Vec<(ConversationId, Uuid)>> {
        found(&self.rows(sqlx::query(BY_UUID).bind(uuids.to_vec())).await?)
    }

    async fn conversation_uuids(&self, ids: &[ConversationId]) -> Result<Vec<(ConversationId, Uuid)>> {
        let ids: Vec<i64> = ids.iter().map(|id| id.0).collect();
        found(&self.rows(sqlx::query(UUIDS).bind(ids)).await?)
    }

    async fn direct_conversation(
        &self,
        (one, other): (PartnerId, PartnerId),
        about: Option<&Document>,
    ) -> Result<Option<ConversationId>> {
        let row = self.row(about_query(DIRECT, about).bind(one.0).bind(other.0)).await?;
        Ok(row.map(|row| get(&row, "id")).transpose()?.map(ConversationId))
    }

    async fn direct_conversations(&self, (one, other): (PartnerId, PartnerId)) -> Result<Vec<ConversationId>> {
        let rows = self.rows(sqlx::query(ALL_DIRECT).bind(one.0).bind(other.0)).await?;
        rows.iter().map(|row| Ok(ConversationId(get(row, "id")?))).collect()
    }

    async fn group_conversation(&self, group: GroupId, about: Option<&Document>) -> Result<Option<ConversationId>> {
        let row = self.row(about_query(OF_GROUP, about).bind(group.0)).await?;
        Ok(row.map(|row| get(&row, "id")).transpose()?.map(ConversationId))
    }
}

#[async_trait]
impl WriteDirectory for PostgresTx {
    async fn set_key(&mut self, of: ConversationId, key: Option<&str>) -> Result<()> {
        self.rows(sqlx::query(SET_KEY).bind(of.0).bind(key)).await.map(drop)
    }
}
