//! PostgreSQL statements of read positions.

use std::collections::HashMap;

use async_trait::async_trait;

use super::{place, places};
use crate::{
    ConversationId, PartnerId, ReadAdvance, Result, WriteReadPositions,
    postgres::{PostgresTx, get},
};

/// First of two statements. While it holds the locks, no other transaction commits a message by these partners, or deletes one
/// that they have not read, so the second statement sees messages that agree with the rows it changes.
const LOCK_READERS: &str = "SELECT p.conversation_id, p.partner_id, p.seen_seq
    FROM unnest((SELECT $1::bigint[]), (SELECT $2::bigint[])) AS asked(conversation_id, partner_id)
    JOIN participants p ON p.conversation_id = asked.conversation_id AND p.partner_id = asked.partner_id
    ORDER BY p.conversation_id, p.partner_id FOR NO KEY UPDATE OF p";
/// Moves read positions to at most the `last_seq` that the statement sees; it sees all messages up to there. `greatest(..., 0)`:
/// a node of an earlier version may have deleted messages without counting them.
const ADVANCE_READS: &str = "WITH step AS MATERIALIZED (
        SELECT p.conversation_id, p.partner_id, p.read_seq AS low, greatest(p.read_seq, least(asked.seq, c.last_seq)) AS high,
            p.seen_seq AS seen_low, least(asked.seq, c.last_seq) AS seen_high, c.last_seq, p.own_after
        FROM unnest((SELECT $1::bigint[]), (SELECT $2::bigint[]), (SELECT $3::bigint[]))
            AS asked(conversation_id, partner_id, seq)
        JOIN participants p ON p.conversation_id = asked.conversation_id AND p.partner_id = asked.partner_id
        CROSS JOIN LATERAL (SELECT last_seq FROM conversations WHERE id = p.conversation_id OFFSET 0) c
        WHERE least(asked.seq, c.last_seq) > greatest(p.seen_seq, p.visible_from_seq)
    ), passed AS MATERIALIZED (
        SELECT step.conversation_id, step.partner_id, step.low, step.high, step.seen_low, step.seen_high, CASE
            WHEN step.own_after = 0 OR step.high = step.last_seq THEN step.own_after
            ELSE (
            SELECT count(*) FROM messages m
            WHERE m.conversation_id = step.conversation_id AND m.seq > step.low AND m.seq <= step.high
                AND (m.author_id = step.partner_id OR m.deleted_at IS NOT NULL)
        ) END AS own
        FROM step
    )
    UPDATE participants p
    SET read_seq = passed.high, seen_seq = passed.seen_high, own_after = greatest(p.own_after - passed.own, 0)
    FROM passed WHERE p.conversation_id = passed.conversation_id AND p.partner_id = passed.partner_id
    RETURNING p.conversation_id, p.partner_id, passed.high - passed.low - passed.own AS unread, CASE
        WHEN passed.high - passed.low > passed.own THEN true
        WHEN passed.seen_low < passed.low THEN EXISTS (
            SELECT FROM messages m
            WHERE m.conversation_id = p.conversation_id AND m.seq > passed.seen_low
                AND m.seq <= least(passed.low, passed.seen_high) AND m.author_id <> p.partner_id
        )
        ELSE false
    END AS has_seen";
/// Locks the participant's rows for [`READ_ALL`], as [`LOCK_READERS`] does for [`ADVANCE_READS`].
const LOCK_UNREAD: &str = "SELECT p.conversation_id FROM participants p JOIN conversations c ON c.id = p.conversation_id
    WHERE p.partner_id = $1 AND c.last_seq > p.read_seq ORDER BY p.conversation_id FOR NO KEY UPDATE OF p";
const READ_ALL: &str = "WITH behind AS MATERIALIZED (
        SELECT p.conversation_id, c.last_seq, c.last_seq - p.read_seq - p.own_after AS unread
        FROM participants p JOIN conversations c ON c.id = p.conversation_id
        WHERE p.partner_id = $1 AND p.conversation_id = ANY ($2) AND c.last_seq > p.read_seq
    ), moved AS (
        UPDATE participants p SET read_seq = behind.last_seq, seen_seq = behind.last_seq, own_after = 0
        FROM behind WHERE p.conversation_id = behind.conversation_id AND p.partner_id = $1
    )
    SELECT conversation_id, unread, last_seq FROM behind ORDER BY conversation_id";

#[async_trait]
impl WriteReadPositions for PostgresTx {
    async fn advance_reads(&mut self, to: &[(ConversationId, PartnerId, i64)]) -> Result<Vec<Option<ReadAdvance>>> {
        let (conversations, partners) = places(to);
        let locked = self.rows(sqlx::query(LOCK_READERS).bind(conversations).bind(partners)).await?;
        let seen = locked.iter().map(|row| Ok((place(row)?, get(row, "seen_seq")?)));
        let seen: HashMap<_, i64> = seen.collect::<Result<_>>()?;
        let goes_on = |(of, partner, seq): &&_| seen.get(&(*of, *partner)).is_some_and(|seen| *seen < *seq);
        let further: Vec<_> = to.iter().filter(goes_on).copied().collect();
        if further.is_empty() {
            return Ok(vec![None; to.len()]);
        }
        let (conversations, partners) = places(&further);
        let seqs: Vec<_> = further.iter().map(|(.., seq)| *seq).collect();
        let rows = self.rows(sqlx::query(ADVANCE_READS).bind(conversations).bind(partners).bind(seqs)).await?;
        let advanced = |row| Ok((place(row)?, ReadAdvance { newly_read: get(row, "unread")?, has_seen: get(row, "has_seen")? }));
        let advanced: HashMap<_, _> = rows.iter().map(advanced).collect::<Result<_>>()?;
        Ok(to.iter().map(|(of, partner, _)| advanced.get(&(*of, *partner)).copied()).collect())
    }

    async fn advance_read_everywhere(&mut self, partner: PartnerId) -> Result<Vec<(ConversationId, i64, i64)>> {
        let locked = self.rows(sqlx::query(LOCK_UNREAD).bind(partner.0)).await?;
        if locked.is_empty() {
            return Ok(Vec::new());
        }
        let ids = locked.iter().map(|row| get(row, "conversation_id")).collect::<sqlx::Result<Vec<i64>>>()?;
        let moved = self.rows(sqlx::query(READ_ALL).bind(partner.0).bind(ids)).await?;
        moved
            .iter()
            .map(|row| Ok((ConversationId(get(row, "conversation_id")?), get(row, "unread")?, get(row, "last_seq")?)))
            .collect()
    }
}
