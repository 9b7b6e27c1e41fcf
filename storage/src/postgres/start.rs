//! Start-up checks of the server, and migrations with their time limits.

use std::time::Duration;

use sqlx::migrate::MigrateError;
use sqlx::postgres::PgConnectOptions;
use sqlx::{Connection as _, PgConnection};
use tokio::time::{Instant, sleep, timeout};

use super::{
    MIGRATIONS, Postgres,
    circuit_breaker::{CircuitBreaker, ProbeResult},
    error::code,
    get, sequences,
    session::{PinnedSettings, SessionTimeouts},
};
use crate::{Error, Result};

/// Properties of the server. The schema is that of existing tables, even if a role's `search_path` has put them elsewhere.
const PROPERTIES: &str = "SELECT current_setting('server_encoding') AS encoding, pg_backend_pid() AS backend, coalesce(
        (SELECT n.nspname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
            WHERE c.oid = to_regclass('_sqlx_migrations')),
        current_schema()
    )::text AS schema";
const BACKEND: &str = "SELECT pg_backend_pid()";
const TAKES_WRITES: &str =
    "SELECT pg_is_in_recovery() AS is_standby, current_setting('transaction_read_only')::boolean AS is_reader";

/// Sequences that a restart of the event log could not raise. `last_value` is hidden without one of the other rights.
const NOT_RAISED: &str = concat!(
    "SELECT string_agg(format('%I.%I', schemaname, sequencename), ', ') FROM pg_sequences
    WHERE schemaname = current_schema() AND sequencename = ANY (",
    sequences!(),
    ") AND NOT (has_sequence_privilege(format('%I.%I', schemaname, sequencename), 'UPDATE')
        AND has_sequence_privilege(format('%I.%I', schemaname, sequencename), 'SELECT, USAGE'))"
);

/// Pause between two attempts to connect.
const PAUSE: Duration = Duration::from_millis(100);
/// Lock time-out of a migration: bounds the wait of requests that queue behind it.
const MIGRATION_LOCK: Duration = Duration::from_secs(2);
/// Pause between two attempts of a migration.
const MIGRATION_PAUSE: Duration = Duration::from_secs(1);
/// Maximum number of attempts of a migration: about five minutes.
const MIGRATION_TRIES: u32 = 100;

/// Checks the server, and returns the schema of the tables. Waits for a server that starts up.
///
/// # Errors
/// `Unavailable` if the server cannot be reached within the limit, `Internal` if it cannot be used.
pub(super) async fn schema(gate: &CircuitBreaker, server: &PgConnectOptions, limit: Duration) -> Result<String> {
    let mut connection = reach(gate, server, limit, &PinnedSettings::new(SessionTimeouts::default(), None)).await?;
    let schema = timeout(limit, inspect(gate, server, &mut connection)).await.unwrap_or_else(|_| Err(gate.no_answer()))?;
    let _ = timeout(limit, connection.close()).await;
    Ok(schema)
}

async fn inspect(gate: &CircuitBreaker, server: &PgConnectOptions, connection: &mut PgConnection) -> Result<String> {
    let row = sqlx::raw_sql(PROPERTIES).fetch_one(&mut *connection).await.map_err(|error| gate.explain(error))?;
    let encoding: &str = get(&row, "encoding")?;
    if encoding != "UTF8" {
        return Err(gate.unusable(
            format!("server_encoding is {encoding}, not UTF8"),
            "create the database anew with createdb --encoding UTF8 --template template0",
        ));
    }
    // Two simultaneous connections share a backend only behind a pooler in transaction mode. No prepared statements here: they
    // might outlive this check on another connection.
    if let Ok(mut other) = PgConnection::connect_with(server).await {
        let backend = sqlx::raw_sql(BACKEND).fetch_one(&mut other).await;
        if backend.is_ok_and(|other| get::<i32, _>(&other, 0).ok() == get(&row, "backend").ok()) {
            return Err(
                gate.unusable("a pooler in transaction mode", "set pool_mode = session for this database in pgbouncer.ini")
            );
        }
        let _ = other.close().await;
    }
    let schema: Option<String> = get(&row, "schema")?;
    schema.ok_or_else(|| {
        gate.unusable("no schema in search_path exists", "create one, or ALTER ROLE ... SET search_path to one that exists")
    })
}

/// Connects and pins settings. Waits for a server that starts up.
pub(super) async fn reach(
    gate: &CircuitBreaker,
    server: &PgConnectOptions,
    limit: Duration,
    pins: &PinnedSettings,
) -> Result<PgConnection> {
    let begun = Instant::now();
    let connect = async || {
        let mut connection = PgConnection::connect_with(server).await?;
        pins.set(&mut connection).await?;
        Ok(connection)
    };
    loop {
        let left = limit.saturating_sub(begun.elapsed());
        let error = match timeout(left, connect()).await {
            Ok(Ok(connection)) => return Ok(connection),
            Ok(Err(error)) => error,
            Err(_) => return Err(gate.no_answer()),
        };
        let may_pass = match &error {
            sqlx::Error::Io(_) => true,
            // Transient: the server starts up, or its `statement_timeout` has cancelled the very statement that raises the limit.
            error => matches!(code(error).as_deref(), Some("57P03" | "57014")),
        };
        if !may_pass || left < 2 * PAUSE {
            return Err(gate.explain(error));
        }
        sleep(PAUSE).await;
    }
}

impl Postgres {
    /// Refuses a server that takes no writes, or confirms none.
    ///
    /// # Errors
    /// `Unavailable` for a standby, for a read-only server, and while commits wait for a synchronous standby.
    ///
    /// # Cancel safety
    /// A dropped call leaves nothing behind.
    pub async fn require_writable(&self) -> Result<()> {
        let row = self.only_row(sqlx::query(TAKES_WRITES)).await?;
        if get(&row, "is_standby")? {
            return Err(self.gate.unavailable("a standby, which is read-only", "name the primary in the address"));
        }
        if get(&row, "is_reader")? {
            return Err(self.gate.unavailable(
                "read-only (default_transaction_read_only is on)",
                "name the writer in the address, or reset that setting of server, database and role",
            ));
        }
        match self.gate.probe().await {
            ProbeResult::Unconfirmed => Err(self.gate.unconfirmed_error()),
            _ => Ok(()),
        }
    }

    /// Refuses a database user that could not restart the event log after a failover.
    ///
    /// # Errors
    /// `Internal` if the user may not set each sequence.
    ///
    /// # Cancel safety
    /// A dropped call leaves nothing behind.
    pub async fn require_sequence_rights(&self) -> Result<()> {
        let row = self.only_row(sqlx::query(NOT_RAISED)).await?;
        match get::<Option<String>, _>(&row, 0)? {
            None => Ok(()),
            Some(names) => Err(self.gate.unusable(
                format!("sequences that this user may not set: {names}"),
                "GRANT ALL ON ALL SEQUENCES IN SCHEMA ... TO ...: the event log is restarted with it after a failover",
            )),
        }
    }

    /// Migrates the schema. Several processes may do so at once: an advisory lock admits one, the others wait.
    ///
    /// A migration waits for a lock only for seconds at a time and retries, so that requests do not queue behind it for long.
    ///
    /// # Errors
    /// `Unavailable` if the server cannot be reached, or a lock stays taken for all attempts; `Internal` if a migration fails.
    ///
    /// # Cancel safety
    /// A dropped call closes its connection: the current migration is rolled back, earlier ones stay.
    pub async fn migrate(&self) -> Result<()> {
        self.alone_with_locks("migration", async |connection| {
            MIGRATIONS.run_direct(None, connection, false).await.map_err(|error| match error {
                MigrateError::Execute(error) => error,
                MigrateError::ExecuteMigration(error, _) if code(&error).is_some_and(|code| has_remedy(&code)) => error,
                error => error.into(),
            })
        })
        .await
    }

    /// Runs work that takes locks needed by all requests, on a connection without the time-outs of requests. Retries while a lock
    /// is taken.
    pub(super) async fn alone_with_locks<T>(
        &self,
        what: &str,
        work: impl AsyncFn(&mut PgConnection) -> sqlx::Result<T>,
    ) -> Result<T> {
        let pins =
            PinnedSettings::new(SessionTimeouts { lock: MIGRATION_LOCK, ..SessionTimeouts::default() }, Some(&self.schema));
        for tries in 1.. {
            let mut connection = reach(&self.gate, &self.server, self.gate.patience(), &pins).await?;
            let done = work(&mut connection).await;
            // The advisory lock ends with the connection.
            let _ = connection.close().await;
            match done {
                Ok(done) => return Ok(done),
                Err(error) if tries < MIGRATION_TRIES && code(&error).as_deref() == Some("55P03") => {
                    if tries == 1 {
                        tracing::warn!("{what} waits for a lock of another transaction or node; see pg_stat_activity");
                    }
                    sleep(MIGRATION_PAUSE).await;
                }
                Err(sqlx::Error::Migrate(error)) => return Err(Error::Internal(error)),
                Err(error) => return Err(self.gate.explain(error)),
            }
        }
        unreachable!("the last attempt returns")
    }
}

/// True if the error has a remedy beyond the failed statement.
fn has_remedy(code: &str) -> bool {
    matches!(code, "55P03" | "42501" | "53100" | "25006")
}
