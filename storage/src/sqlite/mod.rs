//! The SQLite backend: one file, one writer, and readers beside it.
//!
//! All writes share one connection, which a queue hands out, urgent work first. A transaction that writes takes the write lock
//! of the file as it begins, so none fails because another one has written since it read. Readers have connections that cannot
//! write; each sees one committed state, and none waits for the writer. Only the writer moves pages from the write-ahead log into
//! the file.
//!
//! Statements are constants at the top of each file. Lists are passed as JSON. Several statements in one text cost one trip to the
//! connection's thread. `LIMIT +$1` keeps SQLite from planning a statement anew for each value of the parameter. No statistics are
//! gathered: plans depend on the schema alone, and a test looks at them.

mod accounts;
mod cause;
mod connection;
mod conversations;
mod deadline;
mod dump;
mod error;
mod events;
mod files;
mod import;
mod messages;
mod nodes;
mod pool;
mod presence;
mod result_code;
mod rows;
mod start;
mod tables;
mod transaction;
mod turns;
mod workspace;

use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use parking_lot::Mutex as Lock;
use sqlx::migrate::Migrator;
use sqlx::query::Query;
use sqlx::sqlite::{SqliteArguments, SqliteRow};
use tokio::sync::{Mutex, Semaphore};
use tokio::time::timeout;

use self::connection::{Connection, LOG_BYTES, reader_options, writer_options};
use self::files::Files;
use self::pool::{Pool, ReadPermit, Reader, Writer};
use self::rows::{get, hex, limit, list, micros, only, optional_time, partners_of, time, time_of, word};
use self::transaction::{DRAW, PASS_OVER, SqliteTx, Transaction};
use self::{cause::StoreName, turns::TurnQueue};
pub use crate::statement::Observer;
use crate::{
    Error, Lane, Result, Storage, Timestamp, Tx, Writability, conversations::memberships::InitialParticipants,
    import::ImportedMembers, statement::Statement,
};

/// The greater of two values, of which either may be null.
macro_rules! greatest {
    ($one:literal, $other:literal) => {
        concat!("coalesce(max(", $one, ", ", $other, "), ", $one, ", ", $other, ")")
    };
}
use greatest;

const IS_READABLE: &str = "SELECT count(*) FROM sqlite_schema";
const IS_EMPTY: &str = "SELECT NOT EXISTS (SELECT 1 FROM partners)";
const IS_DEMO: &str = "SELECT EXISTS (SELECT 1 FROM workspace WHERE key = 'demo')";

static MIGRATIONS: Migrator = sqlx::migrate!("../migrations/sqlite");

/// Bytes of a page of the file: SQLite's default.
const PAGE_SIZE: u64 = 4096;
/// Deadline for closing all connections.
const CLOSE_DEADLINE: Duration = Duration::from_secs(3);
/// Attempts of a checkpoint. While it waits for a reader of an earlier state, new readers may take that one's place in SQLite's
/// list, and it waits for them in vain; the next attempt does not.
const CHECKPOINT_ATTEMPTS: usize = 2;
/// Pause after a checkpoint that a long read has kept from emptying the write-ahead log: writers wait for few of these.
const CHECKPOINT_PAUSE: Duration = Duration::from_secs(5);
/// Time for which writes count as refused after one was.
const REFUSED_FOR: Duration = Duration::from_secs(10);
/// Rows that one transaction of a clean-up deletes: others write between two of them.
const STEP_ROWS: usize = 100;

/// Path of the file, number of readers, and time-outs.
#[derive(Clone, Debug)]
pub struct Options {
    pub path: PathBuf,
    /// Connections that read, each with a thread.
    pub readers: u32,
    /// Time limit of waiting for the writer or a reader.
    pub acquire_timeout: Duration,
    /// Time limit of a statement.
    pub statement_timeout: Duration,
    /// Time limit of a transaction that writes, from its begin on: all other writers wait for it.
    pub transaction_timeout: Duration,
    /// Size beyond which the file does not grow; `None`: that of the disk.
    pub max_bytes: Option<u64>,
}

/// SQLite storage. Clones share the connections.
#[derive(Clone)]
pub struct Sqlite {
    core: Arc<Core>,
    /// Kind of work of this handle; `None` for all other work.
    lane: Option<Lane>,
}

/// State that all handles of a store share.
struct Core {
    name: StoreName,
    limits: Options,
    /// Version of the schema when the file was opened; `None` if there was none.
    schema: Option<i64>,
    files: Files,
    turns: Arc<TurnQueue>,
    writers: Arc<Pool>,
    readers: Arc<Pool>,
    reads: Arc<Semaphore>,
    /// Permits of reads that are neither for sends nor for sessions: fewer, so that these find a reader.
    other_reads: Arc<Semaphore>,
    /// Connection that is always open: while it is, SQLite keeps the write-ahead log. `None` once the store is closed.
    keeper: Mutex<Option<Connection>>,
    observer: OnceLock<Observer>,
    /// End of the time for which writes count as refused.
    refused_until: Lock<Option<Instant>>,
    /// End of the pause after a checkpoint that has not emptied the write-ahead log.
    next_checkpoint: Lock<Option<Instant>>,
}

impl Sqlite {
    /// Opens the file, and makes it if there is none. Does not migrate.
    ///
    /// # Errors
    /// `Unavailable` if the file cannot be made or opened, `Corrupt` if it is damaged or no SQLite database, `Internal` if it is
    /// of another program or of a newer version, or on a network file system.
    ///
    /// # Cancel safety
    /// A dropped call leaves at most an empty file behind.
    pub async fn open(options: &Options) -> Result<Self> {
        let path = std::path::absolute(&options.path).map_err(|error| Error::Unavailable(error.into()))?;
        let name = StoreName::of(&path);
        let files = Files::find_or_make(&path, name.clone())?;
        let max_pages = options.max_bytes.map(|bytes| u32::try_from(bytes / PAGE_SIZE).unwrap_or(u32::MAX));
        let write = writer_options(files.database(), max_pages);
        let read = reader_options(files.database());
        let explain = |error| error::explain(&name, error);
        let mut writer = Connection::open(&write).await.map_err(explain)?;
        let schema = start::inspect(&name, &mut writer, options.statement_timeout).await?;
        let mut keeper = Connection::open(&read).await.map_err(explain)?;
        // The first read makes the write-ahead log.
        let until = Instant::now() + options.statement_timeout;
        keeper.rows(sqlx::query(IS_READABLE), until).await.map_err(explain)?;
        files.remember()?;
        let writers = Pool::new(write);
        writers.put_back(writer);
        let readers = options.readers.max(1) as usize;
        Ok(Self {
            core: Arc::new(Core {
                name,
                limits: options.clone(),
                schema,
                files,
                turns: Arc::default(),
                writers,
                readers: Pool::new(read),
                reads: Arc::new(Semaphore::new(readers)),
                other_reads: Arc::new(Semaphore::new((readers - 1).max(1))),
                keeper: Mutex::new(Some(keeper)),
                observer: OnceLock::new(),
                refused_until: Lock::new(None),
                next_checkpoint: Lock::new(None),
            }),
            lane: None,
        })
    }

    /// Takes the lock file for this process alone, until the store is closed. A server does so, and whoever must meet none.
    /// Commands beside a running server do without.
    ///
    /// # Errors
    /// `Unavailable` if another process has the lock.
    pub fn lock_exclusive(&self) -> Result<()> {
        self.core.files.lock()
    }

    /// Takes the lock file together with other processes that share it, until the store is closed.
    ///
    /// # Errors
    /// `Unavailable` if another process has the lock for itself.
    pub fn lock_shared(&self) -> Result<()> {
        self.core.files.lock_shared()
    }

    /// Releases the lock file.
    pub fn unlock(&self) {
        self.core.files.unlock();
    }

    /// Reports every statement to the observer from now on, except those of connection set-up, start-up checks and migrations.
    /// The first observer stays.
    pub fn observe(&self, observer: Observer) {
        let _ = self.core.observer.set(observer);
    }

    /// Reads with one statement.
    async fn rows(&self, query: Query<'_, sqlx::Sqlite, SqliteArguments>) -> Result<Vec<SqliteRow>> {
        self.reader().await?.rows(query).await
    }

    async fn row(&self, query: Query<'_, sqlx::Sqlite, SqliteArguments>) -> Result<Option<SqliteRow>> {
        Ok(self.rows(query).await?.into_iter().next())
    }

    /// Reads the row of a statement that always returns one.
    async fn only_row(&self, query: Query<'_, sqlx::Sqlite, SqliteArguments>) -> Result<SqliteRow> {
        only(self.row(query).await?)
    }

    /// Takes a reader that sees one state of the store in all its statements.
    async fn snapshot(&self) -> Result<Reading> {
        let mut reading = self.reader().await?;
        let begun = Instant::now();
        let done = reading.reader.begin().await.map_err(|error| self.core.explain(error));
        self.core.counted("begin", begun, done)?;
        Ok(reading)
    }

    async fn reader(&self) -> Result<Reading> {
        let begun = Instant::now();
        let reader = timeout(self.core.limits.acquire_timeout, self.connect_reader()).await;
        let reader = reader.unwrap_or_else(|_| Err(Error::Unavailable("too many concurrent requests".into())));
        if reader.is_err() {
            self.core.count("connect", begun, true);
        }
        Ok(Reading { reader: reader?, core: Arc::clone(&self.core) })
    }

    async fn connect_reader(&self) -> Result<Reader> {
        let explain = |error| self.core.explain(error);
        let acquire = async |permits: &Arc<Semaphore>| {
            Arc::clone(permits).acquire_owned().await.map_err(|_| explain(sqlx::Error::PoolClosed))
        };
        let is_other = !matches!(self.lane, Some(Lane::Sends | Lane::Sessions));
        let own = if is_other { Some(acquire(&self.core.other_reads).await?) } else { None };
        let permit: ReadPermit = (acquire(&self.core.reads).await?, own);
        self.core.files.check()?;
        self.core.readers.lease(permit).await.map_err(explain)
    }

    /// Begins a transaction that writes.
    async fn transaction(&self) -> Result<Transaction> {
        let core = &self.core;
        let begun = Instant::now();
        let begin = async {
            let turn = timeout(core.limits.acquire_timeout, core.turns.turn(self.lane == Some(Lane::Sends))).await;
            let turn = turn.map_err(|_| Error::Unavailable("too many concurrent transactions".into()))?;
            core.files.check()?;
            let mut writer = core.writers.lease(turn).await.map_err(|error| core.explain(error))?;
            core.shrink_log(&mut writer).await?;
            writer.begin().await.map_err(|error| core.explain(error))?;
            Ok(writer)
        };
        let writer = core.counted("begin", begun, begin.await)?;
        Ok(Transaction::new(Arc::clone(core), writer))
    }

    /// Writes with one statement.
    async fn write(&self, query: Query<'_, sqlx::Sqlite, SqliteArguments>) -> Result<Vec<SqliteRow>> {
        let mut tx = self.transaction().await?;
        let rows = tx.rows(query).await?;
        tx.commit().await?;
        Ok(rows)
    }

    /// Writes at most `most` rows in transactions of [`STEP_ROWS`], until one finds fewer, or fails. Returns all their rows.
    async fn write_in_steps<'q>(
        &self,
        most: usize,
        query: impl Fn(i64) -> Query<'q, sqlx::Sqlite, SqliteArguments>,
    ) -> Result<Vec<SqliteRow>> {
        let mut written = Vec::new();
        while written.len() < most {
            let step = STEP_ROWS.min(most - written.len());
            let rows = match self.write(query(limit(step))).await {
                Ok(rows) => rows,
                // The caller needs the rows that are gone, and meets the error the next time.
                Err(_) if !written.is_empty() => break,
                Err(error) => return Err(error),
            };
            let is_last = rows.len() < step;
            written.extend(rows);
            if is_last {
                break;
            }
        }
        Ok(written)
    }
}

impl Core {
    /// Maps an error, and remembers that writes are refused.
    fn explain(&self, error: sqlx::Error) -> Error {
        if error::is_refusal_of_writes(&error) {
            *self.refused_until.lock() = Some(Instant::now() + REFUSED_FOR);
        }
        error::explain(&self.name, error)
    }

    /// Remembers that a write was not refused.
    fn note_write(&self) {
        *self.refused_until.lock() = None;
    }

    /// Empties a write-ahead log that has grown: the checkpoints of commits do not wait for readers, and empty it only in a moment
    /// without one.
    async fn shrink_log(&self, writer: &mut Writer) -> Result<()> {
        let is_large = || self.files.log_bytes() > u64::from(LOG_BYTES);
        let now = Instant::now();
        if !is_large() || self.next_checkpoint.lock().is_some_and(|next| now < next) {
            return Ok(());
        }
        *self.next_checkpoint.lock() = Some(now + CHECKPOINT_PAUSE);
        self.checkpoint(writer).await?;
        if !is_large() {
            *self.next_checkpoint.lock() = None;
        }
        Ok(())
    }

    /// Empties the write-ahead log. Leaves it to the next time if a reader takes long.
    async fn checkpoint(&self, writer: &mut Writer) -> Result<()> {
        for _ in 0..CHECKPOINT_ATTEMPTS {
            let begun = Instant::now();
            let done = writer.checkpoint().await.map_err(|error| self.explain(error));
            self.counted("checkpoint", begun, done)?;
            if self.files.log_bytes() == 0 {
                break;
            }
        }
        Ok(())
    }

    fn are_writes_refused(&self) -> bool {
        self.refused_until.lock().is_some_and(|until| Instant::now() < until)
    }

    /// Counts an operation with its answer.
    fn counted<T>(&self, operation: &str, begun: Instant, answer: Result<T>) -> Result<T> {
        // A violated constraint is a conflict, no failure of the statement.
        self.count(operation, begun, !matches!(answer, Ok(_) | Err(Error::Conflict(_))));
        answer
    }

    fn count(&self, operation: &str, begun: Instant, failed: bool) {
        if let Some(observer) = self.observer.get() {
            observer(operation, begun.elapsed(), failed);
        }
    }
}

/// Reader with its statements counted.
struct Reading {
    core: Arc<Core>,
    reader: Reader,
}

impl Reading {
    async fn rows(&mut self, query: Query<'_, sqlx::Sqlite, SqliteArguments>) -> Result<Vec<SqliteRow>> {
        let statement = Statement::of(query)?;
        let begun = Instant::now();
        let rows = self.reader.rows(statement.query, begun + self.core.limits.statement_timeout).await;
        self.core.counted(&statement.operation.name, begun, rows.map_err(|error| self.core.explain(error)))
    }

    async fn row(&mut self, query: Query<'_, sqlx::Sqlite, SqliteArguments>) -> Result<Option<SqliteRow>> {
        Ok(self.rows(query).await?.into_iter().next())
    }
}

#[async_trait]
impl Storage for Sqlite {
    async fn begin(&self) -> Result<Box<dyn Tx>> {
        let tx = self.transaction().await?;
        let (founders, imported) = (InitialParticipants::new(), ImportedMembers::new());
        Ok(Box::new(SqliteTx { tx, facts: Vec::new(), founders, imported }))
    }

    async fn writability(&self) -> Result<Writability> {
        self.rows(sqlx::query(IS_READABLE)).await?;
        Ok(if self.core.are_writes_refused() { Writability::Refused } else { Writability::Writable })
    }

    async fn now(&self, here: Timestamp) -> Result<Timestamp> {
        Ok(here)
    }

    async fn is_empty(&self) -> Result<bool> {
        get(&self.only_row(sqlx::query(IS_EMPTY)).await?, 0)
    }

    async fn is_demo(&self) -> Result<bool> {
        get(&self.only_row(sqlx::query(IS_DEMO)).await?, 0)
    }

    fn lane(&self, lane: Lane) -> Arc<dyn Storage> {
        Arc::new(Self { core: Arc::clone(&self.core), lane: Some(lane) })
    }

    /// Does nothing: a file has no timelines. One that is put in the place of another is refused.
    fn accept_timeline(&self, _timeline: Option<i64>) {}

    async fn checkpoint(&self) -> Result<()> {
        let core = &self.core;
        let turn = core.turns.turn(false).await;
        let mut writer = core.writers.lease(turn).await.map_err(|error| core.explain(error))?;
        core.checkpoint(&mut writer).await
    }

    async fn close(&self) {
        let core = &self.core;
        let closing = async {
            core.reads.close();
            core.other_reads.close();
            // After the last transaction.
            let turn = core.turns.turn(true).await;
            let writers = core.writers.close();
            for reader in core.readers.close() {
                reader.close().await;
            }
            if let Some(keeper) = core.keeper.lock().await.take() {
                keeper.close().await;
            }
            // The last one removes the write-ahead log.
            for mut writer in writers {
                if let Err(error) = writer.checkpoint().await {
                    let error: &(dyn std::error::Error + 'static) = &error;
                    tracing::warn!(error, "write-ahead log not moved into the file: the next start reads it");
                }
                writer.close().await;
            }
            drop(turn);
        };
        if timeout(CLOSE_DEADLINE, closing).await.is_err() {
            tracing::warn!("database file not closed in time");
        }
        core.files.unlock();
    }
}
