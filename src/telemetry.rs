//! What the program says of itself: the log. Secrets and query strings never get there.

use std::{error::Error, fmt, io::IsTerminal};

use tracing_subscriber::EnvFilter;

use crate::config::{Log, LogFormat};

/// Starts the log on standard error. The environment's `RUST_LOG`, if set, decides instead of the level.
pub fn start(log: &Log) {
    // What the client of NATS logs at each of its tries the bus says, once.
    let quiet = format!("async_nats=off,{}", log.level);
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(quiet));
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match log.format {
        LogFormat::Json => builder.json().flatten_event(true).init(),
        LogFormat::Text => builder.with_ansi(std::io::stderr().is_terminal()).init(),
    }
}

/// An error with all its causes, in one line.
pub fn chain<'a>(error: &'a (dyn Error + 'a)) -> impl fmt::Display + 'a {
    struct Chain<'a>(&'a dyn Error);

    impl fmt::Display for Chain<'_> {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            write!(f, "{}", self.0)?;
            let mut cause = self.0.source();
            while let Some(error) = cause {
                write!(f, ": {error}")?;
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

/// An id to find a thing in the log by.
pub fn correlation() -> String {
    uuid::Uuid::new_v4().simple().to_string()
}

/// What a panic said.
pub fn panic_text(panic: &(dyn std::any::Any + Send)) -> &str {
    panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("nothing")
}
