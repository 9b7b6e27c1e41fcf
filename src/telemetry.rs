//! What the program says of itself: the log. Secrets and query strings never get there.

use std::{cell::OnceCell, error::Error, fmt, io::IsTerminal, time::Duration};

use parking_lot::Mutex;
use tokio::time::Instant;
use tracing_subscriber::EnvFilter;

use crate::config::{Log, LogFormat};

/// Starts the log on standard error. The environment's `RUST_LOG`, if set, decides instead of the level.
pub fn start(log: &Log) {
    // What the client of NATS logs at each of its tries the bus says, once; what a visit to the database took is counted,
    // and that it failed is said by whoever made it.
    let quiet = format!("async_nats=off,sqlx=off,{}", log.level);
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(quiet));
    // Without errors of its own: where standard error is gone, as with a terminal that was closed, each would be a panic.
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).log_internal_errors(false);
    match log.format {
        LogFormat::Json => builder.json().flatten_event(true).init(),
        LogFormat::Text => builder.with_ansi(std::io::stderr().is_terminal()).init(),
    }
}

/// An error with all its causes, in one line. What an error says of its cause by itself is not said again.
pub fn chain<'a>(error: &'a (dyn Error + 'a)) -> impl fmt::Display + 'a {
    struct Chain<'a>(&'a dyn Error);

    impl fmt::Display for Chain<'_> {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            let mut said = self.0.to_string();
            f.write_str(&said)?;
            let mut cause = self.0.source();
            while let Some(error) = cause {
                let text = error.to_string();
                if !said.ends_with(&text) {
                    write!(f, ": {text}")?;
                    said = text;
                }
                cause = error.source();
            }
            Ok(())
        }
    }

    Chain(error)
}

/// Logs a failure with its cause, and gives the id under which it can be found there: all that a client may know.
pub fn failed(what: &str, cause: &dyn Error) -> String {
    let correlation = correlation();
    tracing::error!(correlation, error = %chain(cause), "{what}");
    correlation
}

/// For how long nothing must go wrong for a trouble to be over.
const QUIET: Duration = Duration::from_secs(5);

/// What goes wrong again and again for one reason, and is worth a line when it begins and one when it is over.
pub struct Trouble(Mutex<Option<Met>>);

struct Met {
    times: u64,
    last: Instant,
}

impl Trouble {
    pub const fn new() -> Self {
        Self(Mutex::new(None))
    }

    /// Notes that it was met, `times` times more; says whether it begins with this.
    pub fn met(&self, times: u64) -> bool {
        let mut trouble = self.0.lock();
        let begins = trouble.is_none();
        let met = trouble.get_or_insert(Met { times: 0, last: Instant::now() });
        *met = Met { times: met.times + times, last: Instant::now() };
        begins
    }

    /// To be asked whenever something goes well. How often it was met, if it was and has not been for a while.
    pub fn is_over(&self) -> Option<u64> {
        let mut trouble = self.0.lock();
        let over = trouble.as_ref().is_some_and(|met| met.last.elapsed() >= QUIET);
        over.then(|| trouble.take()).flatten().map(|met| met.times)
    }
}

impl Default for Trouble {
    fn default() -> Self {
        Self::new()
    }
}

/// That the store, or what else requests need, cannot be reached.
static AWAY: Trouble = Trouble::new();

/// As [`failed`], for what cannot be done because something cannot be reached. However many ask meanwhile, the log says so
/// once; the cause of each is there for who asks for more than that.
pub fn unavailable(what: &str, cause: &dyn Error) -> String {
    let correlation = correlation();
    if AWAY.met(1) {
        begins(what, cause);
    }
    tracing::debug!(correlation, error = %chain(cause), "{what}");
    correlation
}

/// Logs that something that nobody waits for was not done, and will be tried again; `away` if it is because something cannot
/// be reached.
pub fn put_off(what: &str, cause: &dyn Error, away: bool) {
    if !away {
        tracing::warn!(error = %chain(cause), "{what}");
        return;
    }
    if AWAY.met(0) {
        begins(what, cause);
    }
    tracing::debug!(error = %chain(cause), "{what}");
}

fn begins(what: &str, cause: &dyn Error) {
    tracing::warn!(error = %chain(cause), "what requests need cannot be reached: {what}");
}

/// To be called whenever the store was reached.
pub fn reached() {
    if let Some(refused) = AWAY.is_over() {
        tracing::info!(refused, "what requests need can be reached again");
    }
}

tokio::task_local! {
    /// The correlation id of the request that is being answered, made when it is first needed.
    static REQUEST: OnceCell<String>;
}

/// Answers a request: within, every correlation id is the same.
pub fn of_request<F: Future>(answering: F) -> impl Future<Output = F::Output> {
    REQUEST.scope(OnceCell::new(), answering)
}

/// An id to find a thing in the log by: of a request the one that its answer has.
pub fn correlation() -> String {
    let fresh = || uuid::Uuid::new_v4().simple().to_string();
    REQUEST.try_with(|id| id.get_or_init(fresh).clone()).unwrap_or_else(|_| fresh())
}

/// What a panic said.
pub fn panic_text(panic: &(dyn std::any::Any + Send)) -> &str {
    panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("nothing")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_trouble_is_worth_two_lines_however_often_it_is_met() {
        let trouble = Trouble::new();
        assert_eq!(trouble.is_over(), None, "nothing has happened");
        for round in 0..2 {
            assert!(trouble.met(1), "round {round}");
            for _ in 0..100 {
                tokio::time::advance(QUIET / 2).await;
                assert_eq!(trouble.is_over(), None, "what goes well now and then does not end it");
                assert!(!trouble.met(1));
            }
            assert!(!trouble.met(0));
            tokio::time::advance(QUIET).await;
            assert_eq!(trouble.is_over(), Some(101), "round {round}");
            assert_eq!(trouble.is_over(), None);
        }
    }
}
