//! PostgreSQL statement of edited and deleted messages.

use async_trait::async_trait;
use sqlx::postgres::PgRow;

use super::message_rows::file_bytes;
use crate::{
    ChangeKey, Changes, ConversationId, MessageChange, MessageId, Result,
    postgres::{Postgres, get, limit},
};

/// Keyset page in the order of a partial index on changed messages. A trigger of the schema sets `changed_after`.
const CHANGES: &str = concat!(
    "SELECT m.id, m.changed_after, greatest(m.edited_at, m.deleted_at) AS at,
        (octet_length(m.body) + ",
    file_bytes!(),
    ")::bigint AS bytes
    FROM messages m
    WHERE m.conversation_id = $1 AND m.changed_after IS NOT NULL
        AND (m.changed_after, greatest(m.edited_at, m.deleted_at), m.id) > ($2, $3, $4)
    ORDER BY m.changed_after, greatest(m.edited_at, m.deleted_at), m.id LIMIT $5"
);

#[async_trait]
impl Changes for Postgres {
    async fn changes(&self, of: ConversationId, after: ChangeKey, most: usize) -> Result<Vec<MessageChange>> {
        let changes = sqlx::query(CHANGES).bind(of.0).bind(after.after.0).bind(after.at).bind(after.message.0).bind(limit(most));
        let change = |row: &PgRow| {
            let after = MessageId(get(row, "changed_after")?);
            let key = ChangeKey { after, at: get(row, "at")?, message: MessageId(get(row, "id")?) };
            Ok(MessageChange { key, bytes: usize::try_from(get::<i64, _>(row, "bytes")?).unwrap_or_default() })
        };
        self.rows(changes).await?.iter().map(change).collect()
    }
}
