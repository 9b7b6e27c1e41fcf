use std::future::Future;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use sqlx::postgres::PgConnectOptions;
use sqlx::{Connection, PgConnection};
use tokio::sync::Mutex;
use tokio::time::{Instant, sleep, timeout};

use super::error::code;
use crate::{Error, Result};

/// How long the server counts as down after it could not be reached.
const PAUSE: Duration = Duration::from_millis(500);
/// How long it counts what a look has found. Less than the pause, after which somebody looks anew.
const FRESH: Duration = Duration::from_millis(250);
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
pub(super) struct Gate {
    born: Instant,
    /// How to make a connection besides all others.
    server: PgConnectOptions,
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
enum Server {
    There,
    /// It says so, or whoever answers in its place.
    Away,
    /// Nobody says anything.
    Silent,
}

impl Gate {
    pub(super) fn new(server: PgConnectOptions, patience: Duration) -> Self {
        let (shut_until, full_until) = (AtomicU64::new(0), AtomicU64::new(0));
        Self { born: Instant::now(), server, patience, shut_until, seen: Mutex::new(None), full_until }
    }

    pub(super) fn patience(&self) -> Duration {
        self.patience
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
                let error = Error::from(error);
                if matches!(error, Error::Unavailable(_)) {
                    self.look().await;
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
        if may_try && self.look().await == Server::There {
            return Ok(());
        }
        Err(Error::Unavailable("the database could not be reached a moment ago".into()))
    }

    /// What is waited for, if it comes within the limit; also `None` as soon as it is known that the server says nothing to
    /// anybody.
    pub(super) async fn answer<T>(&self, limit: Duration, answer: impl Future<Output = T>) -> Option<T> {
        let doubt = DOUBT.min(limit / 2);
        let silence = async {
            sleep(doubt).await;
            while self.look().await != Server::Silent {
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

    /// Looks whether the server takes a new connection, unless somebody has just done so, and shuts or opens the gate.
    async fn look(&self) -> Server {
        let mut seen = self.seen.lock().await;
        if let Some((when, server)) = *seen
            && when.elapsed() < FRESH
        {
            return server;
        }
        let visit = async { PgConnection::connect_with(&self.server).await?.close().await };
        let server = match timeout(self.patience, visit).await {
            Err(_) => Server::Silent,
            // A server that has no room for another connection is there.
            Ok(Err(error)) if code(&error).is_some_and(|code| code.starts_with("53")) => Server::There,
            Ok(Err(error)) => match Error::from(error) {
                Error::Unavailable(_) => Server::Away,
                // Whatever it has against this one.
                _ => Server::There,
            },
            Ok(Ok(())) => Server::There,
        };
        let shut_until = if server == Server::There { 0 } else { self.in_millis(PAUSE) };
        self.shut_until.store(shut_until, Ordering::Relaxed);
        *seen = Some((Instant::now(), server));
        server
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
