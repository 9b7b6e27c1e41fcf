//! The PostgreSQL backend. One statement per method wherever it can be, all of them constants at the top of their file.
//!
//! Statements of every send hide from the planner how long a list is that they are given, in a subquery. To plan anew for each
//! that is shorter than the ten which it assumes takes several times as long as to execute them.

mod attachments;
mod attendances;
mod audit;
mod books;
mod cause;
mod changes;
mod connection;
mod conversations;
mod devices;
mod directory;
mod error;
mod events;
mod gate;
mod groups;
mod lanes;
mod message_rows;
mod messages;
mod nodes;
mod outcome;
mod people_index;
mod pictures;
mod presence;
mod reactions;
mod reads;
mod search;
mod session;
mod sessions;
mod start;
mod statement;
mod support;
mod timeline;
mod tokens;
mod upgrade;
mod uploads;
mod users;
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
use self::gate::Gate;
use self::lanes::{Lane, Lanes};
use self::outcome::Mark;
pub use self::session::{Pins, TimeOuts, connecting};
pub use self::statement::Observer;
use self::statement::Statement;
use self::timeline::Timelines;
pub use self::upgrade::OtherNode;
use crate::{Error, Event, Fact, PartnerId, Position, Result, Storage, Timestamp, Topic, Tx, Writability, memberships::Founders};

/// The condition that no other process clears away the same `$kind` of things at this moment. Two that did would only be
/// in each other's way; who comes second finds nothing to do.
macro_rules! alone {
    ($kind:literal) => {
        concat!("(SELECT pg_try_advisory_xact_lock(73201, hashtext('", $kind, "')))")
    };
}
use alone;

/// Names of the migrations' sequences, in SQL: others may be in the same schema.
macro_rules! sequences {
    () => {
        "ARRAY['people_id', 'conversations_id', 'attachments_id', 'groups_id', 'messages_id', 'devices_id', 'audit_id_seq']"
    };
}
use sequences;

/// Also on for a standby.
const IS_WRITABLE: &str = "SELECT NOT current_setting('transaction_read_only')::boolean";
const LOSSY_SETTINGS: &str = "SELECT name FROM pg_settings
    WHERE name IN ('fsync', 'full_page_writes', 'synchronous_commit') AND setting = 'off' ORDER BY name";
const NOW: &str = "SELECT clock_timestamp()";
const IS_EMPTY: &str = "SELECT NOT EXISTS (SELECT FROM partners)";
const IS_DEMO: &str = "SELECT EXISTS (SELECT FROM workspace WHERE key = 'demo')";
const MARK_DEMO: &str = "INSERT INTO workspace (key, value) VALUES ('demo', 'true') ON CONFLICT DO NOTHING RETURNING key";
/// An update that changes nothing, so that the row comes back whoever made it.
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
/// For transactions without events.
const MARK: &str =
    "INSERT INTO commits (mark) VALUES (gen_random_uuid()) RETURNING mark, pg_current_xact_id()::text AS transaction";

static MIGRATIONS: Migrator = sqlx::migrate!("../migrations");

/// Connections are replaced after this, so that none gathers memory for ever and a failover spreads out again.
const MAX_LIFETIME: Duration = Duration::from_secs(30 * 60);
/// A connection unused for this long is asked whether it is still there before it is used.
const TRUSTED_FOR: Duration = Duration::from_secs(1);
/// How much longer than the server's own limit to wait for an answer; then the server does not even say no.
const GRACE: Duration = Duration::from_millis(500);
/// How long connections may take to be closed.
const CLOSING: Duration = Duration::from_secs(3);
/// How long it takes at most to ask whether a connection is still there, before another is made instead.
const PINGING: Duration = Duration::from_millis(500);
/// After how long it is looked whether a connection has become free, by who is about to make one.
const GLANCE: Duration = Duration::from_millis(20);
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
    /// How long a statement may take; waiting for a lock, three quarters of it.
    pub statement_timeout: Duration,
}

/// Keeps everything in a PostgreSQL database. Clones share its connections.
#[derive(Clone)]
pub struct Postgres {
    pool: PgPool,
    gate: Arc<Gate>,
    lanes: Lanes,
    /// The one that this handle uses.
    lane: Lane,
    timelines: Arc<Timelines>,
    /// Whether it may use a timeline that is not accepted.
    any_timeline: bool,
    server: PgConnectOptions,
    /// Where the tables are.
    schema: Arc<str>,
    patience: Duration,
}

impl Postgres {
    /// Connects, which fails with [`Error::Unavailable`] if the database cannot be reached, and with [`Error::Internal`] if
    /// its encoding is not UTF-8 or a pooler gives out its connections by the transaction. Does not migrate.
    pub async fn open(options: &Options) -> Result<Self> {
        let server = connecting(&options.url)?;
        let gate = Gate::new(server.clone(), options.acquire_timeout + GRACE, options.statement_timeout / 2);
        let schema = start::schema(&gate, &server, options.acquire_timeout).await?;
        let pins = Pins::new(TimeOuts::of_requests(options.statement_timeout), Some(&schema));
        let timelines = Arc::<Timelines>::default();
        let (noting, trusting) = (Arc::clone(&timelines), Arc::clone(&timelines));
        let pool = PgPoolOptions::new()
            .max_connections(options.max_connections)
            .acquire_timeout(options.acquire_timeout)
            .max_lifetime(MAX_LIFETIME)
            // A ping before every use would cost a fifth of the reads; this one only follows a pause.
            .test_before_acquire(false)
            .before_acquire(move |connection, state| {
                let is_trusted = trusting.trust(state.age);
                Box::pin(async move {
                    if !is_trusted {
                        return Ok(false);
                    }
                    if state.idle_for > TRUSTED_FOR {
                        timeout(PINGING, connection.ping()).await.map_err(|_| sqlx::Error::PoolTimedOut)??;
                    }
                    Ok(true)
                })
            })
            .after_connect(move |connection, _| {
                let (pins, noting) = (pins.clone(), Arc::clone(&noting));
                Box::pin(async move {
                    pins.set(connection).await?;
                    noting.note(connection).await
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
            patience: options.statement_timeout + GRACE,
        })
    }

    /// Has every statement told from now on, but for those of migrations.
    pub fn observe(&self, observer: Observer) {
        self.gate.observe(observer);
    }

    /// The settings of the server that let it lose what it has confirmed, when its power fails.
    pub async fn lossy_settings(&self) -> Result<Vec<String>> {
        let rows = self.rows(sqlx::query(LOSSY_SETTINGS)).await?;
        Ok(rows.iter().map(|row| get(row, "name")).collect::<sqlx::Result<_>>()?)
    }

    async fn connection(&self) -> Result<Connection> {
        self.counted("connect", self.connect()).await
    }

    /// Counts what fails before a statement could even be said.
    async fn counted<T>(&self, operation: &str, work: impl Future<Output = Result<T>>) -> Result<T> {
        let begun = Instant::now();
        let done = work.await;
        if done.is_err() {
            self.gate.count(operation, begun, true);
        }
        done
    }

    /// The position before which the event log may not end for more to be appended.
    fn known_head(&self) -> i64 {
        if self.any_timeline { 0 } else { self.timelines.head() }
    }

    async fn connect(&self) -> Result<Connection> {
        self.gate.knock().await?;
        loop {
            // Whoever waits for that holds nothing that somebody needs who looks at the server.
            if !self.any_timeline && !self.timelines.accepted(self.gate.patience()).await {
                return Err(self.gate.unavailable(
                    "another timeline, or a standby: it was failed over, restored, or the address leads elsewhere",
                    "see that the address leads to the primary",
                ));
            }
            let leave = self.lane.connection(&self.gate).await?;
            // Boxed, since making a connection takes 14 KB, which each future around it would have room for several times.
            let pooled = self.gate.pass(Box::pin(self.acquire())).await?;
            if self.any_timeline || self.timelines.are_accepted() {
                return Ok(Connection::new(pooled, Arc::clone(&self.gate), self.patience, leave));
            }
            drop(pooled.detach());
        }
    }

    async fn acquire(&self) -> sqlx::Result<PoolConnection<sqlx::Postgres>> {
        let mut acquiring = std::pin::pin!(self.pool.acquire());
        loop {
            match timeout(GLANCE, &mut acquiring).await {
                Ok(acquired) => return acquired,
                // It tries to make a connection for as long as it may, also when the server has no room for one more. A free one
                // is not looked at before it is taken here.
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
            self.counted(&statement.operation.name, self.gate.knock_to_write()).await?;
        }
        self.connection().await?.rows(statement).await
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
        let allowed = async {
            self.gate.knock().await?;
            self.gate.knock_to_write().await?;
            self.lane.transaction(&self.gate).await
        };
        let leave = self.counted("begin", allowed).await?;
        let mut connection = self.connection().await?;
        let mut begun = connection.begin(leave).await;
        // A connection may have ended since it was last used, which says nothing of the others; and a `BEGIN` that failed
        // did nothing, so it may be said again.
        for _ in 0..self.pool.options().get_max_connections() {
            let Some(leave) = connection.leave_of_ended() else { break };
            connection = self.connection().await?;
            begun = connection.begin(leave).await;
        }
        begun?;
        Ok(Box::new(PostgresTx {
            connection,
            storage: self.clone(),
            facts: Vec::new(),
            founders: Founders::new(),
            mark: None,
            failed: false,
        }))
    }

    async fn writability(&self) -> Result<Writability> {
        let anywhere = Self { any_timeline: true, ..self.clone() };
        let is_writable: bool = get(&anywhere.only_row(sqlx::query(IS_WRITABLE)).await?, 0)?;
        Ok(match self.gate.knock_to_write().await {
            Err(_) => Writability::Unconfirmed,
            Ok(()) if is_writable && !self.gate.is_full() => Writability::Writable,
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
        // A server that says nothing would be waited for.
        if timeout(CLOSING, self.pool.close()).await.is_err() {
            tracing::warn!("the connections to the database could not be closed in time");
        }
    }
}

struct PostgresTx {
    connection: Connection,
    storage: Postgres,
    facts: Vec<(Topic, Fact, Timestamp)>,
    founders: Founders,
    /// What this transaction is known by, once it has appended its facts, or is about to commit without any.
    mark: Option<Mark>,
    /// Whether a statement failed. PostgreSQL has given the transaction up then, and would answer a `COMMIT` without
    /// an error though it rolls back.
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

    async fn leave_gap(&mut self, known: Position, by: i64) -> Result<(Position, Position)> {
        self.rows(sqlx::query(RAISE_SEQUENCES).bind(by)).await?;
        let gap = self.only_row(sqlx::query(RAISE_HEAD).bind(known.0).bind(by)).await?;
        Ok((Position(get(&gap, "first")?), Position(get(&gap, "last")?)))
    }

    async fn commit(mut self: Box<Self>) -> Result<Vec<Event>> {
        if self.failed {
            return Err(Error::Internal("a statement of this transaction has failed".into()));
        }
        let events = self.append_facts().await?;
        let mark = match self.mark.take() {
            Some(mark) => mark,
            None => Mark::of(&self.only_row(sqlx::query(MARK)).await?, None)?,
        };
        let Self { connection, storage, .. } = *self;
        // What is not sent is certainly not done.
        storage.gate.knock_to_write().await?;
        match connection.commit().await {
            Ok(()) => {}
            // Whatever came instead of the answer does not say that it was not done.
            Err(error) => match storage.has_committed(&mark).await {
                Some(true) => {}
                Some(false) => return Err(error),
                None if storage.gate.is_unconfirmed() => return Err(storage.gate.not_confirmed()),
                None => {
                    let gate = &storage.gate;
                    return Err(gate.unavailable("the server has not decided on a commit for long", "look at its disk and load"));
                }
            },
        }
        events.last().into_iter().for_each(|newest| storage.timelines.know(newest.position));
        Ok(events)
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

/// A partner, and a column that holds the ids of others.
fn partners_of(row: &PgRow, column: &'static str) -> Result<(PartnerId, Vec<PartnerId>)> {
    let others: Vec<i64> = get(row, column)?;
    Ok((PartnerId(get(row, "partner_id")?), others.into_iter().map(PartnerId).collect()))
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
