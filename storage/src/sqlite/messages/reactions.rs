//! SQLite statements of reactions.

use async_trait::async_trait;
use sqlx::types::Json;

use crate::{
    Conversation, Locked, MessageId, PartnerId, ReactionCount, Reactions, Result, Timestamp, WriteReactions,
    sqlite::{Sqlite, SqliteTx, get, micros},
};

/// Reactions to the message `$message`, as the partner `$reader` sees them, as JSON in one column.
macro_rules! reaction_counts {
    ($message:literal, $reader:literal) => {
        concat!(
            "(SELECT json_group_array(json_object('content', r.content, 'count', r.count,
                'by_reader', json(iif(r.by_reader, 'true', 'false'))) ORDER BY r.first_at, r.content)
             FROM (SELECT content, count(*) AS count, max(partner_id = ",
            $reader,
            ") AS by_reader, min(at) AS first_at FROM reactions WHERE message_id = ",
            $message,
            " GROUP BY content) r)"
        )
    };
}
pub(crate) use reaction_counts;

const REACTIONS: &str = concat!("SELECT ", reaction_counts!("$1", "$2"), " AS reactions");
const CONTENTS: &str = "SELECT DISTINCT content FROM reactions WHERE message_id = $1";
const INSERT: &str = "INSERT INTO reactions (message_id, partner_id, content, at)
    SELECT id, $2, $3, $4 FROM messages WHERE id = $1 AND conversation_id = $5
    ON CONFLICT DO NOTHING RETURNING message_id";
const MARK: &str = "UPDATE messages SET has_reactions = true WHERE id = $1 AND NOT has_reactions";
const DELETE: &str = "DELETE FROM reactions WHERE message_id = $1 AND partner_id = $2 AND content = $3 RETURNING message_id";

#[async_trait]
impl Reactions for Sqlite {
    async fn reactions(&self, of: MessageId, reader: PartnerId) -> Result<Vec<ReactionCount>> {
        let row = self.only_row(sqlx::query(REACTIONS).bind(of.0).bind(reader.0)).await?;
        Ok(get::<Json<_>, _>(&row, "reactions")?.0)
    }
}

#[async_trait]
impl WriteReactions for SqliteTx {
    async fn reaction_contents(&mut self, _of: &Locked<Conversation>, message: MessageId) -> Result<Vec<String>> {
        let rows = self.rows(sqlx::query(CONTENTS).bind(message.0)).await?;
        rows.iter().map(|row| get(row, "content")).collect()
    }

    async fn insert_reaction(
        &mut self,
        of: &Locked<Conversation>,
        message: MessageId,
        partner: PartnerId,
        content: &str,
        at: Timestamp,
    ) -> Result<bool> {
        let insert = sqlx::query(INSERT).bind(message.0).bind(partner.0).bind(content).bind(micros(at)).bind(of.id.0);
        let is_new = self.row(insert).await?.is_some();
        if is_new {
            self.rows(sqlx::query(MARK).bind(message.0)).await?;
        }
        Ok(is_new)
    }

    async fn delete_reaction(
        &mut self,
        _of: &Locked<Conversation>,
        message: MessageId,
        partner: PartnerId,
        content: &str,
    ) -> Result<bool> {
        Ok(self.row(sqlx::query(DELETE).bind(message.0).bind(partner.0).bind(content)).await?.is_some())
    }
}
