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
    state: Arc<SessionState>,
}

/// State of a session as this node knows it: what is flushed to the store, and what its end depends on.
#[derive(Debug)]
pub(super) struct SessionState {
    key: SessionKey,
    /// Begin of the session; for a token, the time at which this node read it: it ends with the token only.
    created_at: Timestamp,
    /// Expiry of the token that the session was begun with; `None` without a token.
    expires_at: Option<Timestamp>,
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

impl SessionState {
    fn new(
        key: SessionKey,
        created_at: Timestamp,
        expires_at: Option<Timestamp>,
        last_used: Timestamp,
        told: Option<Position>,
    ) -> Self {
        Self {
            key,
            created_at,
            expires_at,
            last_used: AtomicI64::new(last_used.timestamp_micros()),
            cookie_at: AtomicI64::new(created_at.timestamp_micros()),
            by_token: false,
            is_stored: AtomicBool::new(true),
            told: AtomicI64::new(told.map_or(-1, |position| position.0)),
            dirty: AtomicBool::new(false),
        }
    }

    /// Merges the last use and the cursor of `former`, a cached state of the same session that may be ahead of the store.
    fn merge(&self, former: &Self) {
        self.raise_last_used(former.last_used());
        self.cookie_at.fetch_max(former.cookie_at.load(Ordering::Acquire), Ordering::AcqRel);
        self.told.fetch_max(former.told.load(Ordering::Acquire), Ordering::AcqRel);
    }

    fn cursor(&self) -> Option<Position> {
        Some(Position(self.told.load(Ordering::Acquire))).filter(|position| position.0 >= 0)
    }

    fn last_used(&self) -> Timestamp {
        DateTime::from_timestamp_micros(self.last_used.load(Ordering::Acquire)).expect("stored from a timestamp")
    }

    /// Raises the last use; another node may know of a later one.
    fn raise_last_used(&self, at: Timestamp) {
        self.last_used.fetch_max(at.timestamp_micros(), Ordering::AcqRel);
    }

    fn touch(&self) -> SessionTouch {
        SessionTouch { key: self.key, last_used_at: self.last_used(), told: self.cursor() }
    }
}

impl Login {
    /// Login of a new session.
    pub(super) fn begun(caller: Caller, key: SessionKey, now: Timestamp) -> Self {
        let state = SessionState::new(key, now, caller.expires_at, now, None);
        Self { caller, state: Arc::new(state) }
    }

    /// Login of a stored session. `former` is a cached login of the same session that may be ahead of the store.
    pub(super) fn stored(caller: Caller, session: &Session, former: Option<&Self>) -> Self {
        let caller = Caller { expires_at: session.token.map(|token| token.expires_at), ..caller };
        let (expires_at, last_used) = (caller.expires_at, session.last_used_at);
        let state = SessionState::new(session.key, session.created_at, expires_at, last_used, session.delivered);
        if let Some(former) = former {
            state.merge(&former.state);
        }
        Self { caller, state: Arc::new(state) }
    }

    /// Login of a token. `cursor` is the cursor of its session in the store; the outer `None` if there is no session.
    pub(super) fn by_token(caller: Caller, key: SessionKey, now: Timestamp, cursor: Option<Option<Position>>) -> Self {
        let is_stored = AtomicBool::new(cursor.is_some());
        let new = SessionState::new(key, now, caller.expires_at, now, cursor.flatten());
        Self { caller, state: Arc::new(SessionState { by_token: true, is_stored, ..new }) }
    }

    /// True if the caller comes with a token, not with a cookie.
    pub fn is_by_token(&self) -> bool {
        self.state.by_token
    }

    /// Notes that the store has it.
    pub(super) fn mark_stored(&self) {
        self.state.is_stored.store(true, Ordering::Release);
    }

    pub(super) fn created_at(&self) -> Timestamp {
        self.state.created_at
    }

    pub(super) fn key(&self) -> SessionKey {
        self.state.key
    }

    /// Cursor of `poll/updates`; `None` before the first poll.
    pub(super) fn cursor(&self) -> Option<Position> {
        self.state.cursor()
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
    dirty: Mutex<Vec<Arc<SessionState>>>,
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
        let beside = size_of::<Login>() + size_of::<SessionState>() + login.caller.texts();
        self.cache.insert(login.key(), Weighed::new(login, beside));
    }

    pub(super) fn get(&self, key: SessionKey, now: Timestamp) -> Option<Arc<Login>> {
        let login = self.cache.get(&key)?.value;
        if login.ended.is_cancelled() || now > self.lasts_until(&login.state) {
            self.cache.remove(&key);
            return None;
        }
        Some(login)
    }

    /// End of a session without further use.
    fn lasts_until(&self, session: &SessionState) -> Timestamp {
        self.end(session.created_at, session.last_used(), session.expires_at)
    }

    /// End of a session by its times; `expires_at` is that of the token that it was begun with.
    pub(super) fn end(&self, created_at: Timestamp, last_used: Timestamp, expires_at: Option<Timestamp>) -> Timestamp {
        let after = |from: Timestamp, time| from.checked_add_signed(time).unwrap_or(Timestamp::MAX_UTC);
        let end = after(last_used, self.lifetime).min(after(created_at, self.max_lifetime));
        expires_at.map_or(end, |expires_at| end.min(expires_at))
    }

    /// True if the client is due a new cookie, which is noted: of several parallel requests only one renews it.
    pub(super) fn renews_cookie(&self, login: &Login, now: Timestamp) -> bool {
        let cookie_at = &login.state.cookie_at;
        let (given, now) = (cookie_at.load(Ordering::Acquire), now.timestamp_micros());
        let part = (self.lifetime / COOKIE_PARTS).num_microseconds().unwrap_or(i64::MAX);
        now.saturating_sub(given) > part && cookie_at.compare_exchange(given, now, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }

    pub(super) fn record_use(&self, login: &Login, now: Timestamp) {
        self.record_use_of(&login.state, now);
    }

    fn record_use_of(&self, session: &Arc<SessionState>, now: Timestamp) {
        session.raise_last_used(now);
        self.mark(session);
    }

    pub(super) fn advance_cursor(&self, login: &Login, position: Position) {
        login.state.told.fetch_max(position.0, Ordering::AcqRel);
        self.mark(&login.state);
    }

    fn mark(&self, session: &Arc<SessionState>) {
        if session.is_stored.load(Ordering::Acquire) && !session.dirty.swap(true, Ordering::AcqRel) {
            self.dirty.lock().push(Arc::clone(session));
        }
    }

    /// Flushes last use and cursors to the store. After an error, or if cancelled, they stay for the next flush.
    pub(super) async fn flush(&self, storage: &dyn Storage) -> storage::Result<()> {
        let _turn = self.flushing.lock().await;
        let mut taken = FlushBatch { cache: self, sessions: std::mem::take(&mut *self.dirty.lock()) };
        if taken.sessions.is_empty() {
            return Ok(());
        }
        for session in &taken.sessions {
            session.dirty.store(false, Ordering::Release);
        }
        let touches: Vec<_> = taken.sessions.iter().map(|session| session.touch()).collect();
        storage.touch_sessions(&touches).await?;
        taken.sessions.clear();
        Ok(())
    }

    /// Flushes as [`SessionCache::flush`] does, and logs an error instead of returning it.
    pub(super) async fn flush_or_log(&self, storage: &dyn Storage) {
        if let Err(error) = self.flush(storage).await {
            telemetry::deferred("session last-use times not stored", &error, error.is_transient());
        }
    }
}

/// Sessions in the current flush; marked dirty again when this is dropped early.
struct FlushBatch<'a> {
    cache: &'a SessionCache,
    sessions: Vec<Arc<SessionState>>,
}

impl Drop for FlushBatch<'_> {
    fn drop(&mut self) {
        self.sessions.iter().for_each(|session| self.cache.mark(session));
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

/// The session to extend, and the service that stores it.
#[derive(Clone)]
pub(super) struct KeepAlive {
    session: Arc<SessionState>,
    auth: Auth,
}

impl std::fmt::Debug for KeepAlive {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("KeepAlive(..)")
    }
}

impl Auth {
    /// A caller that keeps its session alive while it stays connected.
    pub fn with_keep_alive(&self, login: &Login) -> Caller {
        let keep_alive = KeepAlive { session: Arc::clone(&login.state), auth: self.clone() };
        Caller { keep_alive: Some(keep_alive), ..Caller::clone(login) }
    }
}

impl Caller {
    /// The caller with back-pressure in place of rate-limit refusals.
    pub fn on_socket(self) -> Self {
        Self { has_back_pressure: true, ..self }
    }

    /// Notes activity of a connection as a use of its session.
    pub fn record_activity(&self) {
        if let Some(KeepAlive { session, auth }) = &self.keep_alive {
            auth.0.sessions.record_use_of(session, clock::now());
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
        let Some(KeepAlive { session, auth }) = &self.keep_alive else { return Ok(self.expires_at) };
        let sessions = &auth.0.sessions;
        let until = sessions.lasts_until(session);
        if until > clock::now() {
            return Ok(Some(until));
        }
        // Another node may have recorded a later use.
        if let Some((stored, _)) = auth.0.storage.session(session.key).await? {
            session.raise_last_used(stored.last_used_at);
        }
        Ok(Some(sessions.lasts_until(session)))
    }
}
