use std::future::Future;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex as Lock;
use sqlx::postgres::PgConnectOptions;
use sqlx::{Connection, PgConnection};
use tokio::sync::Mutex;
use tokio::time::{Instant, sleep, timeout};

use super::cause::{Cause, Place};
use super::error::code;
use super::get;
use super::session::{Pins, TimeOuts};
use super::statement::Observer;
use crate::{Error, Result};

/// Whether a commit of this user's waits for a synchronous standby, for longer than any standby that is there takes. Such
/// a wait must not be cancelled: the server would call it a success.
const UNCONFIRMED: &str = "SELECT EXISTS (SELECT FROM pg_stat_activity
    WHERE usename = current_user AND wait_event = 'SyncRep' AND state_change < clock_timestamp() - make_interval(secs => $1))";

/// How long the server counts as down after it could not be reached.
const PAUSE: Duration = Duration::from_millis(500);
/// How long it counts what a look has found. Less than the pause, after which somebody looks anew.
const FRESH: Duration = Duration::from_millis(250);
/// The same while commits are not confirmed.
const FRESH_UNCONFIRMED: Duration = Duration::from_millis(500);
/// After how long without an answer it is looked whether the server is there at all.
const DOUBT: Duration = Duration::from_secs(1);
/// How long the database counts as full after it has refused a write for that.
const FULL: Duration = Duration::from_secs(10);

/// Keeps requests from queueing for a server that is down.
///
/// Whoever cannot get a connection, or waits long for an answer, looks whether the server takes a new one. If it does not,
/// the gate is shut for [`PAUSE`], and while it is everybody fails at once. Then one caller at a time may look again; the
/// first who finds the server there opens the gate for all.
///
/// That no connection was free says nothing of the server: others may hold them all, or it has room for no more of them.
///
/// While commits wait for a synchronous standby that is gone, nobody begins what would have to be committed: each commit
/// that is given up leaves a backend that waits on, and there is room for only so many of these.
pub(super) struct Gate {
    born: Instant,
    /// How to make a connection besides all others.
    server: PgConnectOptions,
    pins: Pins,
    place: Place,
    /// After how long a commit that waits for a standby counts as unconfirmed.
    unconfirmed_after: Duration,
    /// Whether the last look has found commits that wait for a standby.
    unconfirmed: AtomicBool,
    /// Why the last look did not reach the server.
    cause: Lock<Option<Cause>>,
    observer: OnceLock<Observer>,
    /// The longest that one look takes, and that anybody waits for a connection.
    patience: Duration,
    /// Until when the gate is shut, in milliseconds since `born`; 0 while it is open.
    shut_until: AtomicU64,
    /// What the last look has found. Who holds it is looking.
    seen: Mutex<Option<(Instant, Server)>>,
    /// Until when the database counts as full, in the same way.
    full_until: AtomicU64,
}

/// What a look finds.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Server {
    There,
    /// It is there, but confirms no commits.
    Unconfirmed,
    /// It says so, or whoever answers in its place.
    Away,
    /// Nobody says anything.
    Silent,
}

impl Gate {
    pub(super) fn new(server: PgConnectOptions, patience: Duration, unconfirmed_after: Duration) -> Self {
        Self {
            born: Instant::now(),
            place: Place::of(&server),
            server,
            pins: Pins::new(TimeOuts::default(), None),
            unconfirmed_after,
            unconfirmed: AtomicBool::new(false),
            cause: Lock::new(None),
            observer: OnceLock::new(),
            patience,
            shut_until: AtomicU64::new(0),
            seen: Mutex::new(None),
            full_until: AtomicU64::new(0),
        }
    }

    pub(super) fn patience(&self) -> Duration {
        self.patience
    }

    /// Has every statement told from now on.
    pub(super) fn observe(&self, observer: Observer) {
        // Nobody asks twice.
        let _ = self.observer.set(observer);
    }

    /// Tells what an operation took.
    pub(super) fn count(&self, operation: &str, begun: Instant, failed: bool) {
        if let Some(observer) = self.observer.get() {
            observer(operation, begun.elapsed(), failed);
        }
    }

    /// The error with the server's name and what to do about it.
    pub(super) fn explain(&self, error: sqlx::Error) -> Error {
        self.place.explain(error)
    }

    /// Fails with what went wrong with this server.
    pub(super) fn unavailable(&self, what: impl Into<String>, remedy: &'static str) -> Error {
        Error::Unavailable(self.place.cause(what, remedy).into())
    }

    /// The same for what no later try mends.
    pub(super) fn unusable(&self, what: impl Into<String>, remedy: &'static str) -> Error {
        Error::Internal(self.place.cause(what, remedy).into())
    }

    /// What to say of a server that does not answer.
    pub(super) fn silent(&self) -> Error {
        self.unavailable("no answer in time", "look at its load, and at the network between here and there")
    }

    /// Waits for a connection, or fails at once if the server is known to be down.
    pub(super) async fn pass<T>(&self, connection: impl Future<Output = sqlx::Result<T>>) -> Result<T> {
        self.knock().await?;
        // The pool may need longer than it promises when the server accepts connections but does not answer.
        let got = self.answer(self.patience, connection).await.unwrap_or(Err(sqlx::Error::PoolTimedOut));
        match got {
            Ok(connection) => Ok(connection),
            Err(error @ sqlx::Error::PoolClosed) => Err(error.into()),
            Err(error) => {
                let error = self.explain(error);
                if matches!(error, Error::Unavailable(_)) && !matches!(self.look().await, Server::There | Server::Unconfirmed) {
                    return Err(self.away());
                }
                Err(error)
            }
        }
    }

    /// Fails at once if the server is known to be down.
    pub(super) async fn knock(&self) -> Result<()> {
        let shut_until = self.shut_until.load(Ordering::Relaxed);
        if shut_until == 0 {
            return Ok(());
        }
        // Who may try keeps the gate shut for the others while it does.
        let may_try = shut_until <= self.in_millis(Duration::ZERO)
            && self
                .shut_until
                .compare_exchange(shut_until, self.in_millis(self.patience), Ordering::Relaxed, Ordering::Relaxed)
                .is_ok();
        if may_try && matches!(self.look().await, Server::There | Server::Unconfirmed) {
            return Ok(());
        }
        Err(self.away())
    }

    /// Fails at once if commits are known to be unconfirmed. Looks again whether they still are.
    pub(super) async fn knock_to_write(&self) -> Result<()> {
        if self.is_unconfirmed() && self.look().await == Server::Unconfirmed { Err(self.not_confirmed()) } else { Ok(()) }
    }

    /// Whether the last look has found commits that wait for a standby.
    pub(super) fn is_unconfirmed(&self) -> bool {
        self.unconfirmed.load(Ordering::Relaxed)
    }

    pub(super) fn not_confirmed(&self) -> Error {
        self.unavailable(
            "commits are not confirmed: they wait for a synchronous standby (wait event SyncRep)",
            "start the standby again, or take it out of synchronous_standby_names and reload; cancel none of the commits",
        )
    }

    /// Why the server counts as down.
    fn away(&self) -> Error {
        self.cause.lock().clone().map_or_else(|| self.silent(), |cause| Error::Unavailable(cause.into()))
    }

    /// What is waited for, if it comes within the limit; also `None` as soon as it is known that the server says nothing to
    /// anybody.
    pub(super) async fn answer<T>(&self, limit: Duration, answer: impl Future<Output = T>) -> Option<T> {
        self.answer_unless(&[Server::Silent], limit, answer).await
    }

    /// The same for a commit; also `None` as soon as it is known that commits are not confirmed.
    pub(super) async fn confirmation<T>(&self, limit: Duration, answer: impl Future<Output = T>) -> Option<T> {
        self.answer_unless(&[Server::Silent, Server::Unconfirmed], limit, answer).await
    }

    async fn answer_unless<T>(&self, hopeless: &[Server], limit: Duration, answer: impl Future<Output = T>) -> Option<T> {
        let doubt = DOUBT.min(limit / 2);
        let silence = async {
            sleep(doubt).await;
            while !hopeless.contains(&self.look().await) {
                sleep(DOUBT).await;
            }
        };
        tokio::select! {
            biased;
            answer = answer => Some(answer),
            () = sleep(limit) => None,
            () = silence => None,
        }
    }

    /// Looks whether the server takes a new connection and confirms commits, unless somebody has just done so, and shuts or
    /// opens the gate.
    pub(super) async fn look(&self) -> Server {
        let mut seen = self.seen.lock().await;
        if let Some((when, server)) = *seen
            && when.elapsed() < if server == Server::Unconfirmed { FRESH_UNCONFIRMED } else { FRESH }
        {
            return server;
        }
        let (server, cause) = match timeout(self.patience, self.visit()).await {
            Err(_) => (Server::Silent, None),
            // A server that has no room for another connection is there.
            Ok(Err(error)) if code(&error).is_some_and(|code| code.starts_with("53")) => (Server::There, None),
            Ok(Err(error)) => match self.explain(error) {
                Error::Unavailable(cause) => (Server::Away, cause.downcast::<Cause>().ok()),
                // Whatever it has against this one.
                _ => (Server::There, None),
            },
            Ok(Ok(server)) => (server, None),
        };
        let is_there = matches!(server, Server::There | Server::Unconfirmed);
        *self.cause.lock() = cause.map(|cause| *cause);
        self.shut_until.store(if is_there { 0 } else { self.in_millis(PAUSE) }, Ordering::Relaxed);
        // What cannot be seen now stays as it was.
        if is_there {
            self.unconfirmed.store(server == Server::Unconfirmed, Ordering::Relaxed);
        }
        *seen = Some((Instant::now(), server));
        server
    }

    async fn visit(&self) -> sqlx::Result<Server> {
        let mut connection = PgConnection::connect_with(&self.server).await?;
        // Whoever cannot ask is let in all the same.
        let is_unconfirmed = self.asked(&mut connection).await.unwrap_or(false);
        connection.close().await?;
        Ok(if is_unconfirmed { Server::Unconfirmed } else { Server::There })
    }

    async fn asked(&self, connection: &mut PgConnection) -> sqlx::Result<bool> {
        self.pins.set(connection).await?;
        let asked = sqlx::query(UNCONFIRMED).bind(self.unconfirmed_after.as_secs_f64()).fetch_one(connection).await?;
        get(&asked, 0)
    }

    /// Notes whether there was room for what was written.
    pub(super) fn note_room(&self, is_room: bool) {
        self.full_until.store(if is_room { 0 } else { self.in_millis(FULL) }, Ordering::Relaxed);
    }

    /// Whether there was no room for what was written a moment ago.
    pub(super) fn is_full(&self) -> bool {
        self.full_until.load(Ordering::Relaxed) > self.in_millis(Duration::ZERO)
    }

    fn in_millis(&self, later: Duration) -> u64 {
        // At least 1, since 0 means open; 64 bits of milliseconds outlast the process.
        u64::try_from((self.born.elapsed() + later).as_millis()).unwrap_or(u64::MAX).max(1)
    }
}
