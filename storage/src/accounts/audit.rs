//! The audit trail: actor, address, action, object and outcome of security-relevant operations.

use async_trait::async_trait;

use crate::{Result, Timestamp, conversations::words};

/// Kind of an actor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ActorKind {
    /// A user, named by its uid.
    User,
    /// An API key of the host application, named by its id.
    Key,
    /// An operator at the command line.
    Operator,
    /// The server itself.
    System,
    /// An unknown client, for example at a failed log-in.
    Stranger,
}

words!(ActorKind { User = "user", Key = "key", Operator = "operator", System = "system", Stranger = "stranger" });

/// Audit entry to be stored. It names people by their ids alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewAuditEntry {
    pub at: Timestamp,
    pub actor: ActorKind,
    pub actor_id: Option<String>,
    /// Network address of the client.
    pub address: Option<String>,
    /// Action, for example `sign_in`.
    pub action: String,
    /// Object, for example `user 4`.
    pub object: Option<String>,
    /// Outcome: `ok`, or the reason of a refusal.
    pub outcome: String,
    /// Correlation id of the same request in the program's log.
    pub correlation: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditEntry {
    /// Rises in the order of storing.
    pub id: i64,
    pub entry: NewAuditEntry,
}

/// Filter of audit entries.
#[derive(Clone, Debug, Default)]
pub struct AuditFilter<'a> {
    /// Limits to entries of this actor.
    pub actor: Option<(ActorKind, &'a str)>,
    /// Keyset: limits to entries with a smaller id.
    pub before: Option<i64>,
}

/// Queries and expiry of the audit trail. [`Storage`](crate::Storage) states errors and cancel safety.
#[async_trait]
pub trait Audit {
    /// Stores entries outside of any transaction, for refusals, which change nothing else.
    async fn audit(&self, entries: &[NewAuditEntry]) -> Result<()>;
    /// Keyset page of entries, newest first.
    async fn audit_entries(&self, filter: AuditFilter<'_>, limit: usize) -> Result<Vec<AuditEntry>>;
    /// Deletes at most `limit` entries from before `before`, oldest first. Returns the number of deleted entries. Does nothing
    /// while another process does the same.
    async fn forget_audit(&self, before: Timestamp, limit: usize) -> Result<u64>;
}

/// Writes of the audit trail. [`Tx`](crate::Tx) states errors and cancel safety.
#[async_trait]
pub trait WriteAudit {
    /// Stores an entry together with the change that it records.
    async fn insert_audit(&mut self, entry: &NewAuditEntry) -> Result<()>;
}
