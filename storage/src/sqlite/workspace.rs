//! SQLite statements of the workspace row.

use async_trait::async_trait;
use sqlx::sqlite::SqliteRow;
use sqlx::types::Json;

use super::{Sqlite, SqliteTx, get};
use crate::tables::{SET_WORKSPACE, WORKSPACE};
use crate::{Result, Workspace, Workspaces, WriteWorkspace};

pub(super) fn workspace(row: Option<SqliteRow>) -> Result<Workspace> {
    row.map_or_else(|| Ok(Workspace::default()), |row| Ok(get::<Json<_>, _>(&row, 0)?.0))
}

#[async_trait]
impl Workspaces for Sqlite {
    async fn workspace(&self) -> Result<Workspace> {
        workspace(self.row(sqlx::query(WORKSPACE)).await?)
    }
}

#[async_trait]
impl WriteWorkspace for SqliteTx {
    async fn lock_workspace(&mut self) -> Result<Workspace> {
        workspace(self.row(sqlx::query(WORKSPACE)).await?)
    }

    async fn set_workspace(&mut self, workspace: &Workspace) -> Result<()> {
        self.rows(sqlx::query(SET_WORKSPACE).bind(Json(workspace))).await.map(drop)
    }
}
