//! The workspace: properties of the store as a whole. One store is one workspace.

use std::collections::BTreeMap;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{PartnerId, Result, Timestamp};

/// Workspace properties, stored as one JSON row.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Workspace {
    /// Drawn at first use; `None` before.
    pub uuid: Option<Uuid>,
    /// Epoch of the event log: rises with each restart after a loss of its newest events.
    pub epoch: i64,
    /// Timeline of the database server at the last check.
    pub timeline: Option<i64>,
    /// Author of system messages.
    pub system_partner: Option<PartnerId>,
    pub import: Option<ImportMarks>,
    /// Address of the store that has replaced this one, without password.
    pub moved_to: Option<String>,
    /// Mark of a copy that is being made into this store, or was interrupted: the workspace that is copied.
    pub unfinished_copy_of: Option<Uuid>,
    /// Start time of orphan collection: orphaned objects are not deleted before it.
    pub sweep_not_before: Option<Timestamp>,
    /// Leases of running backups, by their ends. The bytes of deleted files stay until the last one.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub backups: BTreeMap<Uuid, Timestamp>,
}

impl Workspace {
    /// Number of backups whose leases have not ended at that time.
    pub fn running_backups(&self, at: Timestamp) -> usize {
        self.backups.values().filter(|until| **until > at).count()
    }
}

/// Permanent results of an import.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImportMarks {
    /// Values of the settings `messaging.author_id` and `messaging.preferred_id` that fit the imported ids.
    pub author_id: Option<String>,
    pub preferred_id: Option<String>,
    /// True if the import kept the ids of the source.
    pub kept_ids: bool,
    /// Uuid and name of the Odoo database.
    pub odoo_uuid: Option<String>,
    pub odoo_database: Option<String>,
}

/// Query of the workspace. [`Storage`](crate::Storage) states errors and cancel safety.
#[async_trait]
pub trait Workspaces {
    async fn workspace(&self) -> Result<Workspace>;
}

/// Writes of the workspace. [`Tx`](crate::Tx) states errors and cancel safety.
#[async_trait]
pub trait WriteWorkspace {
    /// Locks and returns the workspace, until the transaction ends.
    async fn lock_workspace(&mut self) -> Result<Workspace>;
    /// Replaces the workspace, which the transaction must have locked.
    async fn set_workspace(&mut self, workspace: &Workspace) -> Result<()>;
}
