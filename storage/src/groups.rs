use async_trait::async_trait;

use crate::{GroupId, Result, UserId};

/// A named list of users: a mail group, a channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    pub id: GroupId,
    pub name: String,
}

#[async_trait]
pub trait Groups {
    /// All groups by rising id.
    async fn groups(&self) -> Result<Vec<Group>>;
    async fn group(&self, id: GroupId) -> Result<Option<Group>>;
    /// Names are compared exactly.
    async fn group_by_name(&self, name: &str) -> Result<Option<Group>>;
    /// By rising uid; deactivated users included.
    async fn group_members(&self, id: GroupId) -> Result<Vec<UserId>>;
}

#[async_trait]
pub trait WriteGroups {
    /// Without an id it gets the next of its sequence. Fails with `Conflict("groups_name")` if the name is taken.
    async fn insert_group(&mut self, id: Option<GroupId>, name: &str) -> Result<Group>;
    /// Adds members; those that are in already stay.
    async fn insert_group_members(&mut self, id: GroupId, members: &[UserId]) -> Result<()>;
    /// Takes members out; those that are not in do not matter.
    async fn delete_group_members(&mut self, id: GroupId, members: &[UserId]) -> Result<()>;
}
