use std::collections::HashMap;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::{
    Attachment, AttachmentId, Conversation, ConversationId, Locked, MessageId, MessageSide, Metadata, PartnerId, ReactionCount,
    Result, Timestamp, UserId,
};

/// What a message is, whichever dialect it came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MessageType {
    Text,
    File,
    Image,
    Video,
    /// Says what happened to the conversation, for example that somebody joined.
    Notice,
    /// Shows another user's profile.
    Profile,
}

impl MessageType {
    /// The word in the database and in the messaging dialect.
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

    /// The reverse of [`MessageType::as_str`].
    pub fn parse(word: &str) -> Option<Self> {
        [Self::Text, Self::File, Self::Image, Self::Video, Self::Notice, Self::Profile]
            .into_iter()
            .find(|kind| kind.as_str() == word)
    }
}

/// Who wrote a message, complete enough to be shown without another read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Author {
    pub partner: PartnerId,
    pub user: Option<UserId>,
    pub name: String,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Message {
    pub id: MessageId,
    /// 1, 2, 3, ... without a gap within the conversation, in the order of the ids.
    pub seq: i64,
    pub conversation: ConversationId,
    pub author: Author,
    pub message_type: MessageType,
    pub body: String,
    /// What the sender's dialect wants to have back, as it was sent.
    pub metadata: Option<Metadata>,
    /// In the order in which the sender named them.
    pub attachments: Vec<Attachment>,
    pub client_key: Option<String>,
    /// The id in the host application.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub external_id: Option<String>,
    /// The message of the same conversation that this one answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reply_to: Option<MessageId>,
    /// In a support session, the author's side when it wrote. `None` for messages of the first release.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub support_side: Option<MessageSide>,
    /// Its sender has not shown it yet to those who are there. In dialects without that step nobody waits for it.
    #[serde(default)]
    pub held: bool,
    pub created_at: Timestamp,
    pub edited_at: Option<Timestamp>,
    /// The partner who edited it last; `None` if the first release did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub edited_by: Option<PartnerId>,
    /// Its body, metadata and attachments are gone since then.
    pub deleted_at: Option<Timestamp>,
    /// As [`Message::edited_by`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deleted_by: Option<PartnerId>,
}

impl Message {
    /// Size of a message in a page: of its text, and [`FILE_BYTES`] for each of its files.
    pub fn bytes(&self) -> usize {
        self.body.len() + FILE_BYTES * self.attachments.len()
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
    /// Must exist.
    pub attachments: Vec<Attachment>,
    pub client_key: Option<NewClientKey>,
    pub external_id: Option<String>,
    /// Must be a message of the conversation.
    pub reply_to: Option<MessageId>,
    pub support_side: Option<MessageSide>,
    pub held: bool,
    pub created_at: Timestamp,
}

/// SHA-256 of a message's content as first sent.
pub type ContentHash = [u8; 32];

/// The idempotency key of a new message. A second message of the same author in the same conversation with the same key
/// and hash is refused by the schema.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct NewClientKey {
    pub key: String,
    pub hash: ContentHash,
}

/// The idempotency key of a send, with all that it is unique in.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ClientKey {
    pub conversation: ConversationId,
    pub author: PartnerId,
    pub key: String,
    pub hash: ContentHash,
}

/// A message that was sent with a client key.
#[derive(Clone, Debug, PartialEq)]
pub struct KeyedMessage {
    pub message: Message,
    /// `None` for messages of the first release, which kept the key alone.
    pub hash: Option<ContentHash>,
}

/// A message that was deleted, and the attachments that no message holds any longer: their rows are gone, their bytes stay.
#[derive(Clone, Debug, PartialEq)]
pub struct DeletedMessage {
    pub message: Message,
    pub files: Vec<Attachment>,
}

/// The size of a page that goes on by id, in bytes as [`Message::bytes`] has them. The message that reaches it is the last,
/// also where `limit` would allow more.
pub const PAGE_BYTES: usize = 1024 * 1024;
/// Size of a file of a message in a page, in bytes: about what an answer says of one with a long name.
pub const FILE_BYTES: usize = 1024;

/// The length of a page that goes on by id, of items of these sizes in its order: the one that reaches [`PAGE_BYTES`] is the
/// last.
pub fn fitting(sizes: impl Iterator<Item = usize>) -> usize {
    let mut held = 0;
    let fits = |size: &usize| {
        let fits = held < PAGE_BYTES;
        held += size;
        fits
    };
    sizes.take_while(fits).count()
}

/// The most that is read of the text of a last message in a list, of its metadata, and of its files, in bytes. The first file is
/// always read.
pub const EXCERPT_BYTES: usize = 1024;
/// What a list says of a file beside its name, in bytes: about its address, token and type.
const LISTED_BYTES: usize = 200;

/// The files of a last message that lists show.
pub(crate) fn listed(files: &[Attachment]) -> &[Attachment] {
    let mut bytes = 0;
    let fits = |file: &&Attachment| {
        bytes += file.name.len() + LISTED_BYTES;
        bytes <= EXCERPT_BYTES
    };
    let fitting = files.iter().take_while(fits).count();
    &files[..fitting.max(1).min(files.len())]
}

/// Which messages of a conversation to read. A page never costs more than what it returns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Page {
    /// Newest first, after passing over the `offset` newest. Holds as many as there are, up to `limit`.
    Newest { offset: u64, limit: usize },
    /// Those with a smaller id, newest first. Ends at [`PAGE_BYTES`].
    Before { id: MessageId, limit: usize },
    /// Those with a larger id, oldest first. Ends at [`PAGE_BYTES`].
    After { id: MessageId, limit: usize },
}

impl Page {
    /// The newest messages, as a page that goes on by id.
    pub fn latest(limit: usize) -> Self {
        Self::Before { id: MessageId(i64::MAX), limit }
    }
}

/// A message without what it says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Located {
    pub conversation: ConversationId,
    pub seq: i64,
    pub id: MessageId,
    pub author: PartnerId,
}

/// The beginning of a text, as far as lists show it: whole characters.
pub(crate) fn excerpt(body: &str) -> &str {
    &body[..body.floor_char_boundary(EXCERPT_BYTES)]
}

/// A message as one reader sees it.
#[derive(Clone, Debug, PartialEq)]
pub struct Seen {
    pub message: Message,
    /// Of the reader's own messages, whether anybody else has read it; of others', whether the reader has.
    pub is_read: bool,
    pub reactions: Vec<ReactionCount>,
}

#[async_trait]
pub trait Messages {
    /// The messages with these ids in any conversation, in no particular order; unknown ids are absent.
    async fn messages_by_id(&self, ids: &[MessageId]) -> Result<Vec<Message>>;
    /// Places of the messages with these ids; as [`Messages::messages_by_id`], but reads no texts.
    async fn locate_messages(&self, ids: &[MessageId]) -> Result<Vec<Located>>;
    /// The messages at these places, each a conversation and a `seq`, in no particular order; unknown ones are absent. Reads
    /// no texts.
    async fn messages_at(&self, places: &[(ConversationId, i64)]) -> Result<Vec<Located>>;
    /// The newest message of each participant in these conversations, in no particular order; those that are hidden from
    /// `reader` are absent. Reads no others, and of these an excerpt ([`EXCERPT_BYTES`]).
    async fn last_messages(&self, of: &[ConversationId], reader: PartnerId) -> Result<Vec<Message>>;
    /// An id that no message has nor will have, drawn from the same sequence.
    async fn draw_message_id(&self) -> Result<MessageId>;
    /// A page of a conversation, in the page's own order, as `reader` sees it: without what is hidden from it. From who is no
    /// participant nothing is hidden.
    async fn messages(&self, of: ConversationId, reader: PartnerId, page: Page) -> Result<Vec<Seen>>;
    /// The messages of a conversation that hold attachments, newest first: those with an id smaller than `before`, or all,
    /// without what is hidden from `reader`. Ends at [`PAGE_BYTES`].
    async fn messages_with_files(
        &self,
        of: ConversationId,
        reader: PartnerId,
        before: Option<MessageId>,
        limit: usize,
    ) -> Result<Vec<Message>>;
    /// Which of the partner's conversations hold a message of somebody else created after `since`; by rising id.
    async fn conversations_with_news(&self, partner: PartnerId, since: Timestamp) -> Result<Vec<ConversationId>>;
}

#[async_trait]
pub trait WriteMessages {
    /// Stores the messages with `seq` and id rising in the order given; each one's conversation must be among
    /// `to`, so ids of one conversation become visible in increasing order, whoever writes. The `last_…` fields of
    /// the conversations follow, so those of `to` are true no longer: who inserts again locks again. Fails with `Conflict("messages_client_key")` if a client key is taken.
    async fn insert_messages(&mut self, to: Vec<Locked<Conversation>>, new: Vec<NewMessage>) -> Result<Vec<Message>>;
    /// The messages stored with these client keys, those without a hash whatever the hash asked for; unknown ones are absent.
    async fn messages_by_client_key(&mut self, keys: &[ClientKey]) -> Result<Vec<KeyedMessage>>;
    /// Gives a message that has a client key without a hash, as the first release stored it, the hash of its content. Changes
    /// nothing in others.
    async fn keep_content_hash(&mut self, of: MessageId, hash: &ContentHash) -> Result<()>;
    /// Takes the client keys from these messages, here and in the log, so that new ones can have them.
    async fn release_client_keys(&mut self, of: &[MessageId]) -> Result<()>;
    /// Those of these messages that are in that conversation, each with its `seq`.
    async fn seqs_of(&mut self, messages: &[(ConversationId, MessageId)]) -> Result<HashMap<(ConversationId, MessageId), i64>>;
    /// A message of that conversation, which nobody else can change while it is locked.
    async fn message_of(&mut self, of: &Locked<Conversation>, id: MessageId) -> Result<Option<Message>>;
    /// Changes a message's text, here and in the log; `None` if there is none in that conversation, as with the next two.
    async fn edit_message(
        &mut self,
        of: &Locked<Conversation>,
        id: MessageId,
        body: &str,
        by: PartnerId,
        at: Timestamp,
    ) -> Result<Option<Message>>;
    /// Takes body, metadata, attachments and reactions out of a message, here and in the log. It keeps its place, and is
    /// unread for nobody any more. Attachments that no other message holds are deleted.
    async fn delete_message(
        &mut self,
        of: &Locked<Conversation>,
        id: MessageId,
        by: PartnerId,
        at: Timestamp,
    ) -> Result<Option<DeletedMessage>>;
    /// Lets go of a message that was held, here and in the log.
    async fn show_message(&mut self, of: &Locked<Conversation>, id: MessageId) -> Result<Option<Message>>;
    /// The attachments with these ids; unknown ones are absent.
    async fn attachments_to_send(&mut self, ids: &[AttachmentId]) -> Result<Vec<Attachment>>;
}
