/// What a backend can fail with. Missing rows are `None`, never an error.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A uniqueness rule of the schema refused the write; names the rule, for example `users_login`.
    #[error("conflict with {0}")]
    Conflict(&'static str),
    /// The store cannot be reached, or did not answer in time. Trying again later may help.
    #[error("the store is unavailable")]
    Unavailable(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// Deadlock or serialization failure: other transactions were in the way, and the store has undone this one. The same,
    /// begun anew, may succeed at once.
    #[error("the store has undone the transaction for the sake of others")]
    Contention(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// What is stored cannot be understood.
    #[error("the store holds what cannot be understood: {0}")]
    Corrupt(String),
    /// Anything else; a defect here or in the store.
    #[error("the store failed")]
    Internal(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl Error {
    /// True for a failure that passes by itself: the same may succeed later.
    pub fn passes(&self) -> bool {
        matches!(self, Self::Unavailable(_) | Self::Contention(_))
    }
}

/// What every method of the storage traits returns.
pub type Result<T, E = Error> = std::result::Result<T, E>;
