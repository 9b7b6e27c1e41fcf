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

use super::cause::{Cause, ServerName};
use super::error::code;
use super::get;
use super::session::{PinnedSettings, SessionTimeouts};
use crate::statement::Observer;
use crate::{Error, Result};

/// Probe for a commit of this database user that waits for a synchronous standby longer than a live standby takes. Such a wait
/// must not be cancelled: the server would report it as a success.
const UNCONFIRMED: &str = "SELECT EXISTS (SELECT FROM pg_stat_activity
    WHERE usename = current_user AND wait_event = 'SyncRep' AND state_change < clock_timestamp() - make_interval(secs => $1))";

/// Time for which the circuit breaker stays open after the server could not be reached.
const OPEN_FOR: Duration = Duration::from_millis(500);
/// TTL of a probe's result. Shorter than [`OPEN_FOR`], after which the next probe runs.
const PROBE_TTL: Duration = Duration::from_millis(250);
/// TTL of a probe's result while commits are not confirmed.
const UNCONFIRMED_PROBE_TTL: Duration = Duration::from_millis(500);
/// Time without an answer after which the server is probed.
const PROBE_AFTER: Duration = Duration::from_secs(1);
/// Time for which the disk counts as full after it has refused a write.
const DISK_FULL_FOR: Duration = Duration::from_secs(10);

/// Circuit breaker: keeps requests from queueing for a server that is down.
///
/// A caller that cannot get a connection, or waits long for an answer, probes whether the server accepts a new connection. If it
/// does not, the circuit breaker opens for [`OPEN_FOR`], and all callers fail at once meanwhile. Then one caller at a time may probe
/// again (half-open); the first successful probe closes the circuit breaker for all.
///
/// A lack of free connections says nothing of the server: other requests may hold them all, or the server may have room for no
/// more.
///
/// While commits wait for a lost synchronous standby, no writes are begun: each commit that is given up leaves a backend that
/// goes on waiting, and the number of backends is limited.
pub(super) struct CircuitBreaker {
    born: Instant,
    /// Options of the probe's connection, which is not part of the pool.
    server: PgConnectOptions,
    pins: PinnedSettings,
    place: ServerName,
    /// Time after which a commit that waits for a standby counts as unconfirmed.
    unconfirmed_after: Duration,
    /// True if the last probe found commits that wait for a standby.
    unconfirmed: AtomicBool,
    /// Cause of the last probe's failure.
    cause: Lock<Option<Cause>>,
    observer: OnceLock<Observer>,
    /// Time limit of a probe, and of a wait for a connection.
    probe_timeout: Duration,
    /// End of the open state, in milliseconds since `born`; 0 while the circuit breaker is closed.
    open_until: AtomicU64,
    /// Result of the last probe. The holder of the lock is probing.
    last_probe: Mutex<Option<(Instant, ProbeResult)>>,
    /// End of the time for which the disk counts as full, as in `open_until`.
    disk_full_until: AtomicU64,
}

/// Result of a probe.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum ProbeResult {
    Up,
    /// Reachable, but commits are not confirmed.
    Unconfirmed,
    /// Refused: by the server, or by a proxy in its place.
    Down,
    /// No answer.
    NoAnswer,
}

impl CircuitBreaker {
    pub(super) fn new(server: PgConnectOptions, probe_timeout: Duration, unconfirmed_after: Duration) -> Self {
        Self {
            born: Instant::now(),
            place: ServerName::of(&server),
            server,
            pins: PinnedSettings::new(SessionTimeouts::default(), None),
            unconfirmed_after,
            unconfirmed: AtomicBool::new(false),
            cause: Lock::new(None),
            observer: OnceLock::new(),
            probe_timeout,
            open_until: AtomicU64::new(0),
            last_probe: Mutex::new(None),
            disk_full_until: AtomicU64::new(0),
        }
    }

    pub(super) fn patience(&self) -> Duration {
        self.probe_timeout
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
    pub(super) fn no_answer(&self) -> Error {
        self.unavailable("no answer in time", "check its load, and the network to it")
    }

    /// Waits for a connection, or fails at once if the circuit breaker is open.
    pub(super) async fn acquire_connection<T>(&self, connection: impl Future<Output = sqlx::Result<T>>) -> Result<T> {
        self.check().await?;
        // The pool may exceed its own time-out if the server accepts connections but does not answer.
        let got = self.wait_for_answer(self.probe_timeout, connection).await.unwrap_or(Err(sqlx::Error::PoolTimedOut));
        match got {
            Ok(connection) => Ok(connection),
            Err(error @ sqlx::Error::PoolClosed) => Err(error.into()),
            Err(error) => {
                let error = self.explain(error);
                if matches!(error, Error::Unavailable(_))
                    && !matches!(self.probe().await, ProbeResult::Up | ProbeResult::Unconfirmed)
                {
                    return Err(self.open_error());
                }
                Err(error)
            }
        }
    }

    /// Fails at once if the circuit breaker is open. After its pause, one caller probes.
    pub(super) async fn check(&self) -> Result<()> {
        let shut_until = self.open_until.load(Ordering::Relaxed);
        if shut_until == 0 {
            return Ok(());
        }
        // The probing caller keeps the circuit breaker open for the others.
        let may_try = shut_until <= self.in_millis(Duration::ZERO)
            && self
                .open_until
                .compare_exchange(shut_until, self.in_millis(self.probe_timeout), Ordering::Relaxed, Ordering::Relaxed)
                .is_ok();
        if may_try && matches!(self.probe().await, ProbeResult::Up | ProbeResult::Unconfirmed) {
            return Ok(());
        }
        Err(self.open_error())
    }

    /// Fails at once if commits are known to be unconfirmed and a new probe, unless the last is fresh, says so too.
    pub(super) async fn check_writes(&self) -> Result<()> {
        if self.is_unconfirmed() && self.probe().await == ProbeResult::Unconfirmed {
            Err(self.unconfirmed_error())
        } else {
            Ok(())
        }
    }

    /// True if the last probe found commits that wait for a standby.
    pub(super) fn is_unconfirmed(&self) -> bool {
        self.unconfirmed.load(Ordering::Relaxed)
    }

    pub(super) fn unconfirmed_error(&self) -> Error {
        self.unavailable(
            "commits are not confirmed: waiting for a synchronous standby (wait event SyncRep)",
            "start the standby again, or take it out of synchronous_standby_names and reload; cancel none of the commits",
        )
    }

    /// Error for an open circuit breaker, with the cause of the failed probe.
    fn open_error(&self) -> Error {
        self.cause.lock().clone().map_or_else(|| self.no_answer(), |cause| Error::Unavailable(cause.into()))
    }

    /// Waits for an answer until the limit. `None` after the limit, or as soon as a probe shows that the server answers no
    /// connection.
    pub(super) async fn wait_for_answer<T>(&self, limit: Duration, answer: impl Future<Output = T>) -> Option<T> {
        self.wait_unless(&[ProbeResult::NoAnswer], limit, answer).await
    }

    /// Waits for a commit like [`CircuitBreaker::wait_for_answer`]; also `None` as soon as a probe shows that commits are not confirmed.
    pub(super) async fn wait_for_commit<T>(&self, limit: Duration, answer: impl Future<Output = T>) -> Option<T> {
        self.wait_unless(&[ProbeResult::NoAnswer, ProbeResult::Unconfirmed], limit, answer).await
    }

    async fn wait_unless<T>(&self, hopeless: &[ProbeResult], limit: Duration, answer: impl Future<Output = T>) -> Option<T> {
        let doubt = PROBE_AFTER.min(limit / 2);
        let silence = async {
            sleep(doubt).await;
            while !hopeless.contains(&self.probe().await) {
                sleep(PROBE_AFTER).await;
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
    pub(super) async fn probe(&self) -> ProbeResult {
        let mut seen = self.last_probe.lock().await;
        if let Some((when, server)) = *seen
            && when.elapsed() < if server == ProbeResult::Unconfirmed { UNCONFIRMED_PROBE_TTL } else { PROBE_TTL }
        {
            return server;
        }
        let (server, cause) = match timeout(self.probe_timeout, self.query()).await {
            Err(_) => (ProbeResult::NoAnswer, None),
            // A server with no room for another connection is up.
            Ok(Err(error)) if code(&error).is_some_and(|code| code.starts_with("53")) => (ProbeResult::Up, None),
            Ok(Err(error)) => match self.explain(error) {
                Error::Unavailable(cause) => (ProbeResult::Down, cause.downcast::<Cause>().ok()),
                // The server has answered, so it is up, whatever the reason of its refusal.
                _ => (ProbeResult::Up, None),
            },
            Ok(Ok(server)) => (server, None),
        };
        let is_there = matches!(server, ProbeResult::Up | ProbeResult::Unconfirmed);
        *self.cause.lock() = cause.map(|cause| *cause);
        self.open_until.store(if is_there { 0 } else { self.in_millis(OPEN_FOR) }, Ordering::Relaxed);
        // A probe that has failed says nothing of commits.
        if is_there {
            self.unconfirmed.store(server == ProbeResult::Unconfirmed, Ordering::Relaxed);
        }
        *seen = Some((Instant::now(), server));
        server
    }

    async fn query(&self) -> sqlx::Result<ProbeResult> {
        let mut connection = PgConnection::connect_with(&self.server).await?;
        // A probe without the right to ask counts as confirmed.
        let is_unconfirmed = self.has_unconfirmed_commits(&mut connection).await.unwrap_or(false);
        connection.close().await?;
        Ok(if is_unconfirmed { ProbeResult::Unconfirmed } else { ProbeResult::Up })
    }

    async fn has_unconfirmed_commits(&self, connection: &mut PgConnection) -> sqlx::Result<bool> {
        self.pins.set(connection).await?;
        let asked = sqlx::query(UNCONFIRMED).bind(self.unconfirmed_after.as_secs_f64()).fetch_one(connection).await?;
        get(&asked, 0)
    }

    /// Records whether a write found room on the disk.
    pub(super) fn record_disk_room(&self, is_room: bool) {
        self.disk_full_until.store(if is_room { 0 } else { self.in_millis(DISK_FULL_FOR) }, Ordering::Relaxed);
    }

    /// True if a recent write found no room on the disk, for at most [`DISK_FULL_FOR`].
    pub(super) fn is_disk_full(&self) -> bool {
        self.disk_full_until.load(Ordering::Relaxed) > self.in_millis(Duration::ZERO)
    }

    fn in_millis(&self, later: Duration) -> u64 {
        // At least 1, since 0 means closed. 64 bits of milliseconds outlast the process.
        u64::try_from((self.born.elapsed() + later).as_millis()).unwrap_or(u64::MAX).max(1)
    }
}
