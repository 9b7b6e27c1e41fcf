//! Session settings that each connection pins, whatever `ALTER ROLE`, `ALTER DATABASE` or the server's files say: transactions,
//! names, time zone, formats and time-outs mean the same on every connection.
//!
//! Set by `SET` after connecting and not by `options` at start-up, which PgBouncer refuses or drops.

use std::fmt::Write as _;
use std::str::FromStr as _;
use std::sync::Arc;
use std::time::Duration;

use sqlx::postgres::PgConnectOptions;
use sqlx::{AssertSqlSafe, Executor as _, PgConnection};

/// Server-side time-out of an idle transaction: its locks would block others.
const IDLE_IN_TRANSACTION: Duration = Duration::from_secs(5);

/// Settings pinned on every connection. Not `default_transaction_read_only`: a standby or a read-only server must be detected.
const PINNED: &[(&str, &str)] = &[
    ("default_transaction_isolation", "read committed"),
    ("default_transaction_deferrable", "off"),
    // Also pinned at start-up, but a pooler may drop that.
    ("TimeZone", "UTC"),
    ("DateStyle", "ISO, MDY"),
    ("IntervalStyle", "postgres"),
    ("bytea_output", "hex"),
    ("standard_conforming_strings", "on"),
    ("transform_null_equals", "off"),
    ("exit_on_error", "off"),
    // A limit would omit rows at random.
    ("gin_fuzzy_search_limit", "0"),
    // With `replica`, triggers and foreign keys are off. Only a superuser may change it, so a connection without them fails
    // instead.
    ("session_replication_role", "origin"),
    ("idle_session_timeout", "0"),
    ("transaction_timeout", "0"),
    // Data is in memory or on an SSD: an index costs little more than a sequential read. With the default, the planner scans
    // small tables with every message.
    ("random_page_cost", "1.1"),
    // JIT compilation takes longer than any statement here.
    ("jit", "off"),
];

/// Connection options for a database URL, without any that PgBouncer refuses at start-up.
///
/// # Errors
/// `Configuration` if the URL is no PostgreSQL address.
pub fn connect_options(url: &str) -> sqlx::Result<PgConnectOptions> {
    Ok(PgConnectOptions::from_str(url)?.application_name("dragoman").extra_float_digits(None))
}

/// Time-outs of a connection. Zero means none.
#[derive(Clone, Copy, Debug, Default)]
pub struct SessionTimeouts {
    pub statement: Duration,
    pub lock: Duration,
    pub idle_in_transaction: Duration,
}

impl SessionTimeouts {
    /// Time-outs of requests: the lock time-out is shorter than that of the statement.
    pub(super) fn of_requests(statement: Duration) -> Self {
        Self { statement, lock: statement * 3 / 4, idle_in_transaction: IDLE_IN_TRANSACTION }
    }
}

/// Statements that pin all settings. Clones share the text.
#[derive(Clone, Debug)]
pub struct PinnedSettings(Arc<str>);

impl PinnedSettings {
    /// Builds the statements. `schema` becomes the `search_path`; `None` for statements that name no table.
    pub fn new(limits: SessionTimeouts, schema: Option<&str>) -> Self {
        let millis = |limit: Duration| match limit.as_millis() {
            0 if limit.is_zero() => "0".to_owned(),
            millis => millis.max(1).to_string(),
        };
        // Temporary tables last, so that none shadows a table of the schema.
        let search_path = schema.map(|schema| format!("\"{}\", pg_temp", schema.replace('"', "\"\"")));
        let own = [
            ("lock_timeout", Some(millis(limits.lock))),
            ("idle_in_transaction_session_timeout", Some(millis(limits.idle_in_transaction))),
            ("search_path", search_path),
        ];
        let own = own.into_iter().filter_map(|(name, value)| Some((name, value?)));
        let all = PINNED.iter().map(|(name, value)| (*name, (*value).to_owned())).chain(own);
        let all = all.map(|(name, value)| format!("('{name}', '{}')", value.replace('\'', "''"))).collect::<Vec<_>>();
        // The statement time-out comes first, since it could cancel the others. Settings unknown to a server version are skipped,
        // as are those with the right value already: not every user may set each.
        let mut statements = format!("SET statement_timeout = {};\n", millis(limits.statement));
        write!(
            statements,
            "SELECT set_config(pin.name, pin.value, false) FROM (VALUES {}) AS pin (name, value)
            JOIN pg_catalog.pg_settings s ON s.name = pin.name WHERE s.setting <> pin.value",
            all.join(", ")
        )
        .expect("writing to a String cannot fail");
        Self(statements.into())
    }

    /// Pins the settings of a connection, in one round trip.
    ///
    /// # Errors
    /// That of the statement. Close the connection then: its settings are unknown.
    ///
    /// # Cancel safety
    /// Close the connection after a dropped call.
    pub async fn set(&self, connection: &mut PgConnection) -> sqlx::Result<()> {
        connection.execute(AssertSqlSafe(self.0.to_string())).await.map(drop)
    }
}
