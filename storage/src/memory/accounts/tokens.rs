//! In-memory refresh tokens.

use std::{cmp::Reverse, collections::HashMap};

use async_trait::async_trait;
use imbl::{OrdMap, OrdSet};
use uuid::Uuid;

use crate::{
    Error, NewRefreshToken, RefreshToken, Result, Timestamp, TokenKey, Tokens, User, UserId, WriteTokens,
    memory::{Memory, MemoryTx},
};

#[derive(Clone, Default)]
pub(crate) struct Table {
    rows: OrdMap<TokenKey, RefreshToken>,
    of_family: OrdSet<(Uuid, TokenKey)>,
    of_user: OrdSet<(UserId, TokenKey)>,
    by_expiry: OrdSet<(Timestamp, TokenKey)>,
}

const FIRST: TokenKey = TokenKey([0; 32]);
const LAST: TokenKey = TokenKey([255; 32]);

impl Table {
    fn insert(&mut self, token: RefreshToken) {
        self.of_family.insert((token.family, token.key));
        self.of_user.insert((token.user, token.key));
        self.by_expiry.insert((token.expires_at, token.key));
        self.rows.insert(token.key, token);
    }

    fn remove(&mut self, key: TokenKey) {
        let Some(token) = self.rows.remove(&key) else { return };
        self.of_family.remove(&(token.family, key));
        self.of_user.remove(&(token.user, key));
        self.by_expiry.remove(&(token.expires_at, key));
    }

    pub(crate) fn has_family(&self, family: Uuid) -> bool {
        self.family(family).next().is_some()
    }

    fn family(&self, family: Uuid) -> impl Iterator<Item = TokenKey> {
        self.of_family.range((family, FIRST)..=(family, LAST)).map(|(_, key)| *key)
    }
}

#[async_trait]
impl Tokens for Memory {
    async fn refresh_token(&self, key: TokenKey) -> Result<Option<RefreshToken>> {
        Ok(self.snapshot()?.tokens.rows.get(&key).cloned())
    }

    async fn user_of_family(&self, family: Uuid) -> Result<Option<User>> {
        let state = self.snapshot()?;
        let token = state.tokens.family(family).next().and_then(|key| state.tokens.rows.get(&key));
        Ok(token.and_then(|token| state.users.user(token.user)))
    }

    async fn expire_refresh_tokens(&self, before: Timestamp, limit: usize) -> Result<u64> {
        let mut tx = self.draft().await?;
        let table = &mut tx.draft.tokens;
        let expired: Vec<_> =
            table.by_expiry.iter().take_while(|(at, _)| *at < before).take(limit).map(|(_, key)| *key).collect();
        expired.iter().for_each(|key| table.remove(*key));
        tx.publish();
        Ok(expired.len() as u64)
    }
}

#[async_trait]
impl WriteTokens for MemoryTx {
    async fn insert_refresh_token(&mut self, new: NewRefreshToken) -> Result<()> {
        let NewRefreshToken { key, family, user, expires_at, grace_from } = new;
        self.draft.users.expect_user(user)?;
        if self.draft.tokens.rows.contains_key(&key) {
            return Err(Error::Conflict("refresh_tokens_pkey"));
        }
        self.draft.tokens.insert(RefreshToken { key, family, user, expires_at, used_at: None, grace_from });
        Ok(())
    }

    async fn use_refresh_token(&mut self, key: TokenKey, at: Timestamp) -> Result<Option<RefreshToken>> {
        let Some(token) = self.draft.tokens.rows.get_mut(&key) else { return Ok(None) };
        let before = token.clone();
        token.used_at.get_or_insert(at);
        Ok(Some(before))
    }

    async fn count_grace_tokens(&mut self, family: Uuid, from: Timestamp) -> Result<u64> {
        let table = &self.draft.tokens;
        let given = table.family(family).filter(|key| table.rows.get(key).is_some_and(|token| token.grace_from == Some(from)));
        Ok(given.count() as u64)
    }

    async fn count_tokens(&mut self, family: Uuid) -> Result<u64> {
        Ok(self.draft.tokens.family(family).count() as u64)
    }

    async fn delete_family(&mut self, family: Uuid) -> Result<()> {
        let table = &mut self.draft.tokens;
        let keys: Vec<_> = table.family(family).collect();
        keys.into_iter().for_each(|key| table.remove(key));
        Ok(())
    }

    async fn delete_families_beyond(&mut self, most: usize, user: UserId) -> Result<Vec<Uuid>> {
        let table = &self.draft.tokens;
        let mut renewed: HashMap<Uuid, Timestamp> = HashMap::new();
        for (_, key) in table.of_user.range((user, FIRST)..=(user, LAST)) {
            let token = &table.rows[key];
            let last = renewed.entry(token.family).or_insert(token.expires_at);
            *last = token.expires_at.max(*last);
        }
        let mut families: Vec<_> = renewed.into_iter().map(|(family, last)| (Reverse(last), family)).collect();
        families.sort_unstable();
        let oldest: Vec<_> = families.into_iter().skip(most).map(|(_, family)| family).collect();
        for family in &oldest {
            self.delete_family(*family).await?;
        }
        Ok(oldest)
    }

    async fn delete_refresh_tokens_of(&mut self, user: UserId) -> Result<()> {
        let table = &mut self.draft.tokens;
        let keys: Vec<_> = table.of_user.range((user, FIRST)..=(user, LAST)).map(|(_, key)| *key).collect();
        keys.into_iter().for_each(|key| table.remove(key));
        Ok(())
    }
}
