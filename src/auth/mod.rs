//! Who is calling.

mod attempts;
mod audit;
mod lives;
mod password;
mod session;
mod sign_in;
mod stay;
mod token;
mod turns;

use std::{sync::Arc, time::Duration};

use chrono::TimeDelta;
use storage::{
    Event, Fact, Lane, NewSession, PartnerId, PasswordHash, Position, Role, Session, SessionKey, Storage, Timestamp, Tx, User,
    UserId,
};
use subtle::ConstantTimeEq;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

pub use attempts::AttemptLimits;
pub use session::{Login, SessionId, SessionRules};
pub use token::{Issued, Names, Refused, Revocation, Token, TokenRules, Tokens};

use crate::{
    chat::{Announce, Cause, Observer},
    clock,
    lifecycle::Lifecycle,
    transaction::{Undone, is_contention, transaction},
};
use attempts::Attempts;
use audit::Trail;
use lives::{Epoch, Grant, Life, Lives};
use password::Passwords;
use session::Sessions;

/// Whoever makes a request.
#[derive(Clone, Debug)]
pub struct Caller {
    pub user: UserId,
    pub uuid: Uuid,
    pub partner: PartnerId,
    pub name: String,
    /// Empty for who signs in with tokens alone.
    pub login: String,
    pub role: Role,
    /// Whether the caller may change and delete others' messages.
    pub can_moderate: bool,
    pub language: String,
    pub time_zone: String,
    /// Cancelled once the session or the token that the caller came with has ended, or the user has changed; whoever
    /// waits for the caller ends as well.
    pub ended: CancellationToken,
    /// Until when a token lets the caller in, or the session that was begun with one, which nobody but its holder watches; `None`
    /// without one.
    pub expires_at: Option<Timestamp>,
    /// Under which key the store keeps what the holder of a token was told.
    cursor: Option<SessionKey>,
    /// Back-pressure instead of refusals beyond a rate: the caller is on a socket, which is read more slowly.
    pub is_held_back: bool,
    /// The session of whoever stays connected with it.
    stay: Option<stay::Stay>,
    /// Lets `ended` be found as long as any clone of the caller is there.
    life: Option<Arc<Life>>,
    /// When it was read.
    epoch: Epoch,
}

impl Caller {
    /// Who this user is as a caller for one request, which nothing ends.
    pub fn of(user: User) -> Self {
        Self {
            user: user.id,
            uuid: user.uuid,
            partner: user.partner.id,
            name: user.partner.name,
            login: user.login.unwrap_or_default(),
            role: user.role,
            can_moderate: user.can_moderate || user.role == Role::Admin,
            language: user.language,
            time_zone: user.time_zone,
            ended: CancellationToken::new(),
            expires_at: None,
            cursor: None,
            is_held_back: false,
            stay: None,
            life: None,
            epoch: Epoch::default(),
        }
    }

    /// The bytes of its texts.
    fn texts(&self) -> usize {
        [&self.name, &self.login, &self.language, &self.time_zone].into_iter().map(String::len).sum()
    }

    fn living(user: User, life: Arc<Life>, epoch: Epoch) -> Self {
        Self { ended: life.ended().clone(), life: Some(life), epoch, ..Self::of(user) }
    }
}

/// The time since its last use within which the cursor of another service's token is one that the next token may follow.
const RENEWAL: TimeDelta = TimeDelta::minutes(10);

/// The shortest password that an account may be given, in characters.
pub const PASSWORD_CHARACTERS: usize = 8;

/// Why nobody is let in.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    /// Wrong password, unknown login, deactivated user: one and the same.
    #[error("access denied")]
    Denied,
    /// No session, or none that is alive.
    #[error("session expired")]
    Expired,
    /// No token, or none that counts.
    #[error("token refused: {0}")]
    Refused(#[from] Refused),
    /// What was asked for needs a setting that is not set.
    #[error("{0} is not set")]
    NotConfigured(&'static str),
    #[error("too many failed logins")]
    TooManyAttempts { retry_after: Duration },
    /// More tokens or sessions than the user may be given without a password.
    #[error("too many tokens or sessions")]
    TooFast { retry_after: Duration },
    #[error("too many log-ins wait for their password to be checked")]
    TooManyWaiting { retry_after: Duration },
    #[error("not available now")]
    Unavailable(#[source] Cause),
    #[error("internal error")]
    Internal(#[source] Cause),
}

impl Undone for Error {
    fn is_contention(&self) -> bool {
        matches!(self, Self::Unavailable(cause) if is_contention(cause.as_ref()))
    }
}

impl From<storage::Error> for Error {
    fn from(error: storage::Error) -> Self {
        match error {
            storage::Error::Unavailable(_) | storage::Error::Contention(_) => Self::Unavailable(Arc::new(error)),
            storage::Error::Conflict(_) | storage::Error::Corrupt(_) | storage::Error::Internal(_) => {
                Self::Internal(Arc::new(error))
            }
        }
    }
}

/// What every verb here returns.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// The doorkeeper. Clones are handles to the same one.
#[derive(Clone)]
pub struct Auth(Arc<Parts>);

struct Parts {
    storage: Arc<dyn Storage>,
    announce: Announce,
    /// Whether there is no other node that could tell a session anything.
    alone: bool,
    lives: Lives,
    sessions: Arc<Sessions>,
    tokens: Tokens,
    passwords: Passwords,
    attempts: Attempts,
    trail: Trail,
}

impl Auth {
    /// Starts the doorkeeper with its tasks; `alone` if no other node serves the same store. The observer must see every
    /// event of the log.
    pub fn start(
        storage: Arc<dyn Storage>,
        announce: Announce,
        alone: bool,
        session_rules: SessionRules,
        tokens: Tokens,
        limits: AttemptLimits,
        lifecycle: &Lifecycle,
    ) -> (Self, Observer) {
        let storage = storage.lane(Lane::Sessions);
        let sessions = Arc::new(Sessions::new(session_rules));
        session::keep(Arc::clone(&sessions), Arc::clone(&storage), lifecycle);
        let lives = Lives::default();
        let observed = lives.clone();
        let observer = Box::new(move |event: &Event, _: &[PartnerId]| match &event.fact {
            Fact::SessionEnded { session } => {
                if let Some(key) = session_key(session) {
                    observed.end(&Grant::Session(key));
                }
            }
            Fact::TokensRevoked { family } => observed.end_family(*family),
            Fact::UserChanged { user } | Fact::UserErased { user, .. } => observed.end_user(*user),
            fact if fact.is_about_the_store() => observed.read_all_anew(),
            _ => {}
        });
        let passwords = Passwords::new(limits.waiting);
        passwords.watch(Arc::clone(&storage), lifecycle);
        let attempts = Attempts::new(limits);
        let trail = Trail::new(Arc::clone(&storage));
        (Self(Arc::new(Parts { storage, announce, alone, lives, sessions, tokens, passwords, attempts, trail })), observer)
    }

    /// Runs a transaction, which commits itself; see [`transaction`].
    async fn transaction<T, F: Future<Output = Result<T>>>(&self, work: impl Fn(Box<dyn Tx>) -> F) -> Result<T> {
        transaction(self.0.storage.as_ref(), work).await
    }

    /// The login that a session id stands for, if this node remembers it; using it keeps it alive.
    pub fn remembered_session(&self, id: &SessionId) -> Option<Arc<Login>> {
        let now = clock::now();
        let login = self.0.sessions.recall(id.key(), now).filter(|login| login.epoch == self.0.lives.epoch())?;
        self.0.sessions.use_now(&login, now);
        Some(login)
    }

    /// The first of these session ids that stands for a login, and that login; using it keeps it alive. The store is asked once,
    /// however many there are.
    ///
    /// # Errors
    /// [`Error::Expired`] if none of them is alive.
    pub async fn session<'a>(&self, ids: &'a [SessionId]) -> Result<(&'a SessionId, Arc<Login>)> {
        if let Some(id) = ids.first()
            && let Some(login) = self.remembered_session(id)
        {
            return Ok((id, login));
        }
        let now = clock::now();
        let keys: Vec<_> = ids.iter().map(SessionId::key).collect();
        let grants: Vec<_> = keys.iter().copied().map(Grant::Session).collect();
        let read = || async {
            let (nth, user, session) = self.stored_session(&keys, now).await?;
            Ok((nth, user, Some(session)))
        };
        let (nth, caller, session) = self.admit(&grants, read).await?;
        let session = session.ok_or(Error::Expired)?;
        let login = Login::stored(caller, &session);
        let login = Arc::new(login.after(self.0.sessions.recall(session.key, now).as_deref()));
        self.0.sessions.use_now(&login, now);
        self.0.sessions.remember(Arc::clone(&login));
        Ok((&ids[nth], login))
    }

    /// The first of these sessions that is alive, its place among them, and its user.
    async fn stored_session(&self, keys: &[SessionKey], now: Timestamp) -> Result<(usize, User, Session)> {
        let is_alive = |(session, user): &(Session, User)| {
            let expires_at = session.token.map(|token| token.expires_at);
            user.active && now <= self.0.sessions.end(session.created_at, session.last_used_at, expires_at)
        };
        let found = self.0.storage.sessions(keys).await?.into_iter().filter(is_alive);
        let placed = found.filter_map(|(session, user)| Some((keys.iter().position(|key| *key == session.key)?, user, session)));
        placed.min_by_key(|(nth, ..)| *nth).ok_or(Error::Expired)
    }

    /// The login that a token stands for, where callers have sessions. Only a poll of updates needs one in the store.
    ///
    /// # Errors
    /// [`Error::Refused`] for a caller who came without a token.
    pub async fn login_by_token(&self, caller: &Caller) -> Result<Arc<Login>> {
        let key = caller.cursor.ok_or(Refused::Missing)?;
        let now = clock::now();
        if let Some(login) = self.0.sessions.recall(key, now).filter(|login| login.epoch == caller.epoch) {
            self.0.sessions.use_now(&login, now);
            return Ok(login);
        }
        let session = self.0.storage.session(key).await?.filter(|(session, _)| session.user == caller.user);
        let told = session.map(|(session, _)| session.told);
        let login = Arc::new(Login::by_token(caller.clone(), key, now, told));
        self.0.sessions.remember(Arc::clone(&login));
        Ok(login)
    }

    /// Lifetime of a new cookie, if one is due: a seventh of the former's life is used.
    pub fn renews_cookie(&self, login: &Login) -> Option<Duration> {
        self.0.sessions.renews_cookie(login, clock::now()).then(|| self.cookie_life(login))
    }

    /// Lifetime of a cookie that is given now.
    pub fn cookie_life(&self, login: &Login) -> Duration {
        let now = clock::now();
        (self.0.sessions.end(login.created_at(), now, login.expires_at) - now).to_std().unwrap_or_default()
    }

    /// Reads whom one of these grants stands for, which gives its place among them, with a life that ends with the grant, and with
    /// any change of the user after it was read. Reads again what has changed meanwhile.
    async fn admit<F: Future<Output = Result<(usize, User, Option<Session>)>>>(
        &self,
        grants: &[Grant],
        read: impl Fn() -> F,
    ) -> Result<(usize, Caller, Option<Session>)> {
        let lives = &self.0.lives;
        loop {
            let begun: Vec<_> = grants.iter().map(|grant| lives.begin(grant)).collect();
            let (changes, epoch) = (lives.changes(), lives.epoch());
            let (nth, user, session) = read().await?;
            let family = session.as_ref().and_then(|session| session.token?.family);
            let life = &begun[nth];
            if life.is_of(user.id, family, changes) {
                return Ok((nth, Caller::living(user, Arc::clone(life), epoch), session));
            }
        }
    }

    /// Up to where the session has been told of updates, by whichever node; before that is anywhere, which the store
    /// learns at once, up to `now`.
    pub async fn told(&self, login: &Arc<Login>, now: Position) -> Result<Position> {
        let elsewhere = if self.0.alone {
            None
        } else {
            match self.0.storage.session(login.key()).await? {
                Some((session, _)) => session.told,
                None if login.is_by_token() => None,
                None => return Err(Error::Expired),
            }
        };
        if let Some(position) = login.told().max(elsewhere) {
            return Ok(position);
        }
        let begins_at = if login.is_by_token() { self.keep_cursor(login).await? } else { None };
        let now = begins_at.map_or(now, |position| position.min(now));
        self.0.sessions.told(login, now);
        // Whatever happens from now on is news to it, whichever node it asks next.
        self.0.sessions.flush(self.0.storage.as_ref()).await?;
        Ok(now)
    }

    /// Stores the cursor of a token, unless it is there. One of another service's begins where the others of its user are, since it may
    /// follow one that has run out; else it begins now.
    async fn keep_cursor(&self, login: &Login) -> Result<Option<Position>> {
        let now = clock::now();
        let new = NewSession { key: login.key(), user: login.user, created_at: now, token: None, is_cursor: true };
        let is_foreign = login.life.as_ref().is_some_and(|life| life.grant().family().is_none());
        let most = self.0.sessions.most;
        let kept: storage::Result<_> = transaction(self.0.storage.as_ref(), |mut tx| {
            let new = new.clone();
            async move {
                tx.lock_user(new.user).await?;
                let begins_at = if is_foreign { tx.least_told(new.user, now - RENEWAL).await? } else { None };
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
        login.keep();
        Ok(begins_at)
    }

    /// Notes up to where the session is told of updates. Other nodes learn `at_once` that it is told something; if they
    /// cannot, it may be told that again.
    pub async fn tell(&self, login: &Arc<Login>, position: Position, at_once: bool) {
        self.0.sessions.told(login, position);
        if at_once && !self.0.alone {
            self.0.sessions.bring(self.0.storage.as_ref()).await;
        }
    }
}

/// The hash under which a new password is stored.
pub async fn hash_password(password: &str) -> Result<PasswordHash> {
    let password = password.to_owned();
    tokio::task::spawn_blocking(move || password::hash_blocking(&password)).await.map_err(internal)?
}

/// 160 random bits as 40 hexadecimal digits.
pub fn secret() -> String {
    let mut bytes = [0; 20];
    getrandom::fill(&mut bytes).expect("the operating system has randomness");
    hex::encode(bytes)
}

/// Compares two secrets in a time that says nothing of where they differ.
pub fn same_secret(a: &str, b: &str) -> bool {
    a.as_bytes().ct_eq(b.as_bytes()).into()
}

fn internal(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
    Error::Internal(Arc::from(error.into()))
}

/// The key of a session as the log writes it.
fn session_key(hexadecimal: &str) -> Option<SessionKey> {
    let mut key = [0; 32];
    hex::decode_to_slice(hexadecimal, &mut key).ok()?;
    Some(SessionKey(key))
}
