//! Columns of messages, and their decoding.

use sqlx::postgres::PgRow;
use sqlx::types::Json;

use crate::{
    Author, ConversationId, Message, MessageForReader, MessageId, MessageLocation, MessageSide, MessageType, PartnerId, Result,
    UserId,
    postgres::{get, word},
};

/// Columns that [`message`] reads, of `messages AS m`. Other tables are read in subqueries, row by row: with a join the planner
/// might scan them, since it cannot know how short a page is.
macro_rules! message_columns {
    () => {
        message_columns!("m.body", "m.metadata", "")
    };
    ($body:literal, $metadata:literal, $files:literal) => {
        concat!(
            "m.id AS message_id, m.seq, m.conversation_id AS message_conversation_id, m.author_id, \
         (SELECT a.name FROM partners a WHERE a.id = m.author_id) AS author_name, \
         (SELECT u.id FROM users u WHERE u.partner_id = m.author_id) AS author_user_id, \
         m.message_type, ",
            $body,
            " AS body, ",
            $metadata,
            " AS metadata, m.client_key, m.held, m.created_at AS message_created_at, m.edited_at, m.deleted_at, \
         m.external_id AS message_external_id, m.reply_to_id, m.support_side, m.edited_by, m.deleted_by, \
         CASE WHEN m.has_attachments THEN ( \
             SELECT json_agg(json_build_object('id', f.id, 'object', f.object, 'name', f.name, 'mimetype', f.mimetype, \
                 'size_bytes', f.size_bytes, 'access_token', f.access_token, 'owner', f.owner_id, \
                 'created_at', f.created_at, 'sha256', encode(f.sha256, 'hex'), 'width', f.width, 'height', f.height, \
                 'duration_milliseconds', f.duration_milliseconds) ORDER BY ma.place) \
             FROM message_attachments ma JOIN attachments f ON f.id = ma.attachment_id WHERE ma.message_id = m.id",
            $files,
            ") END AS attachments"
        )
    };
}

/// Size of the files of a message `m` in a page, each [`crate::FILE_BYTES`].
macro_rules! file_bytes {
    () => {
        "CASE WHEN m.has_attachments
             THEN (SELECT 1024 * count(*) FROM message_attachments held WHERE held.message_id = m.id)::int ELSE 0 END"
    };
}

/// Id of the newest message of `$1` that is hidden from `$2`; 0 if none is. An id, so that a page ends there instead of skipping
/// all hidden messages. A subquery, since a join might begin at the messages.
macro_rules! visible_after {
    () => {
        "coalesce((SELECT (SELECT m.id FROM messages m WHERE m.conversation_id = $1 AND m.seq <= p.visible_from_seq
                           ORDER BY m.seq DESC LIMIT 1)
                   FROM participants p WHERE p.conversation_id = $1 AND p.partner_id = $2), 0)"
    };
}

/// Read positions of the reader `$2` and of all others in `$1`, and the visibility there: computed once, not for each message.
macro_rules! seen_marks {
    () => {
        concat!(
            "seen AS MATERIALIZED (
                SELECT
                    (SELECT c.last_seq FROM conversations c WHERE c.id = $1) AS last_seq,
                    coalesce((SELECT p.read_seq FROM participants p
                              WHERE p.conversation_id = $1 AND p.partner_id = $2), 0) AS by_reader,
                    coalesce((SELECT p.visible_from_seq FROM participants p
                              WHERE p.conversation_id = $1 AND p.partner_id = $2), 0) AS visible_from_seq,
                    ",
            visible_after!(),
            " AS visible_after,
                    ",
            read_by_others!(),
            " AS by_others
            ), newcomers AS MATERIALIZED (",
            read_by_newcomers!("(SELECT by_others FROM seen)"),
            ")"
        )
    };
}

/// Columns that [`seen`] reads, of `messages AS m` beside `seen`.
macro_rules! seen_columns {
    () => {
        concat!(
            "CASE m.author_id
                 WHEN $2 THEN m.seq <= (SELECT by_others FROM seen)
                     OR EXISTS (SELECT FROM newcomers n WHERE m.seq > n.after AND m.seq <= n.upto)
                 ELSE m.seq <= (SELECT by_reader FROM seen)
             END AS is_read, CASE WHEN m.has_reactions THEN ",
            reaction_counts!("m.id", "$2"),
            " END AS reactions, ",
            message_columns!()
        )
    };
}

/// Columns that [`last_message`] reads: an excerpt of the text and the first files. 1024 characters are at least 1024 bytes, and
/// no more than 5 files fit in [`crate::EXCERPT_BYTES`].
macro_rules! last_message_columns {
    () => {
        message_columns!(
            "left(m.body, 1024)",
            "CASE WHEN octet_length(m.metadata::text) <= 1024 THEN m.metadata END",
            " AND ma.place IN (SELECT held.place FROM message_attachments held WHERE held.message_id = m.id
                               ORDER BY held.place LIMIT 5)"
        )
    };
}

pub(crate) use {file_bytes, last_message_columns, message_columns, seen_columns, seen_marks, visible_after};

pub(crate) fn message(row: &PgRow) -> Result<Message> {
    Ok(Message {
        id: MessageId(get(row, "message_id")?),
        seq: get(row, "seq")?,
        conversation: ConversationId(get(row, "message_conversation_id")?),
        author: Author {
            partner: PartnerId(get(row, "author_id")?),
            user: get::<Option<i64>, _>(row, "author_user_id")?.map(UserId),
            name: get(row, "author_name")?,
        },
        message_type: word(row, "message_type", MessageType::parse)?,
        body: get(row, "body")?,
        metadata: get::<Option<Json<_>>, _>(row, "metadata")?.map(|metadata| metadata.0),
        attachments: get::<Option<Json<_>>, _>(row, "attachments")?.map_or_else(Vec::new, |attachments| attachments.0),
        client_key: get(row, "client_key")?,
        held: get(row, "held")?,
        created_at: get(row, "message_created_at")?,
        edited_at: get(row, "edited_at")?,
        deleted_at: get(row, "deleted_at")?,
        external_id: get(row, "message_external_id")?,
        reply_to: get::<Option<i64>, _>(row, "reply_to_id")?.map(MessageId),
        support_side: get::<Option<&str>, _>(row, "support_side")?.and_then(MessageSide::parse),
        edited_by: get::<Option<i64>, _>(row, "edited_by")?.map(PartnerId),
        deleted_by: get::<Option<i64>, _>(row, "deleted_by")?.map(PartnerId),
    })
}

pub(crate) fn seen(row: &PgRow) -> Result<MessageForReader> {
    let reactions = get::<Option<Json<_>>, _>(row, "reactions")?.map_or_else(Vec::new, |reactions| reactions.0);
    Ok(MessageForReader { message: message(row)?, is_read: get(row, "is_read")?, reactions })
}

pub(crate) fn last_message(row: &PgRow) -> Result<Message> {
    message(row).map(Message::listed)
}

pub(crate) fn located(row: &PgRow) -> Result<MessageLocation> {
    Ok(MessageLocation {
        conversation: ConversationId(get(row, "conversation_id")?),
        seq: get(row, "seq")?,
        id: MessageId(get(row, "id")?),
        author: PartnerId(get(row, "author_id")?),
    })
}
