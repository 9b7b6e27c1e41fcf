//! Sessions: a write-behind cache over the sessions in the store. Last use and cursor are flushed every few seconds.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicI64, Ordering},
    },
    time::Duration,
};

use chrono::{DateTime, TimeDelta};
use parking_lot::Mutex;
use sha2::{Digest, Sha256};
use storage::{Position, Session, SessionKey, SessionTouch, Storage, Timestamp};

use super::{Auth, Caller, Result};
use crate::{
    clock,
    lifecycle::Lifecycle,
    telemetry,
    weighed::{self, Weighed, WeighedCache},
};

/// Capacity of the session cache: about so many entries, and at most so many bytes.
const REMEMBERED: usize = 100_000;
const REMEMBERED_BYTES: u64 = 64 * 1024 * 1024;
/// Fraction of a cookie's life after which it is renewed: a seventh.
const COOKIE_PARTS: i32 = 7;
/// Period in which last use and cursors are flushed to the store.
const FLUSH: Duration = Duration::from_secs(5);

/// Session id: the secret in a cookie. Its `Debug` shows nothing.
#[derive(Clone, PartialEq, Eq)]
pub struct SessionId(String);

impl SessionId {
    pub(super) fn random() -> Self {
        Self(super::secret())
    }

    /// Parses a session id as a client sends it.
    pub fn parse(text: &str) -> Option<Self> {
        (text.len() == 40 && text.bytes().all(|b| b.is_ascii_hexdigit())).then(|| Self(text.to_ascii_lowercase()))
    }

    /// The secret, for the cookie only.
    pub fn expose(&self) -> &str {
        &self.0
    }

    pub(super) fn key(&self) -> SessionKey {
        SessionKey(Sha256::digest(self.0.as_bytes()).into())
    }
}

impl std::fmt::Debug for SessionId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SessionId(..)")
    }
}

/// A caller with a session.
#[derive(Debug)]
pub struct Login {
    caller: Caller,
    key: SessionKey,
    /// Begin of the session; for a token, the time at which this node read it: it ends with the token only.
    created_at: Timestamp,
    /// Microseconds since 1970.
    last_used: AtomicI64,
    /// Time at which the client got its current cookie, as far as this node knows; microseconds since 1970.
    cookie_at: AtomicI64,
    by_token: bool,
    /// True if the store has it.
    is_stored: AtomicBool,
    /// Cursor of polled updates: a position of the event log; -1 for none.
    told: AtomicI64,
    /// True while last use or cursor must be flushed.
    dirty: AtomicBool,
}

impl Login {
    fn new(caller: Caller, key: SessionKey, created_at: Timestamp, last_used: Timestamp, told: Option<Position>) -> Self {
        Self {
            caller,
            key,
            created_at,
            last_used: AtomicI64::new(last_used.timestamp_micros()),
            cookie_at: AtomicI64::new(created_at.timestamp_micros()),
            by_token: false,
            is_stored: AtomicBool::new(true),
            told: AtomicI64::new(told.map_or(-1, |position| position.0)),
            dirty: AtomicBool::new(false),
        }
    }

    /// Login of a new session.
    pub(super) fn begun(caller: Caller, key: SessionKey, now: Timestamp) -> Self {
        Self::new(caller, key, now, now, None)
    }

    /// Login of a stored session.
    pub(super) fn stored(caller: Caller, session: &Session) -> Self {
        let caller = Caller { expires_at: session.token.map(|token| token.expires_at), ..caller };
        Self::new(caller, session.key, session.created_at, session.last_used_at, session.delivered)
    }

    /// Login of a token. `cursor` is the cursor of its session in the store; the outer `None` if there is no session.
    pub(super) fn by_token(caller: Caller, key: SessionKey, now: Timestamp, told: Option<Option<Position>>) -> Self {
        let is_stored = AtomicBool::new(told.is_some());
        Self { by_token: true, is_stored, ..Self::new(caller, key, now, now, told.flatten()) }
    }

    /// True if the caller comes with a token, not with a cookie.
    pub fn is_by_token(&self) -> bool {
        self.by_token
    }

    /// Notes that the store has it.
    pub(super) fn mark_stored(&self) {
        self.is_stored.store(true, Ordering::Release);
    }

    pub(super) fn created_at(&self) -> Timestamp {
        self.created_at
    }

    pub(super) fn key(&self) -> SessionKey {
        self.key
    }

    /// Merges the last use and the cursor of `former`, a cached login of the same session that may be ahead of the store.
    pub(super) fn merged_with(self, former: Option<&Self>) -> Self {
        if let Some(former) = former {
            self.raise_last_used(former.last_used());
            self.cookie_at.fetch_max(former.cookie_at.load(Ordering::Acquire), Ordering::AcqRel);
            self.told.fetch_max(former.told.load(Ordering::Acquire), Ordering::AcqRel);
        }
        self
    }

    /// Cursor of `poll/updates`; `None` before the first poll.
    pub fn cursor(&self) -> Option<Position> {
        Some(Position(self.told.load(Ordering::Acquire))).filter(|position| position.0 >= 0)
    }

    pub(super) fn last_used(&self) -> Timestamp {
        DateTime::from_timestamp_micros(self.last_used.load(Ordering::Acquire)).expect("stored from a timestamp")
    }

    /// Raises the last use; another node may know of a later one.
    pub(super) fn raise_last_used(&self, at: Timestamp) {
        self.last_used.fetch_max(at.timestamp_micros(), Ordering::AcqRel);
    }

    fn touch(&self) -> SessionTouch {
        SessionTouch { key: self.key, last_used_at: self.last_used(), told: self.cursor() }
    }
}

impl std::ops::Deref for Login {
    type Target = Caller;

    fn deref(&self) -> &Caller {
        &self.caller
    }
}

/// Session cache of one node: a request costs no query for its session.
pub(super) struct SessionCache {
    /// Cache of logins. An ended one stays until it is looked up or evicted.
    cache: WeighedCache<SessionKey, Arc<Login>>,
    dirty: Mutex<Vec<Arc<Login>>>,
    /// Lock of the flush. A task that waits for it finds everything flushed, or flushes for all that wait.
    flushing: tokio::sync::Mutex<()>,
    lifetime: TimeDelta,
    max_lifetime: TimeDelta,
    /// Sessions of one user; 0 for no limit.
    pub(super) per_user: usize,
}

/// Lifetime and number of sessions.
#[derive(Clone, Copy, Debug)]
pub struct SessionRules {
    /// Idle lifetime: from the last use.
    pub lifetime: Duration,
    /// Maximum lifetime, however much the session is used.
    pub max_lifetime: Duration,
    /// Sessions of a user; with one more, the least recently used ends. 0 for no limit.
    pub per_user: usize,
}

impl SessionCache {
    pub(super) fn new(rules: SessionRules) -> Self {
        Self {
            cache: weighed::cache(REMEMBERED, REMEMBERED_BYTES),
            dirty: Mutex::default(),
            flushing: tokio::sync::Mutex::default(),
            lifetime: TimeDelta::from_std(rules.lifetime).unwrap_or(TimeDelta::MAX),
            max_lifetime: TimeDelta::from_std(rules.max_lifetime).unwrap_or(TimeDelta::MAX),
            per_user: rules.per_user,
        }
    }

    pub(super) fn insert(&self, login: Arc<Login>) {
        let beside = size_of::<Login>() + login.caller.texts();
        self.cache.insert(login.key, Weighed::new(login, beside));
    }

    pub(super) fn get(&self, key: SessionKey, now: Timestamp) -> Option<Arc<Login>> {
        let login = self.cache.get(&key)?.value;
        if login.ended.is_cancelled() || now > self.lasts_until(&login) {
            self.cache.remove(&key);
            return None;
        }
        Some(login)
    }

    /// End of a session without further use.
    pub(super) fn lasts_until(&self, login: &Login) -> Timestamp {
        self.end(login.created_at, login.last_used(), login.expires_at)
    }

    /// End of a session by its times; `expires_at` is that of the token that it was begun with.
    pub(super) fn end(&self, created_at: Timestamp, last_used: Timestamp, expires_at: Option<Timestamp>) -> Timestamp {
        let after = |from: Timestamp, time| from.checked_add_signed(time).unwrap_or(Timestamp::MAX_UTC);
        let end = after(last_used, self.lifetime).min(after(created_at, self.max_lifetime));
        expires_at.map_or(end, |expires_at| end.min(expires_at))
    }

    /// True if the client is due a new cookie, which is noted: of several parallel requests only one renews it.
    pub(super) fn renews_cookie(&self, login: &Login, now: Timestamp) -> bool {
        let (given, now) = (login.cookie_at.load(Ordering::Acquire), now.timestamp_micros());
        let part = (self.lifetime / COOKIE_PARTS).num_microseconds().unwrap_or(i64::MAX);
        now.saturating_sub(given) > part
            && login.cookie_at.compare_exchange(given, now, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }

    pub(super) fn record_use(&self, login: &Arc<Login>, now: Timestamp) {
        login.raise_last_used(now);
        self.mark(login);
    }

    pub(super) fn advance_cursor(&self, login: &Arc<Login>, position: Position) {
        login.told.fetch_max(position.0, Ordering::AcqRel);
        self.mark(login);
    }

    fn mark(&self, login: &Arc<Login>) {
        if login.is_stored.load(Ordering::Acquire) && !login.dirty.swap(true, Ordering::AcqRel) {
            self.dirty.lock().push(Arc::clone(login));
        }
    }

    /// Flushes last use and cursors to the store. After an error, or if cancelled, they stay for the next flush.
    pub(super) async fn flush(&self, storage: &dyn Storage) -> storage::Result<()> {
        let _turn = self.flushing.lock().await;
        let mut taken = FlushBatch { sessions: self, logins: std::mem::take(&mut *self.dirty.lock()) };
        if taken.logins.is_empty() {
            return Ok(());
        }
        for login in &taken.logins {
            login.dirty.store(false, Ordering::Release);
        }
        let touches: Vec<_> = taken.logins.iter().map(|login| login.touch()).collect();
        storage.touch_sessions(&touches).await?;
        taken.logins.clear();
        Ok(())
    }

    /// Flushes as [`SessionCache::flush`] does, and logs an error instead of returning it.
    pub(super) async fn flush_or_log(&self, storage: &dyn Storage) {
        if let Err(error) = self.flush(storage).await {
            telemetry::deferred("session last-use times not stored", &error, error.is_transient());
        }
    }
}

/// Logins in the current flush; marked dirty again when this is dropped early.
struct FlushBatch<'a> {
    sessions: &'a SessionCache,
    logins: Vec<Arc<Login>>,
}

impl Drop for FlushBatch<'_> {
    fn drop(&mut self) {
        self.logins.iter().for_each(|login| self.sessions.mark(login));
    }
}

/// Starts the task that flushes periodically and at the stop.
pub(super) fn start_flush_task(sessions: Arc<SessionCache>, storage: Arc<dyn Storage>, lifecycle: &Lifecycle) {
    let stop = lifecycle.clone();
    lifecycle.spawn(async move {
        loop {
            let stopping = tokio::select! {
                () = tokio::time::sleep(FLUSH) => false,
                () = stop.stopping() => true,
            };
            sessions.flush_or_log(storage.as_ref()).await;
            if stopping {
                return;
            }
        }
    });
}

/// The login to extend, and the service that stores it.
#[derive(Clone)]
pub(super) struct KeepAlive {
    login: Arc<Login>,
    auth: Auth,
}

impl std::fmt::Debug for KeepAlive {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("KeepAlive(..)")
    }
}

impl Auth {
    /// A caller that keeps its session alive while it stays connected.
    pub fn with_keep_alive(&self, login: &Arc<Login>) -> Caller {
        Caller { keep_alive: Some(KeepAlive { login: Arc::clone(login), auth: self.clone() }), ..Caller::clone(login) }
    }
}

impl Caller {
    /// The caller with back-pressure in place of rate-limit refusals.
    pub fn on_socket(self) -> Self {
        Self { has_back_pressure: true, ..self }
    }

    /// Notes activity of a connection as a use of its session.
    pub fn record_activity(&self) {
        if let Some(KeepAlive { login, auth }) = &self.keep_alive {
            auth.0.sessions.record_use(login, clock::now());
        }
    }

    /// End of the caller's session or token without further activity; `None` if it has no end. Reads the store only after the
    /// time that this node knows of, since the session may be in use at another node.
    ///
    /// # Errors
    /// [`Error::Unavailable`](super::Error::Unavailable) if the store cannot be read.
    ///
    /// # Cancel safety
    /// A dropped future leaves nothing behind.
    pub async fn session_end(&self) -> Result<Option<Timestamp>> {
        let Some(KeepAlive { login, auth }) = &self.keep_alive else { return Ok(self.expires_at) };
        let sessions = &auth.0.sessions;
        let until = sessions.lasts_until(login);
        if until > clock::now() {
            return Ok(Some(until));
        }
        // Another node may have recorded a later use.
        if let Some((session, _)) = auth.0.storage.session(login.key()).await? {
            login.raise_last_used(session.last_used_at);
        }
        Ok(Some(sessions.lasts_until(login)))
    }
}
