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

use super::Caller;
use crate::{
    lifecycle::Lifecycle,
    telemetry,
    weighed::{self, Weighed, WeighedCache},
};

/// About how many sessions a node remembers, and in how many bytes.
const REMEMBERED: usize = 100_000;
const REMEMBERED_BYTES: u64 = 64 * 1024 * 1024;
/// A new cookie is given when this part of the life of the former one is used.
const COOKIE_PARTS: i32 = 7;
/// How often "last used" is brought to the store.
const FLUSH: Duration = Duration::from_secs(5);

/// The secret that a cookie carries. Its `Debug` shows nothing.
#[derive(Clone, PartialEq, Eq)]
pub struct SessionId(String);

impl SessionId {
    pub(super) fn random() -> Self {
        Self(super::secret())
    }

    /// What a client sent, if it could be a session id at all.
    pub fn parse(text: &str) -> Option<Self> {
        (text.len() == 40 && text.bytes().all(|b| b.is_ascii_hexdigit())).then(|| Self(text.to_ascii_lowercase()))
    }

    /// For the cookie, and nothing else.
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
    /// When it began; of a token's, when this node read it, since it ends with the token alone.
    created_at: Timestamp,
    /// Microseconds since 1970.
    last_used: AtomicI64,
    /// When the client was given the cookie that it has, as far as this node knows; microseconds since 1970.
    cookie_at: AtomicI64,
    by_token: bool,
    /// Whether the store has it.
    kept: AtomicBool,
    /// A position of the log; -1 for none.
    told: AtomicI64,
    /// Whether the store is still to learn of the two above.
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
            kept: AtomicBool::new(true),
            told: AtomicI64::new(told.map_or(-1, |position| position.0)),
            dirty: AtomicBool::new(false),
        }
    }

    /// Of a session that begins.
    pub(super) fn begun(caller: Caller, key: SessionKey, now: Timestamp) -> Self {
        Self::new(caller, key, now, now, None)
    }

    /// Of a session as the store has it.
    pub(super) fn stored(caller: Caller, session: &Session) -> Self {
        let caller = Caller { expires_at: session.token.map(|token| token.expires_at), ..caller };
        Self::new(caller, session.key, session.created_at, session.last_used_at, session.told)
    }

    /// Of a token. `told` is what its session in the store has been told, if there is one.
    pub(super) fn by_token(caller: Caller, key: SessionKey, now: Timestamp, told: Option<Option<Position>>) -> Self {
        let kept = AtomicBool::new(told.is_some());
        Self { by_token: true, kept, ..Self::new(caller, key, now, now, told.flatten()) }
    }

    /// Whether its caller comes with a token, not with a cookie.
    pub fn is_by_token(&self) -> bool {
        self.by_token
    }

    /// Notes that the store has it.
    pub(super) fn keep(&self) {
        self.kept.store(true, Ordering::Release);
    }

    pub(super) fn created_at(&self) -> Timestamp {
        self.created_at
    }

    pub(super) fn key(&self) -> SessionKey {
        self.key
    }

    /// The same as it goes on from another one of the same session, of which the store may not know everything yet.
    pub(super) fn after(self, former: Option<&Self>) -> Self {
        if let Some(former) = former {
            self.was_used(former.last_used());
            self.cookie_at.fetch_max(former.cookie_at.load(Ordering::Acquire), Ordering::AcqRel);
            self.told.fetch_max(former.told.load(Ordering::Acquire), Ordering::AcqRel);
        }
        self
    }

    /// Up to where `poll/updates` has told this session; `None` before its first poll.
    pub fn told(&self) -> Option<Position> {
        Some(Position(self.told.load(Ordering::Acquire))).filter(|position| position.0 >= 0)
    }

    pub(super) fn last_used(&self) -> Timestamp {
        DateTime::from_timestamp_micros(self.last_used.load(Ordering::Acquire)).expect("it was made from a timestamp")
    }

    /// Another node may know of a later use.
    pub(super) fn was_used(&self, at: Timestamp) {
        self.last_used.fetch_max(at.timestamp_micros(), Ordering::AcqRel);
    }

    fn touch(&self) -> SessionTouch {
        SessionTouch { key: self.key, last_used_at: self.last_used(), told: self.told() }
    }
}

impl std::ops::Deref for Login {
    type Target = Caller;

    fn deref(&self) -> &Caller {
        &self.caller
    }
}

/// The sessions that a node remembers, so that a request costs no query for its session.
pub(super) struct Sessions {
    /// Those that have ended, too, until they are asked for.
    remembered: WeighedCache<SessionKey, Arc<Login>>,
    dirty: Mutex<Vec<Arc<Login>>>,
    /// Held by whoever brings to the store what is dirty. Who waits for it finds everything brought, or brings it for all
    /// who wait.
    flushing: tokio::sync::Mutex<()>,
    lifetime: TimeDelta,
    longest: TimeDelta,
    /// Sessions of one user; 0 for no limit.
    pub(super) most: usize,
}

/// The lifetime and the number of sessions.
#[derive(Clone, Copy, Debug)]
pub struct SessionRules {
    /// How long a session lives after its last use.
    pub lifetime: Duration,
    /// How long a session lives at most, however much it is used.
    pub longest: Duration,
    /// Sessions of a user; with one more the longest unused ends. 0 for no limit.
    pub most: usize,
}

impl Sessions {
    pub(super) fn new(rules: SessionRules) -> Self {
        Self {
            remembered: weighed::cache(REMEMBERED, REMEMBERED_BYTES),
            dirty: Mutex::default(),
            flushing: tokio::sync::Mutex::default(),
            lifetime: TimeDelta::from_std(rules.lifetime).unwrap_or(TimeDelta::MAX),
            longest: TimeDelta::from_std(rules.longest).unwrap_or(TimeDelta::MAX),
            most: rules.most,
        }
    }

    pub(super) fn remember(&self, login: Arc<Login>) {
        let beside = size_of::<Login>() + login.caller.texts();
        self.remembered.insert(login.key, Weighed::new(login, beside));
    }

    pub(super) fn recall(&self, key: SessionKey, now: Timestamp) -> Option<Arc<Login>> {
        let login = self.remembered.get(&key)?.value;
        if login.ended.is_cancelled() || now > self.lasts_until(&login) {
            self.remembered.remove(&key);
            return None;
        }
        Some(login)
    }

    /// Until when a session lives that is not used again.
    pub(super) fn lasts_until(&self, login: &Login) -> Timestamp {
        self.end(login.created_at, login.last_used(), login.expires_at)
    }

    /// The same by its times; `expires_at` is of the token that it was begun with.
    pub(super) fn end(&self, created_at: Timestamp, last_used: Timestamp, expires_at: Option<Timestamp>) -> Timestamp {
        let after = |from: Timestamp, time| from.checked_add_signed(time).unwrap_or(Timestamp::MAX_UTC);
        let end = after(last_used, self.lifetime).min(after(created_at, self.longest));
        expires_at.map_or(end, |expires_at| end.min(expires_at))
    }

    /// Whether the client is due a new cookie, and notes that it gets one: of several requests at once only one does.
    pub(super) fn renews_cookie(&self, login: &Login, now: Timestamp) -> bool {
        let (given, now) = (login.cookie_at.load(Ordering::Acquire), now.timestamp_micros());
        let part = (self.lifetime / COOKIE_PARTS).num_microseconds().unwrap_or(i64::MAX);
        now.saturating_sub(given) > part
            && login.cookie_at.compare_exchange(given, now, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }

    pub(super) fn use_now(&self, login: &Arc<Login>, now: Timestamp) {
        login.was_used(now);
        self.mark(login);
    }

    pub(super) fn told(&self, login: &Arc<Login>, position: Position) {
        login.told.fetch_max(position.0, Ordering::AcqRel);
        self.mark(login);
    }

    fn mark(&self, login: &Arc<Login>) {
        if login.kept.load(Ordering::Acquire) && !login.dirty.swap(true, Ordering::AcqRel) {
            self.dirty.lock().push(Arc::clone(login));
        }
    }

    /// Brings to the store what it is still to learn. What it does not learn, by an error or by being cancelled, stays
    /// for the next time.
    pub(super) async fn flush(&self, storage: &dyn Storage) -> storage::Result<()> {
        let _turn = self.flushing.lock().await;
        let mut taken = Taken { sessions: self, logins: std::mem::take(&mut *self.dirty.lock()) };
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

    /// As [`Sessions::flush`]; that it fails matters to nobody now.
    pub(super) async fn bring(&self, storage: &dyn Storage) {
        if let Err(error) = self.flush(storage).await {
            telemetry::put_off("when sessions were last used could not be stored", &error, error.passes());
        }
    }
}

/// Logins of which the store is learning.
struct Taken<'a> {
    sessions: &'a Sessions,
    logins: Vec<Arc<Login>>,
}

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        self.logins.iter().for_each(|login| self.sessions.mark(login));
    }
}

/// Starts the task that brings what is remembered to the store.
pub(super) fn keep(sessions: Arc<Sessions>, storage: Arc<dyn Storage>, lifecycle: &Lifecycle) {
    let stop = lifecycle.clone();
    lifecycle.spawn(async move {
        loop {
            let stopping = tokio::select! {
                () = tokio::time::sleep(FLUSH) => false,
                () = stop.stopping() => true,
            };
            sessions.bring(storage.as_ref()).await;
            if stopping {
                return;
            }
        }
    });
}
