//! In-memory groups.

use async_trait::async_trait;
use imbl::{HashSet, OrdMap, OrdSet};

use crate::{
    Error, Group, GroupId, Groups, Result, UserId, WriteGroups,
    memory::{Memory, MemoryTx, Sequence, missing, taken},
};

#[derive(Clone, Default)]
pub(crate) struct Table {
    pub(crate) ids: Sequence,
    pub(crate) rows: OrdMap<GroupId, Row>,
    pub(crate) names: HashSet<String>,
}

#[derive(Clone)]
pub(crate) struct Row {
    pub(crate) group: Group,
    pub(crate) members: OrdSet<UserId>,
}

impl Table {
    /// Fails if a write refers to a missing group.
    pub(crate) fn expect_group(&self, id: GroupId) -> Result<()> {
        if self.rows.contains_key(&id) { Ok(()) } else { Err(missing("group", id)) }
    }
}

#[async_trait]
impl Groups for Memory {
    async fn groups(&self) -> Result<Vec<Group>> {
        Ok(self.snapshot()?.groups.rows.values().map(|row| row.group.clone()).collect())
    }

    async fn group(&self, id: GroupId) -> Result<Option<Group>> {
        Ok(self.snapshot()?.groups.rows.get(&id).map(|row| row.group.clone()))
    }

    async fn group_by_name(&self, name: &str) -> Result<Option<Group>> {
        let state = self.snapshot()?;
        let mut groups = state.groups.rows.values().map(|row| &row.group);
        Ok(groups.find(|group| group.name == name).cloned())
    }

    async fn group_members(&self, id: GroupId) -> Result<Vec<UserId>> {
        Ok(self.snapshot()?.groups.rows.get(&id).map(|row| row.members.iter().copied().collect()).unwrap_or_default())
    }
}

#[async_trait]
impl WriteGroups for MemoryTx {
    async fn insert_group(&mut self, id: Option<GroupId>, name: &str) -> Result<Group> {
        let table = &mut self.draft.groups;
        if table.names.contains(name) {
            return Err(Error::Conflict("groups_name"));
        }
        if let Some(id) = id.filter(|id| table.rows.contains_key(id)) {
            return Err(taken("group", id));
        }
        let group = Group { id: GroupId(table.ids.draw(id.map(|id| id.0))), name: name.to_owned() };
        table.names.insert(group.name.clone());
        table.rows.insert(group.id, Row { group: group.clone(), members: OrdSet::new() });
        Ok(group)
    }

    async fn insert_group_members(&mut self, id: GroupId, members: &[UserId]) -> Result<()> {
        let row = self.draft.groups.rows.get_mut(&id).ok_or_else(|| missing("group", id))?;
        for member in members {
            self.draft.users.expect_user(*member)?;
            row.members.insert(*member);
        }
        Ok(())
    }

    async fn delete_group_members(&mut self, id: GroupId, members: &[UserId]) -> Result<()> {
        let row = self.draft.groups.rows.get_mut(&id).ok_or_else(|| missing("group", id))?;
        for member in members {
            row.members.remove(member);
        }
        Ok(())
    }
}
