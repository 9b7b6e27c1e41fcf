//! Issuing tokens: pairs of an access token and a refresh token, with rotation of refresh tokens, detection of their reuse, and a
//! grace period for lost responses.

use std::{net::IpAddr, time::Duration};

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};
use storage::{Event, Fact, NewAuditEntry, NewRefreshToken, RefreshToken, Storage, Timestamp, TokenKey, Topic, Tx, User, UserId};
use uuid::Uuid;

use super::{TokenError, TokenRules, Tokens, claims::FAMILY};
use crate::{
    auth::{
        Auth, Error, Login, Result, SignInOrigin,
        audit::{self, AuditAction, AuditActor},
        secret,
        subject::SubjectKind,
    },
    clock,
    transaction::transaction,
};

/// Maximum number of pairs in one grace period.
const GRACE_PAIRS: u64 = 3;

/// Maximum number of tokens of one family in the store, used ones included; more if the lifetimes need it for renewals at twice
/// the rate of expiry. Used tokens are kept until they expire, so that reuse by a thief is detected.
const FAMILY_TOKENS: u64 = 5_000;

/// A bearer token: grants access to its holder. Its `Debug` shows nothing.
#[derive(Clone)]
pub struct Token(String);

impl Token {
    pub(super) fn new(text: String) -> Self {
        Self(text)
    }

    /// The text of the token, for its holder only.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Token(..)")
    }
}

/// A pair of tokens.
#[derive(Debug)]
pub struct IssuedTokens {
    /// Access token.
    pub access: Token,
    /// Refresh token: renews the pair once, and a few more times within the grace period.
    pub refresh: Token,
    /// Lifetime of `access`.
    pub lifetime: Duration,
}

/// Key of a refresh token in the store: its SHA-256.
pub(super) fn key(refresh: &Token) -> TokenKey {
    TokenKey(Sha256::digest(refresh.0.as_bytes()).into())
}

impl Tokens {
    /// Fails without `tokens.secret`, which issuing needs.
    fn expect_secret(&self) -> Result<()> {
        if self.keys.can_sign() { Ok(()) } else { Err(Error::NotConfigured("tokens.secret")) }
    }

    /// Begins a token family for an authenticated user. Fails with `changed` if the password differs from the one in `user`, or
    /// the user is no longer active. Stores `entry` with the tokens, and returns the events to publish beside them.
    pub(crate) async fn issue(
        &self,
        storage: &dyn Storage,
        user: &User,
        changed: Error,
        entry: &NewAuditEntry,
    ) -> Result<(IssuedTokens, Vec<Event>)> {
        self.expect_secret()?;
        // By the store's clock, since the expiry is compared with it.
        let now = storage.now(clock::now()).await?;
        let named = self.own_subject(storage, now).await?;
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
        named: OwnSubject,
        family: Uuid,
        now: Timestamp,
        grace_from: Option<Timestamp>,
    ) -> Result<IssuedTokens> {
        let refresh = Token(secret());
        let expires_at = after(now, self.rules.refresh_lifetime);
        tx.insert_refresh_token(NewRefreshToken { key: key(&refresh), family, user: user.id, expires_at, grace_from }).await?;
        let access = self.keys.sign(&claims(&self.rules, user, named, family, clock::now()))?;
        Ok(IssuedTokens { access, refresh, lifetime: self.rules.access_lifetime })
    }

    /// Subject of this server's tokens. Nodes of the first release expect the uid of a user without an external id, so tokens
    /// carry it while such a node serves the same store, and no longer: another service with the same secret would take the uid
    /// for one of its own users.
    async fn own_subject(&self, storage: &dyn Storage, now: Timestamp) -> Result<OwnSubject> {
        if self.rules.subject_kind != SubjectKind::ExternalId {
            return Ok(OwnSubject::AsConfigured);
        }
        let is_beside_first_release = storage.nodes(now).await?.iter().any(|node| node.version.is_none());
        Ok(if is_beside_first_release { OwnSubject::OrByUid } else { OwnSubject::AsConfigured })
    }

    /// Maximum number of tokens of one family.
    fn most_of_family(&self) -> u64 {
        let needed = self.rules.refresh_lifetime.as_secs() / self.rules.access_lifetime.as_secs().max(1);
        FAMILY_TOKENS.max(2 * needed)
    }

    /// Begin of the grace period for a refresh token that is used again; `None` if the period is over. The first use of a token
    /// begins a period. The use of a token that was issued within a period, within the same period, begins no new one.
    fn grace(&self, token: &RefreshToken, used_at: Timestamp, now: Timestamp) -> Option<Timestamp> {
        let grace = TimeDelta::from_std(self.rules.refresh_grace).unwrap_or(TimeDelta::MAX);
        // Of two concurrent renewals, the second may have read the clock first.
        let is_within = |from: Timestamp, at: Timestamp| at.signed_duration_since(from).max(TimeDelta::zero()) < grace;
        let from = token.grace_from.filter(|from| is_within(*from, used_at)).unwrap_or(used_at);
        is_within(from, now).then_some(from)
    }
}

/// Subject of this server's tokens for a user without the identifier that the settings name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum OwnSubject {
    /// No subject.
    AsConfigured,
    /// The uid in place of a missing external id.
    OrByUid,
}

/// Claims of a new token: those that the settings expect of other services, and the family.
fn claims(rules: &TokenRules, user: &User, named: OwnSubject, family: Uuid, now: Timestamp) -> Map<String, Value> {
    let TokenRules { issuer, audience, user_claim, subject_kind: names, type_claim, type_value, access_lifetime, .. } = rules;
    let set = |name: &str, value: &str| (!name.is_empty() && !value.is_empty()).then(|| (name.to_owned(), value.into()));
    let mut claims: Map<String, Value> =
        [set("iss", issuer), set("aud", audience), set(type_claim, type_value)].into_iter().flatten().collect();
    let subject = match names {
        SubjectKind::ExternalId => match (&user.external_id, named) {
            (Some(id), _) => Some(json!(id)),
            (None, OwnSubject::OrByUid) => Some(json!(user.id)),
            (None, OwnSubject::AsConfigured) => None,
        },
        SubjectKind::Uid => Some(json!(user.id)),
        SubjectKind::Uuid => Some(json!(user.uuid)),
        SubjectKind::Login => user.login.as_ref().map(|login| json!(login)),
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
    /// Issues tokens for a login and password.
    ///
    /// # Errors
    /// As [`Auth::log_in`]; [`Error::NotConfigured`] without `tokens.secret`.
    ///
    /// # Cancel safety
    /// Dropped before the commit, nothing is stored; dropped after it, the tokens are stored, and lost. An attempt that is
    /// dropped before its password check has failed does not count.
    pub async fn tokens_by_password(&self, login: &str, password: &str, from: SignInOrigin<'_>) -> Result<IssuedTokens> {
        self.0.tokens.expect_secret()?;
        let user = self.check_login(login, password, from).await?;
        self.issued(&user, from.address, Error::Denied).await
    }

    /// Issues tokens for a session; they outlive it. A session that was begun with a token gets none.
    ///
    /// # Errors
    /// [`Error::Expired`] if the session has ended or was begun with a token; [`Error::NotConfigured`] without `tokens.secret`.
    ///
    /// # Cancel safety
    /// Dropped after the commit, the tokens are stored, and lost.
    pub async fn tokens_by_session(&self, login: &Login, from: IpAddr) -> Result<IssuedTokens> {
        self.0.tokens.expect_secret()?;
        // A token that is valid for an hour must not become renewable, nor a session made from it.
        if login.expires_at.is_some() {
            return Err(Error::Expired);
        }
        // Read again, for the password that the session began with.
        let (_, user, _) = self.stored_session(&[login.key()], clock::now()).await?;
        self.issued(&user, from, Error::Expired).await
    }

    async fn issued(&self, user: &User, from: IpAddr, changed: Error) -> Result<IssuedTokens> {
        let entry = audit::entry(AuditActor::User(user.id), Some(from), AuditAction::SignIn, Some("tokens".into()), audit::OK);
        let (issued, events) = self.0.tokens.issue(self.0.storage.as_ref(), user, changed, &entry).await?;
        audit::log(&entry);
        let revoked: Vec<_> = events.iter().filter_map(|event| revoked(&event.fact)).collect();
        self.0.publisher.publish(events).await;
        revoked.into_iter().for_each(|family| self.0.revocations.end_family(family));
        Ok(issued)
    }

    /// Renews a pair of tokens. A refresh token works once: reuse means theft from or by its holder, which cannot be told apart,
    /// so it revokes the whole family. Within the grace period, reuse means a lost response, and a few more pairs are issued.
    /// `charge` applies the user's rate limit.
    ///
    /// # Errors
    /// [`Error::InvalidToken`] for an invalid refresh token, [`Error::TooFast`] if the family has too many tokens,
    /// [`Error::NoShare`] if the user has too many requests at once, [`Error::NotConfigured`] without `tokens.secret`, and the
    /// errors of `charge`.
    ///
    /// # Cancel safety
    /// Dropped after the commit, the new pair is lost; the grace period allows a retry.
    pub async fn renew_tokens(
        &self,
        refresh: &str,
        from: SignInOrigin<'_>,
        charge: impl Fn(UserId) -> Result<()>,
    ) -> Result<IssuedTokens> {
        self.0.tokens.expect_secret()?;
        let outcome = self.renewed(&Token::new(refresh.to_owned()), from, charge).await;
        if let Err(Error::InvalidToken(why)) = &outcome {
            tracing::info!("refresh token refused: {why}");
        }
        outcome
    }

    async fn renewed(
        &self,
        refresh: &Token,
        from: SignInOrigin<'_>,
        charge: impl Fn(UserId) -> Result<()>,
    ) -> Result<IssuedTokens> {
        let (key, storage, tokens) = (key(refresh), self.0.storage.as_ref(), &self.0.tokens);
        let found = storage.refresh_token(key).await?.ok_or(TokenError::Revoked)?;
        charge(found.user)?;
        from.account.transfer_to(found.user).await?;
        let now = storage.now(clock::now()).await?;
        let named = tokens.own_subject(storage, now).await?;
        let reused = {
            let (actor, object) = (AuditActor::Stranger(None), audit::user(found.user));
            audit::entry(actor, Some(from.address), AuditAction::TokensRevoked, Some(object), "used_again")
        };
        self.transaction(|mut tx| async {
            let user = tx.lock_user(found.user).await?.filter(|user| user.active).ok_or(TokenError::InactiveUser)?;
            let token = tx.use_refresh_token(key, now).await?.ok_or(TokenError::Revoked)?;
            let grace_from = token.used_at.and_then(|used_at| tokens.grace(&token, used_at, now));
            if token.used_at.is_some() && grace_from.is_none() {
                tx.delete_family(token.family).await?;
                tx.record(Topic::Partner(user.partner.id), Fact::TokensRevoked { family: token.family }, now);
                tx.insert_audit(&reused).await?;
                self.0.publisher.commit(tx).await?;
                self.0.revocations.end_family(token.family);
                audit::log(&reused);
                return Err(TokenError::UsedAgain.into());
            }
            if token.expires_at <= now {
                return Err(TokenError::Expired.into());
            }
            if let Some(from) = grace_from
                && tx.count_grace_tokens(token.family, from).await? >= GRACE_PAIRS
            {
                return Err(TokenError::UsedUp.into());
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
