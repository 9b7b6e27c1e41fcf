use std::{net::IpAddr, time::Duration};

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};
use storage::{Event, Fact, NewAuditEntry, NewRefreshToken, RefreshToken, Storage, Timestamp, TokenKey, Topic, Tx, User, UserId};
use uuid::Uuid;

use super::{
    Refused, TokenRules, Tokens,
    claims::{FAMILY, Names},
};
use crate::{
    auth::{
        Auth, Error, Login, Result,
        audit::{self, Action, Actor},
        secret,
    },
    clock,
    transaction::transaction,
};

/// Most pairs that are given in one grace window.
const GRACE_PAIRS: u64 = 3;

/// Most tokens that a family may have in the store, used ones included, unless it takes more to renew them twice as often as they run
/// out. Used ones are kept until they run out, so that it is seen if somebody else has one.
const FAMILY_TOKENS: u64 = 5_000;

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
    /// Renews both: once, and within its grace window a few times more.
    pub refresh: Token,
    /// For how long `access` lets in.
    pub lifetime: Duration,
}

/// What a refresh token is known by.
pub(super) fn key(refresh: &Token) -> TokenKey {
    TokenKey(Sha256::digest(refresh.0.as_bytes()).into())
}

impl Tokens {
    /// Whether tokens can be made.
    fn expect_secret(&self) -> Result<()> {
        if self.keys.can_sign() { Ok(()) } else { Err(Error::NotConfigured("tokens.secret")) }
    }

    /// Begins a family of tokens for a user who has shown, with its password as it was read, who it is: one that has
    /// changed since then gets `changed`.
    /// `entry` is stored with them. Beside the tokens it gives the events that are to be announced.
    pub(crate) async fn issue(
        &self,
        storage: &dyn Storage,
        user: &User,
        changed: Error,
        entry: &NewAuditEntry,
    ) -> Result<(Issued, Vec<Event>)> {
        self.expect_secret()?;
        // Their end is compared with the store's clock.
        let now = storage.now(clock::now()).await?;
        let named = self.named(storage, now).await?;
        transaction(storage, |mut tx| async {
            let unchanged = |now: &User| now.active && now.password == user.password;
            if !tx.lock_user(user.id).await?.as_ref().is_some_and(unchanged) {
                return Err(changed.clone());
            }
            let issued = self.add(tx.as_mut(), user, named, Uuid::new_v4(), now, None).await?;
            if self.rules.families > 0 {
                for family in tx.delete_families_beyond(self.rules.families, user.id).await? {
                    tx.record(Topic::Partner(user.partner.id), Fact::TokensRevoked { family }, now);
                }
            }
            tx.insert_audit(entry).await?;
            Ok((issued, tx.commit().await?))
        })
        .await
    }

    async fn add(
        &self,
        tx: &mut dyn Tx,
        user: &User,
        named: Named,
        family: Uuid,
        now: Timestamp,
        grace_from: Option<Timestamp>,
    ) -> Result<Issued> {
        let refresh = Token(secret());
        let expires_at = after(now, self.rules.refresh_lifetime);
        tx.insert_refresh_token(NewRefreshToken { key: key(&refresh), family, user: user.id, expires_at, grace_from }).await?;
        let access = self.keys.sign(&claims(&self.rules, user, named, family, clock::now()))?;
        Ok(Issued { access, refresh, lifetime: self.rules.access_lifetime })
    }

    /// How our own tokens name users. Nodes of the first release ask for the uid of who has no external id, so tokens have it while
    /// one of them serves the same store, and no longer: another service with the same secret would take it for a user of its own.
    async fn named(&self, storage: &dyn Storage, now: Timestamp) -> Result<Named> {
        if self.rules.names != Names::ExternalId {
            return Ok(Named::AsConfigured);
        }
        let is_beside_first_release = storage.nodes(now).await?.iter().any(|node| node.version.is_none());
        Ok(if is_beside_first_release { Named::OrByUid } else { Named::AsConfigured })
    }

    /// Most tokens of one family.
    fn most_of_family(&self) -> u64 {
        let needed = self.rules.refresh_lifetime.as_secs() / self.rules.access_lifetime.as_secs().max(1);
        FAMILY_TOKENS.max(2 * needed)
    }

    /// The beginning of the grace window in which a used refresh token is used again; `None` if that is over. A window begins with
    /// the first use of a token. The use of one that was given in a window, within this window, begins no other.
    fn grace(&self, token: &RefreshToken, used_at: Timestamp, now: Timestamp) -> Option<Timestamp> {
        let grace = TimeDelta::from_std(self.rules.refresh_grace).unwrap_or(TimeDelta::MAX);
        // Of two at once the second may have asked for the time first.
        let is_within = |from: Timestamp, at: Timestamp| at.signed_duration_since(from).max(TimeDelta::zero()) < grace;
        let from = token.grace_from.filter(|from| is_within(*from, used_at)).unwrap_or(used_at);
        is_within(from, now).then_some(from)
    }
}

/// How our own tokens name users.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Named {
    /// Not at all those who lack what the settings say.
    AsConfigured,
    /// By uid those who have no external id.
    OrByUid,
}

/// Our own tokens are such as the settings take from others, with their family beside.
fn claims(rules: &TokenRules, user: &User, named: Named, family: Uuid, now: Timestamp) -> Map<String, Value> {
    let TokenRules { issuer, audience, user_claim, names, type_claim, type_value, access_lifetime, .. } = rules;
    let set = |name: &str, value: &str| (!name.is_empty() && !value.is_empty()).then(|| (name.to_owned(), value.into()));
    let mut claims: Map<String, Value> =
        [set("iss", issuer), set("aud", audience), set(type_claim, type_value)].into_iter().flatten().collect();
    let subject = match names {
        Names::ExternalId => match (&user.external_id, named) {
            (Some(id), _) => Some(json!(id)),
            (None, Named::OrByUid) => Some(json!(user.id)),
            (None, Named::AsConfigured) => None,
        },
        Names::Uid => Some(json!(user.id)),
        Names::Uuid => Some(json!(user.uuid)),
        Names::Login => user.login.as_ref().map(|login| json!(login)),
    };
    claims.extend(subject.map(|subject| (user_claim.clone(), subject)));
    claims.extend([
        ("iat".to_owned(), now.timestamp().into()),
        ("exp".to_owned(), after(now, *access_lifetime).timestamp().into()),
        ("jti".to_owned(), json!(Uuid::new_v4())),
        (FAMILY.to_owned(), json!(family)),
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
        let user = self.known(login, password, from).await?;
        self.issued(&user, from, Error::Denied).await
    }

    /// Tokens for whoever has a session; they live on when it ends. A session that was begun with a token gives none.
    pub async fn tokens_by_session(&self, login: &Login, from: IpAddr) -> Result<Issued> {
        self.0.tokens.expect_secret()?;
        // A token that lets in for an hour is not to become one that can be renewed, nor is what was made of it.
        if login.expires_at.is_some() {
            return Err(Error::Expired);
        }
        // Read again: only now is it known with which password the session began.
        let (_, user, _) = self.stored_session(&[login.key()], clock::now()).await?;
        self.issued(&user, from, Error::Expired).await
    }

    async fn issued(&self, user: &User, from: IpAddr, changed: Error) -> Result<Issued> {
        let entry = audit::entry(Actor::User(user.id), Some(from), Action::SignIn, Some("tokens".into()), audit::OK);
        let (issued, events) = self.0.tokens.issue(self.0.storage.as_ref(), user, changed, &entry).await?;
        audit::log(&entry);
        let revoked: Vec<_> = events.iter().filter_map(|event| revoked(&event.fact)).collect();
        self.0.announce.committed(events).await;
        revoked.into_iter().for_each(|family| self.0.lives.end_family(family));
        Ok(issued)
    }

    /// New tokens for a refresh token, which works once: who uses one again has stolen it or been robbed of it, and nobody can tell
    /// which, so that all that descends from its login ends. Not so within a grace window: there an answer was lost, and a few more are
    /// given. `charge` counts it as something that the user does.
    pub async fn renew(&self, refresh: &str, from: IpAddr, charge: impl Fn(UserId) -> Result<()>) -> Result<Issued> {
        self.0.tokens.expect_secret()?;
        let outcome = self.renewed(&Token::new(refresh.to_owned()), from, charge).await;
        if let Err(Error::Refused(why)) = &outcome {
            tracing::info!("a refresh token was refused: {why}");
        }
        outcome
    }

    async fn renewed(&self, refresh: &Token, address: IpAddr, charge: impl Fn(UserId) -> Result<()>) -> Result<Issued> {
        let (key, storage, tokens) = (key(refresh), self.0.storage.as_ref(), &self.0.tokens);
        let found = storage.refresh_token(key).await?.ok_or(Refused::Revoked)?;
        charge(found.user)?;
        let now = storage.now(clock::now()).await?;
        let named = tokens.named(storage, now).await?;
        let reused = {
            let (actor, object) = (Actor::Stranger(None), audit::user(found.user));
            audit::entry(actor, Some(address), Action::TokensRevoked, Some(object), "used_again")
        };
        self.transaction(|mut tx| async {
            let user = tx.lock_user(found.user).await?.filter(|user| user.active).ok_or(Refused::InactiveUser)?;
            let token = tx.use_refresh_token(key, now).await?.ok_or(Refused::Revoked)?;
            let grace_from = token.used_at.and_then(|used_at| tokens.grace(&token, used_at, now));
            if token.used_at.is_some() && grace_from.is_none() {
                tx.delete_family(token.family).await?;
                tx.record(Topic::Partner(user.partner.id), Fact::TokensRevoked { family: token.family }, now);
                tx.insert_audit(&reused).await?;
                self.0.announce.committed(tx.commit().await?).await;
                self.0.lives.end_family(token.family);
                audit::log(&reused);
                return Err(Refused::UsedAgain.into());
            }
            if token.expires_at <= now {
                return Err(Refused::Expired.into());
            }
            if let Some(from) = grace_from
                && tx.count_grace_tokens(token.family, from).await? >= GRACE_PAIRS
            {
                return Err(Refused::UsedUp.into());
            }
            if tx.count_tokens(token.family).await? >= tokens.most_of_family() {
                return Err(Error::TooFast { retry_after: tokens.rules.access_lifetime });
            }
            let issued = tokens.add(tx.as_mut(), &user, named, token.family, now, grace_from).await?;
            tx.commit().await?;
            Ok(issued)
        })
        .await
    }
}
