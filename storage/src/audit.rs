//! The audit trail: who did what, from where, and with what outcome.

use async_trait::async_trait;

use crate::{Result, Timestamp, conversations::words};

/// The kind of an actor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ActorKind {
    /// A user, by its uid.
    User,
    /// A key of the host application, by its id.
    Key,
    /// Somebody at the command line.
    Operator,
    /// The server itself.
    System,
    /// Somebody who is not known, for example at a log-in that failed.
    Stranger,
}

words!(ActorKind { User = "user", Key = "key", Operator = "operator", System = "system", Stranger = "stranger" });

/// An entry to be stored. It names people by their ids alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewAuditEntry {
    pub at: Timestamp,
    pub actor: ActorKind,
    pub actor_id: Option<String>,
    /// The network address of the client.
    pub address: Option<String>,
    /// For example `sign_in`.
    pub action: String,
    /// For example `user 4`.
    pub object: Option<String>,
    /// For example `ok`, or the reason of a refusal.
    pub outcome: String,
    /// The id under which the program's log has the same request.
    pub correlation: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditEntry {
    /// Rises with the order in which entries were stored.
    pub id: i64,
    pub entry: NewAuditEntry,
}

/// Which entries to read.
#[derive(Clone, Debug, Default)]
pub struct AuditFilter<'a> {
    /// Only those of this actor.
    pub actor: Option<(ActorKind, &'a str)>,
    /// Only those with a smaller id.
    pub before: Option<i64>,
}

#[async_trait]
pub trait Audit {
    /// Stores entries outside of any transaction: refusals change nothing else.
    async fn audit(&self, entries: &[NewAuditEntry]) -> Result<()>;
    /// A page of entries, newest first.
    async fn audit_entries(&self, filter: AuditFilter<'_>, limit: usize) -> Result<Vec<AuditEntry>>;
    /// Deletes at most `limit` entries from before `before`, oldest first; gives how many. Does nothing while another process
    /// does the same.
    async fn forget_audit(&self, before: Timestamp, limit: usize) -> Result<u64>;
}

#[async_trait]
pub trait WriteAudit {
    /// Stores an entry together with the change that it tells of.
    async fn insert_audit(&mut self, entry: &NewAuditEntry) -> Result<()>;
}
