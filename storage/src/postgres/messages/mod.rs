//! PostgreSQL statements of messages: keyset pages, batched inserts, edits, tombstones and client keys.

pub(crate) mod attachments;
pub(crate) mod changes;
pub(crate) mod held_messages;
pub(crate) mod message_rows;
pub(crate) mod reactions;
pub(crate) mod reads;
pub(crate) mod search;
pub(crate) mod uploads;

use std::collections::{HashMap, HashSet};

use async_trait::async_trait;
use sqlx::postgres::PgRow;

use super::{
    Postgres, PostgresTx, get, limit,
    messages::{
        attachments::{attachment, attachment_columns},
        message_rows::{
            file_bytes, last_message, last_message_columns, located, message, message_columns, seen, seen_columns, seen_marks,
            visible_after,
        },
        reactions::reaction_counts,
        reads::{read_by_newcomers, read_by_others},
    },
};
use crate::{
    Attachment, AttachmentId, ClientKey, ContentHash, Conversation, ConversationId, DeletedMessage, Error, KeyedMessage, Locked,
    Message, MessageForReader, MessageId, MessageLocation, MessageSide, Messages, Metadata, NewMessage, PAGE_BYTES, Page,
    PartnerId, Result, Timestamp, WriteMessages, messages::skipped,
};

/// Page along an index. The message that reaches the size limit is the last. Ids rise with `seq`.
macro_rules! page {
    ($condition:literal, $key:literal, $order:literal) => {
        concat!(
            "WITH ",
            seen_marks!(),
            " SELECT ",
            seen_columns!(),
            " FROM (
                SELECT m.*, sum(m.bytes) OVER (ORDER BY m.id ",
            $order,
            ") - m.bytes AS bytes_before
                FROM (
                    SELECT m.*, octet_length(m.body) + ",
            file_bytes!(),
            " AS bytes FROM messages m
                    WHERE m.conversation_id = $1 AND m.id > (SELECT visible_after FROM seen) AND ",
            $condition,
            " ORDER BY ",
            $key,
            " ",
            $order,
            " LIMIT $4
                ) m
            ) m WHERE m.bytes_before < $5 ORDER BY m.id ",
            $order
        )
    };
}

const BY_ID: &str = concat!("SELECT ", message_columns!(), " FROM messages m WHERE m.id = ANY ($1)");
const LOCATE: &str = "SELECT m.conversation_id, m.seq, m.id, m.author_id FROM messages m WHERE m.id = ANY ($1)";
const AT: &str = "SELECT m.conversation_id, m.seq, m.id, m.author_id
    FROM (SELECT DISTINCT conversation_id, seq FROM unnest($1::bigint[], $2::bigint[]) AS place(conversation_id, seq)) place
    JOIN messages m ON m.conversation_id = place.conversation_id AND m.seq = place.seq";
const LAST_MESSAGES: &str = concat!(
    "SELECT ",
    last_message_columns!(),
    " FROM unnest((SELECT $1::bigint[]), (SELECT $2::bigint[])) AS asked(conversation_id, partner_id)
      JOIN participants p ON p.conversation_id = asked.conversation_id AND p.partner_id = asked.partner_id
      JOIN messages m ON m.id = p.last_own_id
      LEFT JOIN participants reader ON reader.conversation_id = p.conversation_id AND reader.partner_id = $3
      WHERE m.seq > coalesce(reader.visible_from_seq, 0)"
);
const OF_CONVERSATION: &str =
    concat!("SELECT ", message_columns!(), " FROM messages m WHERE m.id = $2 AND m.conversation_id = $1");
const EDIT: &str = "UPDATE messages SET body = $3, edited_at = $4, edited_by = $5 WHERE id = $2 AND conversation_id = $1";
/// Locks the attachments: a concurrent send of one comes entirely before or after.
const LOCK_ATTACHMENTS_OF: &str = concat!(
    "SELECT ",
    attachment_columns!(),
    " FROM message_attachments ma
    JOIN messages m ON m.id = ma.message_id JOIN attachments f ON f.id = ma.attachment_id
    WHERE m.id = $2 AND m.conversation_id = $1 ORDER BY f.id FOR UPDATE OF f"
);
/// Finds the attachments that remain. A trigger of the schema deletes a file with the last message that holds it.
const STILL_HELD: &str = "SELECT id FROM attachments WHERE id = ANY ($1)";
/// Turns a message into a tombstone. Locks the participants with the message unread in order, and rereads their rows once locked.
const DELETE: &str = "WITH gone AS (
        DELETE FROM message_attachments a USING messages m
        WHERE m.id = $2 AND m.conversation_id = $1 AND a.message_id = m.id
    ), behind AS MATERIALIZED (
        SELECT p.conversation_id, p.partner_id
        FROM messages m JOIN participants p ON p.conversation_id = m.conversation_id
        WHERE m.id = $2 AND m.conversation_id = $1 AND m.deleted_at IS NULL
            AND p.read_seq < m.seq AND p.partner_id <> m.author_id
        ORDER BY p.partner_id FOR NO KEY UPDATE OF p
    ), uncounted AS (
        UPDATE participants p SET own_after = p.own_after + 1
        FROM behind WHERE p.conversation_id = behind.conversation_id AND p.partner_id = behind.partner_id
    )
    UPDATE messages SET body = '', metadata = NULL, has_attachments = false, deleted_at = $3, deleted_by = $4
    WHERE id = $2 AND conversation_id = $1";
const FORGET_REACTIONS: &str = "DELETE FROM reactions WHERE message_id = $1";
/// Rewrites the copies of messages in the event log. The kind of a fact is the first string after its name. Text functions,
/// because PostgreSQL's JSON functions refuse a string with `\u0000`, which metadata may contain.
const REWRITE_COPIES: &str = r#"WITH copies AS MATERIALIZED (
        SELECT e.position, e.message_id FROM events e WHERE e.message_id = ANY ($1) ORDER BY e.position FOR NO KEY UPDATE
    )
    UPDATE events e
    SET fact = ('{"fact":"' || split_part(e.fact::text, '"', 4) || '","of":' || new.message || '}')::json
    FROM copies JOIN unnest($1::bigint[], $2::text[]) AS new(id, message) ON new.id = copies.message_id
    WHERE e.position = copies.position"#;
const SUPERSEDE_EDITS: &str = r#"WITH edits AS MATERIALIZED (
        SELECT e.position FROM events e
        WHERE e.message_id = $1 AND split_part(e.fact::text, '"', 4) = 'message_edited' ORDER BY e.position FOR NO KEY UPDATE
    )
    UPDATE events e SET fact = '{"fact":"edit_superseded"}', message_id = NULL FROM edits WHERE e.position = edits.position"#;
const KEEP_CONTENT_HASH: &str =
    "UPDATE messages SET client_hash = $2 WHERE id = $1 AND client_key IS NOT NULL AND client_hash IS NULL";
/// Locks the messages in the common lock order.
const RELEASE_CLIENT_KEYS: &str = "WITH held AS MATERIALIZED (
        SELECT id FROM messages WHERE id = ANY ($1) AND client_key IS NOT NULL ORDER BY id FOR NO KEY UPDATE
    )
    UPDATE messages m SET client_key = NULL, client_hash = NULL FROM held WHERE m.id = held.id RETURNING m.id";
const SEQS_OF: &str = "SELECT m.conversation_id, m.id, m.seq
    FROM unnest($1::bigint[], $2::bigint[]) AS asked(conversation_id, id)
    JOIN messages m ON m.id = asked.id AND m.conversation_id = asked.conversation_id";
const SHOW: &str = "UPDATE messages SET held = false WHERE id = $2 AND conversation_id = $1";
const DRAW_ID: &str = "SELECT nextval('messages_id') AS id";
/// Offset pagination at constant cost: `seq` has no gaps, so the offset is a subtraction.
const NEWEST: &str =
    page!("m.seq <= (SELECT last_seq FROM seen) - $3 AND m.seq > (SELECT visible_from_seq FROM seen)", "m.seq", "DESC");
const BEFORE: &str = page!("m.id < $3", "m.id", "DESC");
const AFTER: &str = page!("m.id > $3", "m.id", "ASC");
/// Subqueries, since a join might begin at the messages.
const NEWEST_BYTES: &str = concat!(
    "SELECT coalesce(sum(m.bytes), 0)::bigint AS bytes FROM (
        SELECT octet_length(m.body) + ",
    file_bytes!(),
    " AS bytes FROM messages m
        WHERE m.conversation_id = $1 AND m.seq <= (SELECT c.last_seq FROM conversations c WHERE c.id = $1) - $3
            AND m.seq > coalesce((SELECT p.visible_from_seq FROM participants p
                                  WHERE p.conversation_id = $1 AND p.partner_id = $2), 0)
        ORDER BY m.seq DESC LIMIT $4
    ) m"
);
/// Uses a partial index on `has_attachments`. The column stays true when attachments are deleted, hence the `EXISTS`.
const WITH_FILES: &str = concat!(
    "SELECT ",
    message_columns!(),
    " FROM (
        SELECT m.*, sum(m.bytes) OVER (ORDER BY m.id DESC) - m.bytes AS bytes_before
        FROM (
            SELECT m.*, octet_length(m.body) + ",
    file_bytes!(),
    " AS bytes FROM messages m WHERE m.conversation_id = $1 AND m.has_attachments AND m.id < $3
                AND m.id > ",
    visible_after!(),
    "           AND EXISTS (SELECT FROM message_attachments ma WHERE ma.message_id = m.id)
            ORDER BY m.id DESC LIMIT $4
        ) m
    ) m WHERE m.bytes_before < $5 ORDER BY m.id DESC"
);
const WITH_NEWS: &str = "SELECT p.conversation_id FROM participants p
    WHERE p.partner_id = $1 AND EXISTS (
        SELECT FROM messages m
        WHERE m.conversation_id = p.conversation_id AND m.created_at > $2 AND m.author_id <> p.partner_id
            AND m.seq > p.visible_from_seq
    )
    ORDER BY p.conversation_id";

/// Inserts any number of messages in one statement. Ids are drawn in the order of the input, because rows are sorted before
/// `nextval`. The authors' rows are locked in order before any update, since a partner that reads everything locks all of its
/// own.
const INSERT_MESSAGES: &str = "WITH asked AS MATERIALIZED (
        SELECT place, conversation_id, author_id, message_type, body, metadata, has_attachments, client_key, client_hash,
            external_id, reply_to_id, support_side, held, created_at, seq
        FROM unnest($1::bigint[], $2::bigint[], $3::text[], $4::text[], $5::text[], $6::boolean[], $7::text[],
                $8::bytea[], $9::text[], $10::bigint[], $11::text[], $12::boolean[], $13::timestamptz[], $14::bigint[])
            WITH ORDINALITY AS new(conversation_id, author_id, message_type, body, metadata, has_attachments, client_key,
                client_hash, external_id, reply_to_id, support_side, held, created_at, seq, place)
        ORDER BY place
    ), numbered AS MATERIALIZED (
        SELECT nextval('messages_id') AS id, asked.* FROM asked
    ), stored AS (
        INSERT INTO messages (id, conversation_id, seq, author_id, message_type, body, metadata, has_attachments,
            client_key, client_hash, external_id, reply_to_id, support_side, held, created_at)
        SELECT id, conversation_id, seq, author_id, message_type, body, metadata::json, has_attachments, client_key,
            client_hash, external_id, reply_to_id, support_side, held, created_at
        FROM numbered ORDER BY place
    ), newest AS MATERIALIZED (
        SELECT DISTINCT ON (conversation_id) conversation_id, id, seq, created_at
        FROM numbered ORDER BY conversation_id, seq DESC
    ), moved AS (
        UPDATE conversations c
        SET last_seq = newest.seq, last_message_id = newest.id, last_message_at = newest.created_at
        FROM newest WHERE c.id = newest.conversation_id
    ), wrote AS MATERIALIZED (
        SELECT conversation_id, author_id, count(*) AS messages, max(id) AS last_id FROM numbered GROUP BY conversation_id, author_id
    ), authors AS MATERIALIZED (
        SELECT p.conversation_id, p.partner_id, wrote.messages, wrote.last_id
        FROM participants p JOIN wrote ON wrote.conversation_id = p.conversation_id AND wrote.author_id = p.partner_id
        ORDER BY p.conversation_id, p.partner_id FOR NO KEY UPDATE OF p
    ), counted AS (
        UPDATE participants p SET own_after = p.own_after + authors.messages, last_own_id = authors.last_id
        FROM authors WHERE p.conversation_id = authors.conversation_id AND p.partner_id = authors.partner_id
    )
    SELECT id FROM numbered ORDER BY place";
const INSERT_MESSAGE_ATTACHMENTS: &str = "WITH sent AS (
        UPDATE attachments SET sent = true WHERE id = ANY ($3) AND NOT sent
    )
    INSERT INTO message_attachments (message_id, place, attachment_id)
    SELECT message_id, place, attachment_id
    FROM unnest($1::bigint[], $2::int[], $3::bigint[]) AS new(message_id, place, attachment_id)";
/// Two index ranges for each client key, so that the cost does not depend on how often a client restarts its keys.
const BY_CLIENT_KEY: &str = concat!(
    "SELECT m.client_hash, ",
    message_columns!(),
    " FROM (
        SELECT DISTINCT conversation_id, author_id, client_key, client_hash
        FROM unnest((SELECT $1::bigint[]), (SELECT $2::bigint[]), (SELECT $3::text[]), (SELECT $4::bytea[]))
            AS key(conversation_id, author_id, client_key, client_hash)
    ) key CROSS JOIN LATERAL (
        SELECT * FROM messages m WHERE m.conversation_id = key.conversation_id AND m.author_id = key.author_id
            AND m.client_key = key.client_key AND m.client_hash = key.client_hash
        UNION ALL
        SELECT * FROM messages m WHERE m.conversation_id = key.conversation_id AND m.author_id = key.author_id
            AND m.client_key = key.client_key AND m.client_hash IS NULL
    ) m"
);
/// Locks the attachments so that they still exist at the insert, and can be marked as sent.
const ATTACHMENTS_TO_SEND: &str =
    concat!("SELECT ", attachment_columns!(), " FROM attachments f WHERE f.id = ANY ($1) ORDER BY f.id FOR NO KEY UPDATE");

#[async_trait]
impl Messages for Postgres {
    async fn messages_by_id(&self, ids: &[MessageId]) -> Result<Vec<Message>> {
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        let ids: Vec<i64> = ids.iter().map(|id| id.0).collect();
        self.rows(sqlx::query(BY_ID).bind(ids)).await?.iter().map(message).collect()
    }

    async fn locate_messages(&self, ids: &[MessageId]) -> Result<Vec<MessageLocation>> {
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        let ids: Vec<i64> = ids.iter().map(|id| id.0).collect();
        self.rows(sqlx::query(LOCATE).bind(ids)).await?.iter().map(located).collect()
    }

    async fn messages_at(&self, places: &[(ConversationId, i64)]) -> Result<Vec<MessageLocation>> {
        if places.is_empty() {
            return Ok(Vec::new());
        }
        let (conversations, seqs): (Vec<i64>, Vec<i64>) = places.iter().map(|(id, seq)| (id.0, *seq)).unzip();
        self.rows(sqlx::query(AT).bind(conversations).bind(seqs)).await?.iter().map(located).collect()
    }

    async fn last_messages(&self, of: &[(ConversationId, PartnerId)], reader: PartnerId) -> Result<Vec<Message>> {
        if of.is_empty() {
            return Ok(Vec::new());
        }
        let (conversations, partners): (Vec<i64>, Vec<i64>) = of.iter().map(|(id, partner)| (id.0, partner.0)).unzip();
        let last = sqlx::query(LAST_MESSAGES).bind(conversations).bind(partners).bind(reader.0);
        self.rows(last).await?.iter().map(last_message).collect()
    }

    async fn draw_message_id(&self) -> Result<MessageId> {
        Ok(MessageId(get(&self.only_row(sqlx::query(DRAW_ID)).await?, "id")?))
    }

    async fn messages(&self, of: ConversationId, reader: PartnerId, page: Page) -> Result<Vec<MessageForReader>> {
        let (statement, edge, most) = match page {
            Page::Newest { offset, limit } => (NEWEST, skipped(offset), limit),
            Page::Before { id, limit } => (BEFORE, id.0, limit),
            Page::After { id, limit } => (AFTER, id.0, limit),
        };
        let page_query = sqlx::query(statement).bind(of.0).bind(reader.0).bind(edge).bind(limit(most)).bind(limit(PAGE_BYTES));
        self.rows(page_query).await?.iter().map(seen).collect()
    }

    async fn newest_bytes(&self, of: ConversationId, reader: PartnerId, offset: u64, limit: usize) -> Result<usize> {
        let size = sqlx::query(NEWEST_BYTES).bind(of.0).bind(reader.0).bind(skipped(offset)).bind(self::limit(limit));
        let bytes: i64 = get(&self.only_row(size).await?, "bytes")?;
        Ok(usize::try_from(bytes).unwrap_or_default())
    }

    async fn messages_with_files(
        &self,
        of: ConversationId,
        reader: PartnerId,
        before: Option<MessageId>,
        limit: usize,
    ) -> Result<Vec<Message>> {
        let before = before.map_or(i64::MAX, |before| before.0);
        let page = sqlx::query(WITH_FILES).bind(of.0).bind(reader.0).bind(before);
        let page = page.bind(self::limit(limit)).bind(self::limit(PAGE_BYTES));
        self.rows(page).await?.iter().map(message).collect()
    }

    async fn conversations_with_new_messages(&self, partner: PartnerId, since: Timestamp) -> Result<Vec<ConversationId>> {
        let rows = self.rows(sqlx::query(WITH_NEWS).bind(partner.0).bind(since)).await?;
        rows.iter().map(|row| Ok(ConversationId(get(row, "conversation_id")?))).collect()
    }
}

#[async_trait]
impl WriteMessages for PostgresTx {
    async fn insert_messages(&mut self, to: Vec<Locked<Conversation>>, new: Vec<NewMessage>) -> Result<Vec<Message>> {
        if new.is_empty() {
            return Ok(Vec::new());
        }
        let mut last_seqs: HashMap<_, _> = to.iter().map(|conversation| (conversation.id, conversation.last_seq)).collect();
        let next_seq = |message: &NewMessage| {
            let last = last_seqs.get_mut(&message.conversation).expect("messages go to locked conversations");
            *last += 1;
            *last
        };
        let seqs: Vec<i64> = new.iter().map(next_seq).collect();
        let insert = sqlx::query(INSERT_MESSAGES)
            .bind(new.iter().map(|message| message.conversation.0).collect::<Vec<_>>())
            .bind(new.iter().map(|message| message.author.partner.0).collect::<Vec<_>>())
            .bind(new.iter().map(|message| message.message_type.as_str()).collect::<Vec<_>>())
            .bind(new.iter().map(|message| message.body.as_str()).collect::<Vec<_>>())
            .bind(new.iter().map(|message| message.metadata.as_ref().map(Metadata::json)).collect::<Vec<_>>())
            .bind(new.iter().map(|message| !message.attachments.is_empty()).collect::<Vec<_>>())
            .bind(new.iter().map(|message| message.client_key.as_ref().map(|key| key.key.as_str())).collect::<Vec<_>>())
            .bind(new.iter().map(|message| message.client_key.as_ref().map(|key| key.hash.as_slice())).collect::<Vec<_>>())
            .bind(new.iter().map(|message| message.external_id.as_deref()).collect::<Vec<_>>())
            .bind(new.iter().map(|message| message.reply_to.map(|id| id.0)).collect::<Vec<_>>())
            .bind(new.iter().map(|message| message.support_side.map(MessageSide::as_str)).collect::<Vec<_>>())
            .bind(new.iter().map(|message| message.held).collect::<Vec<_>>())
            .bind(new.iter().map(|message| message.created_at).collect::<Vec<_>>())
            .bind(&seqs);
        let rows = self.rows(insert).await?;
        let stored = rows
            .iter()
            .zip(seqs)
            .zip(new)
            .map(|((row, seq), new)| Ok(new.stored(MessageId(get(row, "id")?), seq)))
            .collect::<sqlx::Result<Vec<Message>>>()?;
        self.insert_message_attachments(&stored).await?;
        Ok(stored)
    }

    async fn messages_by_client_key(&mut self, keys: &[ClientKey]) -> Result<Vec<KeyedMessage>> {
        if keys.is_empty() {
            return Ok(Vec::new());
        }
        let find = sqlx::query(BY_CLIENT_KEY)
            .bind(keys.iter().map(|key| key.conversation.0).collect::<Vec<_>>())
            .bind(keys.iter().map(|key| key.author.0).collect::<Vec<_>>())
            .bind(keys.iter().map(|key| key.key.as_str()).collect::<Vec<_>>())
            .bind(keys.iter().map(|key| key.hash.as_slice()).collect::<Vec<_>>());
        let keyed = |row: &PgRow| {
            let hash = get::<Option<&[u8]>, _>(row, "client_hash")?.map(ContentHash::try_from).transpose();
            let hash = hash.map_err(|_| Error::Corrupt("client_hash is not a SHA-256".into()))?;
            Ok(KeyedMessage { message: message(row)?, hash })
        };
        self.rows(find).await?.iter().map(keyed).collect()
    }

    async fn set_content_hash(&mut self, of: MessageId, hash: &ContentHash) -> Result<()> {
        self.rows(sqlx::query(KEEP_CONTENT_HASH).bind(of.0).bind(hash.as_slice())).await.map(drop)
    }

    async fn release_client_keys(&mut self, of: &[MessageId]) -> Result<()> {
        if of.is_empty() {
            return Ok(());
        }
        let ids: Vec<i64> = of.iter().map(|id| id.0).collect();
        let released = self.rows(sqlx::query(RELEASE_CLIENT_KEYS).bind(ids)).await?;
        let released = released.iter().map(|row| get(row, "id")).collect::<sqlx::Result<_>>()?;
        let messages = self.messages_as_they_are(released).await?;
        self.rewrite_copies(&messages).await
    }

    async fn seqs_of(&mut self, messages: &[(ConversationId, MessageId)]) -> Result<HashMap<(ConversationId, MessageId), i64>> {
        if messages.is_empty() {
            return Ok(HashMap::new());
        }
        let (conversations, ids): (Vec<i64>, Vec<i64>) = messages.iter().map(|(of, id)| (of.0, id.0)).unzip();
        let rows = self.rows(sqlx::query(SEQS_OF).bind(conversations).bind(ids)).await?;
        let seq = |row: &PgRow| {
            let place = (ConversationId(get(row, "conversation_id")?), MessageId(get(row, "id")?));
            Ok((place, get(row, "seq")?))
        };
        rows.iter().map(seq).collect()
    }

    async fn message_of(&mut self, of: &Locked<Conversation>, id: MessageId) -> Result<Option<Message>> {
        let row = self.row(sqlx::query(OF_CONVERSATION).bind(of.id.0).bind(id.0)).await?;
        row.as_ref().map(message).transpose()
    }

    async fn edit_message(
        &mut self,
        of: &Locked<Conversation>,
        id: MessageId,
        body: &str,
        by: PartnerId,
        at: Timestamp,
    ) -> Result<Option<Message>> {
        self.rows(sqlx::query(EDIT).bind(of.id.0).bind(id.0).bind(body).bind(at).bind(by.0)).await?;
        self.rows(sqlx::query(SUPERSEDE_EDITS).bind(id.0)).await?;
        self.changed_message(of, id).await
    }

    async fn delete_message(
        &mut self,
        of: &Locked<Conversation>,
        id: MessageId,
        by: PartnerId,
        at: Timestamp,
    ) -> Result<Option<DeletedMessage>> {
        let held = self.rows(sqlx::query(LOCK_ATTACHMENTS_OF).bind(of.id.0).bind(id.0)).await?;
        self.rows(sqlx::query(DELETE).bind(of.id.0).bind(id.0).bind(at).bind(by.0)).await?;
        let mut files = held.iter().map(attachment).collect::<Result<Vec<_>>>()?;
        files.dedup_by_key(|file| file.id);
        if !files.is_empty() {
            let ids: Vec<i64> = files.iter().map(|file| file.id.0).collect();
            let still = self.rows(sqlx::query(STILL_HELD).bind(ids)).await?;
            let still = still.iter().map(|row| get(row, "id")).collect::<sqlx::Result<HashSet<i64>>>()?;
            files.retain(|file| !still.contains(&file.id.0));
        }
        let Some(message) = self.changed_message(of, id).await? else { return Ok(None) };
        self.rows(sqlx::query(FORGET_REACTIONS).bind(id.0)).await?;
        Ok(Some(DeletedMessage { message, files }))
    }

    async fn show_message(&mut self, of: &Locked<Conversation>, id: MessageId) -> Result<Option<Message>> {
        self.rows(sqlx::query(SHOW).bind(of.id.0).bind(id.0)).await?;
        self.changed_message(of, id).await
    }

    async fn attachments_to_send(&mut self, ids: &[AttachmentId]) -> Result<Vec<Attachment>> {
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        let ids: Vec<i64> = ids.iter().map(|id| id.0).collect();
        self.rows(sqlx::query(ATTACHMENTS_TO_SEND).bind(ids)).await?.iter().map(attachment).collect()
    }
}

impl PostgresTx {
    /// Reads a message of the conversation after a change, and rewrites its copies in the event log.
    async fn changed_message(&mut self, of: &Locked<Conversation>, id: MessageId) -> Result<Option<Message>> {
        let message = self.message_of(of, id).await?;
        self.rewrite_copies(message.as_slice()).await?;
        Ok(message)
    }

    /// Reads messages as this transaction has changed them.
    pub(crate) async fn messages_as_they_are(&mut self, ids: Vec<i64>) -> Result<Vec<Message>> {
        self.rows(sqlx::query(BY_ID).bind(ids)).await?.iter().map(message).collect()
    }

    /// Makes the copies of these messages in the event log equal to them.
    pub(crate) async fn rewrite_copies(&mut self, messages: &[Message]) -> Result<()> {
        if messages.is_empty() {
            return Ok(());
        }
        let ids: Vec<i64> = messages.iter().map(|message| message.id.0).collect();
        let texts = messages.iter().map(|message| serde_json::to_string(message).map_err(|error| Error::Internal(error.into())));
        let texts = texts.collect::<Result<Vec<String>>>()?;
        self.rows(sqlx::query(REWRITE_COPIES).bind(ids).bind(texts)).await.map(drop)
    }

    pub(crate) async fn insert_message_attachments(&mut self, messages: &[Message]) -> Result<()> {
        let (mut of, mut places, mut attachments) = (Vec::new(), Vec::new(), Vec::new());
        for message in messages {
            for (place, attachment) in (0_i32..).zip(&message.attachments) {
                of.push(message.id.0);
                places.push(place);
                attachments.push(attachment.id.0);
            }
        }
        if of.is_empty() {
            return Ok(());
        }
        let insert = sqlx::query(INSERT_MESSAGE_ATTACHMENTS).bind(of).bind(places).bind(attachments);
        self.rows(insert).await.map(drop)
    }
}
