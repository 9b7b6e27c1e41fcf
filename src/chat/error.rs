use std::{borrow::Cow, sync::Arc, time::Duration};

use crate::transaction::{Undone, is_contention};

/// What was named and is not there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Thing {
    Conversation,
    Partner,
    Attachment,
    Group,
    Message,
}

/// The vocabulary of failure. Each dialect translates all of it, in its `error.rs`.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    #[error("no such {0:?}")]
    NotFound(Thing),
    /// The session that the caller came with has ended meanwhile.
    #[error("no longer logged in")]
    Ended,
    /// It is there, but not for this caller.
    #[error("access denied")]
    Forbidden,
    /// `reason` completes the sentence "`field` ...", for example "must not be empty".
    #[error("{field} {reason}")]
    Invalid { field: &'static str, reason: Cow<'static, str> },
    /// It is not in a state in which that could be done; says which it is in, as a clause: "the message was deleted".
    #[error("{0}")]
    Conflict(&'static str),
    /// A file.
    #[error("larger than {limit_bytes} bytes")]
    TooLarge { limit_bytes: u64 },
    /// A text.
    #[error("{field} is longer than {limit_bytes} bytes")]
    TooLong { field: &'static str, limit_bytes: usize },
    /// The bytes are said to be of another type than was announced.
    #[error("not of the type {expected}")]
    WrongType { expected: String },
    /// The time for it is over; names what that was, for example "the time to upload this file".
    #[error("{0} is over")]
    TooLate(&'static str),
    /// The caller has too much under way; names what.
    #[error("too many {0}")]
    TooMany(&'static str),
    /// The caller has done too much of something of late; names what.
    #[error("too many {what}, please wait")]
    TooFast { what: &'static str, retry_after: Duration },
    /// The store cannot be reached, or the server is stopping.
    #[error("not available now")]
    Unavailable(#[source] Cause),
    #[error("internal error")]
    Internal(#[source] Cause),
}

/// What lies behind a failure, for the log alone.
pub type Cause = Arc<dyn std::error::Error + Send + Sync>;

/// What every verb of the service returns.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// Seconds until it may be tried again, where that is known.
    pub fn retry_after_seconds(&self) -> Option<u64> {
        match self {
            Self::TooFast { retry_after, .. } => Some(retry_after.as_secs_f64().ceil().max(1.0) as u64),
            _ => None,
        }
    }

    pub(super) fn is_unavailable(&self) -> bool {
        matches!(self, Self::Unavailable(_))
    }

    /// A failure that is nobody's input.
    pub fn internal(cause: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::Internal(Arc::from(cause.into()))
    }
}

impl Undone for Error {
    fn is_contention(&self) -> bool {
        matches!(self, Self::Unavailable(cause) if is_contention(cause.as_ref()))
    }
}

impl From<storage::Error> for Error {
    fn from(error: storage::Error) -> Self {
        match error {
            storage::Error::Unavailable(_) | storage::Error::Contention(_) => Self::Unavailable(Arc::new(error)),
            storage::Error::Conflict(_) | storage::Error::Corrupt(_) | storage::Error::Internal(_) => {
                Self::Internal(Arc::new(error))
            }
        }
    }
}
