//! PostgreSQL statements of reactions.

use async_trait::async_trait;
use sqlx::types::Json;

use crate::{
    Conversation, Locked, MessageId, PartnerId, ReactionCount, Reactions, Result, Timestamp, WriteReactions,
    postgres::{Postgres, PostgresTx, get},
};

/// Reactions to the message `$message`, as the partner `$reader` sees them, as JSON in one column.
macro_rules! reaction_counts {
    ($message:literal, $reader:literal) => {
        concat!(
            "(SELECT json_agg(json_build_object('content', r.content, 'count', r.count, 'by_reader', r.by_reader)
                ORDER BY r.first_at, r.content)
             FROM (SELECT content, count(*) AS count, bool_or(partner_id = ",
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
const INSERT: &str = "WITH new AS (
        INSERT INTO reactions (message_id, partner_id, content, at)
        SELECT id, $2, $3, $4 FROM messages WHERE id = $1 AND conversation_id = $5
        ON CONFLICT DO NOTHING RETURNING message_id
    ), marked AS (
        UPDATE messages m SET has_reactions = true FROM new WHERE m.id = new.message_id AND NOT m.has_reactions
    )
    SELECT message_id FROM new";
const DELETE: &str = "DELETE FROM reactions WHERE message_id = $1 AND partner_id = $2 AND content = $3 RETURNING message_id";

#[async_trait]
impl Reactions for Postgres {
    async fn reactions(&self, of: MessageId, reader: PartnerId) -> Result<Vec<ReactionCount>> {
        let row = self.only_row(sqlx::query(REACTIONS).bind(of.0).bind(reader.0)).await?;
        Ok(get::<Option<Json<_>>, _>(&row, "reactions")?.map_or_else(Vec::new, |reactions| reactions.0))
    }
}

#[async_trait]
impl WriteReactions for PostgresTx {
    async fn reaction_contents(&mut self, _of: &Locked<Conversation>, message: MessageId) -> Result<Vec<String>> {
        let rows = self.rows(sqlx::query(CONTENTS).bind(message.0)).await?;
        Ok(rows.iter().map(|row| get(row, "content")).collect::<sqlx::Result<_>>()?)
    }

    async fn insert_reaction(
        &mut self,
        of: &Locked<Conversation>,
        message: MessageId,
        partner: PartnerId,
        content: &str,
        at: Timestamp,
    ) -> Result<bool> {
        let insert = sqlx::query(INSERT).bind(message.0).bind(partner.0).bind(content).bind(at).bind(of.id.0);
        Ok(self.row(insert).await?.is_some())
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
