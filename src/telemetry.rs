//! Telemetry: the program's log lines, with correlation ids, and their rate limit during outages. Secrets and query strings are
//! never logged.

use std::{cell::OnceCell, error::Error, io::IsTerminal, time::Duration};

use parking_lot::Mutex;
use serde::Deserialize;
use tokio::time::Instant;
use tracing_subscriber::EnvFilter;

use crate::error::chain;

/// The program's log, on standard error.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LogSettings {
    /// Format of log lines: `text`, or `json` for machines.
    pub format: LogFormat,
    /// Level: `error`, `warn`, `info`, `debug`, or a filter such as `info,dragoman::request=debug`. `RUST_LOG`, if set, overrides
    /// it.
    pub level: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LogFormat {
    Text,
    Json,
}

/// Starts logging to standard error. The environment's `RUST_LOG`, if set, overrides the level.
pub fn start(log: &LogSettings) {
    // The NATS client logs each attempt to connect, which the bus logs once. Metrics count the statements of sqlx, and their
    // callers log the failures.
    let quiet = format!("async_nats=off,sqlx=off,{}", log.level);
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(quiet));
    // Without internal errors: with standard error closed, as after the end of a terminal, each would be a panic.
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).log_internal_errors(false);
    match log.format {
        LogFormat::Json => builder.json().flatten_event(true).init(),
        LogFormat::Text => builder.with_ansi(std::io::stderr().is_terminal()).init(),
    }
}

/// Logs a failure with its cause, and returns its correlation id, the only thing that a client learns of it.
pub fn failed(what: &str, cause: &dyn Error) -> String {
    let correlation = correlation();
    tracing::error!(correlation, error = %chain(cause), "{what}");
    correlation
}

/// Time without a failure after which an outage is over.
const QUIET: Duration = Duration::from_secs(5);

/// Outage: a repeated failure with one cause, for one log line at its begin and one at its end (log deduplication).
pub struct Outage(Mutex<Option<OutageState>>);

struct OutageState {
    times: u64,
    last: Instant,
}

impl Outage {
    pub const fn new() -> Self {
        Self(Mutex::new(None))
    }

    /// Counts `times` failures more. Returns true if they begin an outage.
    pub fn record(&self, times: u64) -> bool {
        let mut trouble = self.0.lock();
        let begins = trouble.is_none();
        let met = trouble.get_or_insert(OutageState { times: 0, last: Instant::now() });
        *met = OutageState { times: met.times + times, last: Instant::now() };
        begins
    }

    /// Ends an outage after a while without failures, and returns the number of failures. Call it after each success.
    pub fn recover(&self) -> Option<u64> {
        let mut trouble = self.0.lock();
        let over = trouble.as_ref().is_some_and(|met| met.last.elapsed() >= QUIET);
        over.then(|| trouble.take()).flatten().map(|met| met.times)
    }
}

impl Default for Outage {
    fn default() -> Self {
        Self::new()
    }
}

/// Outage of the store, or of another service that requests need.
static STORE_OUTAGE: Outage = Outage::new();

/// Like [`failed`], for an unreachable service. Logs an outage once, and the cause of each request at debug level.
pub fn unavailable(what: &str, cause: &dyn Error) -> String {
    let correlation = correlation();
    if STORE_OUTAGE.record(1) {
        begins(what, cause);
    }
    tracing::debug!(correlation, error = %chain(cause), "{what}");
    correlation
}

/// Logs that a background operation failed and will be retried; `away` if a service is unreachable, which counts as an outage.
pub fn deferred(what: &str, cause: &dyn Error, away: bool) {
    if !away {
        tracing::warn!(error = %chain(cause), "{what}");
        return;
    }
    if STORE_OUTAGE.record(0) {
        begins(what, cause);
    }
    tracing::debug!(error = %chain(cause), "{what}");
}

fn begins(what: &str, cause: &dyn Error) {
    tracing::warn!(error = %chain(cause), "required service unreachable: {what}");
}

/// Notes a successful access to the store, which may end an outage.
pub fn store_reached() {
    if let Some(refused) = STORE_OUTAGE.recover() {
        tracing::info!(refused, "required service reachable again");
    }
}

tokio::task_local! {
    /// Correlation id of the current request, created when it is first needed.
    static REQUEST: OnceCell<String>;
}

/// Runs a request with one correlation id.
pub fn with_correlation<F: Future>(answering: F) -> impl Future<Output = F::Output> {
    REQUEST.scope(OnceCell::new(), answering)
}

/// Correlation id of the current request, or a new one outside of requests.
pub fn correlation() -> String {
    let fresh = || uuid::Uuid::new_v4().simple().to_string();
    REQUEST.try_with(|id| id.get_or_init(fresh).clone()).unwrap_or_else(|_| fresh())
}

/// Message of a panic.
pub fn panic_text(panic: &(dyn std::any::Any + Send)) -> &str {
    panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("nothing")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_trouble_is_worth_two_lines_however_often_it_is_met() {
        let trouble = Outage::new();
        assert_eq!(trouble.recover(), None, "nothing has happened");
        for round in 0..2 {
            assert!(trouble.record(1), "round {round}");
            for _ in 0..100 {
                tokio::time::advance(QUIET / 2).await;
                assert_eq!(trouble.recover(), None, "what goes well now and then does not end it");
                assert!(!trouble.record(1));
            }
            assert!(!trouble.record(0));
            tokio::time::advance(QUIET).await;
            assert_eq!(trouble.recover(), Some(101), "round {round}");
            assert_eq!(trouble.recover(), None);
        }
    }
}
