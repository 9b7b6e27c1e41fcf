use std::{net::IpAddr, time::Duration};

use chrono::{DateTime, Utc};
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};
use storage::{Event, Fact, NewRefreshToken, Storage, Timestamp, TokenKey, Topic, Tx, User};
use uuid::Uuid;

use super::{
    Refused, TokenRules, Tokens,
    claims::{FAMILY, Names},
};
use crate::{
    auth::{Auth, Error, Login, Result, secret},
    clock,
    transaction::transaction,
};

/// Something that lets in whoever holds it. Its `Debug` shows nothing.
#[derive(Clone)]
pub struct Token(String);

impl Token {
    pub(super) fn new(text: String) -> Self {
        Self(text)
    }

    /// For its holder, and nobody else.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Token(..)")
    }
}

/// What a login with tokens gives.
#[derive(Debug)]
pub struct Issued {
    /// Lets in.
    pub access: Token,
    /// Renews both, once.
    pub refresh: Token,
    /// For how long `access` lets in.
    pub lifetime: Duration,
}

/// What a refresh token is known by.
fn key(refresh: &Token) -> TokenKey {
    TokenKey(Sha256::digest(refresh.0.as_bytes()).into())
}

impl Tokens {
    /// Whether tokens can be made.
    fn expect_secret(&self) -> Result<()> {
        if self.keys.can_sign() { Ok(()) } else { Err(Error::NotConfigured("tokens.secret")) }
    }

    /// Begins a family of tokens for a user who has shown, with its password as it was read, who it is: one that has
    /// changed since then gets `changed`.
    /// Beside the tokens it gives the events that are to be announced.
    pub(crate) async fn issue(&self, storage: &dyn Storage, user: &User, changed: Error) -> Result<(Issued, Vec<Event>)> {
        self.expect_secret()?;
        transaction(storage, |mut tx| async {
            let unchanged = |now: &User| now.active && now.password == user.password;
            if !tx.lock_user(user.id).await?.as_ref().is_some_and(unchanged) {
                return Err(changed.clone());
            }
            let now = clock::now();
            let issued = self.add(tx.as_mut(), user, Uuid::new_v4(), now).await?;
            if self.rules.families > 0 {
                for family in tx.delete_families_beyond(self.rules.families, user.id).await? {
                    tx.record(Topic::Partner(user.partner.id), Fact::TokensRevoked { family }, now);
                }
            }
            Ok((issued, tx.commit().await?))
        })
        .await
    }

    async fn add(&self, tx: &mut dyn Tx, user: &User, family: Uuid, now: Timestamp) -> Result<Issued> {
        let refresh = Token(secret());
        let expires_at = after(now, self.rules.refresh_lifetime);
        tx.insert_refresh_token(NewRefreshToken { key: key(&refresh), family, user: user.id, expires_at }).await?;
        let access = self.keys.sign(&claims(&self.rules, user, family, now))?;
        Ok(Issued { access, refresh, lifetime: self.rules.access_lifetime })
    }
}

/// Our own tokens are such as the settings take from others, with their family beside.
fn claims(rules: &TokenRules, user: &User, family: Uuid, now: Timestamp) -> Map<String, Value> {
    let TokenRules { issuer, audience, user_claim, names, type_claim, type_value, access_lifetime, .. } = rules;
    let set = |name: &str, value: &str| (!name.is_empty() && !value.is_empty()).then(|| (name.to_owned(), value.into()));
    let mut claims: Map<String, Value> =
        [set("iss", issuer), set("aud", audience), set(type_claim, type_value)].into_iter().flatten().collect();
    let subject = match names {
        Names::Uid => json!(user.id),
        Names::Uuid => json!(user.uuid),
        Names::Login => json!(user.login_text()),
    };
    claims.extend([
        ("iat".to_owned(), now.timestamp().into()),
        ("exp".to_owned(), after(now, *access_lifetime).timestamp().into()),
        ("jti".to_owned(), json!(Uuid::new_v4())),
        (FAMILY.to_owned(), json!(family)),
        (user_claim.clone(), subject),
    ]);
    claims
}

fn revoked(fact: &Fact) -> Option<Uuid> {
    match fact {
        Fact::TokensRevoked { family } => Some(*family),
        _ => None,
    }
}

fn after(now: Timestamp, lifetime: Duration) -> Timestamp {
    let lifetime = chrono::TimeDelta::from_std(lifetime).unwrap_or(chrono::TimeDelta::MAX);
    now.checked_add_signed(lifetime).unwrap_or(DateTime::<Utc>::MAX_UTC)
}

impl Auth {
    /// Tokens for whoever knows the password.
    pub async fn tokens_by_password(&self, login: &str, password: &str, from: IpAddr) -> Result<Issued> {
        self.0.tokens.expect_secret()?;
        let user = self.user(login, password, from).await?;
        self.issued(&user, Error::Denied).await
    }

    /// Tokens for whoever has a session; they live on when it ends.
    pub async fn tokens_by_session(&self, login: &Login) -> Result<Issued> {
        self.0.tokens.expect_secret()?;
        // Read again: only now is it known with which password the session began.
        let (user, _) = self.stored_session(login.key(), clock::now()).await?;
        self.issued(&user, Error::Expired).await
    }

    async fn issued(&self, user: &User, changed: Error) -> Result<Issued> {
        let (issued, events) = self.0.tokens.issue(self.0.storage.as_ref(), user, changed).await?;
        let revoked: Vec<_> = events.iter().filter_map(|event| revoked(&event.fact)).collect();
        self.0.announce.committed(events).await;
        revoked.into_iter().for_each(|family| self.0.lives.end_family(family));
        Ok(issued)
    }

    /// New tokens for a refresh token, which works once: who uses one again has stolen it or been robbed of it, and
    /// nobody can tell which, so that all that descends from its login ends.
    pub async fn renew(&self, refresh: &str) -> Result<Issued> {
        self.0.tokens.expect_secret()?;
        let outcome = self.renewed(&Token::new(refresh.to_owned())).await;
        if let Err(Error::Refused(why)) = &outcome {
            tracing::info!("a refresh token was refused: {why}");
        }
        outcome
    }

    async fn renewed(&self, refresh: &Token) -> Result<Issued> {
        let (key, now) = (key(refresh), clock::now());
        let found = self.0.storage.refresh_token(key).await?.ok_or(Refused::Revoked)?;
        self.transaction(|mut tx| async {
            let user = tx.lock_user(found.user).await?.filter(|user| user.active).ok_or(Refused::InactiveUser)?;
            let token = tx.use_refresh_token(key, now).await?.ok_or(Refused::Revoked)?;
            if token.used_at.is_some() {
                tx.delete_family(token.family).await?;
                tx.record(Topic::Partner(user.partner.id), Fact::TokensRevoked { family: token.family }, now);
                self.0.announce.committed(tx.commit().await?).await;
                self.0.lives.end_family(token.family);
                return Err(Refused::UsedAgain.into());
            }
            if token.expires_at <= now {
                return Err(Refused::Expired.into());
            }
            let issued = self.0.tokens.add(tx.as_mut(), &user, token.family, now).await?;
            tx.commit().await?;
            Ok(issued)
        })
        .await
    }
}
