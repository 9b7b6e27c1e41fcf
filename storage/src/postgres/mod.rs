//! The PostgreSQL backend. One statement per method if possible, as constants at the top of each file.
//!
//! Statements on the path of a send hide the length of their array parameters from the planner, in a subquery. A new plan for
//! each array shorter than the assumed ten elements would take several times as long as the execution.

mod accounts;
mod cause;
mod circuit_breaker;
mod commit_outcome;
mod connection;
mod conversations;
mod dump;
mod error;
mod events;
mod import;
mod lanes;
mod messages;
mod nodes;
mod presence;
mod session;
mod start;
mod tables;
mod timeline;
mod upgrade;
mod workspace;

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use sqlx::Connection as _;
use sqlx::migrate::Migrator;
use sqlx::pool::PoolConnection;
use sqlx::postgres::{PgArguments, PgConnectOptions, PgPool, PgPoolOptions, PgRow};
use sqlx::query::Query;
use tokio::time::{Instant, timeout};

use self::connection::Connection;
use self::lanes::{ConnectionBudget, Lanes};
pub use self::session::{PinnedSettings, SessionTimeouts, connect_options};
use self::timeline::Timelines;
pub use self::upgrade::OtherNode;
use self::{circuit_breaker::CircuitBreaker, commit_outcome::CommitMark};
pub use crate::statement::Observer;
use crate::{
    Error, Event, Fact, PartnerId, Position, Result, Storage, Timestamp, Topic, Tx, Writability,
    conversations::memberships::InitialParticipants, import::ImportedMembers, statement::Statement,
};

/// Condition of a transaction-level advisory lock: no other process cleans up the same `$kind` at this moment. Concurrent
/// clean-ups would only block each other; the second finds nothing to do.
macro_rules! alone {
    ($kind:literal) => {
        concat!("(SELECT pg_try_advisory_xact_lock(73201, hashtext('", $kind, "')))")
    };
}
use alone;

/// SQL array of the migrations' sequences; the schema may contain others.
macro_rules! sequences {
    () => {
        "ARRAY['people_id', 'conversations_id', 'attachments_id', 'groups_id', 'messages_id', 'devices_id', 'audit_id_seq']"
    };
}
use sequences;

/// False on a standby, too.
const IS_WRITABLE: &str = "SELECT NOT current_setting('transaction_read_only')::boolean";
const LOSSY_SETTINGS: &str = "SELECT name FROM pg_settings
    WHERE name IN ('fsync', 'full_page_writes', 'synchronous_commit') AND setting = 'off' ORDER BY name";
const NOW: &str = "SELECT clock_timestamp()";
const IS_EMPTY: &str = "SELECT NOT EXISTS (SELECT FROM partners)";
const IS_DEMO: &str = "SELECT EXISTS (SELECT FROM workspace WHERE key = 'demo')";
const MARK_DEMO: &str = "INSERT INTO workspace (key, value) VALUES ('demo', 'true') ON CONFLICT DO NOTHING RETURNING key";
/// Updates without a change, so that the row is returned whichever transaction inserted it.
const SECRET: &str = "INSERT INTO workspace (key, value) VALUES ('secret ' || $1, $2)
    ON CONFLICT (key) DO UPDATE SET key = excluded.key RETURNING value";
const RAISE_SEQUENCES: &str = concat!(
    "SELECT setval(format('%I.%I', schemaname, sequencename)::regclass, coalesce(last_value, 0) + $1)
    FROM pg_sequences WHERE schemaname = current_schema() AND sequencename = ANY (",
    sequences!(),
    ")"
);
const RAISE_HEAD: &str = "WITH before AS MATERIALIZED (SELECT position FROM log_head FOR UPDATE)
    UPDATE log_head head SET position = greatest(before.position, $1) + $2 FROM before
    RETURNING before.position + 1 AS first, head.position AS last";
/// Stores a commit mark for a transaction without events.
const MARK: &str =
    "INSERT INTO commits (mark) VALUES (gen_random_uuid()) RETURNING mark, pg_current_xact_id()::text AS transaction";

static MIGRATIONS: Migrator = sqlx::migrate!("../migrations/postgres");

/// Maximum age of a connection: bounds its memory, and spreads connections again after a failover.
const MAX_LIFETIME: Duration = Duration::from_secs(30 * 60);
/// Idle time after which a connection is pinged before use.
const PING_AFTER_IDLE: Duration = Duration::from_secs(1);
/// Extra time to wait for an answer beyond the server's own time-out; after that the server cannot even refuse.
const ANSWER_GRACE: Duration = Duration::from_millis(500);
/// Deadline for closing all connections.
const CLOSE_DEADLINE: Duration = Duration::from_secs(3);
/// Deadline of a ping before use; a new connection replaces one that fails.
const PING_DEADLINE: Duration = Duration::from_millis(500);
/// Polling interval for a connection that became free, while a new one is being made.
const FREE_CONNECTION_POLL: Duration = Duration::from_millis(20);
/// Pause between two queries for the outcome of a transaction.
const OUTCOME_POLL: Duration = Duration::from_millis(200);

/// Address of the database, size of the pool, and time-outs.
#[derive(Clone, Debug)]
pub struct Options {
    /// `postgres://user:password@host:port/database`
    pub url: String,
    pub max_connections: u32,
    /// Time limit of waiting for a free connection.
    pub acquire_timeout: Duration,
    /// Time limit of a statement; three quarters of it for a wait on a lock.
    pub statement_timeout: Duration,
}

/// PostgreSQL storage. Clones share one connection pool.
#[derive(Clone)]
pub struct Postgres {
    pool: PgPool,
    gate: Arc<CircuitBreaker>,
    lanes: Lanes,
    /// Connection budget of this handle.
    lane: ConnectionBudget,
    timelines: Arc<Timelines>,
    /// True for a handle that may use a timeline that is not accepted.
    any_timeline: bool,
    server: PgConnectOptions,
    /// Schema of the tables.
    schema: Arc<str>,
    patience: Duration,
}

impl Postgres {
    /// Checks the server and creates a pool, which connects lazily. Does not migrate.
    ///
    /// # Errors
    /// `Unavailable` if the database cannot be reached, `Internal` if its encoding is not UTF-8 or it is behind a pooler in
    /// transaction mode.
    ///
    /// # Cancel safety
    /// A dropped call leaves nothing behind.
    pub async fn open(options: &Options) -> Result<Self> {
        let server = connect_options(&options.url)?;
        let gate = CircuitBreaker::new(server.clone(), options.acquire_timeout + ANSWER_GRACE, options.statement_timeout / 2);
        let schema = start::schema(&gate, &server, options.acquire_timeout).await?;
        let pins = PinnedSettings::new(SessionTimeouts::of_requests(options.statement_timeout), Some(&schema));
        let timelines = Arc::<Timelines>::default();
        let (noting, trusting) = (Arc::clone(&timelines), Arc::clone(&timelines));
        let pool = PgPoolOptions::new()
            .max_connections(options.max_connections)
            .acquire_timeout(options.acquire_timeout)
            .max_lifetime(MAX_LIFETIME)
            // Pings only after a pause: a ping before every use would cost a fifth of the reads.
            .test_before_acquire(false)
            .before_acquire(move |connection, state| {
                let is_trusted = trusting.may_reuse(state.age);
                Box::pin(async move {
                    if !is_trusted {
                        return Ok(false);
                    }
                    if state.idle_for > PING_AFTER_IDLE {
                        timeout(PING_DEADLINE, connection.ping()).await.map_err(|_| sqlx::Error::PoolTimedOut)??;
                    }
                    Ok(true)
                })
            })
            .after_connect(move |connection, _| {
                let (pins, noting) = (pins.clone(), Arc::clone(&noting));
                Box::pin(async move {
                    pins.set(connection).await?;
                    noting.record_timeline(connection).await
                })
            })
            .connect_lazy_with(server.clone());
        let lanes = Lanes::of(options.max_connections);
        Ok(Self {
            pool,
            gate: Arc::new(gate),
            lane: lanes.others.clone(),
            lanes,
            timelines,
            any_timeline: false,
            server,
            schema: schema.into(),
            patience: options.statement_timeout + ANSWER_GRACE,
        })
    }

    /// Reports every statement to the observer from now on, except those of connection set-up, start-up checks, migrations and
    /// the circuit breaker's probes. The first observer stays.
    pub fn observe(&self, observer: Observer) {
        self.gate.observe(observer);
    }

    /// Settings of the server that allow the loss of confirmed commits on a power failure.
    ///
    /// # Errors
    /// Those of [`Storage`].
    ///
    /// # Cancel safety
    /// A dropped call leaves nothing behind.
    pub async fn lossy_settings(&self) -> Result<Vec<String>> {
        let rows = self.rows(sqlx::query(LOSSY_SETTINGS)).await?;
        Ok(rows.iter().map(|row| get(row, "name")).collect::<sqlx::Result<_>>()?)
    }

    async fn connection(&self) -> Result<Connection> {
        self.counted("connect", self.connect()).await
    }

    /// Counts failures that occur before a statement is sent.
    async fn counted<T>(&self, operation: &str, work: impl Future<Output = Result<T>>) -> Result<T> {
        let begun = Instant::now();
        let done = work.await;
        if done.is_err() {
            self.gate.count(operation, begun, true);
        }
        done
    }

    /// Last known head of the event log; a shorter event log takes no events.
    fn known_head(&self) -> i64 {
        if self.any_timeline { 0 } else { self.timelines.head() }
    }

    async fn connect(&self) -> Result<Connection> {
        self.gate.check().await?;
        loop {
            // Waits without a permit, so that this wait takes no connection from the lane that checks the server.
            if !self.any_timeline && !self.timelines.wait_until_accepted(self.gate.patience()).await {
                return Err(self.gate.unavailable(
                    "another timeline, or a standby: failed over, restored, or the address leads to another server",
                    "name the primary in the address",
                ));
            }
            let leave = self.lane.connection(&self.gate).await?;
            // Boxed: making a connection takes 14 KB, for which each enclosing future would reserve room several times.
            let pooled = self.gate.acquire_connection(Box::pin(self.acquire())).await?;
            if self.any_timeline || self.timelines.are_accepted() {
                return Ok(Connection::new(pooled, Arc::clone(&self.gate), self.patience, leave));
            }
            drop(pooled.detach());
        }
    }

    async fn acquire(&self) -> sqlx::Result<PoolConnection<sqlx::Postgres>> {
        let mut acquiring = std::pin::pin!(self.pool.acquire());
        loop {
            match timeout(FREE_CONNECTION_POLL, &mut acquiring).await {
                Ok(acquired) => return acquired,
                // The pool tries to make a connection for the whole time-out, also when the server has no room for one more, and
                // does not look for a free one meanwhile. This loop does.
                Err(_) if !self.timelines.have_changed() => {
                    if let Some(free) = self.pool.try_acquire() {
                        return Ok(free);
                    }
                }
                Err(_) => {}
            }
        }
    }

    async fn rows(&self, query: Query<'_, sqlx::Postgres, PgArguments>) -> Result<Vec<PgRow>> {
        let statement = Statement::of(query)?;
        if statement.operation.writes {
            self.counted(&statement.operation.name, self.gate.check_writes()).await?;
        }
        self.connection().await?.rows(statement).await
    }

    async fn row(&self, query: Query<'_, sqlx::Postgres, PgArguments>) -> Result<Option<PgRow>> {
        Ok(self.rows(query).await?.pop())
    }

    /// Reads the row of a statement that always returns one.
    async fn only_row(&self, query: Query<'_, sqlx::Postgres, PgArguments>) -> Result<PgRow> {
        Ok(self.row(query).await?.ok_or(sqlx::Error::RowNotFound)?)
    }
}

#[async_trait]
impl Storage for Postgres {
    async fn begin(&self) -> Result<Box<dyn Tx>> {
        let allowed = async {
            self.gate.check().await?;
            self.gate.check_writes().await?;
            self.lane.transaction(&self.gate).await
        };
        let leave = self.counted("begin", allowed).await?;
        let mut connection = self.connection().await?;
        let mut begun = connection.begin(leave).await;
        // Retry on another connection: this one may have ended since its last use, which says nothing of the others. A failed
        // `BEGIN` did nothing, so the retry is safe.
        for _ in 0..self.pool.options().get_max_connections() {
            let Some(leave) = connection.take_permit_if_ended() else { break };
            connection = self.connection().await?;
            begun = connection.begin(leave).await;
        }
        begun?;
        Ok(Box::new(PostgresTx {
            connection,
            storage: self.clone(),
            facts: Vec::new(),
            founders: InitialParticipants::new(),
            imported: ImportedMembers::new(),
            mark: None,
            failed: false,
        }))
    }

    async fn writability(&self) -> Result<Writability> {
        let anywhere = Self { any_timeline: true, ..self.clone() };
        let is_writable: bool = get(&anywhere.only_row(sqlx::query(IS_WRITABLE)).await?, 0)?;
        Ok(match self.gate.check_writes().await {
            Err(_) => Writability::Unconfirmed,
            Ok(()) if is_writable && !self.gate.is_disk_full() => Writability::Writable,
            Ok(()) => Writability::Refused,
        })
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

    fn lane(&self, lane: crate::Lane) -> Arc<dyn Storage> {
        let any_timeline = lane == crate::Lane::Log;
        let lane = match lane {
            crate::Lane::Sends => &self.lanes.sends,
            crate::Lane::Sessions => &self.lanes.sessions,
            crate::Lane::Log => &self.lanes.others,
        };
        Arc::new(Self { lane: lane.clone(), any_timeline, ..self.clone() })
    }

    fn accept_timeline(&self, timeline: Option<i64>) {
        self.timelines.accept(timeline);
    }

    async fn close(&self) {
        // The pool would wait for a server that does not answer.
        if timeout(CLOSE_DEADLINE, self.pool.close()).await.is_err() {
            tracing::warn!("database connections not closed in time");
        }
    }
}

struct PostgresTx {
    connection: Connection,
    storage: Postgres,
    facts: Vec<(Topic, Fact, Timestamp)>,
    founders: InitialParticipants,
    imported: ImportedMembers,
    /// Commit mark, set when the facts are appended, or before a commit without facts.
    mark: Option<CommitMark>,
    /// True after a failed statement. PostgreSQL has aborted the transaction then, and answers `COMMIT` with a rollback instead
    /// of an error.
    failed: bool,
}

impl PostgresTx {
    async fn rows(&mut self, query: Query<'_, sqlx::Postgres, PgArguments>) -> Result<Vec<PgRow>> {
        let rows = self.connection.rows(Statement::of(query)?).await;
        self.failed |= rows.is_err();
        rows
    }

    async fn row(&mut self, query: Query<'_, sqlx::Postgres, PgArguments>) -> Result<Option<PgRow>> {
        Ok(self.rows(query).await?.pop())
    }

    /// Reads the row of a statement that always returns one.
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

    async fn skip_positions(&mut self, known: Position, by: i64) -> Result<(Position, Position)> {
        self.rows(sqlx::query(RAISE_SEQUENCES).bind(by)).await?;
        let gap = self.only_row(sqlx::query(RAISE_HEAD).bind(known.0).bind(by)).await?;
        Ok((Position(get(&gap, "first")?), Position(get(&gap, "last")?)))
    }

    async fn commit(mut self: Box<Self>) -> Result<Vec<Event>> {
        if self.failed {
            return Err(Error::Internal("transaction aborted by a failed statement".into()));
        }
        let events = self.append_facts().await?;
        let mark = match self.mark.take() {
            Some(mark) => mark,
            None => CommitMark::of(&self.only_row(sqlx::query(MARK)).await?, None)?,
        };
        let Self { connection, storage, .. } = *self;
        // A commit that is not sent is certainly not done.
        storage.gate.check_writes().await?;
        match connection.commit().await {
            Ok(()) => {}
            // Any other failure leaves the outcome unknown: ask for it.
            Err(error) => match storage.has_committed(&mark).await {
                Some(true) => {}
                Some(false) => return Err(error),
                None if storage.gate.is_unconfirmed() => return Err(storage.gate.unconfirmed_error()),
                None => {
                    let gate = &storage.gate;
                    return Err(gate.unavailable("commit outcome undecided", "check its disk and load"));
                }
            },
        }
        events.last().into_iter().for_each(|newest| storage.timelines.record_head(newest.position));
        Ok(events)
    }
}

/// Decodes a column; the schema guarantees its type.
fn get<'r, T, I>(row: &'r PgRow, column: I) -> sqlx::Result<T>
where
    T: sqlx::Decode<'r, sqlx::Postgres> + sqlx::Type<sqlx::Postgres>,
    I: sqlx::ColumnIndex<PgRow>,
{
    sqlx::Row::try_get(row, column)
}

/// Decodes a column with the text form of an enum.
fn word<T>(row: &PgRow, column: &'static str, parse: impl FnOnce(&str) -> Option<T>) -> Result<T> {
    let word: &str = get(row, column)?;
    parse(word).ok_or_else(|| Error::Corrupt(format!("{column} is {word:?}")))
}

/// Decodes a partner, and a column with the ids of others.
fn partners_of(row: &PgRow, column: &'static str) -> Result<(PartnerId, Vec<PartnerId>)> {
    let others: Vec<i64> = get(row, column)?;
    Ok((PartnerId(get(row, "partner_id")?), others.into_iter().map(PartnerId).collect()))
}

/// Decodes the number of a statement that only counts.
fn count(row: &PgRow) -> Result<u64> {
    let count: i64 = get(row, 0)?;
    u64::try_from(count).map_err(|_| Error::Corrupt(format!("negative count {count}")))
}

/// Converts a limit to PostgreSQL's `bigint`.
fn limit(rows: usize) -> i64 {
    i64::try_from(rows).unwrap_or(i64::MAX)
}
