//! SQLite statements of the message search.

use async_trait::async_trait;
use sqlx::sqlite::SqliteRow;

use super::{
    message_rows::{file_bytes, message_columns, seen, seen_columns, seen_marks, visible_after},
    reactions::reaction_counts,
    reads::{read_by_newcomers, read_by_others},
};
use crate::{
    ConversationId, MessageId, PartnerId, Result, Search, SearchScan, SearchScanResult, SearchStart,
    fold::lower,
    sqlite::{Sqlite, get, limit, list},
};

macro_rules! newest {
    ($condition:literal) => {
        concat!(
            "SELECT p.conversation_id, m.id, m.seq
            FROM participants p CROSS JOIN messages m ON m.id = (
                SELECT id FROM messages WHERE conversation_id = p.conversation_id AND id < $2 ORDER BY id DESC LIMIT 1
            )
            WHERE p.partner_id = $1 AND m.seq > p.visible_from_seq",
            $condition
        )
    };
}
const NEWEST: &str = newest!("");
const NEWEST_OF: &str = newest!(" AND p.conversation_id = $3");
/// Range of a scan: `seq` has no gaps, so it is known before it is read. The scan goes on at `next_id`.
const STRETCH: &str = "SELECT s.after, (
        SELECT m.id FROM messages m WHERE m.conversation_id = $1 AND m.seq = s.after AND s.after > s.visible_from_seq
    ) AS next_id
    FROM (
        SELECT max($3 - $4, p.visible_from_seq) AS after, p.visible_from_seq
        FROM participants p WHERE p.conversation_id = $1 AND p.partner_id = $2
    ) s";
/// Texts of a range, newest first, each with the size of its files. SQLite lower-cases ASCII alone, so they are compared here.
const TEXTS: &str = concat!(
    "SELECT m.id, m.body, ",
    file_bytes!(),
    " AS file_bytes FROM messages m WHERE m.conversation_id = $1 AND m.seq > $2 AND m.seq <= $3 ORDER BY m.seq DESC"
);
const FOUND: &str = concat!(
    "WITH ",
    seen_marks!(),
    " SELECT ",
    seen_columns!(),
    " FROM messages m WHERE m.id IN (SELECT value FROM json_each($3)) ORDER BY m.id DESC"
);

/// Size of the texts that are compared before other tasks go on.
const YIELD_BYTES: usize = 256 * 1024;

#[async_trait]
impl Search for Sqlite {
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
        let point = |row: &SqliteRow| {
            let (message, conversation) = (MessageId(get(row, "id")?), ConversationId(get(row, "conversation_id")?));
            Ok(SearchStart { message, conversation, seq: get(row, "seq")? })
        };
        self.rows(newest).await?.iter().map(point).collect()
    }

    async fn search_messages(&self, from: SearchStart, reader: PartnerId, walk: SearchScan<'_>) -> Result<SearchScanResult> {
        let (of, reader) = (from.conversation.0, reader.0);
        let mut reading = self.snapshot().await?;
        let stretch = sqlx::query(STRETCH).bind(of).bind(reader).bind(from.seq).bind(limit(walk.messages));
        let Some(stretch) = reading.row(stretch).await? else { return Ok(SearchScanResult::default()) };
        let after: i64 = get(&stretch, "after")?;
        let next = get::<Option<i64>, _>(&stretch, "next_id")?.map(MessageId);
        let texts = reading.rows(sqlx::query(TEXTS).bind(of).bind(after).bind(from.seq)).await?;
        let query = lower(walk.query);
        let (mut found, mut size, mut bytes, mut compared) = (Vec::new(), 0, 0, 0);
        for row in &texts {
            let (body, files): (&str, i64) = (get(row, "body")?, get(row, "file_bytes")?);
            bytes += body.len();
            if bytes - compared > YIELD_BYTES {
                compared = bytes;
                tokio::task::yield_now().await;
            }
            if found.len() < walk.limit && size < walk.bytes && lower(body).contains(&query) {
                size += body.len() + usize::try_from(files).unwrap_or_default();
                found.push(get::<i64, _>(row, "id")?);
            }
        }
        let matches = match found.is_empty() {
            true => Vec::new(),
            false => {
                let found = sqlx::query(FOUND).bind(of).bind(reader).bind(list(found));
                reading.rows(found).await?.iter().map(seen).collect::<Result<_>>()?
            }
        };
        Ok(SearchScanResult {
            matches,
            messages: usize::try_from(from.seq - after).unwrap_or_default(),
            bytes,
            next: next.map(|message| SearchStart { message, conversation: from.conversation, seq: after }),
        })
    }
}
