//! Who is calling.

mod attempts;
mod password;
mod session;

use std::{
    net::IpAddr,
    sync::{Arc, LazyLock},
    time::Duration,
};

use storage::{Event, Fact, PartnerId, PasswordHash, Presence, Role, SessionKey, Storage, Topic, User, UserChange, UserId};
use subtle::ConstantTimeEq;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

pub use attempts::AttemptLimits;
pub use password::Passwords;
pub use session::{Login, SessionId};

use crate::{
    chat::{Cause, Observer},
    clock,
    lifecycle::Lifecycle,
};
use attempts::Attempts;
use session::Sessions;

/// Whoever makes a request.
#[derive(Clone, Debug)]
pub struct Caller {
    pub user: UserId,
    pub uuid: Uuid,
    pub partner: PartnerId,
    pub name: String,
    pub login: String,
    pub role: Role,
    pub language: String,
    pub time_zone: String,
    /// Cancelled once the session that the caller came with has ended; whoever waits for the caller ends as well.
    pub ended: CancellationToken,
}

impl Caller {
    /// Who this user is as a caller.
    pub fn of(user: User) -> Self {
        Self {
            user: user.id,
            uuid: user.uuid,
            partner: user.partner.id,
            name: user.partner.name,
            login: user.login,
            role: user.role,
            language: user.language,
            time_zone: user.time_zone,
            ended: CancellationToken::new(),
        }
    }
}

/// Why nobody is let in.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    /// Wrong password, unknown login, deactivated user: one and the same.
    #[error("access denied")]
    Denied,
    /// No session, or none that is alive.
    #[error("session expired")]
    Expired,
    #[error("too many failed logins")]
    TooManyAttempts { retry_after: Duration },
    #[error("not available now")]
    Unavailable(#[source] Cause),
    #[error("internal error")]
    Internal(#[source] Cause),
}

impl From<storage::Error> for Error {
    fn from(error: storage::Error) -> Self {
        match error {
            storage::Error::Unavailable(_) => Self::Unavailable(Arc::new(error)),
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
    sessions: Arc<Sessions>,
    passwords: Passwords,
    attempts: Attempts,
}

impl Auth {
    /// Starts the doorkeeper with its tasks. The observer must see every event of the log.
    pub fn start(
        storage: Arc<dyn Storage>,
        session_lifetime: Duration,
        limits: AttemptLimits,
        lifecycle: &Lifecycle,
    ) -> (Self, Observer) {
        let sessions = Arc::new(Sessions::new(session_lifetime));
        session::keep(Arc::clone(&sessions), Arc::clone(&storage), lifecycle);
        let observed = Arc::clone(&sessions);
        let observer = Box::new(move |event: &Event| match &event.fact {
            Fact::SessionEnded { session } => observed.forget_hex(session),
            Fact::UserChanged { user } => observed.forget_user(*user),
            _ => {}
        });
        let passwords = Passwords::default();
        let attempts = Attempts::new(limits);
        (Self(Arc::new(Parts { storage, sessions, passwords, attempts })), observer)
    }

    /// Logs in and begins a session. A session presented with the request ends; if the login fails it stays.
    pub async fn log_in(
        &self,
        login: &str,
        password: &str,
        from: IpAddr,
        presented: Option<&SessionId>,
    ) -> Result<(SessionId, Arc<Login>)> {
        // Taken before the user is read: what changes the user from now on keeps this login from being remembered.
        let generation = self.0.sessions.generation();
        let user = self.user(login, password, from).await?;
        let id = SessionId::random();
        let key = id.key();
        let now = clock::now();
        let (user_id, partner) = (user.id, user.partner.id);
        let mut tx = self.0.storage.begin().await?;
        // Checking the password took its time, in which the user may have got another one, or been deactivated.
        let unchanged = |now: &User| now.active && now.password == user.password;
        if !tx.lock_user(user_id).await?.as_ref().is_some_and(unchanged) {
            return Err(Error::Denied);
        }
        tx.insert_session(storage::NewSession { key, user: user_id, created_at: now }).await?;
        if let Some(presented) = presented.map(SessionId::key)
            && tx.delete_session(presented).await?.is_some()
        {
            tx.record(Topic::Partner(partner), Fact::SessionEnded { session: hex::encode(presented.0) }, now);
            self.0.sessions.forget(presented);
        }
        tx.commit().await?;
        // A login is a sign of life, and ends what the user had set itself to.
        self.0.storage.set_presence(Presence { partner, set: None, last_seen: now }).await?;
        let login = Arc::new(Login::new(Caller::of(user), key, now, None));
        self.0.sessions.remember(Arc::clone(&login), generation);
        Ok((id, login))
    }

    /// The user with this login and password, without a session.
    pub async fn user(&self, login: &str, password: &str, from: IpAddr) -> Result<User> {
        let attempt = self.0.attempts.begin(from, login).await?;
        // No account has a NUL in its login, and PostgreSQL refuses to look for one.
        let user = if login.contains('\0') { None } else { self.0.storage.user_by_login(login).await? };
        self.checked(user, password, attempt).await
    }

    /// The same for a caller who names itself by uid.
    pub async fn user_by_id(&self, id: UserId, password: &str, from: IpAddr) -> Result<User> {
        let attempt = self.0.attempts.begin(from, &format!("#{id}")).await?;
        let user = self.0.storage.user(id).await?;
        self.checked(user, password, attempt).await
    }

    async fn checked(&self, user: Option<User>, password: &str, attempt: attempts::Attempt) -> Result<User> {
        let user = user.filter(|user| user.active);
        let hash = user.as_ref().map(|user| &user.password);
        let verdict = self.0.passwords.verify(password, hash).await?;
        let Some(mut user) = user.filter(|_| verdict.right) else {
            attempt.failed();
            return Err(Error::Denied);
        };
        if verdict.outdated {
            let renewed = self.0.passwords.hash(password).await?;
            let mut tx = self.0.storage.begin().await?;
            // Not if somebody has set another one meanwhile.
            if tx.lock_user(user.id).await?.is_some_and(|now| now.password == user.password) {
                let change = UserChange { password: Some(renewed.clone()), ..UserChange::default() };
                tx.update_user(user.id, change).await?;
                tx.commit().await?;
                user.password = renewed;
            }
        }
        Ok(user)
    }

    /// The login that a session id stands for; using it keeps it alive.
    pub async fn session(&self, id: &SessionId) -> Result<Arc<Login>> {
        let key = id.key();
        let now = clock::now();
        if let Some(login) = self.0.sessions.recall(key, now) {
            return Ok(login);
        }
        let generation = self.0.sessions.generation();
        let (session, user) = self.0.storage.session(key).await?.ok_or(Error::Expired)?;
        if !user.active || self.0.sessions.is_over(session.last_used_at, now) {
            return Err(Error::Expired);
        }
        let login = Arc::new(Login::new(Caller::of(user), key, session.last_used_at, session.told));
        self.0.sessions.use_now(&login, now);
        self.0.sessions.remember(Arc::clone(&login), generation);
        Ok(login)
    }

    /// Ends a session on all nodes; one that has ended stays so.
    pub async fn log_out(&self, login: &Login) -> Result<()> {
        let mut tx = self.0.storage.begin().await?;
        if tx.delete_session(login.key()).await?.is_some() {
            let fact = Fact::SessionEnded { session: hex::encode(login.key().0) };
            tx.record(Topic::Partner(login.partner), fact, clock::now());
        }
        tx.commit().await?;
        self.0.sessions.forget(login.key());
        Ok(())
    }

    /// Notes up to where the session has been told of updates. The store learns of it within seconds; a node that dies
    /// before lets the session be told again.
    pub fn told(&self, login: &Arc<Login>, position: storage::Position) {
        self.0.sessions.told(login, position);
    }
}

/// The hash under which a new password is stored.
pub async fn hash_password(password: &str) -> Result<PasswordHash> {
    static PASSWORDS: LazyLock<Passwords> = LazyLock::new(Passwords::default);
    PASSWORDS.hash(password).await
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
