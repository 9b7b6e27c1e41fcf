//! Messages: rows, pages by offset or by keyset (id), excerpts for lists, and idempotency keys (client keys). Within a
//! conversation, ids and `seq` rise together and become visible in that order.

pub(crate) mod attachments;
pub(crate) mod changes;
pub(crate) mod held_messages;
pub(crate) mod metadata;
pub(crate) mod reactions;
pub(crate) mod reads;
pub(crate) mod search;
pub(crate) mod uploads;

use std::collections::HashMap;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::{
    Attachment, AttachmentId, Conversation, ConversationId, Locked, MessageId, MessageSide, Metadata, PartnerId, ReactionCount,
    Result, Timestamp, UserId,
};

/// Type of a message, common to all dialects.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MessageType {
    Text,
    File,
    Image,
    Video,
    /// A notice about the conversation, for example that a participant has joined.
    Notice,
    /// A reference to another user's profile.
    Profile,
}

impl MessageType {
    /// Text form in the database and in the messaging dialect.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::File => "file",
            Self::Image => "image",
            Self::Video => "video",
            Self::Notice => "notice",
            Self::Profile => "profile",
        }
    }

    /// Parses the result of [`MessageType::as_str`].
    pub fn parse(word: &str) -> Option<Self> {
        [Self::Text, Self::File, Self::Image, Self::Video, Self::Notice, Self::Profile]
            .into_iter()
            .find(|kind| kind.as_str() == word)
    }
}

/// Author of a message, complete enough to be shown without another read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Author {
    pub partner: PartnerId,
    pub user: Option<UserId>,
    pub name: String,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Message {
    pub id: MessageId,
    /// Number of the message within its conversation: 1, 2, 3, ... without a gap, in the order of the ids.
    pub seq: i64,
    pub conversation: ConversationId,
    pub author: Author,
    pub message_type: MessageType,
    pub body: String,
    /// Data of the sender's dialect, returned as sent.
    pub metadata: Option<Metadata>,
    /// In the order in which the sender named them.
    pub attachments: Vec<Attachment>,
    pub client_key: Option<String>,
    /// The id in the host application.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub external_id: Option<String>,
    /// The answered message, in the same conversation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reply_to: Option<MessageId>,
    /// In a support session, the author's side at the time of writing. `None` for messages of the first release.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub support_side: Option<MessageSide>,
    /// True while the sender has not released the message to participants that are connected. Dialects without that step ignore
    /// it.
    #[serde(default)]
    pub held: bool,
    pub created_at: Timestamp,
    pub edited_at: Option<Timestamp>,
    /// The partner of the last edit; `None` if the first release made it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub edited_by: Option<PartnerId>,
    /// Time of deletion. The message is a tombstone: body, metadata and attachments are gone.
    pub deleted_at: Option<Timestamp>,
    /// The partner that deleted it; `None` as in [`Message::edited_by`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deleted_by: Option<PartnerId>,
}

impl Message {
    /// Size of the message within a page: its text, and [`FILE_BYTES`] for each file.
    pub fn bytes(&self) -> usize {
        self.body.len() + FILE_BYTES * self.attachments.len()
    }

    /// Cuts text and files to what lists show of a last message.
    pub(crate) fn listed(mut self) -> Self {
        self.body.truncate(excerpt(&self.body).len());
        self.attachments.truncate(listed_files(&self.attachments).len());
        self
    }
}

/// A message to be stored.
#[derive(Clone, Debug)]
pub struct NewMessage {
    pub conversation: ConversationId,
    pub author: Author,
    pub message_type: MessageType,
    pub body: String,
    pub metadata: Option<Metadata>,
    /// The attachments must exist.
    pub attachments: Vec<Attachment>,
    pub client_key: Option<NewClientKey>,
    pub external_id: Option<String>,
    /// Must be a message of the same conversation.
    pub reply_to: Option<MessageId>,
    pub support_side: Option<MessageSide>,
    pub held: bool,
    pub created_at: Timestamp,
}

impl NewMessage {
    /// The message as stored.
    pub(crate) fn stored(self, id: MessageId, seq: i64) -> Message {
        Message {
            id,
            seq,
            conversation: self.conversation,
            author: self.author,
            message_type: self.message_type,
            body: self.body,
            metadata: self.metadata,
            attachments: self.attachments,
            client_key: self.client_key.map(|key| key.key),
            external_id: self.external_id,
            reply_to: self.reply_to,
            support_side: self.support_side,
            held: self.held,
            created_at: self.created_at,
            edited_at: None,
            edited_by: None,
            deleted_at: None,
            deleted_by: None,
        }
    }
}

/// SHA-256 of a message's content as first sent.
pub type ContentHash = [u8; 32];

/// Idempotency key of a new message. The schema refuses a second message of the same author in the same conversation with the
/// same key and hash.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct NewClientKey {
    pub key: String,
    pub hash: ContentHash,
}

/// Idempotency key of a send, with the conversation and author within which it is unique.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ClientKey {
    pub conversation: ConversationId,
    pub author: PartnerId,
    pub key: String,
    pub hash: ContentHash,
}

/// Message that was sent with a client key.
#[derive(Clone, Debug, PartialEq)]
pub struct KeyedMessage {
    pub message: Message,
    /// Content hash; `None` for messages of the first release, which stored the key alone.
    pub hash: Option<ContentHash>,
}

/// Deleted message, and the attachments that no message holds any longer: their rows are gone, their bytes stay.
#[derive(Clone, Debug, PartialEq)]
pub struct DeletedMessage {
    pub message: Message,
    pub files: Vec<Attachment>,
}

/// Size limit of a page, in bytes as [`Message::bytes`] counts them. The message that reaches it is the last, even if `limit`
/// allows more.
pub const PAGE_BYTES: usize = 1024 * 1024;
/// Size of one file within a page, in bytes: about the JSON of a file with a long name.
pub const FILE_BYTES: usize = 1024;

/// Length of a page for items of these sizes: the item that reaches [`PAGE_BYTES`] is the last.
pub fn page_length(sizes: impl Iterator<Item = usize>) -> usize {
    let mut held = 0;
    let fits = |size: &usize| {
        let fits = held < PAGE_BYTES;
        held += size;
        fits
    };
    sizes.take_while(fits).count()
}

/// Limit of an excerpt of a last message in a list, in bytes, for the text, the metadata and the files each. The first file is
/// always included.
pub const EXCERPT_BYTES: usize = 1024;
/// Size of a file in a list without its name, in bytes: about its address, token and type.
const LISTED_FILE_BYTES: usize = 200;

/// Selects the files of a last message that lists show.
pub(crate) fn listed_files(files: &[Attachment]) -> &[Attachment] {
    let mut bytes = 0;
    let fits = |file: &&Attachment| {
        bytes += file.name.len() + LISTED_FILE_BYTES;
        bytes <= EXCERPT_BYTES
    };
    let fitting = files.iter().take_while(fits).count();
    &files[..fitting.max(1).min(files.len())]
}

/// Page of a conversation's messages, which ends at [`PAGE_BYTES`]. The cost of a page depends only on its content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Page {
    /// Offset pagination: newest first, after skipping the `offset` newest.
    Newest { offset: u64, limit: usize },
    /// Keyset pagination: smaller ids, newest first.
    Before { id: MessageId, limit: usize },
    /// Keyset pagination: larger ids, oldest first.
    After { id: MessageId, limit: usize },
}

impl Page {
    /// Newest messages, as the first page of keyset pagination.
    pub fn latest(limit: usize) -> Self {
        Self::Before { id: MessageId(i64::MAX), limit }
    }
}

/// Offset of a page for a statement. `i64::MAX / 2` is beyond every conversation, and leaves room for the subtraction.
pub(crate) fn skipped(offset: u64) -> i64 {
    i64::try_from(offset).unwrap_or(i64::MAX / 2)
}

/// Location of a message: ids and author, without content.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct MessageLocation {
    pub conversation: ConversationId,
    pub seq: i64,
    pub id: MessageId,
    pub author: PartnerId,
}

/// Cuts a text to its excerpt for lists, at a character boundary.
pub(crate) fn excerpt(body: &str) -> &str {
    &body[..body.floor_char_boundary(EXCERPT_BYTES)]
}

/// Message as one reader sees it.
#[derive(Clone, Debug, PartialEq)]
pub struct MessageForReader {
    pub message: Message,
    /// True if another participant has read the reader's own message, or if the reader has read a message of another author.
    pub is_read: bool,
    pub reactions: Vec<ReactionCount>,
}

/// Queries of messages. [`Storage`](crate::Storage) states errors and cancel safety.
#[async_trait]
pub trait Messages {
    /// Messages with these ids in any conversation, in no particular order; unknown ids are absent.
    async fn messages_by_id(&self, ids: &[MessageId]) -> Result<Vec<Message>>;
    /// Locations of the messages with these ids, as [`Messages::messages_by_id`] selects them. Reads no texts.
    async fn locate_messages(&self, ids: &[MessageId]) -> Result<Vec<MessageLocation>>;
    /// Locations of messages by conversation and `seq`, in no particular order; unknown ones are absent. Reads no texts.
    async fn messages_at(&self, places: &[(ConversationId, i64)]) -> Result<Vec<MessageLocation>>;
    /// Newest message of each of these participants, in no particular order; messages hidden from `reader` are absent. `of` names
    /// no participant twice. Reads no other messages, and of these an excerpt ([`EXCERPT_BYTES`]).
    async fn last_messages(&self, of: &[(ConversationId, PartnerId)], reader: PartnerId) -> Result<Vec<Message>>;
    /// Draws an id from the sequence of message ids. No message has or will have it.
    async fn draw_message_id(&self) -> Result<MessageId>;
    /// Page of a conversation, in the page's own order, without messages hidden from `reader`. Nothing is hidden from a reader
    /// that is no participant.
    async fn messages(&self, of: ConversationId, reader: PartnerId, page: Page) -> Result<Vec<MessageForReader>>;
    /// Size of what [`Page::Newest`] selects, as if it did not end at [`PAGE_BYTES`]. Reads no texts.
    async fn newest_bytes(&self, of: ConversationId, reader: PartnerId, offset: u64, limit: usize) -> Result<usize>;
    /// Messages of a conversation with attachments, newest first: those with an id smaller than `before`, or all, without
    /// messages hidden from `reader`. Ends at [`PAGE_BYTES`].
    async fn messages_with_files(
        &self,
        of: ConversationId,
        reader: PartnerId,
        before: Option<MessageId>,
        limit: usize,
    ) -> Result<Vec<Message>>;
    /// Finds the partner's conversations with a message by another author created after `since`; by rising id.
    async fn conversations_with_new_messages(&self, partner: PartnerId, since: Timestamp) -> Result<Vec<ConversationId>>;
}

/// Writes of messages. [`Tx`](crate::Tx) states errors and cancel safety.
#[async_trait]
pub trait WriteMessages {
    /// Stores messages. Each message's conversation must be in `to`. The `last_…` fields of the stored conversations follow, so
    /// `to` is consumed: lock again before the next insert.
    ///
    /// # Errors
    /// `Conflict("messages_client_key")` if a client key is taken: the send is a duplicate. `Conflict("messages_external_id")` if
    /// an external id is taken.
    ///
    /// # Ordering
    /// `seq` and id rise in the order of `new`. Ids of one conversation become visible in increasing order, whatever the writer.
    async fn insert_messages(&mut self, to: Vec<Locked<Conversation>>, new: Vec<NewMessage>) -> Result<Vec<Message>>;
    /// Finds messages by their client keys, for deduplication. Messages without a hash match any hash; unknown keys are absent.
    async fn messages_by_client_key(&mut self, keys: &[ClientKey]) -> Result<Vec<KeyedMessage>>;
    /// Stores the content hash of a message whose client key has none, as in the first release. Changes nothing in other
    /// messages.
    async fn set_content_hash(&mut self, of: MessageId, hash: &ContentHash) -> Result<()>;
    /// Frees the client keys of these messages, in the rows and in the event log, for new messages.
    async fn release_client_keys(&mut self, of: &[MessageId]) -> Result<()>;
    /// Finds the `seq` of each of these messages that is in the given conversation.
    async fn seqs_of(&mut self, messages: &[(ConversationId, MessageId)]) -> Result<HashMap<(ConversationId, MessageId), i64>>;
    /// Reads a message of the locked conversation. The lock keeps others from changing it.
    async fn message_of(&mut self, of: &Locked<Conversation>, id: MessageId) -> Result<Option<Message>>;
    /// Changes a message's text, in the row and in the event log; `None` if the conversation has no such message, as with the
    /// next two.
    async fn edit_message(
        &mut self,
        of: &Locked<Conversation>,
        id: MessageId,
        body: &str,
        by: PartnerId,
        at: Timestamp,
    ) -> Result<Option<Message>>;
    /// Turns a message into a tombstone: removes body, metadata, attachments and reactions, from the rows and from the event log.
    /// It keeps its `seq` and no longer counts as unread. Attachments that no other message holds are deleted.
    async fn delete_message(
        &mut self,
        of: &Locked<Conversation>,
        id: MessageId,
        by: PartnerId,
        at: Timestamp,
    ) -> Result<Option<DeletedMessage>>;
    /// Releases a held message, in the row and in the event log.
    async fn show_message(&mut self, of: &Locked<Conversation>, id: MessageId) -> Result<Option<Message>>;
    /// Attachments with these ids, locked for a send; unknown ones are absent.
    async fn attachments_to_send(&mut self, ids: &[AttachmentId]) -> Result<Vec<Attachment>>;
}
