use async_trait::async_trait;
use uuid::Uuid;

use crate::{Position, Result, Timestamp, User, UserId};

/// SHA-256 of a session's id. The id itself is stored nowhere.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionKey(pub [u8; 32]);

impl std::fmt::Debug for SessionKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SessionKey(..)")
    }
}

/// The token that a session was begun with, and without which it ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionToken {
    pub expires_at: Timestamp,
    /// The family of one of our own.
    pub family: Option<Uuid>,
}

/// One login with a cookie, or the cursor of a client that comes with a token.
#[derive(Clone, Debug, PartialEq)]
pub struct Session {
    pub key: SessionKey,
    pub user: UserId,
    pub created_at: Timestamp,
    pub last_used_at: Timestamp,
    /// Up to which position of the log `poll/updates` has told this session; `None` before its first poll.
    pub told: Option<Position>,
    pub token: Option<SessionToken>,
    pub is_cursor: bool,
}

/// A session to be stored.
#[derive(Clone, Debug)]
pub struct NewSession {
    pub key: SessionKey,
    pub user: UserId,
    pub created_at: Timestamp,
    pub token: Option<SessionToken>,
    pub is_cursor: bool,
}

/// That a session was used. Neither time nor position ever goes back.
#[derive(Clone, Copy, Debug)]
pub struct SessionTouch {
    pub key: SessionKey,
    pub last_used_at: Timestamp,
    pub told: Option<Position>,
}

#[async_trait]
pub trait Sessions: Sync {
    /// Those of these sessions that there are, in any order, each with its user, deactivated or not, in one read. One that was begun
    /// with a token of a family that has ended is not there.
    async fn sessions(&self, keys: &[SessionKey]) -> Result<Vec<(Session, User)>>;
    /// One session in the same way.
    async fn session(&self, key: SessionKey) -> Result<Option<(Session, User)>> {
        Ok(self.sessions(&[key]).await?.pop())
    }
    /// Notes that sessions were used; those that have ended meanwhile are passed over.
    async fn touch_sessions(&self, touches: &[SessionTouch]) -> Result<()>;
    /// Deletes at most `limit` sessions last used before `before`, and says how many. Does nothing while another process
    /// does the same.
    async fn expire_sessions(&self, before: Timestamp, limit: usize) -> Result<u64>;
}

#[async_trait]
pub trait WriteSessions {
    async fn insert_session(&mut self, new: NewSession) -> Result<()>;
    /// Ends those of these sessions that there are, and gives them with their users.
    async fn delete_sessions(&mut self, keys: &[SessionKey]) -> Result<Vec<(SessionKey, UserId)>>;
    /// Ends the sessions of a user, or its cursors, that were not used for longest, all but so many, and gives their keys.
    async fn delete_sessions_beyond(&mut self, most: usize, user: UserId, is_cursor: bool) -> Result<Vec<SessionKey>>;
    /// The least position that those cursors of a user were told which were used since then.
    async fn least_told(&mut self, user: UserId, since: Timestamp) -> Result<Option<Position>>;
    /// Ends all sessions of a user and gives their keys.
    async fn delete_sessions_of(&mut self, user: UserId) -> Result<Vec<SessionKey>>;
}
