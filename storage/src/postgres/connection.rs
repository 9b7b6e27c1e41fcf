use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use sqlx::pool::PoolConnection;
use sqlx::postgres::{PgArguments, PgRow};
use sqlx::query::Query;
use sqlx::{Executor, PgConnection};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::timeout;

use super::error::code;
use super::gate::Gate;
use crate::{Error, Result};

const BEGIN: &str = "BEGIN";
const COMMIT: &str = "COMMIT";
const ROLLBACK: &str = "ROLLBACK";

/// A connection of the pool while somebody uses it. It goes back when it is dropped, but only if the server still answers
/// on it: the pool itself would wait for that without a limit, and be short of a place meanwhile.
///
/// Transactions are begun and ended here, and not by sqlx, which does not let go of a connection that is in one.
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

    pub(super) async fn rows(&mut self, query: Query<'_, sqlx::Postgres, PgArguments>) -> Result<Vec<PgRow>> {
        let pooled = living(&mut self.pooled)?;
        let answer = self.gate.answer(self.patience, query.fetch_all(pooled)).await;
        self.judge(answer)
    }

    /// Begins a transaction, which takes with it the leave to have one.
    pub(super) async fn begin(&mut self, leave: OwnedSemaphorePermit) -> Result<()> {
        self.leave = Some(leave);
        self.in_transaction = true;
        // Nothing that others do makes it take long.
        self.say(BEGIN, self.gate.patience()).await
    }

    /// The leave to have a transaction, back from a connection that has ended before one could be begun.
    pub(super) fn leave_of_ended(&mut self) -> Option<OwnedSemaphorePermit> {
        self.leave.take_if(|_| self.has_ended)
    }

    /// Commits and goes back. That it fails does not say that it was not done.
    pub(super) async fn commit(mut self) -> Result<()> {
        self.say(COMMIT, self.patience).await?;
        self.in_transaction = false;
        self.gate.note_room(true);
        Ok(())
    }

    async fn say(&mut self, statement: &'static str, patience: Duration) -> Result<()> {
        let pooled = living(&mut self.pooled)?;
        let answer = self.gate.answer(patience, pooled.execute(statement)).await;
        self.judge(answer).map(drop)
    }

    /// Gives the connection up if nobody answers on it, or nobody whom it is good to ask again.
    fn judge<T>(&mut self, answer: Option<sqlx::Result<T>>) -> Result<T> {
        let Some(answer) = answer else {
            self.give_up();
            return Err(Error::Unavailable("the database does not answer".into()));
        };
        answer.map_err(|error| {
            match code(&error).as_deref() {
                // It leads to a server that takes no writes any more, for example one that another has taken over from.
                Some("25006") => self.give_up(),
                Some("53100") => self.gate.note_room(false),
                // The last that it says.
                Some("25P03" | "57P01" | "57P02" | "57P05") => self.end(),
                Some(_) => {}
                None if matches!(error, sqlx::Error::Io(_) | sqlx::Error::Tls(_) | sqlx::Error::Protocol(_)) => self.end(),
                None => {}
            }
            error.into()
        })
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

fn living(pooled: &mut Option<PoolConnection<sqlx::Postgres>>) -> Result<&mut PgConnection> {
    match pooled {
        Some(pooled) => Ok(pooled),
        None => Err(Error::Unavailable("the database did not answer on this connection".into())),
    }
}
