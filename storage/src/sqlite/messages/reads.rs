//! SQLite statements of read receipts.

use async_trait::async_trait;
use sqlx::sqlite::SqliteRow;
use sqlx::types::Json;

use crate::{
    ConversationId, PartnerId, ReadRange, Reads, Result, UnreadByOthers,
    messages::reads::merged,
    sqlite::{Sqlite, get, limit},
};

/// Greatest `seq` that a partner other than `$partner` with full history has read in `$of`.
macro_rules! read_by_others {
    () => {
        read_by_others!("$1", "$2")
    };
    ($of:literal, $partner:literal) => {
        concat!(
            "max(coalesce((SELECT c.left_seen_seq FROM conversations c WHERE c.id = ",
            $of,
            "), 0), coalesce((SELECT o.seen_seq FROM participants o
              WHERE o.conversation_id = ",
            $of,
            " AND o.partner_id <> ",
            $partner,
            " AND o.visible_from_seq = 0
              ORDER BY o.seen_seq DESC LIMIT 1), 0))"
        )
    };
}

/// Ranges that newcomers other than `$2`, from whom older messages are hidden, have read in `$1` beyond `$read`. Nearly all
/// conversations have none, which one index lookup shows.
macro_rules! read_by_newcomers {
    ($read:literal) => {
        concat!(
            "SELECT p.visible_from_seq, p.seen_seq FROM participants p
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
    SELECT 0 AS after, upto FROM known UNION ALL ",
    read_by_newcomers!("(SELECT upto FROM known)")
);
/// Read receipts of all conversations of the author at once: three index lookups for each.
const UNREAD_BY_OTHERS: &str = concat!(
    "SELECT own.conversation_id, own.read_seq, own.own_seq, (
        SELECT json_group_array(json_array(n.after, n.upto)) FROM (
            SELECT o.visible_from_seq AS after, o.seen_seq AS upto FROM participants o
            WHERE o.conversation_id = own.conversation_id AND o.partner_id <> $1 AND o.visible_from_seq > 0
                AND o.seen_seq > own.read_seq
            UNION ALL
            SELECT l.visible_from_seq, l.seen_seq FROM left_reads l
            WHERE l.conversation_id = own.conversation_id AND l.seen_seq > own.read_seq
        ) n
    ) AS newcomers
    FROM (
        SELECT p.conversation_id, m.id, m.seq AS own_seq, ",
    read_by_others!("p.conversation_id", "$1"),
    " AS read_seq
        FROM participants p CROSS JOIN messages m ON m.id = p.last_own_id WHERE p.partner_id = $1
    ) own
    WHERE own.own_seq > own.read_seq ORDER BY own.id DESC LIMIT +$2"
);

#[async_trait]
impl Reads for Sqlite {
    async fn read_by_others(&self, of: ConversationId, reader: PartnerId) -> Result<Vec<ReadRange>> {
        let rows = self.rows(sqlx::query(READ_BY_OTHERS).bind(of.0).bind(reader.0)).await?;
        let range = |row: &SqliteRow| Ok(ReadRange { after: get(row, 0)?, upto: get(row, 1)? });
        Ok(merged(rows.iter().map(range).collect::<Result<_>>()?))
    }

    async fn unread_by_others(&self, author: PartnerId, most: usize) -> Result<Vec<UnreadByOthers>> {
        let rows = self.rows(sqlx::query(UNREAD_BY_OTHERS).bind(author.0).bind(limit(most))).await?;
        let unread = |row: &SqliteRow| {
            let Json(newcomers): Json<Vec<(i64, i64)>> = get(row, "newcomers")?;
            let newcomers = newcomers.into_iter().map(|(after, upto)| ReadRange { after, upto });
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
