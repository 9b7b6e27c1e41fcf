//! The circuit breaker of the database server: fails requests at once while the server is down, and writes while commits are not
//! confirmed.

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

/// Probe for a commit of this database user that waits for a synchronous standby longer than a live standby takes. Such a wait
/// must not be cancelled: the server would report it as a success.
const UNCONFIRMED: &str = "SELECT EXISTS (SELECT FROM pg_stat_activity
    WHERE usename = current_user AND wait_event = 'SyncRep' AND state_change < clock_timestamp() - make_interval(secs => $1))";

/// Time for which the circuit breaker stays open after the server could not be reached.
const PAUSE: Duration = Duration::from_millis(500);
/// TTL of a probe's result. Shorter than [`PAUSE`], after which the next probe runs.
const FRESH: Duration = Duration::from_millis(250);
/// TTL of a probe's result while commits are not confirmed.
const FRESH_UNCONFIRMED: Duration = Duration::from_millis(500);
/// Time without an answer after which the server is probed.
const DOUBT: Duration = Duration::from_secs(1);
/// Time for which the disk counts as full after it has refused a write.
const FULL: Duration = Duration::from_secs(10);

/// Circuit breaker: keeps requests from queueing for a server that is down.
///
/// A caller that cannot get a connection, or waits long for an answer, probes whether the server accepts a new connection. If it
/// does not, the circuit breaker opens for [`PAUSE`], and all callers fail at once meanwhile. Then one caller at a time may probe
/// again (half-open); the first successful probe closes the circuit breaker for all.
///
/// A lack of free connections says nothing of the server: other requests may hold them all, or the server may have room for no
/// more.
///
/// While commits wait for a lost synchronous standby, no writes are begun: each commit that is given up leaves a backend that
/// goes on waiting, and the number of backends is limited.
pub(super) struct Gate {
    born: Instant,
    /// Options of the probe's connection, which is not part of the pool.
    server: PgConnectOptions,
    pins: Pins,
    place: Place,
    /// Time after which a commit that waits for a standby counts as unconfirmed.
    unconfirmed_after: Duration,
    /// True if the last probe found commits that wait for a standby.
    unconfirmed: AtomicBool,
    /// Cause of the last probe's failure.
    cause: Lock<Option<Cause>>,
    observer: OnceLock<Observer>,
    /// Time limit of a probe, and of a wait for a connection.
    patience: Duration,
    /// End of the open state, in milliseconds since `born`; 0 while the circuit breaker is closed.
    shut_until: AtomicU64,
    /// Result of the last probe. The holder of the lock is probing.
    seen: Mutex<Option<(Instant, Server)>>,
    /// End of the time for which the disk counts as full, as in `shut_until`.
    full_until: AtomicU64,
}

/// Result of a probe.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Server {
    There,
    /// Reachable, but commits are not confirmed.
    Unconfirmed,
    /// Refused: by the server, or by a proxy in its place.
    Away,
    /// No answer.
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

    /// Reports every statement to the observer from now on.
    pub(super) fn observe(&self, observer: Observer) {
        // The first observer stays.
        let _ = self.observer.set(observer);
    }

    /// Reports the duration and the failure of an operation.
    pub(super) fn count(&self, operation: &str, begun: Instant, failed: bool) {
        if let Some(observer) = self.observer.get() {
            observer(operation, begun.elapsed(), failed);
        }
    }

    /// Adds the server's name and a remedy to an error.
    pub(super) fn explain(&self, error: sqlx::Error) -> Error {
        self.place.explain(error)
    }

    /// Error `Unavailable` with this server's name.
    pub(super) fn unavailable(&self, what: impl Into<String>, remedy: &'static str) -> Error {
        Error::Unavailable(self.place.cause(what, remedy).into())
    }

    /// Error `Internal` with this server's name, for a failure that no retry mends.
    pub(super) fn unusable(&self, what: impl Into<String>, remedy: &'static str) -> Error {
        Error::Internal(self.place.cause(what, remedy).into())
    }

    /// Error for a server that does not answer.
    pub(super) fn silent(&self) -> Error {
        self.unavailable("no answer in time", "look at its load, and at the network between here and there")
    }

    /// Waits for a connection, or fails at once if the circuit breaker is open.
    pub(super) async fn pass<T>(&self, connection: impl Future<Output = sqlx::Result<T>>) -> Result<T> {
        self.knock().await?;
        // The pool may exceed its own time-out if the server accepts connections but does not answer.
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

    /// Fails at once if the circuit breaker is open. After its pause, one caller probes.
    pub(super) async fn knock(&self) -> Result<()> {
        let shut_until = self.shut_until.load(Ordering::Relaxed);
        if shut_until == 0 {
            return Ok(());
        }
        // The probing caller keeps the circuit breaker open for the others.
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

    /// Fails at once if commits are known to be unconfirmed and a new probe, unless the last is fresh, says so too.
    pub(super) async fn knock_to_write(&self) -> Result<()> {
        if self.is_unconfirmed() && self.look().await == Server::Unconfirmed { Err(self.not_confirmed()) } else { Ok(()) }
    }

    /// True if the last probe found commits that wait for a standby.
    pub(super) fn is_unconfirmed(&self) -> bool {
        self.unconfirmed.load(Ordering::Relaxed)
    }

    pub(super) fn not_confirmed(&self) -> Error {
        self.unavailable(
            "commits are not confirmed: they wait for a synchronous standby (wait event SyncRep)",
            "start the standby again, or take it out of synchronous_standby_names and reload; cancel none of the commits",
        )
    }

    /// Error for an open circuit breaker, with the cause of the failed probe.
    fn away(&self) -> Error {
        self.cause.lock().clone().map_or_else(|| self.silent(), |cause| Error::Unavailable(cause.into()))
    }

    /// Waits for an answer until the limit. `None` after the limit, or as soon as a probe shows that the server answers no
    /// connection.
    pub(super) async fn answer<T>(&self, limit: Duration, answer: impl Future<Output = T>) -> Option<T> {
        self.answer_unless(&[Server::Silent], limit, answer).await
    }

    /// Waits for a commit like [`Gate::answer`]; also `None` as soon as a probe shows that commits are not confirmed.
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

    /// Probes whether the server accepts a new connection and confirms commits, unless the last probe is fresh. Opens or closes
    /// the circuit breaker.
    pub(super) async fn look(&self) -> Server {
        let mut seen = self.seen.lock().await;
        if let Some((when, server)) = *seen
            && when.elapsed() < if server == Server::Unconfirmed { FRESH_UNCONFIRMED } else { FRESH }
        {
            return server;
        }
        let (server, cause) = match timeout(self.patience, self.visit()).await {
            Err(_) => (Server::Silent, None),
            // A server with no room for another connection is up.
            Ok(Err(error)) if code(&error).is_some_and(|code| code.starts_with("53")) => (Server::There, None),
            Ok(Err(error)) => match self.explain(error) {
                Error::Unavailable(cause) => (Server::Away, cause.downcast::<Cause>().ok()),
                // The server has answered, so it is up, whatever the reason of its refusal.
                _ => (Server::There, None),
            },
            Ok(Ok(server)) => (server, None),
        };
        let is_there = matches!(server, Server::There | Server::Unconfirmed);
        *self.cause.lock() = cause.map(|cause| *cause);
        self.shut_until.store(if is_there { 0 } else { self.in_millis(PAUSE) }, Ordering::Relaxed);
        // A probe that has failed says nothing of commits.
        if is_there {
            self.unconfirmed.store(server == Server::Unconfirmed, Ordering::Relaxed);
        }
        *seen = Some((Instant::now(), server));
        server
    }

    async fn visit(&self) -> sqlx::Result<Server> {
        let mut connection = PgConnection::connect_with(&self.server).await?;
        // A probe without the right to ask counts as confirmed.
        let is_unconfirmed = self.asked(&mut connection).await.unwrap_or(false);
        connection.close().await?;
        Ok(if is_unconfirmed { Server::Unconfirmed } else { Server::There })
    }

    async fn asked(&self, connection: &mut PgConnection) -> sqlx::Result<bool> {
        self.pins.set(connection).await?;
        let asked = sqlx::query(UNCONFIRMED).bind(self.unconfirmed_after.as_secs_f64()).fetch_one(connection).await?;
        get(&asked, 0)
    }

    /// Records whether a write found room on the disk.
    pub(super) fn note_room(&self, is_room: bool) {
        self.full_until.store(if is_room { 0 } else { self.in_millis(FULL) }, Ordering::Relaxed);
    }

    /// True if a recent write found no room on the disk, for at most [`FULL`].
    pub(super) fn is_full(&self) -> bool {
        self.full_until.load(Ordering::Relaxed) > self.in_millis(Duration::ZERO)
    }

    fn in_millis(&self, later: Duration) -> u64 {
        // At least 1, since 0 means closed. 64 bits of milliseconds outlast the process.
        u64::try_from((self.born.elapsed() + later).as_millis()).unwrap_or(u64::MAX).max(1)
    }
}
