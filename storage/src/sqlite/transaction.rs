//! A transaction that writes: one at a time, and none for long.

use std::sync::Arc;
use std::time::Instant;

use sqlx::query::Query;
use sqlx::sqlite::{SqliteArguments, SqliteRow};
use tokio::runtime::Handle;
use tokio::sync::Mutex;
use tokio::task::AbortHandle;
use tokio::time::sleep_until;

use super::{Core, pool::Writer};
use crate::{Error, Result, statement::Statement};

/// Open transaction. Its drop rolls it back; so does its deadline, whatever its owner does, since all other writers wait for it.
pub(super) struct Transaction {
    core: Arc<Core>,
    /// `None` once the deadline has passed.
    writer: Arc<Mutex<Option<Writer>>>,
    deadline: Instant,
    watchdog: AbortHandle,
    /// True after a failed statement: part of its work may be done.
    has_failed: bool,
}

impl Transaction {
    pub(super) fn new(core: Arc<Core>, writer: Writer) -> Self {
        let deadline = Instant::now() + core.limits.transaction_timeout;
        let writer = Arc::new(Mutex::new(Some(writer)));
        let watched = Arc::clone(&writer);
        let runtime = Handle::current();
        let watchdog = runtime.spawn(async move {
            sleep_until(deadline.into()).await;
            drop(watched.lock().await.take());
        });
        Self { core, writer, deadline, watchdog: watchdog.abort_handle(), has_failed: false }
    }

    pub(super) async fn rows(&mut self, query: Query<'_, sqlx::Sqlite, SqliteArguments>) -> Result<Vec<SqliteRow>> {
        let statement = Statement::of(query)?;
        let begun = Instant::now();
        let answer = self.run(statement.query, begun).await;
        self.has_failed |= answer.is_err();
        self.core.counted(&statement.operation.name, begun, answer)
    }

    async fn run(&self, query: Query<'_, sqlx::Sqlite, SqliteArguments>, begun: Instant) -> Result<Vec<SqliteRow>> {
        if self.has_failed {
            return Err(failed());
        }
        let mut writer = self.writer.lock().await;
        let Some(writer) = writer.as_mut().filter(|_| begun < self.deadline) else { return Err(self.overdue()) };
        let until = self.deadline.min(begun + self.core.limits.statement_timeout);
        writer.rows(query, until).await.map_err(|error| self.core.explain(error))
    }

    pub(super) async fn commit(self) -> Result<()> {
        let begun = Instant::now();
        let done = self.end(begun).await;
        self.core.counted("commit", begun, done)
    }

    async fn end(&self, begun: Instant) -> Result<()> {
        if self.has_failed {
            return Err(failed());
        }
        // The writer stays here until the commit is answered.
        self.watchdog.abort();
        let writer = self.writer.lock().await.take().filter(|_| begun < self.deadline);
        let Some(mut writer) = writer else { return Err(self.overdue()) };
        self.core.files.check()?;
        writer.commit().await.map_err(|error| self.core.explain(error))?;
        self.core.note_write();
        Ok(())
    }

    fn overdue(&self) -> Error {
        self.core
            .name
            .unavailable("a transaction took too long, and was rolled back", "check the load of the machine and its disk")
    }
}

impl Drop for Transaction {
    fn drop(&mut self) {
        self.watchdog.abort();
        // A watchdog that holds it is about to drop it.
        if let Ok(mut writer) = self.writer.try_lock() {
            drop(writer.take());
        }
    }
}

fn failed() -> Error {
    Error::Internal("transaction aborted by a failed statement".into())
}
