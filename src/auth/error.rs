//! Vocabulary of authentication's errors.

use std::{sync::Arc, time::Duration};

use super::TokenError;
use crate::{
    error::Cause,
    shares::{NoShare, RETRY_AFTER_SECONDS},
    telemetry,
    transaction::{Retryable, is_contention},
};

/// Errors of authentication.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    /// Wrong password, unknown login or deactivated user; the answer does not tell which.
    #[error("access denied")]
    Denied,
    /// No session, or an expired one.
    #[error("session expired")]
    Expired,
    /// No token, or an invalid one.
    #[error("token refused: {0}")]
    InvalidToken(#[from] TokenError),
    /// A setting that the request needs is not set.
    #[error("{0} is not set")]
    NotConfigured(&'static str),
    #[error("too many failed logins")]
    TooManyAttempts { retry_after: Duration },
    /// Rate limit of tokens or sessions that a user gets without a password.
    #[error("too many tokens or sessions")]
    TooFast { retry_after: Duration },
    #[error("too many log-ins wait for their password to be checked")]
    TooManyWaiting { retry_after: Duration },
    /// The caller is known, and has no share of the server left.
    #[error(transparent)]
    NoShare(#[from] NoShare),
    #[error("not available now")]
    Unavailable(#[source] Cause),
    #[error("internal error")]
    Internal(#[source] Cause),
}

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
            Self::TooManyAttempts { retry_after } | Self::TooFast { retry_after } | Self::TooManyWaiting { retry_after } => {
                Some(retry_after.as_secs().max(1))
            }
            Self::NoShare(_) => Some(RETRY_AFTER_SECONDS),
            Self::Denied
            | Self::Expired
            | Self::InvalidToken(_)
            | Self::NotConfigured(_)
            | Self::Unavailable(_)
            | Self::Internal(_) => None,
        }
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

/// Result of the functions of this module.
pub type Result<T, E = Error> = std::result::Result<T, E>;
