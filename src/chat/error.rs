//! Errors of the chat service. Each dialect translates all of them in its own `error.rs`.

use std::{borrow::Cow, sync::Arc, time::Duration};

use crate::{
    blobs::BlobError,
    error::Cause,
    shares::{NoShare, RETRY_AFTER_SECONDS},
    telemetry,
    transaction::{Retryable, is_contention},
};

/// Kind of resource that was not found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ResourceKind {
    Conversation,
    Partner,
    Attachment,
    Group,
    Message,
}

/// Error of the chat service.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    #[error("no such {0:?}")]
    NotFound(ResourceKind),
    /// The caller's session has ended meanwhile.
    #[error("no longer logged in")]
    Ended,
    /// The resource exists, and the caller has no access to it.
    #[error("access denied")]
    Forbidden,
    /// `reason` completes the sentence "`field` ...", for example "must not be empty".
    #[error("{field} {reason}")]
    Invalid { field: &'static str, reason: Cow<'static, str> },
    /// The state of the resource forbids the operation. A clause that names the state: "the message was deleted".
    #[error("{0}")]
    Conflict(&'static str),
    /// A file beyond its size limit.
    #[error("larger than {limit_bytes} bytes")]
    TooLarge { limit_bytes: u64 },
    /// A text beyond its size limit.
    #[error("{field} is longer than {limit_bytes} bytes")]
    TooLong { field: &'static str, limit_bytes: usize },
    /// The media type is not the announced one.
    #[error("not of the type {expected}")]
    WrongType { expected: String },
    /// The deadline has passed. Names the time, for example "the time to upload this file".
    #[error("{0} is over")]
    TooLate(&'static str),
    /// The caller exceeds a limit of concurrent resources, which it names.
    #[error("too many {0}")]
    TooMany(&'static str),
    /// The caller exceeds a rate limit or quota; `what` names it.
    #[error("too many {what}, please wait")]
    TooFast { what: &'static str, retry_after: Duration },
    /// The store cannot be reached, or the server is stopping. A retry may succeed.
    #[error("not available now")]
    Unavailable(#[source] Cause),
    #[error("internal error")]
    Internal(#[source] Cause),
}

/// Refusal of an upload for want of memory for one part.
pub const NO_MEMORY: Error = Error::TooFast { what: "uploads at once", retry_after: Duration::from_secs(RETRY_AFTER_SECONDS) };

pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// Logs a failure with its cause: an outage in one line for all, anything else in a line of its own.
    pub fn log(&self, what: &str) {
        let cause = std::error::Error::source(self).unwrap_or(self);
        let log = if matches!(self, Self::Unavailable(_)) { telemetry::unavailable } else { telemetry::failed };
        log(what, cause);
    }

    /// Seconds until a retry may succeed, where known.
    pub fn retry_after_seconds(&self) -> Option<u64> {
        match self {
            Self::TooFast { retry_after, .. } => Some(retry_after.as_secs_f64().ceil().max(1.0) as u64),
            _ => None,
        }
    }

    pub(super) fn is_unavailable(&self) -> bool {
        matches!(self, Self::Unavailable(_))
    }

    /// Wraps a failure that no input has caused.
    pub fn internal(cause: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::Internal(Arc::from(cause.into()))
    }
}

impl Retryable for Error {
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

impl From<NoShare> for Error {
    fn from(why: NoShare) -> Self {
        match why {
            NoShare::Requests => Self::TooMany("requests at once"),
            NoShare::Memory => NO_MEMORY,
        }
    }
}

impl From<BlobError> for Error {
    fn from(error: BlobError) -> Self {
        match error {
            BlobError::NotFound => Self::NotFound(ResourceKind::Attachment),
            BlobError::TooLarge { limit_bytes } => Self::TooLarge { limit_bytes },
            BlobError::Incomplete => Self::Invalid { field: "file", reason: "did not arrive whole".into() },
            BlobError::NoMemory => NO_MEMORY,
            BlobError::Unavailable(cause) => Self::Unavailable(cause),
            BlobError::Internal(cause) => Self::Internal(cause),
        }
    }
}
