//! Columns of messages, and their decoding.

use serde::Deserialize;
use sqlx::sqlite::SqliteRow;
use sqlx::types::Json;

use crate::{
    Attachment, AttachmentId, Author, ConversationId, Media, Message, MessageForReader, MessageId, MessageLocation, MessageSide,
    MessageType, PartnerId, Result, UserId,
    sqlite::{get, optional_time, time, time_of, word},
};

/// Columns that [`message`] reads, of `messages AS m`. Other tables are read in subqueries, row by row, for the rows of the page
/// alone.
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
             SELECT json_group_array(json_object('id', f.id, 'object', f.object, 'name', f.name, 'mimetype', f.mimetype, \
                 'size_bytes', f.size_bytes, 'access_token', f.access_token, 'owner', f.owner_id, \
                 'created_at', f.created_at, 'sha256', nullif(lower(hex(f.sha256)), ''), 'width', f.width, 'height', f.height, \
                 'duration_milliseconds', f.duration_milliseconds) ORDER BY ma.place) \
             FROM message_attachments ma CROSS JOIN attachments f ON f.id = ma.attachment_id WHERE ma.message_id = m.id",
            $files,
            ") END AS attachments"
        )
    };
}

/// Size of the files of a message `m` in a page, each [`crate::FILE_BYTES`].
macro_rules! file_bytes {
    () => {
        "CASE WHEN m.has_attachments
             THEN (SELECT 1024 * count(*) FROM message_attachments held WHERE held.message_id = m.id) ELSE 0 END"
    };
}

/// Id of the newest message of `$1` that is hidden from `$2`; 0 if none is. An id, so that a page ends there instead of skipping
/// all hidden messages.
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
            ), newcomers (after, upto) AS MATERIALIZED (",
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
                     OR EXISTS (SELECT 1 FROM newcomers n WHERE m.seq > n.after AND m.seq <= n.upto)
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
            "substr(m.body, 1, 1024)",
            "CASE WHEN octet_length(m.metadata) <= 1024 THEN m.metadata END",
            " AND ma.place IN (SELECT held.place FROM message_attachments held WHERE held.message_id = m.id
                               ORDER BY held.place LIMIT 5)"
        )
    };
}

pub(crate) use {file_bytes, last_message_columns, message_columns, seen_columns, seen_marks, visible_after};

/// Attachment of a message, as [`message_columns`] writes it.
#[derive(Deserialize)]
struct FileColumns {
    id: AttachmentId,
    object: String,
    name: String,
    mimetype: String,
    size_bytes: i64,
    access_token: String,
    owner: PartnerId,
    /// In microseconds.
    created_at: i64,
    #[serde(flatten)]
    media: Media,
}

impl FileColumns {
    fn attachment(self) -> Result<Attachment> {
        let Self { id, object, name, mimetype, size_bytes, access_token, owner, created_at, media } = self;
        Ok(Attachment { id, object, name, mimetype, size_bytes, access_token, owner, created_at: time_of(created_at)?, media })
    }
}

pub(crate) fn message(row: &SqliteRow) -> Result<Message> {
    let files = get::<Option<Json<Vec<FileColumns>>>, _>(row, "attachments")?.map_or_else(Vec::new, |files| files.0);
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
        attachments: files.into_iter().map(FileColumns::attachment).collect::<Result<_>>()?,
        client_key: get(row, "client_key")?,
        held: get(row, "held")?,
        created_at: time(row, "message_created_at")?,
        edited_at: optional_time(row, "edited_at")?,
        deleted_at: optional_time(row, "deleted_at")?,
        external_id: get(row, "message_external_id")?,
        reply_to: get::<Option<i64>, _>(row, "reply_to_id")?.map(MessageId),
        support_side: get::<Option<&str>, _>(row, "support_side")?.and_then(MessageSide::parse),
        edited_by: get::<Option<i64>, _>(row, "edited_by")?.map(PartnerId),
        deleted_by: get::<Option<i64>, _>(row, "deleted_by")?.map(PartnerId),
    })
}

pub(crate) fn seen(row: &SqliteRow) -> Result<MessageForReader> {
    let reactions = get::<Option<Json<_>>, _>(row, "reactions")?.map_or_else(Vec::new, |reactions| reactions.0);
    Ok(MessageForReader { message: message(row)?, is_read: get(row, "is_read")?, reactions })
}

pub(crate) fn last_message(row: &SqliteRow) -> Result<Message> {
    message(row).map(Message::listed)
}

pub(crate) fn located(row: &SqliteRow) -> Result<MessageLocation> {
    Ok(MessageLocation {
        conversation: ConversationId(get(row, "conversation_id")?),
        seq: get(row, "seq")?,
        id: MessageId(get(row, "id")?),
        author: PartnerId(get(row, "author_id")?),
    })
}
