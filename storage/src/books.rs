use async_trait::async_trait;

use crate::{PartnerId, Result, UserId};

#[async_trait]
pub trait Books {
    /// The users in a user's address book, deactivated ones included, by rising uid.
    async fn book(&self, owner: UserId) -> Result<Vec<UserId>>;
    /// For each of the partners whose user is in any address book: the partners of these books' owners, by rising id. In no
    /// particular order.
    async fn known_by(&self, partners: &[PartnerId]) -> Result<Vec<(PartnerId, Vec<PartnerId>)>>;
}

#[async_trait]
pub trait WriteBooks {
    /// Adds users, who must exist, as must the owner; those that are in already stay.
    async fn insert_into_book(&mut self, owner: UserId, users: &[UserId]) -> Result<()>;
    /// Takes users out; those that are not in do not matter.
    async fn delete_from_book(&mut self, owner: UserId, users: &[UserId]) -> Result<()>;
}
