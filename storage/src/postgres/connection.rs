use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use sqlx::pool::PoolConnection;
use sqlx::postgres::PgRow;
use sqlx::{Executor, PgConnection};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, timeout};

use super::error::code;
use super::gate::Gate;
use super::statement::Statement;
use crate::{Error, Result};

const BEGIN: &str = "BEGIN";
const COMMIT: &str = "COMMIT";
const ROLLBACK: &str = "ROLLBACK";

/// A connection of the pool while somebody uses it. It goes back when it is dropped, but only if the server still answers
/// on it: the pool itself would wait for that without a limit, and be short of a place meanwhile.
///
/// Transactions are begun and ended here, and not by sqlx, which does not let go of a connection that is in one. Every
/// statement but those of migrations passes here, and is told to the [`Observer`](super::statement::Observer).
pub(super) struct Connection {
    /// `None` once it was given up.
    pooled: Option<PoolConnection<sqlx::Postgres>>,
    gate: Arc<Gate>,
    /// How long an answer may take.
    patience: Duration,
    in_transaction: bool,
    /// Whether it was given up because it has ended.
    has_ended: bool,
    /// Leave to hold a connection for a transaction.
    leave: Option<OwnedSemaphorePermit>,
    /// Leave to hold a connection.
    place: Option<OwnedSemaphorePermit>,
}

impl Connection {
    pub(super) fn new(
        pooled: PoolConnection<sqlx::Postgres>,
        gate: Arc<Gate>,
        patience: Duration,
        place: OwnedSemaphorePermit,
    ) -> Self {
        let place = Some(place);
        Self { pooled: Some(pooled), gate, patience, in_transaction: false, has_ended: false, leave: None, place }
    }

    pub(super) async fn rows(&mut self, statement: Statement<'_>) -> Result<Vec<PgRow>> {
        let Statement { operation, query } = statement;
        let begun = Instant::now();
        let pooled = living(&mut self.pooled, &self.gate)?;
        let rows = query.fetch_all(pooled);
        let answer = if operation.writes && !self.in_transaction {
            self.gate.confirmation(self.patience, rows).await
        } else {
            self.gate.answer(self.patience, rows).await
        };
        self.judge(&operation.name, begun, answer)
    }

    /// Begins a transaction, which takes with it the leave to have one.
    pub(super) async fn begin(&mut self, leave: OwnedSemaphorePermit) -> Result<()> {
        self.leave = Some(leave);
        self.in_transaction = true;
        let begun = Instant::now();
        let pooled = living(&mut self.pooled, &self.gate)?;
        // Nothing that others do makes it take long.
        let answer = self.gate.answer(self.gate.patience(), pooled.execute(BEGIN)).await;
        self.judge("begin", begun, answer).map(drop)
    }

    /// The leave to have a transaction, back from a connection that has ended before one could be begun.
    pub(super) fn leave_of_ended(&mut self) -> Option<OwnedSemaphorePermit> {
        self.leave.take_if(|_| self.has_ended)
    }

    /// Commits and goes back. That it fails does not say that it was not done.
    pub(super) async fn commit(mut self) -> Result<()> {
        let begun = Instant::now();
        let pooled = living(&mut self.pooled, &self.gate)?;
        let answer = self.gate.confirmation(self.patience, pooled.execute(COMMIT)).await;
        self.judge("commit", begun, answer)?;
        self.in_transaction = false;
        self.gate.note_room(true);
        Ok(())
    }

    /// Counts the answer, and gives the connection up if nobody answers on it, or nobody whom it is good to ask again.
    fn judge<T>(&mut self, operation: &str, begun: Instant, answer: Option<sqlx::Result<T>>) -> Result<T> {
        let answer = match answer {
            None => {
                self.give_up();
                Err(if self.gate.is_unconfirmed() { self.gate.not_confirmed() } else { self.gate.silent() })
            }
            Some(answer) => answer.map_err(|error| {
                self.note(&error);
                self.gate.explain(error)
            }),
        };
        // A rule of the schema that refuses a row has done its work.
        self.gate.count(operation, begun, !matches!(answer, Ok(_) | Err(Error::Conflict(_))));
        answer
    }

    fn note(&mut self, error: &sqlx::Error) {
        match code(error).as_deref() {
            // It leads to a server that takes no writes any more, for example one that another has taken over from.
            Some("25006") => self.give_up(),
            Some("53100") => self.gate.note_room(false),
            // The last that it says.
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
        self.place = None;
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        let Some(mut pooled) = self.pooled.take() else { return };
        let (patience, in_transaction, leave) = (self.patience, self.in_transaction, (self.leave.take(), self.place.take()));
        let Ok(runtime) = tokio::runtime::Handle::try_current() else {
            drop(pooled.detach());
            return;
        };
        // The pool owns this task: it is over within a limit, and until then the pool is not closed.
        runtime.spawn(async move {
            if in_transaction && !ends(patience, pooled.execute(ROLLBACK)).await {
                drop(pooled.detach());
            } else {
                // What is dropped at the end of the limit leaves the pool.
                let _ = timeout(patience, pooled.return_to_pool()).await;
            }
            drop(leave);
        });
    }
}

/// Whether it ends well within the limit.
async fn ends<T>(limit: Duration, work: impl Future<Output = sqlx::Result<T>>) -> bool {
    matches!(timeout(limit, work).await, Ok(Ok(_)))
}

fn living<'a>(pooled: &'a mut Option<PoolConnection<sqlx::Postgres>>, gate: &Gate) -> Result<&'a mut PgConnection> {
    match pooled {
        Some(pooled) => Ok(pooled),
        None => Err(gate.silent()),
    }
}
