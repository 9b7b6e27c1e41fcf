//! A transaction that writes: one at a time, and none for long.

use std::sync::Arc;
use std::time::Instant;

use async_trait::async_trait;
use sqlx::query::Query;
use sqlx::sqlite::{SqliteArguments, SqliteRow};
use tokio::runtime::Handle;
use tokio::sync::Mutex;
use tokio::task::AbortHandle;
use tokio::time::sleep_until;

use super::{Core, get, limit, only, pool::Writer};
use crate::{
    Error, Event, Fact, Position, Result, Timestamp, Topic, Tx, conversations::memberships::InitialParticipants,
    import::ImportedMembers, statement::Statement,
};

const MARK_DEMO: &str = "INSERT INTO workspace (key, value) VALUES ('demo', 'true') ON CONFLICT DO NOTHING RETURNING key";
/// Updates without a change, so that the row is returned in any case.
const SECRET: &str = "INSERT INTO workspace (key, value) VALUES ('secret ' || $1, $2)
    ON CONFLICT (key) DO UPDATE SET key = excluded.key RETURNING value";
const RAISE_SEQUENCES: &str = "UPDATE sequences SET value = value + $1";
const HEAD: &str = "SELECT position FROM log_head";
const RAISE_HEAD: &str = "UPDATE log_head SET position = max(position, $1) + $2 RETURNING position";
/// Draws `$2` ids, which end with the result.
pub(super) const DRAW: &str = "UPDATE sequences SET value = value + $2 WHERE name = $1 RETURNING value";
/// Advances the sequence beyond an id that was not drawn from it.
pub(super) const PASS_OVER: &str = "UPDATE sequences SET value = $2 WHERE name = $1 AND value < $2";

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

/// Transaction with the facts that it records.
pub(super) struct SqliteTx {
    pub(super) tx: Transaction,
    pub(super) facts: Vec<(Topic, Fact, Timestamp)>,
    pub(super) founders: InitialParticipants,
    pub(super) imported: ImportedMembers,
}

impl SqliteTx {
    pub(super) async fn rows(&mut self, query: Query<'_, sqlx::Sqlite, SqliteArguments>) -> Result<Vec<SqliteRow>> {
        self.tx.rows(query).await
    }

    pub(super) async fn row(&mut self, query: Query<'_, sqlx::Sqlite, SqliteArguments>) -> Result<Option<SqliteRow>> {
        Ok(self.rows(query).await?.into_iter().next())
    }

    /// Reads the row of a statement that always returns one.
    pub(super) async fn only_row(&mut self, query: Query<'_, sqlx::Sqlite, SqliteArguments>) -> Result<SqliteRow> {
        only(self.row(query).await?)
    }

    /// Draws ids from a sequence. Returns the first.
    pub(super) async fn draw(&mut self, sequence: &'static str, ids: usize) -> Result<i64> {
        let last: i64 = get(&self.only_row(sqlx::query(DRAW).bind(sequence).bind(limit(ids))).await?, 0)?;
        Ok(last - limit(ids) + 1)
    }

    /// Returns the given id, above which the sequence then goes on, or draws one.
    pub(super) async fn draw_unless(&mut self, given: Option<i64>, sequence: &'static str) -> Result<i64> {
        let Some(id) = given else { return self.draw(sequence, 1).await };
        self.rows(sqlx::query(PASS_OVER).bind(sequence).bind(id)).await?;
        Ok(id)
    }
}

#[async_trait]
impl Tx for SqliteTx {
    fn record(&mut self, topic: Topic, fact: Fact, at: Timestamp) {
        self.facts.push((topic, fact, at));
    }

    async fn mark_demo(&mut self) -> Result<bool> {
        Ok(self.row(sqlx::query(MARK_DEMO)).await?.is_some())
    }

    async fn secret(&mut self, name: &str, fresh: &str) -> Result<String> {
        get(&self.only_row(sqlx::query(SECRET).bind(name).bind(fresh)).await?, 0)
    }

    async fn skip_positions(&mut self, known: Position, by: i64) -> Result<(Position, Position)> {
        self.rows(sqlx::query(RAISE_SEQUENCES).bind(by)).await?;
        let before: i64 = get(&self.only_row(sqlx::query(HEAD)).await?, 0)?;
        let last = get(&self.only_row(sqlx::query(RAISE_HEAD).bind(known.0).bind(by)).await?, 0)?;
        Ok((Position(before + 1), Position(last)))
    }

    /// The outcome is always known: whoever asks for it is in the same process as SQLite.
    async fn commit(mut self: Box<Self>) -> Result<Vec<Event>> {
        let events = self.append_facts().await?;
        self.tx.commit().await?;
        Ok(events)
    }
}
