//! Support sessions: conversations in which one person asks, and one of those who answer has joined.

use std::collections::HashMap;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::conversations::words;
use crate::{Conversation, ConversationId, Locked, PartnerId, Result, Role, Timestamp, UserId};

/// One side of a support session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SupportSide {
    pub partner: PartnerId,
    pub user: UserId,
    /// When it last asked for anything about the session.
    pub pinged_at: Timestamp,
}

/// What a conversation of the kind `Support` has beside what all have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SupportSession {
    pub conversation: ConversationId,
    /// The conversation's.
    pub uuid: Uuid,
    pub initiator: SupportSide,
    /// `None` as long as it waits.
    pub joiner: Option<SupportSide>,
    /// The conversation's.
    pub closed_at: Option<Timestamp>,
}

/// An open support session as its initiator's next one is judged by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BegunSupport {
    pub session: SupportSession,
    pub begun_at: Timestamp,
    /// How many messages were ever posted in it.
    pub messages: i64,
}

/// The side of a support session for which a message was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MessageSide {
    Initiator,
    /// One of those who answer.
    Agent,
}

words!(MessageSide { Initiator = "initiator", Agent = "agent" });

/// How far a support session has come.
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

#[async_trait]
pub trait Support {
    async fn support_session(&self, id: ConversationId) -> Result<Option<SupportSession>>;
    /// Sessions, those of one status or all, newest first, after passing over `offset` of them.
    async fn support_sessions(&self, status: Option<SupportStatus>, offset: u64, limit: usize) -> Result<Vec<SupportSession>>;
    /// Notes that one of the sides has asked for something, and gives the session as it is then. Times never go back.
    /// `None` if the session is closed, or not there, or the partner is neither side.
    async fn touch_support_session(
        &self,
        id: ConversationId,
        partner: PartnerId,
        at: Timestamp,
    ) -> Result<Option<SupportSession>>;
    /// How many messages the partner has not read in sessions that it began.
    async fn support_unread(&self, initiator: PartnerId) -> Result<i64>;
    /// When the messages with these `seq`, each with the side that wrote it, were first seen by the other side. Those that
    /// were not are absent.
    async fn seen_at(&self, of: ConversationId, messages: &[(i64, MessageSide)]) -> Result<HashMap<i64, Timestamp>>;
}

#[async_trait]
pub trait WriteSupport {
    /// Makes a support session of a conversation, which must have none. The initiator must have an account.
    async fn insert_support_session(&mut self, of: ConversationId, initiator: PartnerId, at: Timestamp)
    -> Result<SupportSession>;
    /// The session as it stays until the transaction ends, but for its pings.
    async fn support_session_of(&mut self, of: &Locked<Conversation>) -> Result<Option<SupportSession>>;
    /// The same of several, in no particular order; conversations that are no sessions are absent.
    async fn support_sessions_of(&mut self, of: &[&Locked<Conversation>]) -> Result<Vec<SupportSession>>;
    /// The open sessions that the partner has begun, newest first.
    async fn open_support(&mut self, initiator: PartnerId, limit: usize) -> Result<Vec<BegunSupport>>;
    /// Sets who answers, who must have an account, or that nobody does.
    async fn set_support_joiner(&mut self, of: &Locked<Conversation>, joiner: Option<PartnerId>, at: Timestamp) -> Result<()>;
    /// The open sessions that the partner has joined, by rising conversation, locked.
    async fn lock_joined_support(&mut self, joiner: PartnerId) -> Result<Vec<Locked<Conversation>>>;
    /// At most `limit` open sessions whose joiner has no active account with one of these roles, or last asked for
    /// something in them, wrote there, and was seen anywhere, before `before`; locked. Passes over those that somebody else
    /// has locked.
    async fn lock_absent_support(
        &mut self,
        before: Timestamp,
        answering: &[Role],
        limit: usize,
    ) -> Result<Vec<Locked<Conversation>>>;
    /// At most `limit` open sessions whose initiator last asked for something, and wrote, before `before`, locked. Passes
    /// over those that somebody else has locked.
    async fn lock_silent_support(&mut self, before: Timestamp, limit: usize) -> Result<Vec<Locked<Conversation>>>;
    /// Notes, for those of the conversations that are support sessions of which the partner is one of the two sides, that
    /// this side has seen everything up to that `seq`. Gives those in which it had not before. Names no side of a
    /// conversation twice.
    async fn mark_seen(&mut self, upto: &[(ConversationId, PartnerId, i64)], at: Timestamp) -> Result<Vec<ConversationId>>;
    /// The partners of all active users with one of these roles, by rising id.
    async fn partners_with_role(&mut self, roles: &[Role]) -> Result<Vec<PartnerId>>;
}
