//! A connection with its settings, the deadline of its statements, and its transaction.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use sqlx::query::Query;
use sqlx::sqlite::{SqliteArguments, SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqliteRow, SqliteSynchronous};
use sqlx::{ConnectOptions as _, Connection as _, Executor as _};

use super::deadline::Deadline;
use super::error::{breaks_connection, is_busy, is_without_transaction};

const BEGIN: &str = "BEGIN";
/// Takes the write lock at once: a transaction that reads first could fail at its first write, whatever it waits.
const BEGIN_WRITE: &str = "BEGIN IMMEDIATE";
const COMMIT: &str = "COMMIT";
const ROLLBACK: &str = "ROLLBACK";
const CHECKPOINT: &str = "PRAGMA wal_checkpoint(TRUNCATE)";
/// Time limit of a checkpoint's wait for readers: all writers wait for it.
const SHORT_WAIT: &str = "PRAGMA busy_timeout = 100";
const LONG_WAIT: &str = "PRAGMA busy_timeout = 5000";

/// Instructions of SQLite's virtual machine between two looks at the deadline: some ten microseconds.
const INSTRUCTIONS: i32 = 1_000;
/// Prepared statements of a connection: more than this backend has.
const STATEMENTS: usize = 300;

/// Time limit of a wait for a lock of another process, as in [`LONG_WAIT`].
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// Pause between two attempts to connect to a file that another process makes.
const BUSY_PAUSE: Duration = Duration::from_millis(10);
/// Page caches, in KiB.
const WRITER_CACHE: u32 = 16 * 1024;
const READER_CACHE: u32 = 4 * 1024;
/// Pages of the write-ahead log after which a commit moves them into the file: 4 MiB.
const CHECKPOINT_PAGES: u32 = 1_000;
/// Size from which the write-ahead log is emptied before the next transaction, and to which it shrinks again, in bytes.
pub(super) const LOG_BYTES: u32 = 16 * 1024 * 1024;

/// Settings of both kinds of connections. No memory map: an error of the disk would end the process. Sorts stay in memory, since
/// all results are bounded. Schemas of strangers call no functions.
fn options(file: &Path, cache: u32) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(file)
        .busy_timeout(BUSY_TIMEOUT)
        .statement_cache_capacity(STATEMENTS)
        .thread_name(|id| format!("sqlite-{id}"))
        .pragma("trusted_schema", "OFF")
        .pragma("mmap_size", "0")
        .pragma("temp_store", "MEMORY")
        .pragma("cache_size", format!("-{cache}"))
}

/// Options of the connection that writes, and that alone moves pages from the write-ahead log into the file.
pub(super) fn writer_options(file: &Path, max_pages: Option<u32>) -> SqliteConnectOptions {
    let options = options(file, WRITER_CACHE)
        .journal_mode(SqliteJournalMode::Wal)
        // An acknowledged commit survives a power failure.
        .synchronous(SqliteSynchronous::Full)
        .foreign_keys(true)
        // Deleted content is overwritten, also in free pages.
        .pragma("secure_delete", "ON")
        .pragma("wal_autocheckpoint", CHECKPOINT_PAGES.to_string())
        .pragma("journal_size_limit", LOG_BYTES.to_string());
    match max_pages {
        Some(pages) => options.pragma("max_page_count", pages.to_string()),
        None => options,
    }
}

/// Options of a connection that reads, and cannot write.
pub(super) fn reader_options(file: &Path) -> SqliteConnectOptions {
    options(file, READER_CACHE).read_only(true).pragma("query_only", "ON").pragma("wal_autocheckpoint", "0")
}

/// Options of a connection that copies the file into another one, which it may write.
pub(super) fn copier_options(file: &Path) -> SqliteConnectOptions {
    reader_options(file).pragma("query_only", "OFF")
}

/// Options of a connection that reads a copy, which nobody writes; so it needs no locks.
pub(super) fn copy_options(file: &Path) -> SqliteConnectOptions {
    reader_options(file).immutable(true)
}

/// Connects. Waits for another process that makes the file: SQLite does not wait itself where it would begin to keep a write-ahead
/// log, since it reads the file then.
pub(super) async fn connect(options: &SqliteConnectOptions) -> sqlx::Result<SqliteConnection> {
    let until = Instant::now() + BUSY_TIMEOUT;
    loop {
        match options.connect().await {
            Err(error) if is_busy(&error) && Instant::now() < until => tokio::time::sleep(BUSY_PAUSE).await,
            connected => return connected,
        }
    }
}

/// Connection with at most one running statement and one transaction.
pub(super) struct Connection {
    driver: SqliteConnection,
    deadline: Arc<Deadline>,
    /// True while a statement runs, also after its future was dropped.
    is_running: bool,
    in_transaction: bool,
    /// True during a checkpoint, with its short wait for locks.
    is_impatient: bool,
    is_broken: bool,
}

impl Connection {
    pub(super) async fn open(options: &SqliteConnectOptions) -> sqlx::Result<Self> {
        let mut driver = connect(options).await?;
        let deadline = Arc::new(Deadline::new());
        let watched = Arc::clone(&deadline);
        driver.lock_handle().await?.set_progress_handler(INSTRUCTIONS, move || !watched.has_passed());
        Ok(Self { driver, deadline, is_running: false, in_transaction: false, is_impatient: false, is_broken: false })
    }

    /// Runs a statement, at most until the deadline.
    pub(super) async fn rows(
        &mut self,
        query: Query<'_, sqlx::Sqlite, SqliteArguments>,
        until: Instant,
    ) -> sqlx::Result<Vec<SqliteRow>> {
        self.deadline.set(until);
        self.is_running = true;
        let rows = query.fetch_all(&mut self.driver).await;
        self.is_running = false;
        self.note(rows)
    }

    /// Begins a transaction that reads from one state of the store.
    pub(super) async fn begin_read(&mut self) -> sqlx::Result<()> {
        self.in_transaction = true;
        self.control(BEGIN).await
    }

    /// Begins a transaction that writes.
    pub(super) async fn begin_write(&mut self) -> sqlx::Result<()> {
        self.in_transaction = true;
        self.control(BEGIN_WRITE).await
    }

    /// Commits. After an error nothing is committed.
    pub(super) async fn commit(&mut self) -> sqlx::Result<()> {
        self.control(COMMIT).await?;
        self.in_transaction = false;
        Ok(())
    }

    /// Interrupts the statement that runs, and ends the transaction.
    pub(super) async fn reset(&mut self) {
        if self.is_running {
            self.deadline.expire();
            // Answered once the statement has ended.
            self.is_broken |= self.driver.ping().await.is_err();
            self.is_running = false;
        }
        if self.in_transaction && !self.is_broken {
            // SQLite has ended the transaction itself after some errors, for example of a full disk.
            let ended = self.control(ROLLBACK).await;
            self.is_broken |= ended.is_err_and(|error| !is_without_transaction(&error));
            self.in_transaction = false;
        }
    }

    /// True if another statement may use the connection.
    pub(super) fn is_idle(&self) -> bool {
        !self.is_running && !self.in_transaction && !self.is_broken()
    }

    /// True if no other statement may use the connection.
    pub(super) fn is_broken(&self) -> bool {
        self.is_broken || self.is_impatient
    }

    /// Moves everything from the write-ahead log into the file, and empties it unless a reader takes long.
    pub(super) async fn checkpoint(&mut self) -> sqlx::Result<()> {
        self.is_impatient = true;
        self.control(SHORT_WAIT).await?;
        let done = self.control(CHECKPOINT).await;
        self.control(LONG_WAIT).await?;
        self.is_impatient = false;
        done
    }

    pub(super) async fn close(self) {
        // An error says that the thread has ended already.
        let _ = self.driver.close().await;
    }

    /// Runs a statement without a deadline: an interruption could come after its effect.
    async fn control(&mut self, statement: &'static str) -> sqlx::Result<()> {
        self.deadline.clear();
        self.is_running = true;
        let done = self.driver.execute(statement).await.map(drop);
        self.is_running = false;
        self.note(done)
    }

    fn note<T>(&mut self, answer: sqlx::Result<T>) -> sqlx::Result<T> {
        self.is_broken |= answer.as_ref().is_err_and(breaks_connection);
        answer
    }
}
