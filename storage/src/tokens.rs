use async_trait::async_trait;
use uuid::Uuid;

use crate::{Result, Timestamp, User, UserId};

/// SHA-256 of a refresh token. The token itself is stored nowhere.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TokenKey(pub [u8; 32]);

impl std::fmt::Debug for TokenKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("TokenKey(..)")
    }
}

/// What renews the tokens of a login, once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefreshToken {
    pub key: TokenKey,
    /// All that descend from one login.
    pub family: Uuid,
    pub user: UserId,
    pub expires_at: Timestamp,
    pub used_at: Option<Timestamp>,
    /// Beginning of the grace window in which it was given for a token that had been used; `None` if it was not.
    pub grace_from: Option<Timestamp>,
}

/// A refresh token to be stored.
#[derive(Clone, Debug)]
pub struct NewRefreshToken {
    pub key: TokenKey,
    pub family: Uuid,
    pub user: UserId,
    pub expires_at: Timestamp,
    pub grace_from: Option<Timestamp>,
}

#[async_trait]
pub trait Tokens {
    /// The token, used or not, expired or not.
    async fn refresh_token(&self, key: TokenKey) -> Result<Option<RefreshToken>>;
    /// The user of a family, deactivated or not; `None` if the family has no token, used or not, that was not deleted.
    async fn user_of_family(&self, family: Uuid) -> Result<Option<User>>;
    /// Deletes at most `limit` tokens that expired before `before`, and says how many.
    async fn expire_refresh_tokens(&self, before: Timestamp, limit: usize) -> Result<u64>;
}

#[async_trait]
pub trait WriteTokens {
    async fn insert_refresh_token(&mut self, new: NewRefreshToken) -> Result<()>;
    /// Marks a token as used, unless it was, and gives it as it was before; of several who do so at once, one finds it
    /// unused. `None` if there is none.
    async fn use_refresh_token(&mut self, key: TokenKey, at: Timestamp) -> Result<Option<RefreshToken>>;
    /// Counts the tokens of a family that were given in the grace window which began at `from`.
    async fn count_grace_tokens(&mut self, family: Uuid, from: Timestamp) -> Result<u64>;
    /// Counts the tokens of a family, used or not.
    async fn count_tokens(&mut self, family: Uuid) -> Result<u64>;
    /// Deletes all tokens of a family.
    async fn delete_family(&mut self, family: Uuid) -> Result<()>;
    /// Deletes the families of a user that were not renewed for longest, all but so many, and gives them.
    async fn delete_families_beyond(&mut self, most: usize, user: UserId) -> Result<Vec<Uuid>>;
    /// Deletes all tokens of a user.
    async fn delete_refresh_tokens_of(&mut self, user: UserId) -> Result<()>;
}
