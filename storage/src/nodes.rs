//! The nodes that serve the store, each with a lease.

use async_trait::async_trait;
use uuid::Uuid;

use crate::{Position, Result, Timestamp};

/// The lease of a node: it counts as there until the end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    pub id: Uuid,
    /// The program's version; `None` for nodes of the first release, as with the rest.
    pub version: Option<String>,
    /// The kind of the bus by which it hears other nodes, for example `local`.
    pub bus: Option<String>,
    pub started_at: Option<Timestamp>,
    /// The position up to which it has followed the event log.
    pub position: Option<Position>,
    pub until: Timestamp,
}

#[async_trait]
pub trait Nodes {
    /// Stores the lease of a node, or renews it. Neither its end nor its position ever goes back.
    async fn renew_lease(&self, node: &Node) -> Result<()>;
    /// Ends the lease of a node that stops.
    async fn end_lease(&self, node: Uuid) -> Result<()>;
    /// The nodes whose leases have not ended at that time, by rising id.
    async fn nodes(&self, at: Timestamp) -> Result<Vec<Node>>;
    /// Forgets at most `limit` nodes whose leases have ended before that time. Does nothing while another process does the
    /// same.
    async fn forget_nodes(&self, before: Timestamp, limit: usize) -> Result<u64>;
}
