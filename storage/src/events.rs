use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::{
    AttachmentId, Conversation, ConversationId, Message, MessageId, PartnerId, Result, Shelf, SupportSession, Timestamp, UserId,
    Window,
};

/// The topic of facts that nodes act upon and nobody is told: no partner has this id.
pub const NOBODY: PartnerId = PartnerId(0);
/// The topic of facts that all who answer support sessions are told: no partner has this id.
pub const DESK: PartnerId = PartnerId(-1);

/// A place in the log: 1, 2, 3, ... without a gap, across all conversations; 0 is before the first event.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Position(pub i64);

/// What an event is about, and so whom it concerns.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Topic {
    /// All its participants.
    Conversation(ConversationId),
    /// That partner alone.
    Partner(PartnerId),
}

/// Something that happened and must not be lost.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "fact", content = "of")]
pub enum Fact {
    MessagePosted(Message),
    /// With its new text.
    MessageEdited(Message),
    /// An edit before another one of the same message, which tells all that there is to tell: nobody is told of it. Edits
    /// would otherwise cost as much as all that went before, since each rewrites what the log says of the message.
    EditSuperseded,
    /// Without what it said.
    MessageDeleted(Message),
    /// A message that was held is held no longer.
    MessageShown(Message),
    /// A participant has read up to `seq`.
    ReadUpTo {
        partner: PartnerId,
        seq: i64,
        /// Those that the reader named; none if it named none, or too many.
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
    /// Recorded twice: for those who stay, under the conversation, and for who is gone and no longer among them, under
    /// the partner.
    ParticipantLeft {
        conversation: ConversationId,
        partner: PartnerId,
    },
    /// The partner keeps a conversation in another way; nobody else's business.
    PlaceChanged {
        conversation: ConversationId,
        window: Window,
        shelf: Shelf,
    },
    /// The attachment's messages in the conversation no longer have it.
    AttachmentDeleted {
        attachment: AttachmentId,
    },
    /// A login has ended: SHA-256 of the session's id in hexadecimal.
    SessionEnded {
        session: String,
    },
    /// A login's tokens count no longer: neither those that let in nor those that renew them.
    TokensRevoked {
        family: uuid::Uuid,
    },
    /// The account was changed or deactivated; what is remembered of it is stale.
    UserChanged {
        user: UserId,
    },
    /// A support session waits for one of those who answer. Topic: [`DESK`].
    SupportWaits(SupportSession),
    /// A support session was joined, given back, or closed. Recorded twice: for those who are in it, and under [`DESK`].
    SupportChanged {
        session: SupportSession,
        /// `None` if nobody did.
        by: Option<UserId>,
    },
    /// A device of the partner's has a new connection, and so no other.
    DeviceConnected {
        device: String,
        connection: String,
    },
    /// A participant has added a reaction to a message, or removed one.
    MessageReacted {
        message: MessageId,
        /// The message's.
        seq: i64,
        partner: PartnerId,
        content: String,
        removed: bool,
    },
    /// A message has arrived for somebody who is offline; recorded once until it is read.
    MemberUnread {
        user: UserId,
        conversation: ConversationId,
        message: MessageId,
    },
    /// A person was erased: caches drop whatever names it.
    UserErased {
        user: UserId,
        partner: PartnerId,
    },
    /// The store was changed without facts that say how, for example by an import: all caches are stale. Topic: [`NOBODY`].
    StoreChanged,
    /// The log has lost its newest events and goes on after a gap: from `from` to `to` there are none. Topic: [`NOBODY`].
    LogRestarted {
        epoch: i64,
        from: Position,
        to: Position,
    },
    /// What a newer version has recorded and this one does not know: it has its place in the log, and nobody is told of
    /// it. Cannot be recorded.
    #[serde(skip)]
    Unknown,
}

impl Fact {
    /// The message of which the fact holds a copy, which is redacted with the message.
    pub fn message(&self) -> Option<&Message> {
        match self {
            Self::MessagePosted(message)
            | Self::MessageEdited(message)
            | Self::MessageDeleted(message)
            | Self::MessageShown(message) => Some(message),
            _ => None,
        }
    }

    /// As [`Fact::message`].
    pub fn message_mut(&mut self) -> Option<&mut Message> {
        match self {
            Self::MessagePosted(message)
            | Self::MessageEdited(message)
            | Self::MessageDeleted(message)
            | Self::MessageShown(message) => Some(message),
            _ => None,
        }
    }

    /// Whether it is a fact about the store as a whole: it does not say what has changed, so all caches are stale.
    pub fn is_about_the_store(&self) -> bool {
        matches!(self, Self::StoreChanged | Self::LogRestarted { .. })
    }

    /// The `seq` of the message that the fact is about. Those from whom that message is hidden are not told the fact.
    pub fn seq(&self) -> Option<i64> {
        match self {
            Self::MessageReacted { seq, .. } | Self::ReadUpTo { seq, .. } => Some(*seq),
            fact => fact.message().map(|message| message.seq),
        }
    }
}

/// A partner in a conversation at some position of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Member {
    pub partner: PartnerId,
    /// Facts about messages up to this `seq` do not concern the partner.
    pub visible_from_seq: i64,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    pub position: Position,
    pub topic: Topic,
    pub fact: Fact,
    pub at: Timestamp,
}

/// Which events to read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Scope {
    Everything,
    Conversation(ConversationId),
    /// What concerns one partner: its own topic, and those of conversations as long as it was in them. Having joined and
    /// the beginning of a conversation belong to it, having left does not, nor do facts about
    /// messages that are hidden from the partner.
    Partner(PartnerId),
}

/// A part of the log.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LogPage {
    pub events: Vec<Event>,
    /// True if there may be more after them.
    pub more: bool,
}

/// The log as the store has it now, by which a node sees whether it has lost events that the node knows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogState {
    /// The newest event's position.
    pub head: Position,
    /// The mark of the event that was asked about: [`Event`]s have one only if they are the first of their transaction.
    /// `None` if the log has no such event, because it was forgotten, or because it was lost.
    pub asked: Option<LogMark>,
    /// The newest event that has a mark.
    pub newest: Option<LogMark>,
    /// The timeline of the database server; `None` where there is none, or where it may not be asked for.
    pub timeline: Option<i64>,
}

/// An event by its position, and by what was drawn at random for its transaction: where a log has lost events, others have
/// their positions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogMark {
    pub position: Position,
    pub mark: Option<uuid::Uuid>,
}

/// The log: what happened, in one order for everybody. A fact that holds a copy of a message holds it as it is stored now:
/// whatever changes a message rewrites its copies in the same transaction.
#[async_trait]
pub trait EventLog {
    /// Events after `after`, in log order, complete enough to be told without another read. An event once visible is
    /// never followed by an earlier one becoming visible. The event whose fact reaches so many `bytes` is the last.
    async fn log(&self, after: Position, scope: Scope, limit: usize, bytes: usize) -> Result<LogPage>;
    /// As [`EventLog::log`], whatever the size of the events.
    async fn events(&self, after: Position, scope: Scope, limit: usize) -> Result<Vec<Event>> {
        Ok(self.log(after, scope, limit, usize::MAX).await?.events)
    }
    /// Whom an event of the conversation at that position concerns, by rising id: the same as find it in their
    /// [`Scope::Partner`]. What facts say counts: a [`Fact::ConversationCreated`] brings in those with whom its transaction
    /// has stored the conversation, a [`Fact::ParticipantJoined`] one, and a [`Fact::ParticipantLeft`] takes one out.
    async fn members_at(&self, conversation: ConversationId, position: Position) -> Result<Vec<Member>>;
    /// The newest event's position. Does not go back when old events are forgotten; only a store that has lost what it had
    /// confirmed goes back, which [`EventLog::log_state`] shows.
    async fn position(&self) -> Result<Position>;
    /// The log's head, marks and timeline, with the mark of the event at `asked`.
    async fn log_state(&self, asked: Position) -> Result<LogState>;
    /// The newest position whose event happened at `time` or before; the one before the oldest event if there is none.
    /// Where times run against the order of the log, it is off by no more than they are.
    async fn position_at(&self, time: Timestamp) -> Result<Position>;
    /// Forgets the oldest events, at most `limit`, up to the first that happened at `before` or later, or that a transaction
    /// under way has rewritten; gives how many.
    /// Nobody who writes waits for it. Does nothing while another process does the same.
    async fn forget_events(&self, before: Timestamp, limit: usize) -> Result<u64>;
    /// Forgets, of at most `limit` who have left a conversation, that they ever were in it, once the log holds nothing
    /// from that time; gives of how many. Does nothing while another process does the same.
    async fn forget_memberships(&self, limit: usize) -> Result<u64>;
}
