//! PostgreSQL statements of read receipts.

use async_trait::async_trait;
use sqlx::postgres::PgRow;

use crate::{
    ConversationId, PartnerId, ReadRange, Reads, Result, UnreadByOthers,
    messages::reads::merged,
    postgres::{Postgres, get, limit},
};

/// Greatest `seq` that a partner other than `$2` with full history has read in `$1`.
macro_rules! read_by_others {
    () => {
        "greatest((SELECT c.left_seen_seq FROM conversations c WHERE c.id = $1),
             (SELECT p.seen_seq FROM participants p
              WHERE p.conversation_id = $1 AND p.partner_id <> $2 AND p.visible_from_seq = 0
              ORDER BY p.seen_seq DESC LIMIT 1), 0)"
    };
}

/// Ranges that newcomers other than `$2`, from whom older messages are hidden, have read in `$1` beyond `$read`. Nearly all
/// conversations have none, which one index lookup shows.
macro_rules! read_by_newcomers {
    ($read:literal) => {
        concat!(
            "SELECT p.visible_from_seq AS after, p.seen_seq AS upto FROM participants p
             WHERE p.conversation_id = $1 AND p.partner_id <> $2 AND p.visible_from_seq > 0 AND p.seen_seq > ",
            $read,
            " UNION ALL
             SELECT l.visible_from_seq, l.seen_seq FROM left_reads l WHERE l.conversation_id = $1 AND l.seen_seq > ",
            $read
        )
    };
}

pub(crate) use {read_by_newcomers, read_by_others};

const READ_BY_OTHERS: &str = concat!(
    "WITH known AS MATERIALIZED (SELECT ",
    read_by_others!(),
    " AS upto)
    SELECT 0::bigint AS after, upto FROM known UNION ALL ",
    read_by_newcomers!("(SELECT upto FROM known)")
);
/// Read receipts of all conversations of the author at once: three index lookups for each.
const UNREAD_BY_OTHERS: &str = "SELECT p.conversation_id, others.read_seq, m.seq AS own_seq, newcomers.after, newcomers.upto
    FROM participants p JOIN messages m ON m.id = p.last_own_id
    CROSS JOIN LATERAL (
        SELECT greatest(
            (SELECT c.left_seen_seq FROM conversations c WHERE c.id = p.conversation_id),
            (SELECT o.seen_seq FROM participants o
             WHERE o.conversation_id = p.conversation_id AND o.partner_id <> p.partner_id AND o.visible_from_seq = 0
             ORDER BY o.seen_seq DESC LIMIT 1), 0) AS read_seq
    ) others
    CROSS JOIN LATERAL (
        SELECT array_agg(n.after) AS after, array_agg(n.upto) AS upto FROM (
            SELECT o.visible_from_seq AS after, o.seen_seq AS upto FROM participants o
            WHERE o.conversation_id = p.conversation_id AND o.partner_id <> p.partner_id AND o.visible_from_seq > 0
                AND o.seen_seq > others.read_seq
            UNION ALL
            SELECT l.visible_from_seq, l.seen_seq FROM left_reads l
            WHERE l.conversation_id = p.conversation_id AND l.seen_seq > others.read_seq
        ) n
    ) newcomers
    WHERE p.partner_id = $1 AND m.seq > others.read_seq ORDER BY m.id DESC LIMIT $2";

#[async_trait]
impl Reads for Postgres {
    async fn read_by_others(&self, of: ConversationId, reader: PartnerId) -> Result<Vec<ReadRange>> {
        let rows = self.rows(sqlx::query(READ_BY_OTHERS).bind(of.0).bind(reader.0)).await?;
        let range = |row: &PgRow| Ok(ReadRange { after: get(row, "after")?, upto: get(row, "upto")? });
        Ok(merged(rows.iter().map(range).collect::<Result<_>>()?))
    }

    async fn unread_by_others(&self, author: PartnerId, most: usize) -> Result<Vec<UnreadByOthers>> {
        let rows = self.rows(sqlx::query(UNREAD_BY_OTHERS).bind(author.0).bind(limit(most))).await?;
        let unread = |row: &PgRow| {
            let ends = |name| Ok::<_, crate::Error>(get::<Option<Vec<i64>>, _>(row, name)?.unwrap_or_default());
            let newcomers = ends("after")?.into_iter().zip(ends("upto")?).map(|(after, upto)| ReadRange { after, upto });
            let first = ReadRange { after: 0, upto: get(row, "read_seq")? };
            Ok(UnreadByOthers {
                conversation: ConversationId(get(row, "conversation_id")?),
                read: merged([first].into_iter().chain(newcomers).collect()),
                own_seq: get(row, "own_seq")?,
            })
        };
        rows.iter().map(unread).collect()
    }
}
