//! Groups: named lists of users.

use async_trait::async_trait;

use crate::{GroupId, Result, UserId};

/// Named list of users: a mail group, a channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    pub id: GroupId,
    pub name: String,
}

/// Queries of groups. [`Storage`](crate::Storage) states errors and cancel safety.
#[async_trait]
pub trait Groups {
    /// All groups, by rising id.
    async fn groups(&self) -> Result<Vec<Group>>;
    async fn group(&self, id: GroupId) -> Result<Option<Group>>;
    /// Finds a group by its exact name.
    async fn group_by_name(&self, name: &str) -> Result<Option<Group>>;
    /// Members by rising uid; deactivated users included.
    async fn group_members(&self, id: GroupId) -> Result<Vec<UserId>>;
}

/// Writes of groups. [`Tx`](crate::Tx) states errors and cancel safety.
#[async_trait]
pub trait WriteGroups {
    /// Stores a group. Without an id it gets the next of its sequence.
    ///
    /// # Errors
    /// `Conflict("groups_name")` if the name is taken.
    async fn insert_group(&mut self, id: Option<GroupId>, name: &str) -> Result<Group>;
    /// Adds members. Idempotent.
    async fn insert_group_members(&mut self, id: GroupId, members: &[UserId]) -> Result<()>;
    /// Removes members. Idempotent.
    async fn delete_group_members(&mut self, id: GroupId, members: &[UserId]) -> Result<()>;
}
