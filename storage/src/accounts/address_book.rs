//! Address books of users.

use async_trait::async_trait;

use crate::{PartnerId, Result, UserId};

/// Queries of address books. [`Storage`](crate::Storage) states errors and cancel safety.
#[async_trait]
pub trait AddressBooks {
    /// Users in a user's address book, deactivated ones included, by rising uid.
    async fn address_book(&self, owner: UserId) -> Result<Vec<UserId>>;
    /// Owners of the address books with each partner's user: their partners, by rising id. Partners in no address book are
    /// absent. In no particular order.
    async fn address_book_owners(&self, partners: &[PartnerId]) -> Result<Vec<(PartnerId, Vec<PartnerId>)>>;
}

/// Writes of address books. [`Tx`](crate::Tx) states errors and cancel safety.
#[async_trait]
pub trait WriteAddressBooks {
    /// Adds users to an address book. They and the owner must exist. Idempotent. Returns the number of users in it then.
    async fn insert_into_address_book(&mut self, owner: UserId, users: &[UserId]) -> Result<usize>;
    /// Removes users from an address book. Idempotent.
    async fn delete_from_address_book(&mut self, owner: UserId, users: &[UserId]) -> Result<()>;
}
