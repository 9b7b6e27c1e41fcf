//! SQLite statements of sessions.

use async_trait::async_trait;
use sqlx::sqlite::SqliteRow;

use super::users::user;
use crate::{
    Error, NewSession, Position, Result, Session, SessionKey, SessionToken, SessionTouch, Sessions, Timestamp, User, UserId,
    WriteSessions,
    columns::user_columns,
    sqlite::{Sqlite, SqliteTx, get, greatest, hex, limit, list, micros, optional_time, time},
};

const SESSIONS: &str = concat!(
    "SELECT session.key, session.created_at AS session_created_at, session.last_used_at, session.told,
        session.token_expires_at, session.token_family, session.is_cursor, ",
    user_columns!(),
    " FROM sessions session
      JOIN users account ON account.id = session.user_id
      JOIN partners person ON person.id = account.partner_id
      WHERE session.key IN (SELECT unhex(value) FROM json_each($1)) AND (session.token_family IS NULL
          OR EXISTS (SELECT 1 FROM refresh_tokens token WHERE token.family = session.token_family))"
);
const TOUCH_SESSIONS: &str = concat!(
    "UPDATE sessions SET last_used_at = max(last_used_at, touch.used_at), told = ",
    greatest!("told", "touch.upto"),
    " FROM (
        SELECT unhex(value ->> 0) AS used, max(value ->> 1) AS used_at, max(value ->> 2) AS upto
        FROM json_each($1) GROUP BY value ->> 0
    ) touch WHERE key = touch.used"
);
const EXPIRE_SESSIONS: &str = "DELETE FROM sessions WHERE key IN (
        SELECT key FROM sessions WHERE last_used_at < $1 ORDER BY last_used_at LIMIT +$2
    ) RETURNING user_id";
const INSERT_SESSION: &str = "INSERT INTO sessions (key, user_id, created_at, last_used_at, token_expires_at,
    token_family, is_cursor) VALUES ($1, $2, $3, $3, $4, $5, $6)";
const DELETE_SESSIONS: &str = "DELETE FROM sessions WHERE key IN (SELECT unhex(value) FROM json_each($1)) RETURNING key, user_id";
const DELETE_SESSIONS_BEYOND: &str = "DELETE FROM sessions WHERE key IN (
        SELECT key FROM sessions WHERE user_id = $1 AND is_cursor = $3
        ORDER BY last_used_at DESC, created_at DESC, key LIMIT -1 OFFSET $2
    ) RETURNING key";
const LEAST_TOLD: &str = "SELECT min(told) AS told FROM sessions WHERE user_id = $1 AND is_cursor AND last_used_at >= $2";
const DELETE_SESSIONS_OF: &str = "DELETE FROM sessions WHERE user_id = $1 RETURNING key";

fn key(row: &SqliteRow) -> Result<SessionKey> {
    let bytes: &[u8] = get(row, "key")?;
    let bytes = bytes.try_into().map_err(|_| Error::Corrupt(format!("session key of {} bytes", bytes.len())))?;
    Ok(SessionKey(bytes))
}

fn texts(keys: &[SessionKey]) -> String {
    list(keys.iter().map(|key| hex(&key.0)))
}

fn session(row: &SqliteRow) -> Result<(Session, User)> {
    let user = user(row)?;
    let session = Session {
        key: key(row)?,
        user: user.id,
        created_at: time(row, "session_created_at")?,
        last_used_at: time(row, "last_used_at")?,
        delivered: get::<Option<i64>, _>(row, "told")?.map(Position),
        token: match optional_time(row, "token_expires_at")? {
            Some(expires_at) => Some(SessionToken { expires_at, family: get(row, "token_family")? }),
            None => None,
        },
        is_cursor: get(row, "is_cursor")?,
    };
    Ok((session, user))
}

#[async_trait]
impl Sessions for Sqlite {
    async fn sessions(&self, keys: &[SessionKey]) -> Result<Vec<(Session, User)>> {
        self.rows(sqlx::query(SESSIONS).bind(texts(keys))).await?.iter().map(session).collect()
    }

    async fn touch_sessions(&self, touches: &[SessionTouch]) -> Result<()> {
        if touches.is_empty() {
            return Ok(());
        }
        let touches = touches.iter().map(|touch| (hex(&touch.key.0), micros(touch.last_used_at), touch.told));
        self.write(sqlx::query(TOUCH_SESSIONS).bind(list(touches))).await.map(drop)
    }

    async fn expire_sessions(&self, before: Timestamp, most: usize) -> Result<u64> {
        let gone = self.write_in_steps(most, |step| sqlx::query(EXPIRE_SESSIONS).bind(micros(before)).bind(step)).await?;
        Ok(gone.len() as u64)
    }
}

#[async_trait]
impl WriteSessions for SqliteTx {
    async fn insert_session(&mut self, new: NewSession) -> Result<()> {
        let insert = sqlx::query(INSERT_SESSION).bind(&new.key.0[..]).bind(new.user.0).bind(micros(new.created_at));
        let (expires_at, family) = (new.token.map(|token| micros(token.expires_at)), new.token.and_then(|token| token.family));
        self.rows(insert.bind(expires_at).bind(family).bind(new.is_cursor)).await.map(drop)
    }

    async fn delete_sessions(&mut self, keys: &[SessionKey]) -> Result<Vec<(SessionKey, UserId)>> {
        if keys.is_empty() {
            return Ok(Vec::new());
        }
        let deleted = self.rows(sqlx::query(DELETE_SESSIONS).bind(texts(keys))).await?;
        deleted.iter().map(|row| Ok((key(row)?, UserId(get(row, "user_id")?)))).collect()
    }

    async fn delete_sessions_beyond(&mut self, most: usize, user: UserId, is_cursor: bool) -> Result<Vec<SessionKey>> {
        let delete = sqlx::query(DELETE_SESSIONS_BEYOND).bind(user.0).bind(limit(most)).bind(is_cursor);
        self.rows(delete).await?.iter().map(key).collect()
    }

    async fn least_delivered(&mut self, user: UserId, since: Timestamp) -> Result<Option<Position>> {
        let told = self.only_row(sqlx::query(LEAST_TOLD).bind(user.0).bind(micros(since))).await?;
        Ok(get::<Option<i64>, _>(&told, "told")?.map(Position))
    }

    async fn delete_sessions_of(&mut self, user: UserId) -> Result<Vec<SessionKey>> {
        self.rows(sqlx::query(DELETE_SESSIONS_OF).bind(user.0)).await?.iter().map(key).collect()
    }
}
