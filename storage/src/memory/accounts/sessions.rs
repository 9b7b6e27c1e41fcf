//! In-memory sessions.

use std::{cmp::Reverse, collections::BTreeSet};

use async_trait::async_trait;
use imbl::{OrdMap, OrdSet};

use crate::{
    Error, NewSession, Position, Result, Session, SessionKey, SessionTouch, Sessions, Timestamp, User, UserId, WriteSessions,
    memory::{Memory, MemoryTx},
};

#[derive(Clone, Default)]
pub(crate) struct Table {
    rows: OrdMap<SessionKey, Session>,
    of_user: OrdMap<UserId, OrdSet<SessionKey>>,
    by_use: OrdSet<(Timestamp, SessionKey)>,
}

impl Table {
    fn of(&self, user: UserId) -> impl Iterator<Item = &Session> {
        self.of_user.get(&user).into_iter().flatten().filter_map(|key| self.rows.get(key))
    }

    fn insert(&mut self, session: Session) {
        self.of_user.entry(session.user).or_default().insert(session.key);
        self.by_use.insert((session.last_used_at, session.key));
        self.rows.insert(session.key, session);
    }

    fn touch(&mut self, touch: &SessionTouch) {
        let Some(session) = self.rows.get_mut(&touch.key) else { return };
        self.by_use.remove(&(session.last_used_at, session.key));
        session.last_used_at = session.last_used_at.max(touch.last_used_at);
        session.delivered = session.delivered.max(touch.told);
        self.by_use.insert((session.last_used_at, session.key));
    }

    fn remove(&mut self, key: SessionKey) -> Option<UserId> {
        let session = self.rows.remove(&key)?;
        self.by_use.remove(&(session.last_used_at, key));
        if let Some(keys) = self.of_user.get_mut(&session.user) {
            keys.remove(&key);
            if keys.is_empty() {
                self.of_user.remove(&session.user);
            }
        }
        Some(session.user)
    }
}

#[async_trait]
impl Sessions for Memory {
    async fn sessions(&self, keys: &[SessionKey]) -> Result<Vec<(Session, User)>> {
        let state = self.snapshot()?;
        let found = keys.iter().collect::<BTreeSet<_>>().into_iter().filter_map(|key| state.sessions.rows.get(key));
        let is_there = |session: &&Session| {
            session.token.and_then(|token| token.family).is_none_or(|family| state.tokens.has_family(family))
        };
        let with_user = found
            .filter(is_there)
            .map(|session| (session.clone(), state.users.user(session.user).expect("users are never deleted")));
        Ok(with_user.collect())
    }

    async fn touch_sessions(&self, touches: &[SessionTouch]) -> Result<()> {
        let mut tx = self.draft().await?;
        touches.iter().for_each(|touch| tx.draft.sessions.touch(touch));
        tx.publish();
        Ok(())
    }

    async fn expire_sessions(&self, before: Timestamp, limit: usize) -> Result<u64> {
        let mut tx = self.draft().await?;
        let table = &mut tx.draft.sessions;
        let expired: Vec<_> =
            table.by_use.iter().take_while(|(used, _)| *used < before).take(limit).map(|(_, key)| *key).collect();
        let count = expired.iter().filter_map(|key| table.remove(*key)).count();
        tx.publish();
        Ok(count as u64)
    }
}

#[async_trait]
impl WriteSessions for MemoryTx {
    async fn insert_session(&mut self, new: NewSession) -> Result<()> {
        let NewSession { key, user, created_at, token, is_cursor } = new;
        self.draft.users.expect_user(user)?;
        if self.draft.sessions.rows.contains_key(&key) {
            return Err(Error::Conflict("sessions_pkey"));
        }
        self.draft.sessions.insert(Session {
            key,
            user,
            created_at,
            last_used_at: created_at,
            delivered: None,
            token,
            is_cursor,
        });
        Ok(())
    }

    async fn delete_sessions(&mut self, keys: &[SessionKey]) -> Result<Vec<(SessionKey, UserId)>> {
        let table = &mut self.draft.sessions;
        Ok(keys.iter().filter_map(|key| Some((*key, table.remove(*key)?))).collect())
    }

    async fn delete_sessions_beyond(&mut self, most: usize, user: UserId, is_cursor: bool) -> Result<Vec<SessionKey>> {
        let table = &mut self.draft.sessions;
        let alike = table.of(user).filter(|session| session.is_cursor == is_cursor);
        let mut keys: Vec<_> = alike.map(|session| (Reverse((session.last_used_at, session.created_at)), session.key)).collect();
        keys.sort_unstable();
        let oldest: Vec<_> = keys.into_iter().skip(most).map(|(_, key)| key).collect();
        for key in &oldest {
            table.remove(*key);
        }
        Ok(oldest)
    }

    async fn least_delivered(&mut self, user: UserId, since: Timestamp) -> Result<Option<Position>> {
        let used = self.draft.sessions.of(user).filter(|session| session.is_cursor && session.last_used_at >= since);
        Ok(used.filter_map(|session| session.delivered).min())
    }

    async fn delete_sessions_of(&mut self, user: UserId) -> Result<Vec<SessionKey>> {
        let table = &mut self.draft.sessions;
        let keys: Vec<_> = table.of_user.get(&user).into_iter().flatten().copied().collect();
        for key in &keys {
            table.remove(*key);
        }
        Ok(keys)
    }
}
