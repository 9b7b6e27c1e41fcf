//! PostgreSQL statements of sessions.

use async_trait::async_trait;
use sqlx::postgres::PgRow;

use super::users::user;
use crate::{
    Error, NewSession, Position, Result, Session, SessionKey, SessionToken, SessionTouch, Sessions, Timestamp, User, UserId,
    WriteSessions,
    columns::user_columns,
    postgres::{Postgres, PostgresTx, alone, get, limit},
};

const SESSIONS: &str = concat!(
    "SELECT session.key, session.created_at AS session_created_at, session.last_used_at, session.told,
        session.token_expires_at, session.token_family, session.is_cursor, ",
    user_columns!(),
    " FROM sessions session
      JOIN users account ON account.id = session.user_id
      JOIN partners person ON person.id = account.partner_id
      WHERE session.key = ANY ($1) AND (session.token_family IS NULL
          OR EXISTS (SELECT FROM refresh_tokens token WHERE token.family = session.token_family))"
);
/// Locks sessions by key, since several nodes touch the same ones concurrently.
const TOUCH_SESSIONS: &str = "WITH touch AS MATERIALIZED (
        SELECT t.key, max(t.last_used_at) AS last_used_at, max(t.told) AS told
        FROM unnest($1::bytea[], $2::timestamptz[], $3::bigint[]) AS t(key, last_used_at, told) GROUP BY t.key
    ), locked AS MATERIALIZED (
        SELECT s.key FROM sessions s WHERE s.key = ANY ($1) ORDER BY s.key FOR NO KEY UPDATE
    )
    UPDATE sessions s
    SET last_used_at = greatest(s.last_used_at, touch.last_used_at), told = greatest(s.told, touch.told)
    FROM locked JOIN touch ON touch.key = locked.key WHERE s.key = locked.key";
const EXPIRE_SESSIONS: &str = concat!(
    "DELETE FROM sessions WHERE key IN (
        SELECT s.key FROM sessions s WHERE s.last_used_at < $1 AND ",
    alone!("sessions"),
    " ORDER BY s.last_used_at LIMIT $2 FOR UPDATE SKIP LOCKED
    ) RETURNING user_id"
);
const INSERT_SESSION: &str = "INSERT INTO sessions (key, user_id, created_at, last_used_at, token_expires_at,
    token_family, is_cursor) VALUES ($1, $2, $3, $3, $4, $5, $6)";
/// Locks by key, in the order of [`TOUCH_SESSIONS`].
const DELETE_SESSIONS: &str = "WITH locked AS MATERIALIZED (
        SELECT s.key FROM sessions s WHERE s.key = ANY ($1) ORDER BY s.key FOR UPDATE
    )
    DELETE FROM sessions WHERE key IN (SELECT locked.key FROM locked) RETURNING key, user_id";
/// Locks by key, in the order of [`TOUCH_SESSIONS`].
const DELETE_SESSIONS_BEYOND: &str = "WITH oldest AS MATERIALIZED (
        SELECT s.key FROM sessions s WHERE s.user_id = $1 AND s.is_cursor = $3
        ORDER BY s.last_used_at DESC, s.created_at DESC, s.key OFFSET $2
    ), locked AS MATERIALIZED (
        SELECT s.key FROM sessions s WHERE s.key IN (SELECT oldest.key FROM oldest) ORDER BY s.key FOR UPDATE
    )
    DELETE FROM sessions WHERE key IN (SELECT locked.key FROM locked) RETURNING key";
const LEAST_TOLD: &str =
    "SELECT min(s.told) AS told FROM sessions s WHERE s.user_id = $1 AND s.is_cursor AND s.last_used_at >= $2";
const DELETE_SESSIONS_OF: &str = "DELETE FROM sessions WHERE user_id = $1 RETURNING key";

fn key(row: &PgRow) -> Result<SessionKey> {
    let bytes: &[u8] = get(row, "key")?;
    let bytes = bytes.try_into().map_err(|_| Error::Corrupt(format!("session key of {} bytes", bytes.len())))?;
    Ok(SessionKey(bytes))
}

fn bytes(keys: &[SessionKey]) -> Vec<&[u8]> {
    keys.iter().map(|key| &key.0[..]).collect()
}

fn session(row: &PgRow) -> Result<(Session, User)> {
    let user = user(row)?;
    let session = Session {
        key: key(row)?,
        user: user.id,
        created_at: get(row, "session_created_at")?,
        last_used_at: get(row, "last_used_at")?,
        delivered: get::<Option<i64>, _>(row, "told")?.map(Position),
        token: match get(row, "token_expires_at")? {
            Some(expires_at) => Some(SessionToken { expires_at, family: get(row, "token_family")? }),
            None => None,
        },
        is_cursor: get(row, "is_cursor")?,
    };
    Ok((session, user))
}

#[async_trait]
impl Sessions for Postgres {
    async fn sessions(&self, keys: &[SessionKey]) -> Result<Vec<(Session, User)>> {
        self.rows(sqlx::query(SESSIONS).bind(bytes(keys))).await?.iter().map(session).collect()
    }

    async fn touch_sessions(&self, touches: &[SessionTouch]) -> Result<()> {
        if touches.is_empty() {
            return Ok(());
        }
        let keys: Vec<&[u8]> = touches.iter().map(|touch| &touch.key.0[..]).collect();
        let times: Vec<Timestamp> = touches.iter().map(|touch| touch.last_used_at).collect();
        let told: Vec<Option<i64>> = touches.iter().map(|touch| touch.told.map(|position| position.0)).collect();
        self.rows(sqlx::query(TOUCH_SESSIONS).bind(keys).bind(times).bind(told)).await.map(drop)
    }

    async fn expire_sessions(&self, before: Timestamp, most: usize) -> Result<u64> {
        let expired = self.rows(sqlx::query(EXPIRE_SESSIONS).bind(before).bind(limit(most))).await?;
        Ok(expired.len() as u64)
    }
}

#[async_trait]
impl WriteSessions for PostgresTx {
    async fn insert_session(&mut self, new: NewSession) -> Result<()> {
        let insert = sqlx::query(INSERT_SESSION).bind(new.key.0).bind(new.user.0).bind(new.created_at);
        let (expires_at, family) = (new.token.map(|token| token.expires_at), new.token.and_then(|token| token.family));
        self.rows(insert.bind(expires_at).bind(family).bind(new.is_cursor)).await.map(drop)
    }

    async fn delete_sessions(&mut self, keys: &[SessionKey]) -> Result<Vec<(SessionKey, UserId)>> {
        if keys.is_empty() {
            return Ok(Vec::new());
        }
        let deleted = self.rows(sqlx::query(DELETE_SESSIONS).bind(bytes(keys))).await?;
        deleted.iter().map(|row| Ok((key(row)?, UserId(get(row, "user_id")?)))).collect()
    }

    async fn delete_sessions_beyond(&mut self, most: usize, user: UserId, is_cursor: bool) -> Result<Vec<SessionKey>> {
        let delete = sqlx::query(DELETE_SESSIONS_BEYOND).bind(user.0).bind(limit(most)).bind(is_cursor);
        self.rows(delete).await?.iter().map(key).collect()
    }

    async fn least_delivered(&mut self, user: UserId, since: Timestamp) -> Result<Option<Position>> {
        let told = self.only_row(sqlx::query(LEAST_TOLD).bind(user.0).bind(since)).await?;
        Ok(get::<Option<i64>, _>(&told, "told")?.map(Position))
    }

    async fn delete_sessions_of(&mut self, user: UserId) -> Result<Vec<SessionKey>> {
        self.rows(sqlx::query(DELETE_SESSIONS_OF).bind(user.0)).await?.iter().map(key).collect()
    }
}
