//! Properties of a server without which nothing is begun, and the limits of migrations.

use std::time::Duration;

use sqlx::migrate::MigrateError;
use sqlx::postgres::PgConnectOptions;
use sqlx::{Connection as _, PgConnection};
use tokio::time::{Instant, sleep, timeout};

use super::error::code;
use super::gate::{Gate, Server};
use super::session::{Pins, TimeOuts};
use super::{MIGRATIONS, Postgres, get, sequences};
use crate::{Error, Result};

/// The schema is that of the tables if there are any, wherever a setting of a role's has put them.
const PROPERTIES: &str = "SELECT current_setting('server_encoding') AS encoding, pg_backend_pid() AS backend, coalesce(
        (SELECT n.nspname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
            WHERE c.oid = to_regclass('_sqlx_migrations')),
        current_schema()
    )::text AS schema";
const BACKEND: &str = "SELECT pg_backend_pid()";
const TAKES_WRITES: &str =
    "SELECT pg_is_in_recovery() AS is_standby, current_setting('transaction_read_only')::boolean AS is_reader";

/// Sequences that a restart of the event log could not raise. Their last values are hidden without one of the other rights.
const NOT_RAISED: &str = concat!(
    "SELECT string_agg(format('%I.%I', schemaname, sequencename), ', ') FROM pg_sequences
    WHERE schemaname = current_schema() AND sequencename = ANY (",
    sequences!(),
    ") AND NOT (has_sequence_privilege(format('%I.%I', schemaname, sequencename), 'UPDATE')
        AND has_sequence_privilege(format('%I.%I', schemaname, sequencename), 'SELECT, USAGE'))"
);

/// Between two tries to connect.
const PAUSE: Duration = Duration::from_millis(100);
/// How long a migration waits for a lock before it lets those go on who have come to wait behind it.
const MIGRATION_LOCK: Duration = Duration::from_secs(2);
/// Between two tries of a migration.
const MIGRATION_PAUSE: Duration = Duration::from_secs(1);
/// How often a migration is tried in all: for about five minutes.
const MIGRATION_TRIES: u32 = 100;

/// Looks at the server, and gives the schema in which the tables are or will be. A server that starts up is waited for.
///
/// # Errors
/// `Unavailable` if it cannot be reached within the limit, `Internal` if it cannot be used.
pub(super) async fn schema(gate: &Gate, server: &PgConnectOptions, limit: Duration) -> Result<String> {
    let mut connection = reach(gate, server, limit, &Pins::new(TimeOuts::default(), None)).await?;
    let schema = timeout(limit, inspect(gate, server, &mut connection)).await.unwrap_or_else(|_| Err(gate.silent()))?;
    let _ = timeout(limit, connection.close()).await;
    Ok(schema)
}

async fn inspect(gate: &Gate, server: &PgConnectOptions, connection: &mut PgConnection) -> Result<String> {
    let row = sqlx::raw_sql(PROPERTIES).fetch_one(&mut *connection).await.map_err(|error| gate.explain(error))?;
    let encoding: &str = get(&row, "encoding")?;
    if encoding != "UTF8" {
        return Err(gate.unusable(
            format!("server_encoding is {encoding}, not UTF8"),
            "create the database anew with createdb --encoding UTF8 --template template0",
        ));
    }
    // Two connections at once have one backend only where a pooler hands it out by the transaction. Nothing is prepared
    // here, which would be there on another connection.
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

/// Connects and pins settings.
async fn reach(gate: &Gate, server: &PgConnectOptions, limit: Duration, pins: &Pins) -> Result<PgConnection> {
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
            Err(_) => return Err(gate.silent()),
        };
        let may_pass = match &error {
            sqlx::Error::Io(_) => true,
            // It starts up, or somebody's limit has ended the very statement that lifts the limit.
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
    /// `Unavailable` for a standby, for a reader, and while commits wait for a synchronous standby.
    pub async fn must_take_writes(&self) -> Result<()> {
        let row = self.only_row(sqlx::query(TAKES_WRITES)).await?;
        if get(&row, "is_standby")? {
            return Err(self.gate.unavailable("a standby, which takes no writes", "name the primary in the address"));
        }
        if get(&row, "is_reader")? {
            return Err(self.gate.unavailable(
                "it takes no writes (default_transaction_read_only is on)",
                "name the writer in the address, or reset that setting of server, database and role",
            ));
        }
        match self.gate.look().await {
            Server::Unconfirmed => Err(self.gate.not_confirmed()),
            _ => Ok(()),
        }
    }

    /// Refuses a user that could not restart the event log after a failover.
    ///
    /// # Errors
    /// `Internal` if it may not set each sequence.
    pub async fn must_raise_sequences(&self) -> Result<()> {
        let row = self.only_row(sqlx::query(NOT_RAISED)).await?;
        match get::<Option<String>, _>(&row, 0)? {
            None => Ok(()),
            Some(names) => Err(self.gate.unusable(
                format!("sequences that this user may not set: {names}"),
                "GRANT ALL ON ALL SEQUENCES IN SCHEMA ... TO ...: the event log is restarted with it after a failover",
            )),
        }
    }

    /// Brings the schema up to date. Several processes may do so at once; one does it and the others wait.
    ///
    /// A lock that others have is waited for again and again, for seconds each time, so that who comes to want it
    /// meanwhile need not wait for a migration that waits.
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

    /// Does something that takes locks that all others need, on a connection without the limits of requests.
    pub(super) async fn alone_with_locks<T>(
        &self,
        what: &str,
        work: impl AsyncFn(&mut PgConnection) -> sqlx::Result<T>,
    ) -> Result<T> {
        let pins = Pins::new(TimeOuts { lock: MIGRATION_LOCK, ..TimeOuts::default() }, Some(&self.schema));
        for tries in 1.. {
            let mut connection = reach(&self.gate, &self.server, self.gate.patience(), &pins).await?;
            let done = work(&mut connection).await;
            // Its advisory lock goes with it.
            let _ = connection.close().await;
            match done {
                Ok(done) => return Ok(done),
                Err(error) if tries < MIGRATION_TRIES && code(&error).as_deref() == Some("55P03") => {
                    if tries == 1 {
                        tracing::warn!("{what} waits for a lock that another transaction or node has; see pg_stat_activity");
                    }
                    sleep(MIGRATION_PAUSE).await;
                }
                Err(sqlx::Error::Migrate(error)) => return Err(Error::Internal(error)),
                Err(error) => return Err(self.gate.explain(error)),
            }
        }
        unreachable!("the last try is answered")
    }
}

/// Whether more is known of an error than the statement that it comes from.
fn has_remedy(code: &str) -> bool {
    matches!(code, "55P03" | "42501" | "53100" | "25006")
}
