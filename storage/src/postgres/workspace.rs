//! PostgreSQL statements of the workspace row.

use async_trait::async_trait;
use sqlx::postgres::PgRow;
use sqlx::types::Json;

use super::{Postgres, PostgresTx, get};
use crate::{Result, Workspace, Workspaces, WriteWorkspace};

const WORKSPACE: &str = "SELECT value::json FROM workspace WHERE key = 'workspace'";
/// Updates without a change, so that the row is locked and returned whichever transaction inserted it.
const LOCK_WORKSPACE: &str = "INSERT INTO workspace (key, value) VALUES ('workspace', '{}')
    ON CONFLICT (key) DO UPDATE SET key = excluded.key RETURNING value::json";
const SET_WORKSPACE: &str = "UPDATE workspace SET value = $1::json::text WHERE key = 'workspace'";

fn workspace(row: &PgRow) -> Result<Workspace> {
    Ok(get::<Json<_>, _>(row, 0)?.0)
}

#[async_trait]
impl Workspaces for Postgres {
    async fn workspace(&self) -> Result<Workspace> {
        self.row(sqlx::query(WORKSPACE)).await?.as_ref().map_or_else(|| Ok(Workspace::default()), workspace)
    }
}

#[async_trait]
impl WriteWorkspace for PostgresTx {
    async fn lock_workspace(&mut self) -> Result<Workspace> {
        workspace(&self.only_row(sqlx::query(LOCK_WORKSPACE)).await?)
    }

    async fn set_workspace(&mut self, workspace: &Workspace) -> Result<()> {
        self.rows(sqlx::query(SET_WORKSPACE).bind(Json(workspace))).await.map(drop)
    }
}
