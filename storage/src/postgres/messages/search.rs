//! PostgreSQL statements of the message search.

use async_trait::async_trait;
use sqlx::postgres::PgRow;

use super::{
    message_rows::{file_bytes, message_columns, seen, seen_columns, seen_marks, visible_after},
    reactions::reaction_counts,
    reads::{read_by_newcomers, read_by_others},
};
use crate::{
    ConversationId, MessageId, PartnerId, Result, Search, SearchScan, SearchScanResult, SearchStart,
    postgres::{Postgres, count, get, limit},
};

macro_rules! newest {
    ($condition:literal) => {
        concat!(
            "SELECT p.conversation_id, newest.id, newest.seq
            FROM participants p CROSS JOIN LATERAL (
                SELECT m.id, m.seq FROM messages m
                WHERE m.conversation_id = p.conversation_id AND m.id < $2 ORDER BY m.id DESC LIMIT 1
            ) newest
            WHERE p.partner_id = $1 AND newest.seq > p.visible_from_seq",
            $condition
        )
    };
}
const NEWEST: &str = newest!("");
const NEWEST_OF: &str = newest!(" AND p.conversation_id = $3");
/// Scans a range of messages. Always returns a row, with the number of scanned messages. `seq` has no gaps, so the range is known
/// before it is read.
const WALK: &str = concat!(
    "WITH ",
    seen_marks!(),
    ", stretch AS MATERIALIZED (
        SELECT greatest($3 - $4, p.visible_from_seq) AS after, p.visible_from_seq
        FROM participants p WHERE p.conversation_id = $1 AND p.partner_id = $2
    ), looked_at AS MATERIALIZED (
        SELECT m.id, m.seq, m.has_attachments, octet_length(m.body) AS bytes, strpos(lower(m.body), lower($5)) > 0 AS matches
        FROM messages m
        WHERE m.conversation_id = $1 AND m.seq > $3 - $4 AND m.seq <= $3 AND m.seq > (SELECT visible_from_seq FROM stretch)
    ), matching AS MATERIALIZED (
        SELECT id, row_number() OVER newest AS place, sum(size) OVER newest - size AS bytes_before
        FROM (SELECT m.id, m.seq, m.bytes + ",
    file_bytes!(),
    " AS size FROM looked_at m WHERE m.matches) m WINDOW newest AS (ORDER BY seq DESC)
    ), found AS (
        SELECT id FROM matching WHERE place <= $6 AND bytes_before < $7
    )
    SELECT coalesce((SELECT greatest($3 - after, 0) FROM stretch), 0), (
            SELECT next.id FROM messages next WHERE next.conversation_id = $1
                AND next.seq = (SELECT after FROM stretch WHERE after > visible_from_seq)
        ) AS next_id, (SELECT coalesce(sum(bytes), 0)::bigint FROM looked_at) AS bytes, ",
    seen_columns!(),
    " FROM (SELECT) always LEFT JOIN (found JOIN messages m ON m.id = found.id) ON true ORDER BY m.id DESC"
);

#[async_trait]
impl Search for Postgres {
    async fn newest_messages(
        &self,
        partner: PartnerId,
        only: Option<ConversationId>,
        before: Option<MessageId>,
    ) -> Result<Vec<SearchStart>> {
        let before = before.map_or(i64::MAX, |before| before.0);
        let newest = match only {
            Some(only) => sqlx::query(NEWEST_OF).bind(partner.0).bind(before).bind(only.0),
            None => sqlx::query(NEWEST).bind(partner.0).bind(before),
        };
        let point = |row: &PgRow| {
            let (message, conversation) = (MessageId(get(row, "id")?), ConversationId(get(row, "conversation_id")?));
            Ok(SearchStart { message, conversation, seq: get(row, "seq")? })
        };
        self.rows(newest).await?.iter().map(point).collect()
    }

    async fn search_messages(&self, from: SearchStart, reader: PartnerId, walk: SearchScan<'_>) -> Result<SearchScanResult> {
        let search = sqlx::query(WALK)
            .bind(from.conversation.0)
            .bind(reader.0)
            .bind(from.seq)
            .bind(limit(walk.messages))
            .bind(walk.query)
            .bind(limit(walk.limit))
            .bind(limit(walk.bytes));
        let rows = self.rows(search).await?;
        let Some(first) = rows.first() else { return Ok(SearchScanResult::default()) };
        let walked = count(first)?;
        let seq = from.seq.saturating_sub_unsigned(walked);
        let next = get::<Option<i64>, _>(first, "next_id")?.map(MessageId);
        let next = next.map(|message| SearchStart { message, conversation: from.conversation, seq });
        // `NULL` if nothing was found.
        let found = get::<Option<i64>, _>(first, "message_id")?.is_some();
        let matches = if found { rows.iter().map(seen).collect::<Result<_>>()? } else { Vec::new() };
        let bytes = usize::try_from(get::<i64, _>(first, "bytes")?).unwrap_or_default();
        Ok(SearchScanResult { matches, messages: usize::try_from(walked).unwrap_or(usize::MAX), bytes, next })
    }
}
