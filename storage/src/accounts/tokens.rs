//! Refresh tokens: single-use, rotated within a token family, with a grace window for retries.

use async_trait::async_trait;
use uuid::Uuid;

use crate::{Result, Timestamp, User, UserId};

/// SHA-256 of a refresh token. The token itself is not stored.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TokenKey(pub [u8; 32]);

impl std::fmt::Debug for TokenKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("TokenKey(..)")
    }
}

/// Refresh token of a login: exchanged once for new tokens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefreshToken {
    pub key: TokenKey,
    /// Token family: all tokens that descend from one login.
    pub family: Uuid,
    pub user: UserId,
    pub expires_at: Timestamp,
    pub used_at: Option<Timestamp>,
    /// Beginning of the grace window, if this token was issued in exchange for a used one; `None` otherwise.
    pub grace_from: Option<Timestamp>,
}

/// Refresh token to be stored.
#[derive(Clone, Debug)]
pub struct NewRefreshToken {
    pub key: TokenKey,
    pub family: Uuid,
    pub user: UserId,
    pub expires_at: Timestamp,
    pub grace_from: Option<Timestamp>,
}

/// Queries and expiry of refresh tokens. [`Storage`](crate::Storage) states errors and cancel safety.
#[async_trait]
pub trait Tokens {
    /// Finds a token, used or not, expired or not.
    async fn refresh_token(&self, key: TokenKey) -> Result<Option<RefreshToken>>;
    /// Finds the user of a family, deactivated or not; `None` if no token of the family, used or not, is left.
    async fn user_of_family(&self, family: Uuid) -> Result<Option<User>>;
    /// Deletes at most `limit` tokens that expired before `before`. Returns the number of deleted tokens. Does nothing while
    /// another process does the same.
    async fn expire_refresh_tokens(&self, before: Timestamp, limit: usize) -> Result<u64>;
}

/// Writes of refresh tokens. [`Tx`](crate::Tx) states errors and cancel safety.
#[async_trait]
pub trait WriteTokens {
    /// # Errors
    /// `Conflict("refresh_tokens_pkey")` if the key is taken.
    async fn insert_refresh_token(&mut self, new: NewRefreshToken) -> Result<()>;
    /// Marks a token as used, unless it was before, and returns its state from before; `None` if there is none. Of several
    /// concurrent calls, one finds it unused.
    async fn use_refresh_token(&mut self, key: TokenKey, at: Timestamp) -> Result<Option<RefreshToken>>;
    /// Counts the tokens of a family that were issued in the grace window beginning at `from`.
    async fn count_grace_tokens(&mut self, family: Uuid, from: Timestamp) -> Result<u64>;
    /// Counts the tokens of a family, used or not.
    async fn count_tokens(&mut self, family: Uuid) -> Result<u64>;
    /// Revokes a token family: deletes all its tokens.
    async fn delete_family(&mut self, family: Uuid) -> Result<()>;
    /// Evicts the least recently renewed families of a user, all but `most`. Returns the deleted families.
    async fn delete_families_beyond(&mut self, most: usize, user: UserId) -> Result<Vec<Uuid>>;
    /// Deletes all refresh tokens of a user.
    async fn delete_refresh_tokens_of(&mut self, user: UserId) -> Result<()>;
}
