//! Errors of the object store.

use crate::error::Cause;

/// Errors of reading and writing files.
#[derive(Debug, thiserror::Error)]
pub enum BlobError {
    /// No object has that name.
    #[error("no such object")]
    NotFound,
    /// Size limit of the upload.
    #[error("larger than {limit_bytes} bytes")]
    TooLarge { limit_bytes: u64 },
    /// The client's body ended early.
    #[error("incomplete upload")]
    Incomplete,
    /// The memory share for bodies is used up.
    #[error("memory limit for bodies reached")]
    NoMemory,
    /// The bucket did not answer.
    #[error("not available now")]
    Unavailable(#[source] Cause),
    #[error("internal error")]
    Internal(#[source] Cause),
}

pub(super) type Result<T, E = BlobError> = std::result::Result<T, E>;

impl BlobError {
    pub(super) fn late() -> Self {
        Self::Unavailable(Box::<dyn std::error::Error + Send + Sync>::from("no answer in time").into())
    }

    pub(super) fn internal(cause: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::Internal(cause.into().into())
    }
}
