//! Settings that each connection pins, whatever `ALTER ROLE`, `ALTER DATABASE` or the server's files say: transactions,
//! names, time zone, formats and time-outs mean the same on every connection.
//!
//! By `SET` after connecting and not by `options` at start-up: PgBouncer refuses or drops those.

use std::fmt::Write as _;
use std::str::FromStr as _;
use std::sync::Arc;
use std::time::Duration;

use sqlx::postgres::PgConnectOptions;
use sqlx::{AssertSqlSafe, Executor as _, PgConnection};

/// A transaction that is doing nothing for so long has been forgotten, and with it the locks it holds.
const IDLE_IN_TRANSACTION: Duration = Duration::from_secs(5);

/// Pinned everywhere. `default_transaction_read_only` is not: a standby or a reader must be seen.
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
    // It would leave out rows at random.
    ("gin_fuzzy_search_limit", "0"),
    // Triggers and foreign keys are off but for `origin`. Only a superuser may change it, so that a connection without
    // them fails instead.
    ("session_replication_role", "origin"),
    ("idle_session_timeout", "0"),
    ("transaction_timeout", "0"),
    // What is asked for is in memory, or on a disk without a head: an index costs little more than reading on. The
    // default has small tables read whole with every message.
    ("random_page_cost", "1.1"),
    // Compiling a plan takes longer than any statement here.
    ("jit", "off"),
];

/// The options of a connection to the database at an address, without any that PgBouncer refuses at start-up.
///
/// # Errors
/// `Configuration` if it is no address of a PostgreSQL.
pub fn connecting(url: &str) -> sqlx::Result<PgConnectOptions> {
    Ok(PgConnectOptions::from_str(url)?.application_name("dragoman").extra_float_digits(None))
}

/// Time-outs of a connection. Zero is none.
#[derive(Clone, Copy, Debug, Default)]
pub struct TimeOuts {
    pub statement: Duration,
    pub lock: Duration,
    pub idle_in_transaction: Duration,
}

impl TimeOuts {
    /// Those of requests: a lock may take less than the statement that waits for it.
    pub(super) fn of_requests(statement: Duration) -> Self {
        Self { statement, lock: statement * 3 / 4, idle_in_transaction: IDLE_IN_TRANSACTION }
    }
}

/// The statements that pin everything. Clones share them.
#[derive(Clone, Debug)]
pub struct Pins(Arc<str>);

impl Pins {
    /// For statements that name no table, or with the schema in which tables are looked for and made.
    pub fn new(limits: TimeOuts, schema: Option<&str>) -> Self {
        let millis = |limit: Duration| match limit.as_millis() {
            0 if limit.is_zero() => "0".to_owned(),
            millis => millis.max(1).to_string(),
        };
        // Temporary tables last, so that none is taken for one of ours.
        let search_path = schema.map(|schema| format!("\"{}\", pg_temp", schema.replace('"', "\"\"")));
        let own = [
            ("lock_timeout", Some(millis(limits.lock))),
            ("idle_in_transaction_session_timeout", Some(millis(limits.idle_in_transaction))),
            ("search_path", search_path),
        ];
        let own = own.into_iter().filter_map(|(name, value)| Some((name, value?)));
        let all = PINNED.iter().map(|(name, value)| (*name, (*value).to_owned())).chain(own);
        let all = all.map(|(name, value)| format!("('{name}', '{}')", value.replace('\'', "''"))).collect::<Vec<_>>();
        // The limit for statements comes first, which could end the others. Settings that a version does not know are left
        // out, and those that are as they should be: not everybody may set each.
        let mut statements = format!("SET statement_timeout = {};\n", millis(limits.statement));
        write!(
            statements,
            "SELECT set_config(pin.name, pin.value, false) FROM (VALUES {}) AS pin (name, value)
            JOIN pg_catalog.pg_settings s ON s.name = pin.name WHERE s.setting <> pin.value",
            all.join(", ")
        )
        .expect("a text takes all that is written");
        Self(statements.into())
    }

    /// Pins the settings of a connection, in one round trip.
    pub async fn set(&self, connection: &mut PgConnection) -> sqlx::Result<()> {
        connection.execute(AssertSqlSafe(self.0.to_string())).await.map(drop)
    }
}
