use std::{collections::HashMap, sync::Arc};

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{ConversationId, GroupId, Locked, Message, MessageId, PartnerId, Person, Result, Timestamp};

/// Who is meant to be in a conversation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ConversationKind {
    /// Two people, or one with itself.
    Direct,
    Group,
    /// A tenant and whoever answers.
    Support,
}

/// The kind of thread as the messaging dialect counts it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ThreadType {
    Chat,
    Group,
    Sms,
}

/// How a participant's window shows a conversation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Window {
    #[default]
    Open,
    Folded,
    Closed,
}

/// Where a participant keeps a conversation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Shelf {
    #[default]
    Active,
    Favorite,
    Archive,
}

macro_rules! words {
    ($type:ident { $($variant:ident = $word:literal),+ }) => {
        impl $type {
            /// The word in the database and on the wires.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word),+ }
            }

            /// The reverse of `as_str`.
            pub fn parse(word: &str) -> Option<Self> {
                match word { $($word => Some(Self::$variant),)+ _ => None }
            }
        }
    };
}

pub(crate) use words;

/// What a participant is in a conversation.
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
words!(Window { Open = "open", Folded = "folded", Closed = "closed" });
words!(Shelf { Active = "active", Favorite = "favorite", Archive = "archive" });

/// A record of another system that a conversation is about.
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
    /// By rising model, then id.
    pub documents: Vec<Document>,
    /// The `seq` of the newest message; 0 if there is none. Also how many messages were ever posted.
    pub last_seq: i64,
    pub last_message: Option<MessageId>,
    pub last_message_at: Option<Timestamp>,
    /// Since when nothing more can be said.
    #[serde(default)]
    pub closed_at: Option<Timestamp>,
    /// The id in the host application.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub external_id: Option<String>,
    /// Whether it is, or was, between two: newcomers do not see what was said before.
    #[serde(default)]
    pub began_direct: bool,
}

/// A conversation to be stored, with its first participants.
#[derive(Clone, Debug)]
pub struct NewConversation {
    /// Only for fixed data; the sequence continues above it.
    pub id: Option<ConversationId>,
    pub uuid: Uuid,
    pub kind: ConversationKind,
    pub thread_type: ThreadType,
    pub name: String,
    pub created_at: Timestamp,
    pub group: Option<GroupId>,
    pub documents: Vec<Document>,
    pub external_id: Option<String>,
    /// Must exist; duplicates count once.
    pub participants: Vec<PartnerId>,
    /// One of the participants.
    pub owner: Option<PartnerId>,
}

/// A partner in a conversation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Participant {
    pub conversation: ConversationId,
    pub person: Person,
    pub window: Window,
    pub shelf: Shelf,
    /// The `seq` up to which this participant has read; never goes back.
    pub read_seq: i64,
    /// How many messages of others have a `seq` above [`Participant::read_seq`].
    pub unread: i64,
    pub joined_at: Timestamp,
    pub standing: Standing,
}

/// The rules' view of a participant.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    pub role: ParticipantRole,
    /// Messages up to this `seq` are hidden from the participant.
    pub visible_from_seq: i64,
    pub muted_until: Option<Timestamp>,
}

/// What has become of how far a participant has read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Advanced {
    /// How many messages of others were unread before and are read now.
    pub unread: i64,
    /// Whether there are messages of others that the participant had not read itself before: those, and what was there
    /// already when it joined, which is never unread.
    pub has_seen: bool,
}

/// Which of a partner's conversations to list.
#[derive(Clone, Debug, Default)]
pub struct InboxFilter<'a> {
    pub thread_type: Option<ThreadType>,
    /// Only these conversations; those the partner is not in are absent.
    pub only: Option<&'a [ConversationId]>,
    /// Only those with unread messages.
    pub unread: bool,
}

/// One line of a partner's list of conversations.
#[derive(Clone, Debug, PartialEq)]
pub struct InboxEntry {
    pub conversation: Conversation,
    pub window: Window,
    pub shelf: Shelf,
    pub unread: i64,
    /// An excerpt of the newest message ([`crate::EXCERPT_BYTES`]), whoever wrote it; `None`, too, if it is hidden from the
    /// partner.
    pub last_message: Option<Message>,
}

/// Unread messages of a partner, by thread type.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct UnreadTotals {
    pub chat: i64,
    pub group: i64,
    pub sms: i64,
}

#[async_trait]
pub trait Conversations {
    async fn conversation(&self, id: ConversationId) -> Result<Option<Conversation>>;
    /// The conversation, and the partner's place in it if it has one.
    async fn conversation_seen_by(
        &self,
        id: ConversationId,
        partner: PartnerId,
    ) -> Result<Option<(Conversation, Option<Participant>)>>;
    /// By rising time of joining, then partner id.
    async fn participants(&self, id: ConversationId) -> Result<Vec<Participant>>;
    /// The people in several conversations, by conversation, then as [`Conversations::participants`] orders them. Whoever is in
    /// several of them is read once, and shared.
    async fn people_in(&self, conversations: &[ConversationId]) -> Result<Vec<(ConversationId, Arc<Person>)>>;
    /// Only the ids, in rising order: who is concerned by what happens there.
    async fn participant_ids(&self, id: ConversationId) -> Result<Vec<PartnerId>>;
    /// For each of the partners that is in any conversation with others: all these others, by rising id. In no particular
    /// order.
    async fn contacts(&self, partners: &[PartnerId]) -> Result<Vec<(PartnerId, Vec<PartnerId>)>>;
    /// The partner's conversations: most recent message (or else creation) first, then by falling id.
    async fn inbox(&self, partner: PartnerId, filter: InboxFilter<'_>) -> Result<Vec<InboxEntry>>;
    /// Costs one index range over the partner's conversations, whatever their history holds.
    async fn unread_totals(&self, partner: PartnerId) -> Result<UnreadTotals>;
}

#[async_trait]
pub trait WriteConversations: Send {
    /// Participants have read everything up to now, which is nothing. Fails with `Conflict("conversations_uuid")` if the
    /// uuid is taken, `Conflict("conversations_external_id")` if the external id is.
    async fn insert_conversation(&mut self, new: NewConversation) -> Result<Conversation>;
    /// Locks the conversations until the transaction ends, by rising id whatever the order asked, so that
    /// transactions that lock several cannot deadlock. Unknown ids are absent, duplicates count once.
    async fn lock_conversations(&mut self, ids: &[ConversationId]) -> Result<Vec<Locked<Conversation>>>;
    /// As [`WriteConversations::lock_conversations`] without waiting for anybody: beside those that it has locked, it gives the
    /// ids of those that others have, by rising id.
    async fn lock_free_conversations(
        &mut self,
        ids: &[ConversationId],
    ) -> Result<(Vec<Locked<Conversation>>, Vec<ConversationId>)>;
    /// Which of these pairs are participants; the others are absent.
    async fn participating(
        &mut self,
        pairs: &[(ConversationId, PartnerId)],
    ) -> Result<HashMap<(ConversationId, PartnerId), Standing>>;
    /// Adds partners, who must exist, as members who have read what is there already, and from whom messages up to
    /// `visible_from_seq` are hidden. Gives those that were not in before.
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
    /// Sets how the partner keeps the conversation; `None` leaves it as it is. Gives whether anything changed.
    async fn set_place(
        &mut self,
        of: ConversationId,
        partner: PartnerId,
        window: Option<Window>,
        shelf: Option<Shelf>,
    ) -> Result<bool>;
    /// Takes the partner out; its messages stay. Gives whether it was in.
    async fn delete_participant(&mut self, of: &Locked<Conversation>, partner: PartnerId) -> Result<bool>;
    /// Moves the read positions of participants to a `seq`, or to the newest message if that is beyond it; never back.
    /// Names no participant twice. Gives, in the order asked, what that has changed; `None` if nothing, as for a partner that
    /// is no participant.
    async fn advance_reads(&mut self, to: &[(ConversationId, PartnerId, i64)]) -> Result<Vec<Option<Advanced>>>;
    /// The same for one.
    async fn advance_read(&mut self, of: ConversationId, partner: PartnerId, seq: i64) -> Result<Advanced> {
        Ok(self.advance_reads(&[(of, partner, seq)]).await?.pop().flatten().unwrap_or_default())
    }
    /// Moves the read position of the partner to the newest message of every conversation it is in. Gives, for those
    /// whose position moved, be it over its own messages alone, how many messages were unread and the new position; by
    /// rising conversation.
    async fn advance_read_everywhere(&mut self, partner: PartnerId) -> Result<Vec<(ConversationId, i64, i64)>>;
}
