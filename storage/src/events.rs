//! The event log: facts in one total order by position, without gaps. Nodes read it to deliver events and to invalidate caches.
//! Copies of messages in it are always equal to the stored messages.

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::{
    AttachmentId, Conversation, ConversationId, Folder, Message, MessageId, PartnerId, Result, SupportSession, Timestamp, UserId,
    WindowState,
};

/// Topic of facts for the nodes themselves, delivered to no client. No partner has this id.
pub const NO_CLIENT: PartnerId = PartnerId(0);
/// Topic of facts for all support agents. No partner has this id.
pub const SUPPORT_AGENTS: PartnerId = PartnerId(-1);

/// Position in the event log: 1, 2, 3, ... without a gap, across all conversations; 0 is before the first event.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Position(pub i64);

/// Subject of an event, which determines its recipients.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Topic {
    /// Recipients: all participants of the conversation.
    Conversation(ConversationId),
    /// Recipient: that partner alone.
    Partner(PartnerId),
}

/// Durable content of an event.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "fact", content = "of")]
pub enum Fact {
    MessagePosted(Message),
    /// Holds the message with its new text.
    MessageEdited(Message),
    /// An edit before a later edit of the same message, which says everything; delivered to no client. Without it, edits would
    /// cost as much as all earlier ones together, since each rewrites the message's copies in the event log.
    EditSuperseded,
    /// Holds the message as a tombstone, without its content.
    MessageDeleted(Message),
    /// A held message was released.
    MessageShown(Message),
    /// A participant's read position has moved to `seq`.
    ReadUpTo {
        partner: PartnerId,
        seq: i64,
        /// The messages named by the reader; empty if it named none, or too many.
        #[serde(default)]
        messages: Vec<MessageId>,
    },
    ConversationCreated(Conversation),
    ConversationChanged(Conversation),
    ParticipantJoined {
        partner: PartnerId,
        /// Messages up to this `seq` stay hidden from the newcomer.
        #[serde(default)]
        visible_from_seq: i64,
    },
    /// A participant has left. Recorded twice: under the conversation for the remaining participants, and under the partner for
    /// the one that has left and no longer is a recipient there.
    ParticipantLeft {
        conversation: ConversationId,
        partner: PartnerId,
    },
    /// A partner's own settings of a conversation have changed: window state and folder. Delivered to that partner alone.
    PlaceChanged {
        conversation: ConversationId,
        window: WindowState,
        shelf: Folder,
    },
    /// An attachment was deleted from its messages in the conversation.
    AttachmentDeleted {
        attachment: AttachmentId,
    },
    /// A session has ended. Holds SHA-256 of the session's id in hexadecimal.
    SessionEnded {
        session: String,
    },
    /// A token family was revoked: its access tokens and refresh tokens are no longer valid.
    TokensRevoked {
        family: uuid::Uuid,
    },
    /// The account was changed or deactivated; cached copies of it are stale.
    UserChanged {
        user: UserId,
    },
    /// A support session waits for an agent. Topic: [`SUPPORT_AGENTS`].
    SupportWaits(SupportSession),
    /// A support session was joined, given back, or closed. Recorded twice: under the conversation for its participants, and
    /// under [`SUPPORT_AGENTS`].
    SupportChanged {
        session: SupportSession,
        /// The acting user; `None` if no user caused the change.
        by: Option<UserId>,
    },
    /// A device of the partner's has a new connection, which replaces the one before.
    DeviceConnected {
        device: String,
        connection: String,
    },
    /// A participant has added or removed a reaction to a message.
    MessageReacted {
        message: MessageId,
        /// `seq` of the message.
        seq: i64,
        partner: PartnerId,
        content: String,
        removed: bool,
    },
    /// A message has arrived for an offline user. Recorded once until the user has read it.
    MemberUnread {
        user: UserId,
        conversation: ConversationId,
        message: MessageId,
    },
    /// A person was erased: caches drop every entry that names it.
    UserErased {
        user: UserId,
        partner: PartnerId,
    },
    /// The store was changed without facts that say how, for example by an import: all caches are stale. Topic: [`NO_CLIENT`].
    StoreChanged,
    /// The event log has lost its newest events and goes on after a gap: positions `from` to `to` have no events. Topic:
    /// [`NO_CLIENT`].
    LogRestarted {
        epoch: i64,
        from: Position,
        to: Position,
    },
    /// A fact recorded by a newer version and unknown to this one. It keeps its position, is delivered to no client, and cannot
    /// be recorded.
    #[serde(skip)]
    Unknown,
}

impl Fact {
    /// Returns the fact's copy of a message, which is redacted together with the message.
    pub fn message(&self) -> Option<&Message> {
        match self {
            Self::MessagePosted(message)
            | Self::MessageEdited(message)
            | Self::MessageDeleted(message)
            | Self::MessageShown(message) => Some(message),
            _ => None,
        }
    }

    /// Mutable form of [`Fact::message`].
    pub fn message_mut(&mut self) -> Option<&mut Message> {
        match self {
            Self::MessagePosted(message)
            | Self::MessageEdited(message)
            | Self::MessageDeleted(message)
            | Self::MessageShown(message) => Some(message),
            _ => None,
        }
    }

    /// True for a fact about the store as a whole. It does not say what has changed, so all caches are stale.
    pub fn is_about_the_store(&self) -> bool {
        matches!(self, Self::StoreChanged | Self::LogRestarted { .. })
    }

    /// Returns the `seq` of the fact's message. Partners from whom that message is hidden do not receive the fact.
    pub fn seq(&self) -> Option<i64> {
        match self {
            Self::MessageReacted { seq, .. } | Self::ReadUpTo { seq, .. } => Some(*seq),
            fact => fact.message().map(|message| message.seq),
        }
    }
}

/// Member of a conversation at one position of the event log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Member {
    pub partner: PartnerId,
    /// Facts about messages up to this `seq` are not delivered to the partner.
    pub visible_from_seq: i64,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    pub position: Position,
    pub topic: Topic,
    pub fact: Fact,
    pub at: Timestamp,
}

/// Selection of events to read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Scope {
    Everything,
    Conversation(ConversationId),
    /// Events for one partner: its own topic, and those of conversations during its memberships. The event of joining and the
    /// creation of a conversation are included. The event of leaving and facts about messages hidden from the partner are not.
    Partner(PartnerId),
}

/// Page of the event log.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LogPage {
    pub events: Vec<Event>,
    /// True if more events may follow.
    pub more: bool,
}

/// Current state of the event log in the store, by which a node detects the loss of events known to it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogState {
    /// Position of the newest event.
    pub head: Position,
    /// Mark of the requested event. Only the first event of a transaction has one. `None` if the event log has no such event: it
    /// was forgotten, or lost.
    pub requested: Option<EventMark>,
    /// Newest recent event with a mark.
    pub newest: Option<EventMark>,
    /// Timeline of the database server; `None` if the backend has none, or does not allow to read it.
    pub timeline: Option<i64>,
}

/// Identity of an event: its position, and a random mark of its transaction. After a loss, other events have the same positions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EventMark {
    pub position: Position,
    pub mark: Option<uuid::Uuid>,
}

/// The event log: facts in one order for all readers. A fact's copy of a message is equal to the stored message: each change of a
/// message rewrites its copies in the same transaction. [`Storage`](crate::Storage) states errors and cancel safety.
///
/// # Ordering
/// Events become visible in the order of their positions.
#[async_trait]
pub trait EventLog {
    /// Reads events after `after`, complete enough to be delivered without another read. The event whose fact reaches `bytes` is
    /// the last.
    ///
    /// # Ordering
    /// By rising position. After an event is visible, no earlier one becomes visible.
    async fn log(&self, after: Position, scope: Scope, limit: usize, bytes: usize) -> Result<LogPage>;
    /// Reads events as [`EventLog::log`] does, without a limit of bytes.
    async fn events(&self, after: Position, scope: Scope, limit: usize) -> Result<Vec<Event>> {
        Ok(self.log(after, scope, limit, usize::MAX).await?.events)
    }
    /// Returns the members of a conversation at that position, by rising id: the recipients whose [`Scope::Partner`] has an event
    /// there. Only facts count: a [`Fact::ConversationCreated`] brings in the participants stored with the conversation by its
    /// transaction, a [`Fact::ParticipantJoined`] adds one, and a [`Fact::ParticipantLeft`] removes one.
    async fn members_at(&self, conversation: ConversationId, position: Position) -> Result<Vec<Member>>;
    /// Position of the newest event. Forgetting old events does not move it back. It moves back only if the store has lost
    /// confirmed events, which [`EventLog::log_state`] shows.
    async fn position(&self) -> Result<Position>;
    /// Reads a number that changes with each commit, whichever process makes it, and is cheap enough to be read several times a
    /// second: while it stays the same, the event log has not changed. `None` if the backend has no such number.
    async fn data_version(&self) -> Result<Option<i64>> {
        Ok(None)
    }
    /// Reads the head, marks and timeline of the event log, with the mark of the event at `requested`.
    async fn log_state(&self, asked: Position) -> Result<LogState>;
    /// Finds the newest position whose event happened at `time` or before; the one before the oldest event if there is none.
    /// Where times run against the order of positions, the result is off by no more than they are.
    async fn position_at(&self, time: Timestamp) -> Result<Position>;
    /// Forgets the oldest events, at most `limit`, up to the first that happened at `before` or later, or that an open
    /// transaction has rewritten. Returns the number of forgotten events. Writers do not wait for it. Does nothing while another
    /// process does the same.
    async fn forget_events(&self, before: Timestamp, limit: usize) -> Result<u64>;
    /// Forgets at most `limit` ended memberships once the event log holds no event of their time. Returns the number of forgotten
    /// ones. Does nothing while another process does the same.
    async fn forget_memberships(&self, limit: usize) -> Result<u64>;
}
