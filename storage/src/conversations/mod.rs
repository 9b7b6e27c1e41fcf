//! Conversations, their participants, and per-user conversation settings. Counting unread messages reads no messages: `seq` has
//! no gaps.

pub(crate) mod memberships;
pub(crate) mod read_positions;
pub(crate) mod support;

use std::{collections::HashMap, sync::Arc};

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{ConversationId, GroupId, Locked, Message, MessageId, PartnerId, Person, Result, Timestamp};

/// Intended membership of a conversation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ConversationKind {
    /// Two people, or one person alone.
    Direct,
    Group,
    /// A tenant and the support agents.
    Support,
}

/// Type of thread in the messaging dialect.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ThreadType {
    Chat,
    Group,
    Sms,
}

/// Window state of a conversation for one participant.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WindowState {
    #[default]
    Open,
    Folded,
    Closed,
}

/// Folder of a conversation for one participant.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Folder {
    #[default]
    Active,
    Favorite,
    Archive,
}

macro_rules! words {
    ($type:ident { $($variant:ident = $word:literal),+ }) => {
        impl $type {
            /// Text form in the database and on the wire.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word),+ }
            }

            /// Parses the result of `as_str`.
            pub fn parse(word: &str) -> Option<Self> {
                match word { $($word => Some(Self::$variant),)+ _ => None }
            }
        }
    };
}

pub(crate) use words;

/// Role of a participant in a conversation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ParticipantRole {
    Owner,
    #[default]
    Member,
}

words!(ParticipantRole { Owner = "owner", Member = "member" });
words!(ConversationKind { Direct = "direct", Group = "group", Support = "support" });
words!(ThreadType { Chat = "chat", Group = "group", Sms = "sms" });
words!(WindowState { Open = "open", Folded = "folded", Closed = "closed" });
words!(Folder { Active = "active", Favorite = "favorite", Archive = "archive" });

/// Record of another system that a conversation is about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Document {
    /// For example `sale.order`.
    pub model: String,
    pub id: i64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Conversation {
    pub id: ConversationId,
    pub uuid: Uuid,
    pub kind: ConversationKind,
    pub thread_type: ThreadType,
    pub name: String,
    pub created_at: Timestamp,
    pub group: Option<GroupId>,
    /// Sorted by model, then id.
    pub documents: Vec<Document>,
    /// The `seq` of the newest message; 0 if there is none. Equal to the number of messages ever posted.
    pub last_seq: i64,
    pub last_message: Option<MessageId>,
    pub last_message_at: Option<Timestamp>,
    /// Time of closing. A closed conversation takes no messages.
    #[serde(default)]
    pub closed_at: Option<Timestamp>,
    /// The id in the host application.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub external_id: Option<String>,
    /// True if the conversation is, or was, direct. Newcomers do not see its earlier messages.
    #[serde(default)]
    pub began_direct: bool,
}

/// A conversation to be stored, with its first participants.
#[derive(Clone, Debug)]
pub struct NewConversation {
    /// Set only for fixed data; the sequence continues above it.
    pub id: Option<ConversationId>,
    pub uuid: Uuid,
    pub kind: ConversationKind,
    pub thread_type: ThreadType,
    pub name: String,
    pub created_at: Timestamp,
    pub group: Option<GroupId>,
    pub documents: Vec<Document>,
    pub external_id: Option<String>,
    /// The partners must exist; duplicates count once.
    pub participants: Vec<PartnerId>,
    /// One of the participants.
    pub owner: Option<PartnerId>,
}

/// Participant of a conversation: a partner with its settings and read position.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Participant {
    pub conversation: ConversationId,
    pub person: Person,
    pub window: WindowState,
    pub folder: Folder,
    /// Read position: the `seq` up to which this participant has read. Never goes back.
    pub read_seq: i64,
    /// Number of messages by others above [`Participant::read_seq`], without deleted ones.
    pub unread: i64,
    pub joined_at: Timestamp,
    pub status: ParticipantStatus,
}

/// Role, visibility and mute of a participant, as the chat rules need them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ParticipantStatus {
    pub role: ParticipantRole,
    /// Messages up to this `seq` are hidden from the participant.
    pub visible_from_seq: i64,
    pub muted_until: Option<Timestamp>,
}

/// Filter of a partner's list of conversations.
#[derive(Clone, Debug, Default)]
pub struct InboxFilter<'a> {
    pub thread_type: Option<ThreadType>,
    /// Limits the list to conversations of these kinds; empty for all.
    pub kinds: &'a [ConversationKind],
    /// Limits the list to these conversations; those without the partner are absent.
    pub only: Option<&'a [ConversationId]>,
    /// Limits the list to conversations with unread messages.
    pub unread: bool,
    /// Limits the list to its first entries.
    pub limit: Option<usize>,
}

/// Size of a list of conversations with their people, or a bound of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ListSize {
    pub conversations: usize,
    /// A person counts once for each conversation.
    pub people: usize,
}

/// Entry of a partner's list of conversations.
#[derive(Clone, Debug, PartialEq)]
pub struct InboxEntry {
    pub conversation: Conversation,
    pub window: WindowState,
    pub shelf: Folder,
    pub unread: i64,
    /// Excerpt of the newest message ([`crate::EXCERPT_BYTES`]) of any author; `None` also if it is hidden from the partner.
    pub last_message: Option<Message>,
}

/// Numbers of unread messages of a partner, by thread type.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct UnreadTotals {
    pub chat: i64,
    pub group: i64,
    pub sms: i64,
}

/// Queries of conversations and participants. [`Storage`](crate::Storage) states errors and cancel safety.
#[async_trait]
pub trait Conversations {
    async fn conversation(&self, id: ConversationId) -> Result<Option<Conversation>>;
    /// Reads the conversation, and the partner's participation if it has one.
    async fn conversation_seen_by(
        &self,
        id: ConversationId,
        partner: PartnerId,
    ) -> Result<Option<(Conversation, Option<Participant>)>>;
    /// Participants by rising time of joining, then partner id.
    async fn participants(&self, id: ConversationId) -> Result<Vec<Participant>>;
    /// People in several conversations, by conversation, then as [`Conversations::participants`] orders them: of each conversation
    /// `first`, if it takes part, and the `others` that joined first. A person in several of them is read once, and shared. The
    /// cost does not depend on the number of participants.
    async fn people_in(
        &self,
        conversations: &[ConversationId],
        first: PartnerId,
        others: usize,
    ) -> Result<Vec<(ConversationId, Arc<Person>)>>;
    /// Partner ids of the participants, in rising order: the recipients of the conversation's events.
    async fn participant_ids(&self, id: ConversationId) -> Result<Vec<PartnerId>>;
    /// Contacts of each partner that shares a conversation with others: all these others, by rising id. The partners are in no
    /// particular order.
    async fn contacts(&self, partners: &[PartnerId]) -> Result<Vec<(PartnerId, Vec<PartnerId>)>>;
    /// Lists the partner's conversations: most recent message (or else creation) first, then by falling id.
    async fn inbox(&self, partner: PartnerId, filter: InboxFilter<'_>) -> Result<Vec<InboxEntry>>;
    /// Counts the partner's conversations and their people, at most `of_each` of a conversation. Each count ends at `most`.
    async fn list_size(&self, partner: PartnerId, of_each: usize, most: ListSize) -> Result<ListSize>;
    /// Sums unread messages. Costs one index range over the partner's conversations, whatever the size of their history.
    async fn unread_totals(&self, partner: PartnerId) -> Result<UnreadTotals>;
}

/// Writes of conversations and participants. [`Tx`](crate::Tx) states errors and cancel safety.
#[async_trait]
pub trait WriteConversations: Send {
    /// Stores a conversation. Its participants start with a read position of 0.
    ///
    /// # Errors
    /// `Conflict("conversations_uuid")` if the uuid is taken, `Conflict("conversations_external_id")` if the external id is.
    async fn insert_conversation(&mut self, new: NewConversation) -> Result<Conversation>;
    /// Locks the conversations until the transaction ends. Unknown ids are absent, duplicates count once.
    ///
    /// # Ordering
    /// By rising id, whatever the order of `ids`, so that transactions that lock several cannot deadlock.
    async fn lock_conversations(&mut self, ids: &[ConversationId]) -> Result<Vec<Locked<Conversation>>>;
    /// Locks conversations as [`WriteConversations::lock_conversations`] does, but skips locked ones without waiting. Also
    /// returns the ids of those that other transactions have locked, by rising id.
    async fn lock_free_conversations(
        &mut self,
        ids: &[ConversationId],
    ) -> Result<(Vec<Locked<Conversation>>, Vec<ConversationId>)>;
    /// Finds the participants among these pairs; the others are absent.
    async fn participant_statuses(
        &mut self,
        pairs: &[(ConversationId, PartnerId)],
    ) -> Result<HashMap<(ConversationId, PartnerId), ParticipantStatus>>;
    /// Adds existing partners as members. They count as having read all earlier messages, and messages up to `visible_from_seq`
    /// are hidden from them. Returns the partners that were no participants before.
    async fn insert_participants(
        &mut self,
        to: &Locked<Conversation>,
        partners: &[PartnerId],
        visible_from_seq: i64,
        joined_at: Timestamp,
    ) -> Result<Vec<PartnerId>>;
    async fn participant_count(&mut self, of: &Locked<Conversation>) -> Result<i64>;
    async fn set_closed(&mut self, of: &Locked<Conversation>, at: Timestamp) -> Result<()>;
    async fn set_kind(&mut self, of: &Locked<Conversation>, kind: ConversationKind) -> Result<()>;
    /// Sets the partner's settings of the conversation; `None` leaves one as it is. Returns true if anything changed.
    async fn set_conversation_settings(
        &mut self,
        of: ConversationId,
        partner: PartnerId,
        window: Option<WindowState>,
        shelf: Option<Folder>,
    ) -> Result<bool>;
    /// Removes the participant; its messages stay. Returns true if it was one.
    async fn delete_participant(&mut self, of: &Locked<Conversation>, partner: PartnerId) -> Result<bool>;
}
