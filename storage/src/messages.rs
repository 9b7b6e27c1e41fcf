use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::{
    Attachment, AttachmentId, Conversation, ConversationId, Locked, MessageId, Metadata, PartnerId, Result, Timestamp, UserId,
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
    /// Its sender has not shown it yet to those who are there. In dialects without that step nobody waits for it.
    #[serde(default)]
    pub held: bool,
    pub created_at: Timestamp,
    pub edited_at: Option<Timestamp>,
    /// Its body, metadata and attachments are gone since then.
    pub deleted_at: Option<Timestamp>,
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
    /// With it, a second message of the same author in the same conversation is refused by the schema.
    pub client_key: Option<String>,
    pub held: bool,
    pub created_at: Timestamp,
}

/// What a client marks a message with so that a retry can be told from a new one.
pub type ClientKey = (ConversationId, PartnerId, String);

/// Which messages of a conversation to read. A page never costs more than what it returns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Page {
    /// Newest first, after passing over the `offset` newest.
    Newest { offset: u64, limit: usize },
    /// Those with a smaller id, newest first.
    Before { id: MessageId, limit: usize },
    /// Those with a larger id, oldest first.
    After { id: MessageId, limit: usize },
}

/// A message as one reader sees it.
#[derive(Clone, Debug, PartialEq)]
pub struct Seen {
    pub message: Message,
    /// Of the reader's own messages, whether anybody else has read it; of others', whether the reader has.
    pub is_read: bool,
}

#[async_trait]
pub trait Messages {
    /// The messages with these ids in any conversation, in no particular order; unknown ids are absent.
    async fn messages_by_id(&self, ids: &[MessageId]) -> Result<Vec<Message>>;
    /// The messages at these places, each a conversation and a `seq`, in no particular order; unknown ones are absent.
    async fn messages_at(&self, places: &[(ConversationId, i64)]) -> Result<Vec<Message>>;
    /// The newest message of each participant in these conversations, in no particular order. Reads no others.
    async fn last_messages(&self, of: &[ConversationId]) -> Result<Vec<Message>>;
    /// An id that no message has nor will have, drawn from the same sequence.
    async fn draw_message_id(&self) -> Result<MessageId>;
    /// A page of a conversation, in the page's own order, as `reader` sees it.
    async fn messages(&self, of: ConversationId, reader: PartnerId, page: Page) -> Result<Vec<Seen>>;
    /// The largest `seq` that anybody but `reader` has read itself, be it somebody who has left; 0 if nobody has. Whoever
    /// joins has read nothing of what was there.
    async fn read_by_others(&self, of: ConversationId, reader: PartnerId) -> Result<i64>;
    /// The messages of a conversation that hold attachments, newest first: those with an id smaller than `before`, or all.
    async fn messages_with_files(&self, of: ConversationId, before: Option<MessageId>, limit: usize) -> Result<Vec<Message>>;
    /// Which of the partner's conversations hold a message of somebody else created after `since`; by rising id.
    async fn conversations_with_news(&self, partner: PartnerId, since: Timestamp) -> Result<Vec<ConversationId>>;
}

#[async_trait]
pub trait WriteMessages {
    /// Stores the messages with `seq` and id rising in the order given; each one's conversation must be among
    /// `to`, so ids of one conversation become visible in increasing order, whoever writes. The `last_…` fields of
    /// the conversations follow, so those of `to` are true no longer: who inserts again locks again. Fails with `Conflict("messages_client_key")` if a client key is taken.
    async fn insert_messages(&mut self, to: Vec<Locked<Conversation>>, new: Vec<NewMessage>) -> Result<Vec<Message>>;
    /// The messages stored with these client keys; unknown ones are absent.
    async fn messages_by_client_key(&mut self, keys: &[ClientKey]) -> Result<Vec<Message>>;
    /// A message of that conversation, which nobody else can change while it is locked.
    async fn message_of(&mut self, of: &Locked<Conversation>, id: MessageId) -> Result<Option<Message>>;
    /// Changes a message's text; `None` if there is none in that conversation, as with the next two.
    async fn edit_message(
        &mut self,
        of: &Locked<Conversation>,
        id: MessageId,
        body: &str,
        at: Timestamp,
    ) -> Result<Option<Message>>;
    /// Takes body, metadata and attachments out of a message. It keeps its place, and is unread for nobody any more.
    async fn delete_message(&mut self, of: &Locked<Conversation>, id: MessageId, at: Timestamp) -> Result<Option<Message>>;
    /// Lets go of a message that was held.
    async fn show_message(&mut self, of: &Locked<Conversation>, id: MessageId) -> Result<Option<Message>>;
    /// The attachments with these ids; unknown ones are absent.
    async fn attachments_to_send(&mut self, ids: &[AttachmentId]) -> Result<Vec<Attachment>>;
}
