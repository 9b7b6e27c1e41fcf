//! PostgreSQL statements of refresh tokens.

use async_trait::async_trait;
use sqlx::postgres::PgRow;
use uuid::Uuid;

use super::users::user;
use crate::{
    NewRefreshToken, RefreshToken, Result, Timestamp, TokenKey, Tokens, User, UserId, WriteTokens,
    columns::user_columns,
    postgres::{Postgres, PostgresTx, alone, count, get, limit},
};

const REFRESH_TOKEN: &str = "SELECT family, user_id, expires_at, used_at, grace_from FROM refresh_tokens WHERE key = $1";
const USER_OF_FAMILY: &str = concat!(
    "SELECT ",
    user_columns!(),
    " FROM (SELECT user_id FROM refresh_tokens WHERE family = $1 LIMIT 1) token
      JOIN users account ON account.id = token.user_id
      JOIN partners person ON person.id = account.partner_id"
);
const EXPIRE_REFRESH_TOKENS: &str = concat!(
    "DELETE FROM refresh_tokens WHERE key IN (
        SELECT t.key FROM refresh_tokens t WHERE t.expires_at < $1 AND ",
    alone!("tokens"),
    " ORDER BY t.expires_at LIMIT $2 FOR UPDATE SKIP LOCKED
    ) RETURNING user_id"
);
const INSERT_REFRESH_TOKEN: &str =
    "INSERT INTO refresh_tokens (key, family, user_id, expires_at, grace_from) VALUES ($1, $2, $3, $4, $5)";
/// Locks the token: waits for a concurrent use, and then sees its result.
const LOCK_REFRESH_TOKEN: &str =
    "SELECT family, user_id, expires_at, used_at, grace_from FROM refresh_tokens WHERE key = $1 FOR NO KEY UPDATE";
const USE_REFRESH_TOKEN: &str = "UPDATE refresh_tokens SET used_at = $2 WHERE key = $1";
const COUNT_GRACE_TOKENS: &str = "SELECT count(*) FROM refresh_tokens WHERE family = $1 AND grace_from = $2";
const COUNT_TOKENS: &str = "SELECT count(*) FROM refresh_tokens WHERE family = $1";
const DELETE_FAMILY: &str = "DELETE FROM refresh_tokens WHERE family = $1";
/// Orders families by their newest expiry, which equals the order of renewal: all tokens have the same lifetime.
const DELETE_FAMILIES_BEYOND: &str = "WITH oldest AS MATERIALIZED (
        SELECT t.family FROM refresh_tokens t WHERE t.user_id = $1
        GROUP BY t.family ORDER BY max(t.expires_at) DESC, t.family OFFSET $2
    ), deleted AS (
        DELETE FROM refresh_tokens WHERE family IN (SELECT oldest.family FROM oldest)
    )
    SELECT oldest.family FROM oldest";
const DELETE_REFRESH_TOKENS_OF: &str = "DELETE FROM refresh_tokens WHERE user_id = $1";

fn token(key: TokenKey, row: &PgRow) -> Result<RefreshToken> {
    Ok(RefreshToken {
        key,
        family: get(row, "family")?,
        user: UserId(get(row, "user_id")?),
        expires_at: get(row, "expires_at")?,
        used_at: get(row, "used_at")?,
        grace_from: get(row, "grace_from")?,
    })
}

#[async_trait]
impl Tokens for Postgres {
    async fn refresh_token(&self, key: TokenKey) -> Result<Option<RefreshToken>> {
        self.row(sqlx::query(REFRESH_TOKEN).bind(key.0)).await?.map(|row| token(key, &row)).transpose()
    }

    async fn user_of_family(&self, family: Uuid) -> Result<Option<User>> {
        self.row(sqlx::query(USER_OF_FAMILY).bind(family)).await?.as_ref().map(user).transpose()
    }

    async fn expire_refresh_tokens(&self, before: Timestamp, most: usize) -> Result<u64> {
        let expired = self.rows(sqlx::query(EXPIRE_REFRESH_TOKENS).bind(before).bind(limit(most))).await?;
        Ok(expired.len() as u64)
    }
}

#[async_trait]
impl WriteTokens for PostgresTx {
    async fn insert_refresh_token(&mut self, new: NewRefreshToken) -> Result<()> {
        let NewRefreshToken { key, family, user, expires_at, grace_from } = new;
        let insert = sqlx::query(INSERT_REFRESH_TOKEN).bind(key.0).bind(family).bind(user.0).bind(expires_at).bind(grace_from);
        self.rows(insert).await.map(drop)
    }

    async fn use_refresh_token(&mut self, key: TokenKey, at: Timestamp) -> Result<Option<RefreshToken>> {
        let Some(row) = self.row(sqlx::query(LOCK_REFRESH_TOKEN).bind(key.0)).await? else { return Ok(None) };
        let before = token(key, &row)?;
        if before.used_at.is_none() {
            self.rows(sqlx::query(USE_REFRESH_TOKEN).bind(key.0).bind(at)).await?;
        }
        Ok(Some(before))
    }

    async fn count_grace_tokens(&mut self, family: Uuid, from: Timestamp) -> Result<u64> {
        count(&self.only_row(sqlx::query(COUNT_GRACE_TOKENS).bind(family).bind(from)).await?)
    }

    async fn count_tokens(&mut self, family: Uuid) -> Result<u64> {
        count(&self.only_row(sqlx::query(COUNT_TOKENS).bind(family)).await?)
    }

    async fn delete_family(&mut self, family: Uuid) -> Result<()> {
        self.rows(sqlx::query(DELETE_FAMILY).bind(family)).await.map(drop)
    }

    async fn delete_families_beyond(&mut self, most: usize, user: UserId) -> Result<Vec<Uuid>> {
        let deleted = self.rows(sqlx::query(DELETE_FAMILIES_BEYOND).bind(user.0).bind(limit(most))).await?;
        deleted.iter().map(|row| Ok(get(row, "family")?)).collect()
    }

    async fn delete_refresh_tokens_of(&mut self, user: UserId) -> Result<()> {
        self.rows(sqlx::query(DELETE_REFRESH_TOKENS_OF).bind(user.0)).await.map(drop)
    }
}
