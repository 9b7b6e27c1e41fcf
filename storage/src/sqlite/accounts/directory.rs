//! SQLite lookups of conversations by uuid, participants, group, document and unique key.

use async_trait::async_trait;
use sqlx::query::Query;
use sqlx::sqlite::{SqliteArguments, SqliteRow};
use uuid::Uuid;

use crate::{
    ConversationId, Directory, Document, GroupId, PartnerId, Result, WriteDirectory,
    sqlite::{Sqlite, SqliteTx, get, list},
};

/// Condition: `conversations AS c` is about exactly the document $1, $2, or about none if $1 is null.
macro_rules! is_about {
    () => {
        "CASE WHEN $1 IS NULL
            THEN NOT EXISTS (SELECT 1 FROM conversation_documents d WHERE d.conversation_id = c.id)
            ELSE (SELECT count(*) = 1 AND min(d.model = $1 AND d.record_id = $2)
                  FROM conversation_documents d WHERE d.conversation_id = c.id)
        END"
    };
}

const BY_UUID: &str = "SELECT id, uuid FROM conversations WHERE uuid IN (SELECT unhex(value, '-') FROM json_each($1))";
const UUIDS: &str = "SELECT id, uuid FROM conversations WHERE id IN (SELECT value FROM json_each($1))";
/// Direct conversations between exactly the partners `$one` and `$other`, who may be the same. A leapfrog join over their sorted
/// conversation ids: each step skips to the next id of the other partner, so the cost follows the partner with fewer
/// conversations.
macro_rules! direct {
    ($one:literal, $other:literal, $condition:expr) => {
        concat!(
            "WITH RECURSIVE leap (id, is_shared, next) AS (
                SELECT 0, 0, 0
                UNION ALL
                SELECT one.conversation_id, one.conversation_id = other.conversation_id,
                    one.conversation_id + (one.conversation_id = other.conversation_id)
                FROM leap
                CROSS JOIN participants other ON other.partner_id = ",
            $other,
            " AND other.conversation_id = (
                    SELECT min(conversation_id) FROM participants WHERE partner_id = ",
            $other,
            " AND conversation_id >= leap.next
                )
                CROSS JOIN participants one ON one.partner_id = ",
            $one,
            " AND one.conversation_id = (
                    SELECT min(conversation_id) FROM participants WHERE partner_id = ",
            $one,
            " AND conversation_id >= other.conversation_id
                )
            )
            SELECT c.id FROM leap CROSS JOIN conversations c ON c.id = leap.id
            WHERE leap.is_shared AND c.kind = 'direct' AND ",
            $condition,
            " AND NOT EXISTS (
                SELECT 1 FROM participants third
                WHERE third.conversation_id = c.id AND third.partner_id NOT IN (",
            $one,
            ", ",
            $other,
            ")
            ) ORDER BY c.id"
        )
    };
}
const DIRECT: &str = concat!(direct!("$3", "$4", is_about!()), " LIMIT 1");
/// All direct conversations, about any document or none.
const ALL_DIRECT: &str = direct!("$1", "$2", "true");
const OF_GROUP: &str =
    concat!("SELECT c.id FROM conversations c WHERE c.group_id = $3 AND ", is_about!(), " ORDER BY c.id LIMIT 1");
const SET_KEY: &str = "UPDATE conversations SET key = $2 WHERE id = $1";

fn found(rows: &[SqliteRow]) -> Result<Vec<(ConversationId, Uuid)>> {
    rows.iter().map(|row| Ok((ConversationId(get(row, "id")?), get(row, "uuid")?))).collect()
}

fn about_query<'q>(statement: &'static str, about: Option<&'q Document>) -> Query<'q, sqlx::Sqlite, SqliteArguments> {
    sqlx::query(statement).bind(about.map(|document| document.model.as_str())).bind(about.map(|document| document.id))
}

#[async_trait]
impl Directory for Sqlite {
    async fn conversations_by_uuid(&self, uuids: &[Uuid]) -> Result<Vec<(ConversationId, Uuid)>> {
        found(&self.rows(sqlx::query(BY_UUID).bind(list(uuids))).await?)
    }

    async fn conversation_uuids(&self, ids: &[ConversationId]) -> Result<Vec<(ConversationId, Uuid)>> {
        found(&self.rows(sqlx::query(UUIDS).bind(list(ids))).await?)
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
impl WriteDirectory for SqliteTx {
    async fn set_key(&mut self, of: ConversationId, key: Option<&str>) -> Result<()> {
        self.rows(sqlx::query(SET_KEY).bind(of.0).bind(key)).await.map(drop)
    }
}
