//! The PostgreSQL backend. One statement per method wherever it can be, all of them constants at the top of their file.

mod attachments;
mod books;
mod conversations;
mod devices;
mod directory;
mod error;
mod events;
mod gate;
mod groups;
mod messages;
mod pictures;
mod presence;
mod sessions;
mod support;
mod tokens;
mod uploads;
mod users;

use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use sqlx::migrate::Migrator;
use sqlx::postgres::{PgArguments, PgConnectOptions, PgPool, PgPoolOptions, PgRow};
use sqlx::query::Query;
use sqlx::{Connection, PgConnection};

use self::gate::Gate;
use crate::{Error, Event, Fact, Result, Storage, Timestamp, Topic, Tx, memberships::Founders};

/// The condition that no other process clears away the same `$kind` of things at this moment. Two that did would only be
/// in each other's way; who comes second finds nothing to do. Each kind has a number of its own.
macro_rules! alone {
    ($kind:literal) => {
        concat!("(SELECT pg_try_advisory_xact_lock(73201, ", $kind, "))")
    };
}
use alone;

const PING: &str = "SELECT 1";
const NOW: &str = "SELECT clock_timestamp()";
const IS_EMPTY: &str = "SELECT NOT EXISTS (SELECT FROM partners)";
const IS_DEMO: &str = "SELECT EXISTS (SELECT FROM workspace WHERE key = 'demo')";
const MARK_DEMO: &str = "INSERT INTO workspace (key, value) VALUES ('demo', 'true') ON CONFLICT DO NOTHING RETURNING key";
/// An update that changes nothing, so that the row comes back whoever made it.
const SECRET: &str = "INSERT INTO workspace (key, value) VALUES ('secret ' || $1, $2)
    ON CONFLICT (key) DO UPDATE SET key = excluded.key RETURNING value";
/// `committed`, `aborted` or `in progress`; null if that is long ago.
const OUTCOME: &str = "SELECT pg_xact_status($1::text::xid8)";

static MIGRATIONS: Migrator = sqlx::migrate!("../migrations");

/// A transaction that is doing nothing for so long has been forgotten, and with it the locks it holds.
const IDLE_IN_TRANSACTION: Duration = Duration::from_secs(5);
/// Connections are replaced after this, so that none gathers memory for ever and a failover spreads out again.
const MAX_LIFETIME: Duration = Duration::from_secs(30 * 60);
/// A connection unused for this long is asked whether it is still there before it is used.
const TRUSTED_FOR: Duration = Duration::from_secs(1);
/// How much longer than the server's own limit to wait for an answer; then the server does not even say no.
const GRACE: Duration = Duration::from_millis(500);
/// Between two questions about what became of a transaction.
const BETWEEN_QUESTIONS: Duration = Duration::from_millis(200);

/// Where the database is, and how long to wait for it.
#[derive(Clone, Debug)]
pub struct Options {
    /// `postgres://user:password@host:port/database`
    pub url: String,
    pub max_connections: u32,
    /// How long a request waits for a free connection.
    pub acquire_timeout: Duration,
    /// How long a statement may take; waiting for a lock, half of it.
    pub statement_timeout: Duration,
}

/// Keeps everything in a PostgreSQL database. Clones share its connections.
#[derive(Clone)]
pub struct Postgres {
    pool: PgPool,
    gate: Arc<Gate>,
    /// Without the limits of the pool's connections: a migration may take long.
    migrating: PgConnectOptions,
    patience: Duration,
}

impl Postgres {
    /// Connects, which fails with [`Error::Unavailable`] if the database cannot be reached. Does not migrate.
    pub async fn open(options: &Options) -> Result<Self> {
        let millis = |limit: Duration| format!("{}ms", limit.as_millis().max(1));
        let migrating = PgConnectOptions::from_str(&options.url)?.application_name("dragoman");
        let connecting = migrating.clone().options([
            ("statement_timeout", millis(options.statement_timeout)),
            ("lock_timeout", millis(options.statement_timeout / 2)),
            ("idle_in_transaction_session_timeout", millis(IDLE_IN_TRANSACTION)),
        ]);
        let pool = PgPoolOptions::new()
            .max_connections(options.max_connections)
            .acquire_timeout(options.acquire_timeout)
            .max_lifetime(MAX_LIFETIME)
            // A ping before every use would cost a fifth of the reads; this one only follows a pause.
            .test_before_acquire(false)
            .before_acquire(|connection, state| {
                Box::pin(async move {
                    if state.idle_for > TRUSTED_FOR {
                        connection.ping().await?;
                    }
                    Ok(true)
                })
            })
            .connect_lazy_with(connecting);
        let storage = Self {
            pool,
            gate: Arc::new(Gate::new(options.acquire_timeout + GRACE)),
            migrating,
            patience: options.statement_timeout + GRACE,
        };
        storage.ping().await?;
        Ok(storage)
    }

    /// Brings the schema up to date. Several processes may do so at once; one does it and the others wait.
    pub async fn migrate(&self) -> Result<()> {
        let mut connection = self.gate.pass(PgConnection::connect_with(&self.migrating)).await?;
        MIGRATIONS.run_direct(None, &mut connection, false).await.map_err(|error| match error {
            sqlx::migrate::MigrateError::Execute(error) => error.into(),
            error => Error::Internal(error.into()),
        })?;
        Ok(connection.close().await?)
    }

    /// A connection may have died since it was last used, which says nothing of the others; and a `BEGIN` that failed
    /// did nothing, so it may be said again.
    async fn begin_on_a_living_connection(&self) -> sqlx::Result<sqlx::Transaction<'static, sqlx::Postgres>> {
        match self.pool.begin().await {
            Err(sqlx::Error::Io(_) | sqlx::Error::Database(_)) => self.pool.begin().await,
            begun => begun,
        }
    }

    async fn rows(&self, query: Query<'_, sqlx::Postgres, PgArguments>) -> Result<Vec<PgRow>> {
        let mut connection = self.gate.pass(self.pool.acquire()).await?;
        match tokio::time::timeout(self.patience, query.fetch_all(&mut *connection)).await {
            Ok(rows) => Ok(rows?),
            Err(silence) => {
                // Back in the pool it would wait for the answer, and keep a place.
                drop(connection.detach());
                Err(Error::Unavailable(silence.into()))
            }
        }
    }

    /// What became of a transaction whose commit was not answered. Asks until it is known, however long the database is
    /// away: who was told either without knowing it would be told wrong.
    async fn has_committed(&self, number: &str) -> Result<bool> {
        loop {
            let outcome = match self.only_row(sqlx::query(OUTCOME).bind(number)).await {
                Ok(row) => get::<Option<String>, _>(&row, 0)?,
                Err(Error::Unavailable(_)) => Some("in progress".into()),
                Err(error) => return Err(error),
            };
            match outcome.as_deref() {
                Some("committed") => return Ok(true),
                Some("aborted") => return Ok(false),
                Some(_) => tokio::time::sleep(BETWEEN_QUESTIONS).await,
                None => return Err(Error::Internal("it is no longer known what became of a transaction".into())),
            }
        }
    }

    async fn row(&self, query: Query<'_, sqlx::Postgres, PgArguments>) -> Result<Option<PgRow>> {
        Ok(self.rows(query).await?.pop())
    }

    /// The row of a statement that always gives one.
    async fn only_row(&self, query: Query<'_, sqlx::Postgres, PgArguments>) -> Result<PgRow> {
        Ok(self.row(query).await?.ok_or(sqlx::Error::RowNotFound)?)
    }
}

#[async_trait]
impl Storage for Postgres {
    async fn begin(&self) -> Result<Box<dyn Tx>> {
        let tx = self.gate.pass(self.begin_on_a_living_connection()).await?;
        Ok(Box::new(PostgresTx {
            tx,
            storage: self.clone(),
            facts: Vec::new(),
            founders: Founders::new(),
            number: None,
            failed: false,
        }))
    }

    async fn ping(&self) -> Result<()> {
        self.rows(sqlx::query(PING)).await.map(drop)
    }

    async fn now(&self, _here: Timestamp) -> Result<Timestamp> {
        Ok(get(&self.only_row(sqlx::query(NOW)).await?, 0)?)
    }

    async fn is_empty(&self) -> Result<bool> {
        Ok(get(&self.only_row(sqlx::query(IS_EMPTY)).await?, 0)?)
    }

    async fn is_demo(&self) -> Result<bool> {
        Ok(get(&self.only_row(sqlx::query(IS_DEMO)).await?, 0)?)
    }

    async fn close(&self) {
        self.pool.close().await;
    }
}

struct PostgresTx {
    tx: sqlx::Transaction<'static, sqlx::Postgres>,
    storage: Postgres,
    facts: Vec<(Topic, Fact, Timestamp)>,
    founders: Founders,
    /// What PostgreSQL calls this transaction, once it has appended its facts.
    number: Option<String>,
    /// Whether a statement failed. PostgreSQL has given the transaction up then, and would answer a `COMMIT` without
    /// an error though it rolls back.
    failed: bool,
}

impl PostgresTx {
    async fn rows(&mut self, query: Query<'_, sqlx::Postgres, PgArguments>) -> Result<Vec<PgRow>> {
        let rows = match tokio::time::timeout(self.storage.patience, query.fetch_all(&mut *self.tx)).await {
            Ok(rows) => rows.map_err(Error::from),
            Err(silence) => Err(Error::Unavailable(silence.into())),
        };
        self.failed |= rows.is_err();
        rows
    }

    async fn row(&mut self, query: Query<'_, sqlx::Postgres, PgArguments>) -> Result<Option<PgRow>> {
        Ok(self.rows(query).await?.pop())
    }

    /// The row of a statement that always gives one.
    async fn only_row(&mut self, query: Query<'_, sqlx::Postgres, PgArguments>) -> Result<PgRow> {
        Ok(self.row(query).await?.ok_or(sqlx::Error::RowNotFound)?)
    }
}

#[async_trait]
impl Tx for PostgresTx {
    fn record(&mut self, topic: Topic, fact: Fact, at: Timestamp) {
        self.facts.push((topic, fact, at));
    }

    async fn mark_demo(&mut self) -> Result<bool> {
        Ok(self.row(sqlx::query(MARK_DEMO)).await?.is_some())
    }

    async fn secret(&mut self, name: &str, fresh: &str) -> Result<String> {
        Ok(get(&self.only_row(sqlx::query(SECRET).bind(name).bind(fresh)).await?, 0)?)
    }

    async fn commit(mut self: Box<Self>) -> Result<Vec<Event>> {
        if self.failed {
            return Err(Error::Internal("a statement of this transaction has failed".into()));
        }
        let events = self.append_facts().await?;
        let Self { tx, storage, number, .. } = *self;
        let failure = match tokio::time::timeout(storage.patience, tx.commit()).await {
            Ok(Ok(())) => return Ok(events),
            Ok(Err(error)) => Error::from(error),
            Err(silence) => Error::Unavailable(silence.into()),
        };
        // That it was not answered does not say that it was not done.
        if matches!(failure, Error::Unavailable(_))
            && let Some(number) = number
            && storage.has_committed(&number).await?
        {
            return Ok(events);
        }
        Err(failure)
    }
}

/// A column of a row, whose type the schema guarantees.
fn get<'r, T, I>(row: &'r PgRow, column: I) -> sqlx::Result<T>
where
    T: sqlx::Decode<'r, sqlx::Postgres> + sqlx::Type<sqlx::Postgres>,
    I: sqlx::ColumnIndex<PgRow>,
{
    sqlx::Row::try_get(row, column)
}

/// A column that holds one of the words of an enum.
fn word<T>(row: &PgRow, column: &'static str, parse: impl FnOnce(&str) -> Option<T>) -> Result<T> {
    let word: &str = get(row, column)?;
    parse(word).ok_or_else(|| Error::Corrupt(format!("{column} is {word:?}")))
}

/// The number that a statement gives which only counts.
fn count(row: &PgRow) -> Result<u64> {
    let count: i64 = get(row, 0)?;
    u64::try_from(count).map_err(|_| Error::Corrupt(format!("a count of {count}")))
}

/// What a method was asked to take at most, as PostgreSQL counts.
fn limit(rows: usize) -> i64 {
    i64::try_from(rows).unwrap_or(i64::MAX)
}
