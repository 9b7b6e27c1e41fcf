//! A pooled connection with deadlines, transactions and metrics.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use sqlx::pool::PoolConnection;
use sqlx::postgres::PgRow;
use sqlx::{Executor, PgConnection};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, timeout};

use super::{circuit_breaker::CircuitBreaker, error::code};
use crate::{Error, Result, statement::Statement};

const BEGIN: &str = "BEGIN";
const COMMIT: &str = "COMMIT";
const ROLLBACK: &str = "ROLLBACK";

/// Connection of the pool in use. After its drop it returns to the pool only if the server still answers on it: the pool itself
/// would wait for that without a limit, and be short of a connection meanwhile.
///
/// Transactions are begun and ended here, since sqlx does not release a connection that is in one. Every statement of the storage
/// methods passes here and is reported to the [`Observer`](super::Observer).
pub(super) struct Connection {
    /// `None` once the connection was given up.
    pooled: Option<PoolConnection<sqlx::Postgres>>,
    gate: Arc<CircuitBreaker>,
    /// Deadline of an answer.
    deadline: Duration,
    in_transaction: bool,
    /// True if the connection was given up because the server or the network has ended it.
    has_ended: bool,
    /// Permit of the lane for an open transaction.
    transaction_permit: Option<OwnedSemaphorePermit>,
    /// Permit of the lane for a connection.
    connection_permit: Option<OwnedSemaphorePermit>,
}

impl Connection {
    pub(super) fn new(
        pooled: PoolConnection<sqlx::Postgres>,
        gate: Arc<CircuitBreaker>,
        deadline: Duration,
        place: OwnedSemaphorePermit,
    ) -> Self {
        let connection_permit = Some(place);
        Self {
            pooled: Some(pooled),
            gate,
            deadline,
            in_transaction: false,
            has_ended: false,
            transaction_permit: None,
            connection_permit,
        }
    }

    pub(super) async fn rows(&mut self, statement: Statement<'_, sqlx::Postgres>) -> Result<Vec<PgRow>> {
        let Statement { operation, query } = statement;
        let begun = Instant::now();
        let pooled = open_connection(&mut self.pooled, &self.gate)?;
        let rows = query.fetch_all(pooled);
        let answer = if operation.writes && !self.in_transaction {
            self.gate.wait_for_commit(self.deadline, rows).await
        } else {
            self.gate.wait_for_answer(self.deadline, rows).await
        };
        self.check_answer(&operation.name, begun, answer)
    }

    /// Begins a transaction, and takes over the permit for it.
    pub(super) async fn begin(&mut self, leave: OwnedSemaphorePermit) -> Result<()> {
        self.transaction_permit = Some(leave);
        self.in_transaction = true;
        let begun = Instant::now();
        let pooled = open_connection(&mut self.pooled, &self.gate)?;
        // `BEGIN` never waits for other transactions, so the shorter time limit applies.
        let answer = self.gate.wait_for_answer(self.gate.patience(), pooled.execute(BEGIN)).await;
        self.check_answer("begin", begun, answer).map(drop)
    }

    /// Returns the transaction permit of a connection that had ended before `BEGIN`, for a retry.
    pub(super) fn take_permit_if_ended(&mut self) -> Option<OwnedSemaphorePermit> {
        self.transaction_permit.take_if(|_| self.has_ended)
    }

    /// Commits and returns to the pool. A failure does not mean that the commit was not done.
    pub(super) async fn commit(mut self) -> Result<()> {
        let begun = Instant::now();
        let pooled = open_connection(&mut self.pooled, &self.gate)?;
        let answer = self.gate.wait_for_commit(self.deadline, pooled.execute(COMMIT)).await;
        self.check_answer("commit", begun, answer)?;
        self.in_transaction = false;
        self.gate.record_disk_room(true);
        Ok(())
    }

    /// Counts the answer. Gives the connection up if there is no answer, or if the error makes it useless.
    fn check_answer<T>(&mut self, operation: &str, begun: Instant, answer: Option<sqlx::Result<T>>) -> Result<T> {
        let answer = match answer {
            None => {
                self.give_up();
                Err(if self.gate.is_unconfirmed() { self.gate.unconfirmed_error() } else { self.gate.no_answer() })
            }
            Some(answer) => answer.map_err(|error| {
                self.note(&error);
                self.gate.explain(error)
            }),
        };
        // A violated constraint is a conflict, no failure of the statement.
        self.gate.count(operation, begun, !matches!(answer, Ok(_) | Err(Error::Conflict(_))));
        answer
    }

    fn note(&mut self, error: &sqlx::Error) {
        match code(error).as_deref() {
            // The server takes no more writes, for example a former primary after a failover.
            Some("25006") => self.give_up(),
            Some("53100") => self.gate.record_disk_room(false),
            // The server ends the connection after these errors.
            Some("25P03" | "57P01" | "57P02" | "57P05") => self.end(),
            Some(_) => {}
            None if matches!(error, sqlx::Error::Io(_) | sqlx::Error::Tls(_) | sqlx::Error::Protocol(_)) => self.end(),
            None => {}
        }
    }

    fn end(&mut self) {
        self.has_ended = true;
        self.give_up();
    }

    fn give_up(&mut self) {
        if let Some(pooled) = self.pooled.take() {
            drop(pooled.detach());
        }
        self.connection_permit = None;
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        let Some(mut pooled) = self.pooled.take() else { return };
        let (patience, in_transaction, leave) =
            (self.deadline, self.in_transaction, (self.transaction_permit.take(), self.connection_permit.take()));
        let Ok(runtime) = tokio::runtime::Handle::try_current() else {
            drop(pooled.detach());
            return;
        };
        // The pool owns this task: it ends within the time limit, and until then the pool is not closed.
        runtime.spawn(async move {
            if in_transaction && !ends(patience, pooled.execute(ROLLBACK)).await {
                drop(pooled.detach());
            } else {
                // A connection dropped at the end of the time limit leaves the pool.
                let _ = timeout(patience, pooled.return_to_pool()).await;
            }
            drop(leave);
        });
    }
}

/// True if the work succeeds within the time limit.
async fn ends<T>(limit: Duration, work: impl Future<Output = sqlx::Result<T>>) -> bool {
    matches!(timeout(limit, work).await, Ok(Ok(_)))
}

fn open_connection<'a>(
    pooled: &'a mut Option<PoolConnection<sqlx::Postgres>>,
    gate: &CircuitBreaker,
) -> Result<&'a mut PgConnection> {
    match pooled {
        Some(pooled) => Ok(pooled),
        None => Err(gate.no_answer()),
    }
}
