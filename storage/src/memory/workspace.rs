//! In-memory workspace.

use async_trait::async_trait;

use super::{Memory, MemoryTx};
use crate::{Result, Workspace, Workspaces, WriteWorkspace};

#[async_trait]
impl Workspaces for Memory {
    async fn workspace(&self) -> Result<Workspace> {
        Ok(self.snapshot()?.workspace.clone())
    }
}

#[async_trait]
impl WriteWorkspace for MemoryTx {
    async fn lock_workspace(&mut self) -> Result<Workspace> {
        Ok(self.draft.workspace.clone())
    }

    async fn set_workspace(&mut self, workspace: &Workspace) -> Result<()> {
        self.draft.workspace = workspace.clone();
        Ok(())
    }
}
