//! Authentication and sessions: callers, password log-ins, session cookies, bearer tokens, and their revocation.
//!
//! # Errors
//! Every function that uses the store fails with [`Error::Unavailable`] or [`Error::Internal`] if the store does. `# Errors` at a
//! function names the other errors.
//!
//! # Cancel safety
//! Each function writes in one transaction: dropped before the commit it leaves nothing behind; dropped afterwards, the change
//! stands and reaches all nodes through the event log. `# Cancel safety` at a function names what differs.

mod audit;
mod caller;
mod error;
mod login_throttle;
mod password;
mod password_queue;
mod revocation;
mod session;
mod sign_in;
mod subject;
mod token;

use std::{sync::Arc, time::Duration};

use chrono::TimeDelta;
use storage::{
    Event, Fact, Lane, NewSession, PartnerId, PasswordHash, Position, Session, SessionKey, Storage, Timestamp, Tx, User,
};
use subtle::ConstantTimeEq;

pub use caller::Caller;
pub use error::{Error, Result};
pub use login_throttle::LoginLimits;
pub use session::{Login, SessionId, SessionRules};
pub use sign_in::SignInOrigin;
pub use subject::{LOGIN_BYTES, SubjectKind, external_id_fault};
pub use token::{IssuedTokens, Revocation, Token, TokenError, TokenRules, Tokens};

use crate::{
    clock,
    events::{Observer, Publisher},
    lifecycle::Lifecycle,
    transaction::transaction,
};
use audit::AuditTrail;
use login_throttle::LoginThrottle;
use password::Passwords;
use revocation::{Credential, RevocationRegistry};
use session::SessionCache;

/// Time since the last use of a cursor within which the next token of another service inherits it.
const CURSOR_INHERITANCE: TimeDelta = TimeDelta::minutes(10);

/// Minimum length of a new password, in characters.
pub const PASSWORD_CHARACTERS: usize = 8;

/// The authentication service. Clones are handles to the same one.
#[derive(Clone)]
pub struct Auth(Arc<AuthParts>);

struct AuthParts {
    storage: Arc<dyn Storage>,
    publisher: Publisher,
    /// True if no other node serves the same store, so that no other node can advance a cursor.
    is_single_node: bool,
    revocations: RevocationRegistry,
    sessions: Arc<SessionCache>,
    tokens: Tokens,
    passwords: Passwords,
    throttle: LoginThrottle,
    trail: AuditTrail,
}

impl Auth {
    /// Starts the service with its tasks; `is_single_node` if no other node serves the same store. The observer must receive every
    /// event of the event log.
    pub fn start(
        storage: Arc<dyn Storage>,
        publisher: Publisher,
        is_single_node: bool,
        session_rules: SessionRules,
        tokens: Tokens,
        limits: LoginLimits,
        lifecycle: &Lifecycle,
    ) -> (Self, Observer) {
        let storage = storage.lane(Lane::Sessions);
        let sessions = Arc::new(SessionCache::new(session_rules));
        session::start_flush_task(Arc::clone(&sessions), Arc::clone(&storage), lifecycle);
        let revocations = RevocationRegistry::default();
        let observed = revocations.clone();
        let observer = Box::new(move |event: &Event, _: &[PartnerId]| match &event.fact {
            Fact::SessionEnded { session } => {
                if let Some(key) = session_key(session) {
                    observed.revoke(&Credential::Session(key));
                }
            }
            Fact::TokensRevoked { family } => observed.end_family(*family),
            Fact::UserChanged { user } | Fact::UserErased { user, .. } => observed.end_user(*user),
            fact if fact.is_about_the_store() => observed.invalidate_caches(),
            _ => {}
        });
        let passwords = Passwords::new(limits.waiting);
        passwords.watch(Arc::clone(&storage), lifecycle);
        let throttle = LoginThrottle::new(limits);
        let trail = AuditTrail::new(Arc::clone(&storage));
        (
            Self(Arc::new(AuthParts {
                storage,
                publisher,
                is_single_node,
                revocations,
                sessions,
                tokens,
                passwords,
                throttle,
                trail,
            })),
            observer,
        )
    }

    /// Runs a transaction, which commits itself; see [`transaction`].
    async fn transaction<T, F: Future<Output = Result<T>>>(&self, work: impl Fn(Box<dyn Tx>) -> F) -> Result<T> {
        transaction(self.0.storage.as_ref(), work).await
    }

    /// Looks a session up in this node's cache, which counts as a use of it.
    pub fn cached_session(&self, id: &SessionId) -> Option<Arc<Login>> {
        let now = clock::now();
        let login = self.0.sessions.get(id.key(), now).filter(|login| login.epoch == self.0.revocations.epoch())?;
        self.0.sessions.record_use(&login, now);
        Some(login)
    }

    /// The first of these session ids that has a live session, and its login; the look-up counts as a use. One query, however
    /// many ids there are.
    ///
    /// # Errors
    /// [`Error::Expired`] if no session is alive.
    pub async fn session<'a>(&self, ids: &'a [SessionId]) -> Result<(&'a SessionId, Arc<Login>)> {
        if let Some(id) = ids.first()
            && let Some(login) = self.cached_session(id)
        {
            return Ok((id, login));
        }
        let now = clock::now();
        let keys: Vec<_> = ids.iter().map(SessionId::key).collect();
        let grants: Vec<_> = keys.iter().copied().map(Credential::Session).collect();
        let read = || async {
            let (nth, user, session) = self.stored_session(&keys, now).await?;
            Ok((nth, user, Some(session)))
        };
        let (nth, caller, session) = self.admit(&grants, read).await?;
        let session = session.ok_or(Error::Expired)?;
        let former = self.0.sessions.get(session.key, now);
        let login = Arc::new(Login::stored(caller, &session, former.as_deref()));
        self.0.sessions.record_use(&login, now);
        self.0.sessions.insert(Arc::clone(&login));
        Ok((&ids[nth], login))
    }

    /// The first of these sessions that is alive: its index, its user, and the session.
    async fn stored_session(&self, keys: &[SessionKey], now: Timestamp) -> Result<(usize, User, Session)> {
        let is_alive = |(session, user): &(Session, User)| {
            let expires_at = session.token.map(|token| token.expires_at);
            user.active && now <= self.0.sessions.end(session.created_at, session.last_used_at, expires_at)
        };
        let found = self.0.storage.sessions(keys).await?.into_iter().filter(is_alive);
        let placed = found.filter_map(|(session, user)| Some((keys.iter().position(|key| *key == session.key)?, user, session)));
        placed.min_by_key(|(nth, ..)| *nth).ok_or(Error::Expired)
    }

    /// The login of a token for dialects whose callers have sessions. Only a poll of updates needs a session in the store.
    ///
    /// # Errors
    /// [`Error::InvalidToken`] for a caller without a token.
    pub async fn login_by_token(&self, caller: &Caller) -> Result<Arc<Login>> {
        let key = caller.cursor.ok_or(TokenError::Missing)?;
        let now = clock::now();
        if let Some(login) = self.0.sessions.get(key, now).filter(|login| login.epoch == caller.epoch) {
            self.0.sessions.record_use(&login, now);
            return Ok(login);
        }
        let session = self.0.storage.session(key).await?.filter(|(session, _)| session.user == caller.user);
        let told = session.map(|(session, _)| session.delivered);
        let login = Arc::new(Login::by_token(caller.clone(), key, now, told));
        self.0.sessions.insert(Arc::clone(&login));
        Ok(login)
    }

    /// Lifetime of a new cookie, if a renewal is due: a seventh of the former cookie's life is used.
    pub fn renews_cookie(&self, login: &Login) -> Option<Duration> {
        self.0.sessions.renews_cookie(login, clock::now()).then(|| self.cookie_life(login))
    }

    /// Lifetime of a cookie that is set now.
    pub fn cookie_life(&self, login: &Login) -> Duration {
        let now = clock::now();
        (self.0.sessions.end(login.created_at(), now, login.expires_at) - now).to_std().unwrap_or_default()
    }

    /// Reads the caller of the first valid credential, and returns its index among `grants`. The caller is registered for
    /// revocation before the read; reads again if the user changed meanwhile.
    async fn admit<F: Future<Output = Result<(usize, User, Option<Session>)>>>(
        &self,
        grants: &[Credential],
        read: impl Fn() -> F,
    ) -> Result<(usize, Caller, Option<Session>)> {
        let lives = &self.0.revocations;
        loop {
            let begun: Vec<_> = grants.iter().map(|grant| lives.register(grant)).collect();
            let (changes, epoch) = (lives.changes(), lives.epoch());
            let (nth, user, session) = read().await?;
            let family = session.as_ref().and_then(|session| session.token?.family);
            let life = &begun[nth];
            if life.bind_user(user.id, family, changes) {
                return Ok((nth, Caller::revocable(user, Arc::clone(life), epoch), session));
            }
        }
    }

    /// Cursor of a session for polled updates, the greatest on any node. A session without a cursor starts at `now`, which is
    /// stored at once.
    ///
    /// # Errors
    /// [`Error::Expired`] if the session has ended.
    pub async fn cursor(&self, login: &Login, now: Position) -> Result<Position> {
        let elsewhere = if self.0.is_single_node {
            None
        } else {
            match self.0.storage.session(login.key()).await? {
                Some((session, _)) => session.delivered,
                None if login.is_by_token() => None,
                None => return Err(Error::Expired),
            }
        };
        if let Some(position) = login.cursor().max(elsewhere) {
            return Ok(position);
        }
        let begins_at = if login.is_by_token() { self.keep_cursor(login).await? } else { None };
        let now = begins_at.map_or(now, |position| position.min(now));
        self.0.sessions.advance_cursor(login, now);
        // Flushed, so that every node returns events from this position on.
        self.0.sessions.flush(self.0.storage.as_ref()).await?;
        Ok(now)
    }

    /// Stores the cursor of a token if it has none. A token of another service starts at the user's least recent cursor, since it
    /// may replace an expired token; other tokens start now.
    async fn keep_cursor(&self, login: &Login) -> Result<Option<Position>> {
        let now = clock::now();
        let new = NewSession { key: login.key(), user: login.user, created_at: now, token: None, is_cursor: true };
        let is_foreign = login.revocation.as_ref().is_some_and(|life| life.credential().family().is_none());
        let most = self.0.sessions.per_user;
        let kept: storage::Result<_> = transaction(self.0.storage.as_ref(), |mut tx| {
            let new = new.clone();
            async move {
                tx.lock_user(new.user).await?;
                let begins_at = if is_foreign { tx.least_delivered(new.user, now - CURSOR_INHERITANCE).await? } else { None };
                let user = new.user;
                tx.insert_session(new).await?;
                if most > 0 {
                    tx.delete_sessions_beyond(most, user, true).await?;
                }
                tx.commit().await?;
                Ok(begins_at)
            }
        })
        .await;
        let begins_at = match kept {
            Ok(begins_at) => begins_at,
            Err(storage::Error::Conflict(_)) => None,
            Err(error) => return Err(error.into()),
        };
        login.mark_stored();
        Ok(begins_at)
    }

    /// Advances the cursor of a session to `position`. `at_once` flushes it so that other nodes see it; if that fails, events may
    /// be delivered again.
    ///
    /// # Cancel safety
    /// Dropped, the new cursor stays in memory and is flushed later.
    pub async fn advance_cursor(&self, login: &Login, position: Position, at_once: bool) {
        self.0.sessions.advance_cursor(login, position);
        if at_once && !self.0.is_single_node {
            self.0.sessions.flush_or_log(self.0.storage.as_ref()).await;
        }
    }
}

/// Hash of a new password, computed on a blocking thread.
///
/// # Cancel safety
/// The computation goes on.
pub async fn hash_password(password: &str) -> Result<PasswordHash> {
    let password = password.to_owned();
    tokio::task::spawn_blocking(move || password::hash_blocking(&password)).await.map_err(internal)?
}

/// Random secret: 160 bits as 40 hexadecimal digits.
pub fn secret() -> String {
    let mut bytes = [0; 20];
    getrandom::fill(&mut bytes).expect("the operating system has randomness");
    hex::encode(bytes)
}

/// Compares two secrets in constant time.
pub fn same_secret(a: &str, b: &str) -> bool {
    a.as_bytes().ct_eq(b.as_bytes()).into()
}

fn internal(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
    Error::Internal(Arc::from(error.into()))
}

/// Parses the key of a session as the event log writes it.
fn session_key(hexadecimal: &str) -> Option<SessionKey> {
    let mut key = [0; 32];
    hex::decode_to_slice(hexadecimal, &mut key).ok()?;
    Some(SessionKey(key))
}
