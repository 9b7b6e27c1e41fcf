//! What became of a transaction whose commit was not answered.

use sqlx::postgres::PgRow;
use tokio::time::Instant;
use uuid::Uuid;

use super::error::code;
use super::statement::Statement;
use super::{Postgres, get};
use crate::{Error, Result};

/// `in progress`, `committed` or `aborted`; null if that is long ago. A standby has perhaps not heard of it yet.
const STATUS: &str = "SELECT CASE WHEN pg_is_in_recovery() THEN 'in progress' ELSE pg_xact_status($1::text::xid8) END AS status";
const HAS_COMMITTED: &str = "SELECT EXISTS (SELECT FROM events WHERE position = $1 AND mark = $2)
    OR EXISTS (SELECT FROM commits WHERE mark = $2) AS has_committed";
/// What a statement says of a transaction's number that has not been given out.
const IN_THE_FUTURE: &str = "22023";

/// What a transaction is known by later.
///
/// PostgreSQL's own number for it does not do. A server that loses its power forgets the numbers that it has not brought
/// to the disk, and gives them out again: somebody else's commit would pass for this one. Nor does what was written,
/// for the same goes for the numbers of messages. The mark is drawn at random and written with the rest.
pub(super) struct Mark {
    mark: Uuid,
    number: String,
    /// Of the first event; without one the mark is written by itself.
    position: Option<i64>,
}

impl Mark {
    /// Reads a row with `mark` and `transaction`.
    pub(super) fn of(row: &PgRow, position: Option<i64>) -> Result<Self> {
        Ok(Self { mark: get(row, "mark")?, number: get(row, "transaction")?, position })
    }
}

impl Postgres {
    /// Asks until it is known, however long the database is away, and whatever it says: who was told either without
    /// knowing it would be told wrong. `None` if a server that can be reached says that it is not decided yet, because
    /// commits are not confirmed, or still after a while: the transaction may be committed later, or not.
    pub(super) async fn has_committed(&self, mark: &Mark) -> Option<bool> {
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
                        tracing::warn!(error, "what became of a transaction is not known yet");
                    }
                }
            }
            tokio::time::sleep(super::BETWEEN_QUESTIONS).await;
        }
    }

    /// `None` as long as it may still be either.
    async fn outcome(&self, mark: &Mark) -> Result<Option<bool>> {
        // Both from the same server, and the second only when the first says that nothing changes any more. Together they
        // would not do: a statement does not see what is committed while it runs.
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
