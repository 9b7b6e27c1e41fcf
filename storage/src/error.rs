//! The error of all storage backends.

/// Failure of a storage backend. A missing row is `None`, never an error.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A uniqueness constraint refused the write. Holds the constraint's name, for example `users_login`.
    #[error("conflict with {0}")]
    Conflict(&'static str),
    /// The store cannot be reached, or did not answer in time. A later retry may succeed.
    #[error("storage unavailable")]
    Unavailable(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// Deadlock or serialization failure: the store has rolled this transaction back for the sake of others. An immediate retry
    /// of the whole transaction may succeed.
    #[error("transaction rolled back: deadlock or serialization failure")]
    Contention(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// A stored value cannot be decoded.
    #[error("invalid stored value: {0}")]
    Corrupt(String),
    /// Any other failure: a defect here or in the store.
    #[error("storage failure")]
    Internal(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl Error {
    /// True for a transient failure: a later retry may succeed.
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Unavailable(_) | Self::Contention(_))
    }
}

/// Result of the methods of the storage traits.
pub type Result<T, E = Error> = std::result::Result<T, E>;
