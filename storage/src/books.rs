//! Address books of users.

use async_trait::async_trait;

use crate::{PartnerId, Result, UserId};

/// Queries of address books. [`Storage`](crate::Storage) states errors and cancel safety.
#[async_trait]
pub trait Books {
    /// Users in a user's address book, deactivated ones included, by rising uid.
    async fn book(&self, owner: UserId) -> Result<Vec<UserId>>;
    /// Owners of the address books with each partner's user: their partners, by rising id. Partners in no address book are
    /// absent. In no particular order.
    async fn known_by(&self, partners: &[PartnerId]) -> Result<Vec<(PartnerId, Vec<PartnerId>)>>;
}

/// Writes of address books. [`Tx`](crate::Tx) states errors and cancel safety.
#[async_trait]
pub trait WriteBooks {
    /// Adds users to an address book. They and the owner must exist. Idempotent.
    async fn insert_into_book(&mut self, owner: UserId, users: &[UserId]) -> Result<()>;
    /// Removes users from an address book. Idempotent.
    async fn delete_from_book(&mut self, owner: UserId, users: &[UserId]) -> Result<()>;
}
