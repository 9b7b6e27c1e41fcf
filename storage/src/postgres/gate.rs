use std::future::Future;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;

use crate::{Error, Result};

/// How long the server counts as down after it could not be reached.
const PAUSE: Duration = Duration::from_millis(500);

/// Keeps requests from queueing for a server that is down.
///
/// Whoever cannot get a connection shuts the gate for [`PAUSE`]; while it is shut everybody fails at once. Then one
/// caller at a time may try; the first who gets a connection opens the gate for all.
pub(super) struct Gate {
    born: Instant,
    /// The longest that one try takes.
    patience: Duration,
    /// Until when the gate is shut, in milliseconds since `born`; 0 while it is open.
    shut_until: AtomicU64,
}

impl Gate {
    pub(super) fn new(patience: Duration) -> Self {
        Self { born: Instant::now(), patience, shut_until: AtomicU64::new(0) }
    }

    /// Waits for a connection, or fails at once if the server is known to be down.
    pub(super) async fn pass<T>(&self, connection: impl Future<Output = sqlx::Result<T>>) -> Result<T> {
        self.knock()?;
        // The pool may need longer than it promises when the server accepts connections but does not answer.
        let got = match tokio::time::timeout(self.patience, connection).await {
            Ok(got) => got,
            Err(_) => Err(sqlx::Error::PoolTimedOut),
        };
        match got {
            Ok(connection) => {
                self.shut_until.store(0, Ordering::Relaxed);
                Ok(connection)
            }
            Err(error) => {
                let error = Error::from(error);
                if matches!(error, Error::Unavailable(_)) {
                    self.shut_until.store(self.in_millis(PAUSE), Ordering::Relaxed);
                }
                Err(error)
            }
        }
    }

    fn knock(&self) -> Result<()> {
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
        if may_try { Ok(()) } else { Err(Error::Unavailable("the database could not be reached a moment ago".into())) }
    }

    fn in_millis(&self, later: Duration) -> u64 {
        // At least 1, since 0 means open; 64 bits of milliseconds outlast the process.
        u64::try_from((self.born.elapsed() + later).as_millis()).unwrap_or(u64::MAX).max(1)
    }
}
