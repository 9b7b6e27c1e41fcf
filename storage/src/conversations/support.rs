//! Support sessions: conversations between an initiator and the support agent that has joined.

use std::collections::HashMap;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::conversations::words;
use crate::{Conversation, ConversationId, Locked, PartnerId, Result, Role, Timestamp, UserId};

/// Side of a support session: initiator or joiner.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SupportSide {
    pub partner: PartnerId,
    pub user: UserId,
    /// Time of its last request about the session.
    pub pinged_at: Timestamp,
}

/// Support session: the part of a conversation that only the kind `Support` has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SupportSession {
    pub conversation: ConversationId,
    /// Uuid of the conversation.
    pub uuid: Uuid,
    pub initiator: SupportSide,
    /// The joined agent; `None` while the session waits.
    pub joiner: Option<SupportSide>,
    /// Closing time of the conversation.
    pub closed_at: Option<Timestamp>,
}

/// Open support session of an initiator, for the limits on its next one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OpenSupportSession {
    pub session: SupportSession,
    pub begun_at: Timestamp,
    /// Number of messages ever posted in it.
    pub messages: i64,
}

/// Side of a support session that wrote a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MessageSide {
    Initiator,
    /// A support agent.
    Agent,
}

words!(MessageSide { Initiator = "initiator", Agent = "agent" });

/// Status of a support session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SupportStatus {
    Waiting,
    Joined,
    Closed,
}

impl SupportSession {
    pub fn status(&self) -> SupportStatus {
        match (self.closed_at, self.joiner) {
            (Some(_), _) => SupportStatus::Closed,
            (None, Some(_)) => SupportStatus::Joined,
            (None, None) => SupportStatus::Waiting,
        }
    }
}

/// Queries of support sessions. [`Storage`](crate::Storage) states errors and cancel safety.
#[async_trait]
pub trait Support {
    async fn support_session(&self, id: ConversationId) -> Result<Option<SupportSession>>;
    /// Page of sessions of one status or all, newest first, after skipping `offset` of them.
    async fn support_sessions(&self, status: Option<SupportStatus>, offset: u64, limit: usize) -> Result<Vec<SupportSession>>;
    /// Records a request by one of the sides (heartbeat), and returns the new state of the session. Times never move back. `None`
    /// if there is no such open session, or the partner is on neither side.
    async fn touch_support_session(
        &self,
        id: ConversationId,
        partner: PartnerId,
        at: Timestamp,
    ) -> Result<Option<SupportSession>>;
    /// Number of unread messages of the partner in sessions that it began.
    async fn support_unread(&self, initiator: PartnerId) -> Result<i64>;
    /// Read receipts: times at which the other side first saw the messages with these `seq`, each given with its author's side.
    /// Unseen messages are absent.
    async fn seen_at(&self, of: ConversationId, messages: &[(i64, MessageSide)]) -> Result<HashMap<i64, Timestamp>>;
}

/// Writes of support sessions. [`Tx`](crate::Tx) states errors and cancel safety.
#[async_trait]
pub trait WriteSupport {
    /// Turns a conversation into a support session. The initiator must have an account.
    ///
    /// # Errors
    /// `Conflict("support_sessions_pkey")` if the conversation is a support session already.
    async fn insert_support_session(&mut self, of: ConversationId, initiator: PartnerId, at: Timestamp)
    -> Result<SupportSession>;
    /// Reads the session of a locked conversation. The lock covers all but the times of requests.
    async fn support_session_of(&mut self, of: &Locked<Conversation>) -> Result<Option<SupportSession>>;
    /// Reads the sessions of several locked conversations, in no particular order; conversations that are no sessions are absent.
    async fn support_sessions_of(&mut self, of: &[&Locked<Conversation>]) -> Result<Vec<SupportSession>>;
    /// Open sessions that the partner has begun, newest first.
    async fn open_support_sessions(&mut self, initiator: PartnerId, limit: usize) -> Result<Vec<OpenSupportSession>>;
    /// Sets or clears the joined agent, which must have an account.
    async fn set_support_joiner(&mut self, of: &Locked<Conversation>, joiner: Option<PartnerId>, at: Timestamp) -> Result<()>;
    /// Locks the open sessions that the partner has joined, by rising conversation.
    async fn lock_joined_support(&mut self, joiner: PartnerId) -> Result<Vec<Locked<Conversation>>>;
    /// Locks at most `limit` open sessions with an absent joiner: it has no active account with one of these roles, or all its
    /// requests in the session, messages there and signs of presence anywhere are older than `before`. Skips sessions that others
    /// have locked.
    async fn lock_absent_support(
        &mut self,
        before: Timestamp,
        answering: &[Role],
        limit: usize,
    ) -> Result<Vec<Locked<Conversation>>>;
    /// Locks at most `limit` open sessions with a silent initiator: its last request and its last message there are older than
    /// `before`. Skips sessions that others have locked.
    async fn lock_silent_support(&mut self, before: Timestamp, limit: usize) -> Result<Vec<Locked<Conversation>>>;
    /// Records that one side of each support session has seen all messages up to that `seq`. Skips conversations and partners
    /// that do not fit. Returns the conversations with a new record. `upto` names no side of a conversation twice.
    async fn mark_seen(&mut self, upto: &[(ConversationId, PartnerId, i64)], at: Timestamp) -> Result<Vec<ConversationId>>;
    /// Partners of all active users with one of these roles, by rising id.
    async fn partners_with_role(&mut self, roles: &[Role]) -> Result<Vec<PartnerId>>;
}
