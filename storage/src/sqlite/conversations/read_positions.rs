//! SQLite statements of read positions.

use std::collections::HashMap;

use async_trait::async_trait;

use super::place;
use crate::{
    ConversationId, PartnerId, ReadAdvance, Result, WriteReadPositions,
    sqlite::{SqliteTx, get, list},
};

/// Computes the moves of read positions to at most the newest message: both positions, and the partner's own and deleted messages
/// between.
const READ_STEPS: &str = "WITH step AS MATERIALIZED (
        SELECT p.conversation_id, p.partner_id, p.read_seq AS low, max(p.read_seq, min(asked.value ->> 2, c.last_seq)) AS high,
            p.seen_seq AS seen_low, min(asked.value ->> 2, c.last_seq) AS seen_high, c.last_seq, p.own_after
        FROM json_each($1) asked
        CROSS JOIN participants p ON p.conversation_id = asked.value ->> 0 AND p.partner_id = asked.value ->> 1
        CROSS JOIN conversations c ON c.id = p.conversation_id
        WHERE min(asked.value ->> 2, c.last_seq) > max(p.seen_seq, p.visible_from_seq)
    ), passed AS MATERIALIZED (
        SELECT step.*, CASE
            WHEN step.own_after = 0 OR step.high = step.last_seq THEN step.own_after
            ELSE (
                SELECT count(*) FROM messages m
                WHERE m.conversation_id = step.conversation_id AND m.seq > step.low AND m.seq <= step.high
                    AND (m.author_id = step.partner_id OR m.deleted_at IS NOT NULL)
            ) END AS own
        FROM step
    )
    SELECT conversation_id, partner_id, high, seen_high, own, high - low - own AS unread, CASE
        WHEN high - low > own THEN true
        WHEN seen_low < low THEN EXISTS (
            SELECT 1 FROM messages m
            WHERE m.conversation_id = passed.conversation_id AND m.seq > passed.seen_low
                AND m.seq <= min(passed.low, passed.seen_high) AND m.author_id <> passed.partner_id
        )
        ELSE false
    END AS has_seen FROM passed";
const ADVANCE_READS: &str = "UPDATE participants
    SET read_seq = moved.value ->> 2, seen_seq = moved.value ->> 3, own_after = max(own_after - (moved.value ->> 4), 0)
    FROM json_each($1) moved WHERE conversation_id = moved.value ->> 0 AND partner_id = moved.value ->> 1";
const UNREAD: &str = "SELECT p.conversation_id, c.last_seq - p.read_seq - p.own_after AS unread, c.last_seq
    FROM participants p CROSS JOIN conversations c ON c.id = p.conversation_id
    WHERE p.partner_id = $1 AND c.last_seq > p.read_seq ORDER BY p.conversation_id";
const READ_ALL: &str = "UPDATE participants SET read_seq = behind.value ->> 2, seen_seq = behind.value ->> 2, own_after = 0
    FROM json_each($1) behind WHERE conversation_id = behind.value ->> 0 AND partner_id = behind.value ->> 1";

#[async_trait]
impl WriteReadPositions for SqliteTx {
    async fn advance_reads(&mut self, to: &[(ConversationId, PartnerId, i64)]) -> Result<Vec<Option<ReadAdvance>>> {
        let rows = self.rows(sqlx::query(READ_STEPS).bind(list(to))).await?;
        if rows.is_empty() {
            return Ok(vec![None; to.len()]);
        }
        let (mut moves, mut advanced) = (Vec::new(), HashMap::new());
        for row in &rows {
            let (of, partner) = place(row)?;
            moves.push((of, partner, get::<i64, _>(row, "high")?, get::<i64, _>(row, "seen_high")?, get::<i64, _>(row, "own")?));
            let advance = ReadAdvance { newly_read: get(row, "unread")?, has_seen: get(row, "has_seen")? };
            advanced.insert((of, partner), advance);
        }
        self.rows(sqlx::query(ADVANCE_READS).bind(list(moves))).await?;
        Ok(to.iter().map(|(of, partner, _)| advanced.get(&(*of, *partner)).copied()).collect())
    }

    async fn advance_read_everywhere(&mut self, partner: PartnerId) -> Result<Vec<(ConversationId, i64, i64)>> {
        let rows = self.rows(sqlx::query(UNREAD).bind(partner.0)).await?;
        let behind = rows
            .iter()
            .map(|row| Ok((ConversationId(get(row, "conversation_id")?), get(row, "unread")?, get(row, "last_seq")?)))
            .collect::<Result<Vec<(_, i64, i64)>>>()?;
        if !behind.is_empty() {
            let positions = behind.iter().map(|(id, _, last_seq)| (id, partner, last_seq));
            self.rows(sqlx::query(READ_ALL).bind(list(positions))).await?;
        }
        Ok(behind)
    }
}
