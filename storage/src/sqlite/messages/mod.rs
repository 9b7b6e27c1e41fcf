//! SQLite statements of messages: keyset pages, batched inserts, edits, tombstones and client keys.

pub(crate) mod attachments;
pub(crate) mod changes;
pub(crate) mod held_messages;
pub(crate) mod message_rows;
pub(crate) mod reactions;
pub(crate) mod reads;
pub(crate) mod search;
pub(crate) mod uploads;

use std::collections::{BTreeMap, HashMap, HashSet};

use async_trait::async_trait;
use sqlx::sqlite::SqliteRow;

use super::{
    DRAW, Sqlite, SqliteTx, get, hex, limit, list,
    messages::{
        attachments::{attachment, attachment_columns},
        message_rows::{
            file_bytes, last_message, last_message_columns, located, message, message_columns, seen, seen_columns, seen_marks,
            visible_after,
        },
        reactions::reaction_counts,
        reads::{read_by_newcomers, read_by_others},
    },
    micros, only,
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
                SELECT id, sum(bytes) OVER (ORDER BY id ",
            $order,
            ") - bytes AS bytes_before
                FROM (
                    SELECT m.id, octet_length(m.body) + ",
            file_bytes!(),
            " AS bytes FROM messages m
                    WHERE m.conversation_id = $1 AND ",
            $condition,
            " ORDER BY ",
            $key,
            " ",
            $order,
            " LIMIT +$4
                )
            ) page CROSS JOIN messages m ON m.id = page.id WHERE page.bytes_before < $5 ORDER BY m.id ",
            $order
        )
    };
}

const BY_ID: &str = concat!("SELECT ", message_columns!(), " FROM messages m WHERE m.id IN (SELECT value FROM json_each($1))");
const LOCATE: &str = "SELECT m.conversation_id, m.seq, m.id, m.author_id FROM messages m
    WHERE m.id IN (SELECT value FROM json_each($1))";
const AT: &str = "SELECT m.conversation_id, m.seq, m.id, m.author_id
    FROM (SELECT DISTINCT value ->> 0 AS conversation_id, value ->> 1 AS seq FROM json_each($1)) place
    CROSS JOIN messages m ON m.conversation_id = place.conversation_id AND m.seq = place.seq";
const LAST_MESSAGES: &str = concat!(
    "SELECT ",
    last_message_columns!(),
    " FROM json_each($1) asked
      CROSS JOIN participants p ON p.conversation_id = asked.value ->> 0 AND p.partner_id = asked.value ->> 1
      CROSS JOIN messages m ON m.id = p.last_own_id
      LEFT JOIN participants reader ON reader.conversation_id = p.conversation_id AND reader.partner_id = $2
      WHERE m.seq > coalesce(reader.visible_from_seq, 0)"
);
const OF_CONVERSATION: &str =
    concat!("SELECT ", message_columns!(), " FROM messages m WHERE m.id = $2 AND m.conversation_id = $1");
const EDIT: &str = "UPDATE messages SET body = $3, edited_at = $4, edited_by = $5 WHERE id = $2 AND conversation_id = $1";
const ATTACHMENTS_OF: &str = concat!(
    "SELECT ",
    attachment_columns!(),
    " FROM message_attachments ma
    CROSS JOIN messages m ON m.id = ma.message_id CROSS JOIN attachments f ON f.id = ma.attachment_id
    WHERE ma.message_id = $2 AND m.conversation_id = $1 ORDER BY f.id"
);
/// Finds the attachments that remain. A trigger of the schema deletes a file with the last message that holds it.
const STILL_HELD: &str = "SELECT id FROM attachments WHERE id IN (SELECT value FROM json_each($1))";
const DETACH_FILES: &str = "DELETE FROM message_attachments
    WHERE message_id = (SELECT id FROM messages WHERE id = $2 AND conversation_id = $1)";
/// Counts a message for nobody any more, and turns it into a tombstone.
const DELETE: &str = "UPDATE participants SET own_after = own_after + 1
    FROM (SELECT seq, author_id FROM messages WHERE id = $2 AND conversation_id = $1 AND deleted_at IS NULL) m
    WHERE conversation_id = $1 AND read_seq < m.seq AND partner_id <> m.author_id;
    UPDATE messages SET body = '', metadata = NULL, has_attachments = false, deleted_at = $3, deleted_by = $4
    WHERE id = $2 AND conversation_id = $1";
const FORGET_REACTIONS: &str = "DELETE FROM reactions WHERE message_id = $1";
/// Rewrites the copies of messages in the event log. The kind of a fact is the first string after its name. Text functions, since
/// metadata stays byte for byte.
const REWRITE_COPIES: &str = r#"UPDATE events
    SET fact = '{"fact":"' || substr(fact, 10, instr(substr(fact, 10), '"') - 1) || '","of":' || (copy.value ->> 1) || '}'
    FROM json_each($1) copy WHERE message_id = copy.value ->> 0"#;
const SUPERSEDE_EDITS: &str = r#"UPDATE events SET fact = '{"fact":"edit_superseded"}', message_id = NULL
    WHERE message_id = $1 AND fact LIKE '{"fact":"message_edited"%'"#;
const KEEP_CONTENT_HASH: &str =
    "UPDATE messages SET client_hash = $2 WHERE id = $1 AND client_key IS NOT NULL AND client_hash IS NULL";
const RELEASE_CLIENT_KEYS: &str = "UPDATE messages SET client_key = NULL, client_hash = NULL
    WHERE id IN (SELECT value FROM json_each($1)) AND client_key IS NOT NULL RETURNING id";
const SEQS_OF: &str = "SELECT m.conversation_id, m.id, m.seq FROM json_each($1) asked
    CROSS JOIN messages m ON m.id = asked.value ->> 1 AND m.conversation_id = asked.value ->> 0";
const SHOW: &str = "UPDATE messages SET held = false WHERE id = $2 AND conversation_id = $1";
/// Offset pagination at constant cost: `seq` has no gaps, so the offset is a subtraction.
const NEWEST: &str =
    page!("m.seq <= (SELECT last_seq FROM seen) - $3 AND m.seq > (SELECT visible_from_seq FROM seen)", "m.seq", "DESC");
const BEFORE: &str = page!("m.id > (SELECT visible_after FROM seen) AND m.id < $3", "m.id", "DESC");
const AFTER: &str = page!("m.id > (SELECT visible_after FROM seen) AND m.id > $3", "m.id", "ASC");
const NEWEST_BYTES: &str = concat!(
    "SELECT coalesce(sum(bytes), 0) AS bytes FROM (
        SELECT octet_length(m.body) + ",
    file_bytes!(),
    " AS bytes FROM messages m
        WHERE m.conversation_id = $1 AND m.seq <= (SELECT c.last_seq FROM conversations c WHERE c.id = $1) - $3
            AND m.seq > coalesce((SELECT p.visible_from_seq FROM participants p
                                  WHERE p.conversation_id = $1 AND p.partner_id = $2), 0)
        ORDER BY m.seq DESC LIMIT +$4
    )"
);
/// Uses a partial index on `has_attachments`. The column stays true when attachments are deleted, hence the `EXISTS`.
const WITH_FILES: &str = concat!(
    "SELECT ",
    message_columns!(),
    " FROM (
        SELECT id, sum(bytes) OVER (ORDER BY id DESC) - bytes AS bytes_before
        FROM (
            SELECT m.id, octet_length(m.body) + ",
    file_bytes!(),
    " AS bytes FROM messages m WHERE m.conversation_id = $1 AND m.has_attachments AND m.id < $3
                AND m.id > ",
    visible_after!(),
    "           AND EXISTS (SELECT 1 FROM message_attachments ma WHERE ma.message_id = m.id)
            ORDER BY m.id DESC LIMIT +$4
        )
    ) page CROSS JOIN messages m ON m.id = page.id WHERE page.bytes_before < $5 ORDER BY m.id DESC"
);
const WITH_NEWS: &str = "SELECT p.conversation_id FROM participants p
    WHERE p.partner_id = $1 AND EXISTS (
        SELECT 1 FROM messages m
        WHERE m.conversation_id = p.conversation_id AND m.created_at > $2 AND m.author_id <> p.partner_id
            AND m.seq > p.visible_from_seq
    )
    ORDER BY p.conversation_id";

const SEQUENCE: &str = "messages_id";
/// Id of the first of the `$1` messages that were drawn last.
macro_rules! first_id {
    () => {
        "(SELECT value - $1 + 1 FROM sequences WHERE name = 'messages_id')"
    };
}
/// Inserts `$1` messages, with ids in their order, and lets conversations and authors follow them.
const INSERT_MESSAGES: &str = concat!(
    "UPDATE sequences SET value = value + $1 WHERE name = 'messages_id' RETURNING value - $1 + 1 AS first;
    INSERT INTO messages (id, conversation_id, seq, author_id, message_type, body, metadata,
        has_attachments, client_key, client_hash, external_id, reply_to_id, support_side, held, created_at)
    SELECT ",
    first_id!(),
    " + key, value ->> 0, value ->> 1, value ->> 2, value ->> 3, value ->> 4, value ->> 5, value ->> 6, value ->> 7,
        unhex(value ->> 8), value ->> 9, value ->> 10, value ->> 11, value ->> 12, value ->> 13
    FROM json_each($2);
    UPDATE conversations SET last_seq = newest.value ->> 1, last_message_at = newest.value ->> 3, last_message_id = ",
    first_id!(),
    " + (newest.value ->> 2)
    FROM json_each($3) newest WHERE conversations.id = newest.value ->> 0;
    UPDATE participants SET own_after = own_after + (wrote.value ->> 2), last_own_id = ",
    first_id!(),
    " + (wrote.value ->> 3)
    FROM json_each($4) wrote WHERE conversation_id = wrote.value ->> 0 AND partner_id = wrote.value ->> 1"
);
/// Message in the order of the columns of [`INSERT_MESSAGES`].
type MessageColumns<'a> = (
    ConversationId,
    i64,
    PartnerId,
    &'static str,
    &'a str,
    Option<&'a str>,
    bool,
    Option<&'a str>,
    Option<String>,
    Option<&'a str>,
    Option<MessageId>,
    Option<&'static str>,
    bool,
    i64,
);
const INSERT_MESSAGE_ATTACHMENTS: &str =
    "UPDATE attachments SET sent = true WHERE id IN (SELECT value ->> 2 FROM json_each($1)) AND NOT sent;
    INSERT INTO message_attachments (message_id, place, attachment_id)
    SELECT value ->> 0, value ->> 1, value ->> 2 FROM json_each($1)";
/// Two index ranges for each client key, so that the cost does not depend on how often a client restarts its keys.
const BY_CLIENT_KEY: &str = concat!(
    "SELECT m.client_hash, ",
    message_columns!(),
    " FROM (
        SELECT DISTINCT value ->> 0 AS conversation_id, value ->> 1 AS author_id, value ->> 2 AS client_key,
            unhex(value ->> 3) AS client_hash
        FROM json_each($1)
    ) key CROSS JOIN messages m ON m.id IN (
        SELECT id FROM messages WHERE conversation_id = key.conversation_id AND author_id = key.author_id
            AND client_key = key.client_key AND client_hash = key.client_hash
        UNION ALL
        SELECT id FROM messages WHERE conversation_id = key.conversation_id AND author_id = key.author_id
            AND client_key = key.client_key AND client_hash IS NULL
    )"
);
const ATTACHMENTS_TO_SEND: &str = concat!(
    "SELECT ",
    attachment_columns!(),
    " FROM attachments f WHERE f.id IN (SELECT value FROM json_each($1)) ORDER BY f.id"
);

#[async_trait]
impl Messages for Sqlite {
    async fn messages_by_id(&self, ids: &[MessageId]) -> Result<Vec<Message>> {
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        self.rows(sqlx::query(BY_ID).bind(list(ids))).await?.iter().map(message).collect()
    }

    async fn locate_messages(&self, ids: &[MessageId]) -> Result<Vec<MessageLocation>> {
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        self.rows(sqlx::query(LOCATE).bind(list(ids))).await?.iter().map(located).collect()
    }

    async fn messages_at(&self, places: &[(ConversationId, i64)]) -> Result<Vec<MessageLocation>> {
        if places.is_empty() {
            return Ok(Vec::new());
        }
        self.rows(sqlx::query(AT).bind(list(places))).await?.iter().map(located).collect()
    }

    async fn last_messages(&self, of: &[(ConversationId, PartnerId)], reader: PartnerId) -> Result<Vec<Message>> {
        if of.is_empty() {
            return Ok(Vec::new());
        }
        self.rows(sqlx::query(LAST_MESSAGES).bind(list(of)).bind(reader.0)).await?.iter().map(last_message).collect()
    }

    async fn draw_message_id(&self) -> Result<MessageId> {
        let rows = self.write(sqlx::query(DRAW).bind(SEQUENCE).bind(1)).await?;
        Ok(MessageId(get(only(rows.first())?, 0)?))
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
        let rows = self.rows(sqlx::query(WITH_NEWS).bind(partner.0).bind(micros(since))).await?;
        rows.iter().map(|row| Ok(ConversationId(get(row, "conversation_id")?))).collect()
    }
}

#[async_trait]
impl WriteMessages for SqliteTx {
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
            .bind(limit(new.len()))
            .bind(list(new.iter().zip(&seqs).map(|(message, seq)| columns(message, *seq))))
            .bind(newest(&seqs, &new))
            .bind(written(&new));
        let first: i64 = get(&self.only_row(insert).await?, "first")?;
        let stored = new.into_iter().zip(seqs).zip(first..).map(|((new, seq), id)| new.stored(MessageId(id), seq));
        let stored: Vec<Message> = stored.collect();
        self.insert_message_attachments(&stored).await?;
        Ok(stored)
    }

    async fn messages_by_client_key(&mut self, keys: &[ClientKey]) -> Result<Vec<KeyedMessage>> {
        if keys.is_empty() {
            return Ok(Vec::new());
        }
        let keys = list(keys.iter().map(|key| (key.conversation, key.author, &key.key, hex(&key.hash))));
        let keyed = |row: &SqliteRow| {
            let hash = get::<Option<&[u8]>, _>(row, "client_hash")?.map(ContentHash::try_from).transpose();
            let hash = hash.map_err(|_| Error::Corrupt("client_hash is not a SHA-256".into()))?;
            Ok(KeyedMessage { message: message(row)?, hash })
        };
        self.rows(sqlx::query(BY_CLIENT_KEY).bind(keys)).await?.iter().map(keyed).collect()
    }

    async fn set_content_hash(&mut self, of: MessageId, hash: &ContentHash) -> Result<()> {
        self.rows(sqlx::query(KEEP_CONTENT_HASH).bind(of.0).bind(&hash[..])).await.map(drop)
    }

    async fn release_client_keys(&mut self, of: &[MessageId]) -> Result<()> {
        if of.is_empty() {
            return Ok(());
        }
        let released = self.rows(sqlx::query(RELEASE_CLIENT_KEYS).bind(list(of))).await?;
        let released = released.iter().map(|row| get(row, "id")).collect::<Result<_>>()?;
        let messages = self.messages_as_they_are(released).await?;
        self.rewrite_copies(&messages).await
    }

    async fn seqs_of(&mut self, messages: &[(ConversationId, MessageId)]) -> Result<HashMap<(ConversationId, MessageId), i64>> {
        if messages.is_empty() {
            return Ok(HashMap::new());
        }
        let rows = self.rows(sqlx::query(SEQS_OF).bind(list(messages))).await?;
        let seq = |row: &SqliteRow| {
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
        self.rows(sqlx::query(EDIT).bind(of.id.0).bind(id.0).bind(body).bind(micros(at)).bind(by.0)).await?;
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
        let held = self.rows(sqlx::query(ATTACHMENTS_OF).bind(of.id.0).bind(id.0)).await?;
        let mut files = held.iter().map(attachment).collect::<Result<Vec<_>>>()?;
        files.dedup_by_key(|file| file.id);
        self.rows(sqlx::query(DELETE).bind(of.id.0).bind(id.0).bind(micros(at)).bind(by.0)).await?;
        if !files.is_empty() {
            self.rows(sqlx::query(DETACH_FILES).bind(of.id.0).bind(id.0)).await?;
            let still = self.rows(sqlx::query(STILL_HELD).bind(list(files.iter().map(|file| file.id)))).await?;
            let still = still.iter().map(|row| get(row, "id")).collect::<Result<HashSet<i64>>>()?;
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
        self.rows(sqlx::query(ATTACHMENTS_TO_SEND).bind(list(ids))).await?.iter().map(attachment).collect()
    }
}

impl SqliteTx {
    /// Reads a message of the conversation after a change, and rewrites its copies in the event log.
    async fn changed_message(&mut self, of: &Locked<Conversation>, id: MessageId) -> Result<Option<Message>> {
        let message = self.message_of(of, id).await?;
        self.rewrite_copies(message.as_slice()).await?;
        Ok(message)
    }

    /// Reads messages as this transaction has changed them.
    pub(crate) async fn messages_as_they_are(&mut self, ids: Vec<i64>) -> Result<Vec<Message>> {
        self.rows(sqlx::query(BY_ID).bind(list(ids))).await?.iter().map(message).collect()
    }

    /// Makes the copies of these messages in the event log equal to them.
    pub(crate) async fn rewrite_copies(&mut self, messages: &[Message]) -> Result<()> {
        if messages.is_empty() {
            return Ok(());
        }
        let copies = messages.iter().map(|message| {
            let text = serde_json::to_string(message).map_err(|error| Error::Internal(error.into()))?;
            Ok((message.id, text))
        });
        let copies = copies.collect::<Result<Vec<_>>>()?;
        self.rows(sqlx::query(REWRITE_COPIES).bind(list(copies))).await.map(drop)
    }

    pub(crate) async fn insert_message_attachments(&mut self, messages: &[Message]) -> Result<()> {
        let of = |message: &Message| {
            let files = message.attachments.iter().enumerate();
            files.map(|(place, file)| (message.id, place, file.id)).collect::<Vec<_>>()
        };
        let files: Vec<_> = messages.iter().flat_map(of).collect();
        if files.is_empty() {
            return Ok(());
        }
        self.rows(sqlx::query(INSERT_MESSAGE_ATTACHMENTS).bind(list(files))).await.map(drop)
    }
}

/// The newest message of each conversation: `seq`, place among the new ones, and time.
fn newest(seqs: &[i64], new: &[NewMessage]) -> String {
    let newest = new.iter().zip(seqs).enumerate();
    let newest: BTreeMap<_, _> =
        newest.map(|(at, (message, seq))| (message.conversation, (seq, at, message.created_at))).collect();
    list(newest.into_iter().map(|(of, (seq, at, created_at))| (of, seq, at, micros(created_at))))
}

/// The number of messages of each author in each conversation, and the place of the last among the new ones.
fn written(new: &[NewMessage]) -> String {
    let mut written = BTreeMap::new();
    for (at, message) in new.iter().enumerate() {
        let (messages, last) = written.entry((message.conversation, message.author.partner)).or_insert((0, at));
        (*messages, *last) = (*messages + 1, at);
    }
    list(written.into_iter().map(|((of, author), (messages, last))| (of, author, messages, last)))
}

fn columns(message: &NewMessage, seq: i64) -> MessageColumns<'_> {
    let key = message.client_key.as_ref();
    (
        message.conversation,
        seq,
        message.author.partner,
        message.message_type.as_str(),
        &message.body,
        message.metadata.as_ref().map(Metadata::json),
        !message.attachments.is_empty(),
        key.map(|key| key.key.as_str()),
        key.map(|key| hex(&key.hash)),
        message.external_id.as_deref(),
        message.reply_to,
        message.support_side.map(MessageSide::as_str),
        message.held,
        micros(message.created_at),
    )
}
