//! Log-in sessions with a cookie, and polling cursors of clients with a token. Only hashes of session ids are stored.

use async_trait::async_trait;
use uuid::Uuid;

use crate::{Position, Result, Timestamp, User, UserId};

/// SHA-256 of a session's id. The id itself is not stored.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionKey(pub [u8; 32]);

impl std::fmt::Debug for SessionKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SessionKey(..)")
    }
}

/// Token with which a session was begun. The session ends with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionToken {
    pub expires_at: Timestamp,
    /// Token family, if the token is one of this server's own.
    pub family: Option<Uuid>,
}

/// Log-in session with a cookie, or polling cursor of a client with a token.
#[derive(Clone, Debug, PartialEq)]
pub struct Session {
    pub key: SessionKey,
    pub user: UserId,
    pub created_at: Timestamp,
    pub last_used_at: Timestamp,
    /// Position of the event log up to which `poll/updates` has delivered to this session; `None` before its first poll.
    pub delivered: Option<Position>,
    pub token: Option<SessionToken>,
    pub is_cursor: bool,
}

/// Session to be stored.
#[derive(Clone, Debug)]
pub struct NewSession {
    pub key: SessionKey,
    pub user: UserId,
    pub created_at: Timestamp,
    pub token: Option<SessionToken>,
    pub is_cursor: bool,
}

/// Use of a session. Neither time nor position moves back.
#[derive(Clone, Copy, Debug)]
pub struct SessionTouch {
    pub key: SessionKey,
    pub last_used_at: Timestamp,
    pub told: Option<Position>,
}

/// Queries and expiry of sessions. [`Storage`](crate::Storage) states errors and cancel safety.
#[async_trait]
pub trait Sessions: Sync {
    /// Finds sessions by key, in any order, each with its user, deactivated or not, in one read. Unknown keys are absent, as are
    /// sessions whose token family was revoked.
    async fn sessions(&self, keys: &[SessionKey]) -> Result<Vec<(Session, User)>>;
    /// Finds one session as [`Sessions::sessions`] does.
    async fn session(&self, key: SessionKey) -> Result<Option<(Session, User)>> {
        Ok(self.sessions(&[key]).await?.pop())
    }
    /// Records uses of sessions, in a batch; skips sessions that have ended meanwhile.
    async fn touch_sessions(&self, touches: &[SessionTouch]) -> Result<()>;
    /// Deletes at most `limit` sessions last used before `before`. Returns the number of deleted sessions. Does nothing while
    /// another process does the same.
    async fn expire_sessions(&self, before: Timestamp, limit: usize) -> Result<u64>;
}

/// Writes of sessions. [`Tx`](crate::Tx) states errors and cancel safety.
#[async_trait]
pub trait WriteSessions {
    /// # Errors
    /// `Conflict("sessions_pkey")` if the key is taken.
    async fn insert_session(&mut self, new: NewSession) -> Result<()>;
    /// Deletes sessions and returns the deleted ones with their users; unknown keys are absent.
    async fn delete_sessions(&mut self, keys: &[SessionKey]) -> Result<Vec<(SessionKey, UserId)>>;
    /// Evicts the least recently used sessions of a user, or its polling cursors, all but `most`. Returns the deleted keys.
    async fn delete_sessions_beyond(&mut self, most: usize, user: UserId, is_cursor: bool) -> Result<Vec<SessionKey>>;
    /// Smallest delivered position of the user's polling cursors that were used since then.
    async fn least_delivered(&mut self, user: UserId, since: Timestamp) -> Result<Option<Position>>;
    /// Deletes all sessions of a user. Returns the deleted keys.
    async fn delete_sessions_of(&mut self, user: UserId) -> Result<Vec<SessionKey>>;
}
