//! The facts about the store as a whole. One store is one workspace.

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{PartnerId, Result, Timestamp};

/// The store as a whole.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Workspace {
    /// Drawn when it was first asked for; `None` before.
    pub uuid: Option<Uuid>,
    /// Rises each time that the event log has lost its newest events.
    pub epoch: i64,
    /// The database server's timeline when that was looked at last.
    pub timeline: Option<i64>,
    /// The author of system messages.
    pub system_partner: Option<PartnerId>,
    pub import: Option<ImportMarks>,
    /// The address of the store that has taken this one's place.
    pub moved_to: Option<String>,
    /// Orphaned objects are not swept before this time.
    pub sweep_not_before: Option<Timestamp>,
}

/// What an import has settled for good.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImportMarks {
    /// The settings `messaging.author_id` and `messaging.preferred_id` that fit the ids which were kept.
    pub author_id: Option<String>,
    pub preferred_id: Option<String>,
    /// Whether the ids of the source were kept.
    pub kept_ids: bool,
    /// The uuid and the name of the Odoo database.
    pub odoo_uuid: Option<String>,
    pub odoo_database: Option<String>,
}

#[async_trait]
pub trait Workspaces {
    async fn workspace(&self) -> Result<Workspace>;
}

#[async_trait]
pub trait WriteWorkspace {
    /// The workspace, locked until the transaction ends.
    async fn lock_workspace(&mut self) -> Result<Workspace>;
    /// Changes the workspace, which the transaction must have locked.
    async fn set_workspace(&mut self, workspace: &Workspace) -> Result<()>;
}
