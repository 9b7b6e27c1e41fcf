//! Outcome of a commit without an answer: a random mark, written with the transaction, is looked up afterwards.

use sqlx::postgres::PgRow;
use tokio::time::Instant;
use uuid::Uuid;

use super::error::code;
use super::{Postgres, get};
use crate::{Error, Result, statement::Statement};

/// Status of a transaction: `in progress`, `committed` or `aborted`; null if it is too old. A standby may lag behind, so it
/// reports `in progress`.
const STATUS: &str = "SELECT CASE WHEN pg_is_in_recovery() THEN 'in progress' ELSE pg_xact_status($1::text::xid8) END AS status";
const HAS_COMMITTED: &str = "SELECT EXISTS (SELECT FROM events WHERE position = $1 AND mark = $2)
    OR EXISTS (SELECT FROM commits WHERE mark = $2) AS has_committed";
/// SQLSTATE code for a transaction number that has not been assigned.
const IN_THE_FUTURE: &str = "22023";

/// Commit mark of a transaction.
///
/// PostgreSQL's own transaction number is not enough. A server that loses its power forgets numbers not yet on disk and assigns
/// them again: another transaction's commit would pass for this one. Message ids have the same problem. The mark is random, and
/// written with the transaction.
pub(super) struct CommitMark {
    mark: Uuid,
    number: String,
    /// Position of the first event; without events the mark is a row of its own.
    position: Option<i64>,
}

impl CommitMark {
    /// Reads a row with `mark` and `transaction`.
    pub(super) fn of(row: &PgRow, position: Option<i64>) -> Result<Self> {
        Ok(Self { mark: get(row, "mark")?, number: get(row, "transaction")?, position })
    }
}

impl Postgres {
    /// Queries the outcome until it is known, however long the database is away and whatever its errors: a guess could tell the
    /// client a wrong result. `None` if a reachable server has not decided, because commits are not confirmed, or still after a
    /// time limit: the transaction may be committed later, or not.
    pub(super) async fn has_committed(&self, mark: &CommitMark) -> Option<bool> {
        let mut is_told = false;
        let mut undecided: Option<Instant> = None;
        loop {
            match self.outcome(mark).await {
                Ok(Some(has_committed)) => return Some(has_committed),
                Ok(None) if self.gate.is_unconfirmed() => return None,
                Ok(None) => {
                    if undecided.get_or_insert_with(Instant::now).elapsed() > self.patience {
                        return None;
                    }
                }
                Err(error) => {
                    let error: &(dyn std::error::Error + 'static) = &error;
                    if !std::mem::replace(&mut is_told, true) {
                        tracing::warn!(error, "commit outcome unknown, still asking");
                    }
                }
            }
            tokio::time::sleep(super::OUTCOME_POLL).await;
        }
    }

    /// Queries the outcome once; `None` while it is undecided.
    async fn outcome(&self, mark: &CommitMark) -> Result<Option<bool>> {
        // Both queries on one server, and the second only if the first says that the transaction has ended. One statement for
        // both would not do: it does not see commits made while it runs.
        let mut connection = self.connection().await?;
        match connection.rows(Statement::of(sqlx::query(STATUS).bind(&mark.number))?).await {
            Ok(rows) => {
                let row = rows.first().ok_or(sqlx::Error::RowNotFound)?;
                if get::<Option<&str>, _>(row, "status")? == Some("in progress") {
                    return Ok(None);
                }
            }
            Err(Error::Internal(cause)) if cause.downcast_ref().and_then(code).as_deref() == Some(IN_THE_FUTURE) => {}
            Err(error) => return Err(error),
        }
        let has_committed = sqlx::query(HAS_COMMITTED).bind(mark.position).bind(mark.mark);
        let rows = connection.rows(Statement::of(has_committed)?).await?;
        Ok(Some(get(rows.first().ok_or(sqlx::Error::RowNotFound)?, "has_committed")?))
    }
}
