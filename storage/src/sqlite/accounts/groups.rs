//! SQLite statements of groups.

use async_trait::async_trait;
use sqlx::sqlite::SqliteRow;

use crate::{
    Group, GroupId, Groups, Result, UserId, WriteGroups,
    sqlite::{Sqlite, SqliteTx, get, list},
};

const GROUPS: &str = "SELECT id, name FROM groups ORDER BY id";
const GROUP: &str = "SELECT id, name FROM groups WHERE id = $1";
const GROUP_BY_NAME: &str = "SELECT id, name FROM groups WHERE name = $1";
const GROUP_MEMBERS: &str = "SELECT user_id FROM group_members WHERE group_id = $1 ORDER BY user_id";
const INSERT_GROUP: &str = "INSERT INTO groups (id, name) VALUES ($1, $2) RETURNING id, name";
const INSERT_GROUP_MEMBERS: &str =
    "INSERT INTO group_members (group_id, user_id) SELECT $1, value FROM json_each($2) WHERE true ON CONFLICT DO NOTHING";
const DELETE_GROUP_MEMBERS: &str =
    "DELETE FROM group_members WHERE group_id = $1 AND user_id IN (SELECT value FROM json_each($2))";

fn group(row: &SqliteRow) -> Result<Group> {
    Ok(Group { id: GroupId(get(row, "id")?), name: get(row, "name")? })
}

#[async_trait]
impl Groups for Sqlite {
    async fn groups(&self) -> Result<Vec<Group>> {
        self.rows(sqlx::query(GROUPS)).await?.iter().map(group).collect()
    }

    async fn group(&self, id: GroupId) -> Result<Option<Group>> {
        self.row(sqlx::query(GROUP).bind(id.0)).await?.as_ref().map(group).transpose()
    }

    async fn group_by_name(&self, name: &str) -> Result<Option<Group>> {
        self.row(sqlx::query(GROUP_BY_NAME).bind(name)).await?.as_ref().map(group).transpose()
    }

    async fn group_members(&self, id: GroupId) -> Result<Vec<UserId>> {
        let rows = self.rows(sqlx::query(GROUP_MEMBERS).bind(id.0)).await?;
        rows.iter().map(|row| Ok(UserId(get(row, "user_id")?))).collect()
    }
}

#[async_trait]
impl WriteGroups for SqliteTx {
    async fn insert_group(&mut self, id: Option<GroupId>, name: &str) -> Result<Group> {
        let id = self.draw_unless(id.map(|id| id.0), "groups_id").await?;
        group(&self.only_row(sqlx::query(INSERT_GROUP).bind(id).bind(name)).await?)
    }

    async fn insert_group_members(&mut self, id: GroupId, members: &[UserId]) -> Result<()> {
        if members.is_empty() {
            return Ok(());
        }
        self.rows(sqlx::query(INSERT_GROUP_MEMBERS).bind(id.0).bind(list(members))).await.map(drop)
    }

    async fn delete_group_members(&mut self, id: GroupId, members: &[UserId]) -> Result<()> {
        self.rows(sqlx::query(DELETE_GROUP_MEMBERS).bind(id.0).bind(list(members))).await.map(drop)
    }
}
