//! SQLite statements of refresh tokens.

use async_trait::async_trait;
use sqlx::sqlite::SqliteRow;
use uuid::Uuid;

use super::users::user;
use crate::{
    NewRefreshToken, RefreshToken, Result, Timestamp, TokenKey, Tokens, User, UserId, WriteTokens,
    columns::user_columns,
    sqlite::{Sqlite, SqliteTx, get, limit, list, micros, optional_time, time},
};

const REFRESH_TOKEN: &str = "SELECT family, user_id, expires_at, used_at, grace_from FROM refresh_tokens WHERE key = $1";
const USER_OF_FAMILY: &str = concat!(
    "SELECT ",
    user_columns!(),
    " FROM (SELECT user_id FROM refresh_tokens WHERE family = $1 LIMIT 1) token
      JOIN users account ON account.id = token.user_id
      JOIN partners person ON person.id = account.partner_id"
);
const EXPIRE_REFRESH_TOKENS: &str = "DELETE FROM refresh_tokens WHERE key IN (
        SELECT key FROM refresh_tokens WHERE expires_at < $1 ORDER BY expires_at LIMIT +$2
    ) RETURNING user_id";
const INSERT_REFRESH_TOKEN: &str =
    "INSERT INTO refresh_tokens (key, family, user_id, expires_at, grace_from) VALUES ($1, $2, $3, $4, $5)";
const USE_REFRESH_TOKEN: &str = "UPDATE refresh_tokens SET used_at = $2 WHERE key = $1";
const COUNT_GRACE_TOKENS: &str = "SELECT count(*) FROM refresh_tokens WHERE family = $1 AND grace_from = $2";
const COUNT_TOKENS: &str = "SELECT count(*) FROM refresh_tokens WHERE family = $1";
const DELETE_FAMILY: &str = "DELETE FROM refresh_tokens WHERE family = $1";
/// Orders families by their newest expiry, which equals the order of renewal: all tokens have the same lifetime.
const FAMILIES_BEYOND: &str = "SELECT family FROM refresh_tokens WHERE user_id = $1
    GROUP BY family ORDER BY max(expires_at) DESC, family LIMIT -1 OFFSET $2";
const DELETE_FAMILIES: &str = "DELETE FROM refresh_tokens WHERE family IN (SELECT unhex(value, '-') FROM json_each($1))";
const DELETE_REFRESH_TOKENS_OF: &str = "DELETE FROM refresh_tokens WHERE user_id = $1";

fn token(key: TokenKey, row: &SqliteRow) -> Result<RefreshToken> {
    Ok(RefreshToken {
        key,
        family: get(row, "family")?,
        user: UserId(get(row, "user_id")?),
        expires_at: time(row, "expires_at")?,
        used_at: optional_time(row, "used_at")?,
        grace_from: optional_time(row, "grace_from")?,
    })
}

fn count(row: &SqliteRow) -> Result<u64> {
    Ok(get::<i64, _>(row, 0)?.unsigned_abs())
}

#[async_trait]
impl Tokens for Sqlite {
    async fn refresh_token(&self, key: TokenKey) -> Result<Option<RefreshToken>> {
        self.row(sqlx::query(REFRESH_TOKEN).bind(&key.0[..])).await?.map(|row| token(key, &row)).transpose()
    }

    async fn user_of_family(&self, family: Uuid) -> Result<Option<User>> {
        self.row(sqlx::query(USER_OF_FAMILY).bind(family)).await?.as_ref().map(user).transpose()
    }

    async fn expire_refresh_tokens(&self, before: Timestamp, most: usize) -> Result<u64> {
        let gone = self.write_in_steps(most, |step| sqlx::query(EXPIRE_REFRESH_TOKENS).bind(micros(before)).bind(step)).await?;
        Ok(gone.len() as u64)
    }
}

#[async_trait]
impl WriteTokens for SqliteTx {
    async fn insert_refresh_token(&mut self, new: NewRefreshToken) -> Result<()> {
        let NewRefreshToken { key, family, user, expires_at, grace_from } = new;
        let insert = sqlx::query(INSERT_REFRESH_TOKEN).bind(&key.0[..]).bind(family).bind(user.0);
        self.rows(insert.bind(micros(expires_at)).bind(grace_from.map(micros))).await.map(drop)
    }

    async fn use_refresh_token(&mut self, key: TokenKey, at: Timestamp) -> Result<Option<RefreshToken>> {
        let Some(row) = self.row(sqlx::query(REFRESH_TOKEN).bind(&key.0[..])).await? else { return Ok(None) };
        let before = token(key, &row)?;
        if before.used_at.is_none() {
            self.rows(sqlx::query(USE_REFRESH_TOKEN).bind(&key.0[..]).bind(micros(at))).await?;
        }
        Ok(Some(before))
    }

    async fn count_grace_tokens(&mut self, family: Uuid, from: Timestamp) -> Result<u64> {
        count(&self.only_row(sqlx::query(COUNT_GRACE_TOKENS).bind(family).bind(micros(from))).await?)
    }

    async fn count_tokens(&mut self, family: Uuid) -> Result<u64> {
        count(&self.only_row(sqlx::query(COUNT_TOKENS).bind(family)).await?)
    }

    async fn delete_family(&mut self, family: Uuid) -> Result<()> {
        self.rows(sqlx::query(DELETE_FAMILY).bind(family)).await.map(drop)
    }

    async fn delete_families_beyond(&mut self, most: usize, user: UserId) -> Result<Vec<Uuid>> {
        let oldest = self.rows(sqlx::query(FAMILIES_BEYOND).bind(user.0).bind(limit(most))).await?;
        let oldest = oldest.iter().map(|row| get(row, "family")).collect::<Result<Vec<Uuid>>>()?;
        if !oldest.is_empty() {
            self.rows(sqlx::query(DELETE_FAMILIES).bind(list(&oldest))).await?;
        }
        Ok(oldest)
    }

    async fn delete_refresh_tokens_of(&mut self, user: UserId) -> Result<()> {
        self.rows(sqlx::query(DELETE_REFRESH_TOKENS_OF).bind(user.0)).await.map(drop)
    }
}
