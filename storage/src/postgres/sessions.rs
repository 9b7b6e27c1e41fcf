use async_trait::async_trait;
use sqlx::postgres::PgRow;

use super::users::{user, user_columns};
use super::{Postgres, PostgresTx, alone, get, limit};
use crate::{
    Error, NewSession, Position, Result, Session, SessionKey, SessionTouch, Sessions, Timestamp, User, UserId, WriteSessions,
};

const SESSIONS: &str = concat!(
    "SELECT session.key, session.created_at AS session_created_at, session.last_used_at, session.told, ",
    user_columns!(),
    " FROM sessions session
      JOIN users account ON account.id = session.user_id
      JOIN partners person ON person.id = account.partner_id
      WHERE session.key = ANY ($1)"
);
/// Locks in one order, since nodes touch the same sessions at the same time.
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
const INSERT_SESSION: &str = "INSERT INTO sessions (key, user_id, created_at, last_used_at) VALUES ($1, $2, $3, $3)";
/// Locks in the order in which touches lock.
const DELETE_SESSIONS: &str = "WITH locked AS MATERIALIZED (
        SELECT s.key FROM sessions s WHERE s.key = ANY ($1) ORDER BY s.key FOR UPDATE
    )
    DELETE FROM sessions WHERE key IN (SELECT locked.key FROM locked) RETURNING key, user_id";
/// As above.
const DELETE_SESSIONS_BEYOND: &str = "WITH oldest AS MATERIALIZED (
        SELECT s.key FROM sessions s WHERE s.user_id = $1 ORDER BY s.last_used_at DESC, s.created_at DESC, s.key OFFSET $2
    ), locked AS MATERIALIZED (
        SELECT s.key FROM sessions s WHERE s.key IN (SELECT oldest.key FROM oldest) ORDER BY s.key FOR UPDATE
    )
    DELETE FROM sessions WHERE key IN (SELECT locked.key FROM locked) RETURNING key";
const DELETE_SESSIONS_OF: &str = "DELETE FROM sessions WHERE user_id = $1 RETURNING key";

fn key(row: &PgRow) -> Result<SessionKey> {
    let bytes: &[u8] = get(row, "key")?;
    let bytes = bytes.try_into().map_err(|_| Error::Corrupt(format!("a session's key of {} bytes", bytes.len())))?;
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
        told: get::<Option<i64>, _>(row, "told")?.map(Position),
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
        self.rows(insert).await.map(drop)
    }

    async fn delete_sessions(&mut self, keys: &[SessionKey]) -> Result<Vec<(SessionKey, UserId)>> {
        let deleted = self.rows(sqlx::query(DELETE_SESSIONS).bind(bytes(keys))).await?;
        deleted.iter().map(|row| Ok((key(row)?, UserId(get(row, "user_id")?)))).collect()
    }

    async fn delete_sessions_beyond(&mut self, most: usize, user: UserId) -> Result<Vec<SessionKey>> {
        self.rows(sqlx::query(DELETE_SESSIONS_BEYOND).bind(user.0).bind(limit(most))).await?.iter().map(key).collect()
    }

    async fn delete_sessions_of(&mut self, user: UserId) -> Result<Vec<SessionKey>> {
        self.rows(sqlx::query(DELETE_SESSIONS_OF).bind(user.0)).await?.iter().map(key).collect()
    }
}
