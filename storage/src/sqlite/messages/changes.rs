//! SQLite statement of edited and deleted messages.

use async_trait::async_trait;
use sqlx::sqlite::SqliteRow;

use super::message_rows::file_bytes;
use crate::{
    ChangeKey, Changes, ConversationId, MessageChange, MessageId, Result,
    sqlite::{Sqlite, get, limit, micros, time},
};

/// Keyset page in the order of a partial index on changed messages. A trigger of the schema sets `changed_after`.
const CHANGES: &str = concat!(
    "SELECT m.id, m.changed_after, m.changed_at, octet_length(m.body) + ",
    file_bytes!(),
    " AS bytes
    FROM messages m
    WHERE m.conversation_id = $1 AND m.changed_after IS NOT NULL AND (m.changed_after, m.changed_at, m.id) > ($2, $3, $4)
    ORDER BY m.changed_after, m.changed_at, m.id LIMIT +$5"
);

#[async_trait]
impl Changes for Sqlite {
    async fn changes(&self, of: ConversationId, after: ChangeKey, most: usize) -> Result<Vec<MessageChange>> {
        let changes = sqlx::query(CHANGES).bind(of.0).bind(after.after.0).bind(micros(after.at)).bind(after.message.0);
        let change = |row: &SqliteRow| {
            let after = MessageId(get(row, "changed_after")?);
            let key = ChangeKey { after, at: time(row, "changed_at")?, message: MessageId(get(row, "id")?) };
            Ok(MessageChange { key, bytes: usize::try_from(get::<i64, _>(row, "bytes")?).unwrap_or_default() })
        };
        self.rows(changes.bind(limit(most))).await?.iter().map(change).collect()
    }
}
