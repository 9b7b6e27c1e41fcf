//! Leases of the nodes that serve the store.

use async_trait::async_trait;
use uuid::Uuid;

use crate::{Position, Result, Timestamp};

/// Lease of a node: the node counts as alive until `until`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    pub id: Uuid,
    /// The program's version; `None`, as for the other options, for nodes of the first release.
    pub version: Option<String>,
    /// Kind of the bus between nodes, for example `local`.
    pub bus: Option<String>,
    pub started_at: Option<Timestamp>,
    /// Position of the event log up to which the node has followed it.
    pub position: Option<Position>,
    pub until: Timestamp,
}

/// Queries and writes of node leases. [`Storage`](crate::Storage) states errors and cancel safety.
#[async_trait]
pub trait Nodes {
    /// Stores or renews the lease of a node. Neither its end nor its position moves back.
    async fn renew_lease(&self, node: &Node) -> Result<()>;
    /// Ends the lease of a node that stops.
    async fn end_lease(&self, node: Uuid) -> Result<()>;
    /// Nodes whose leases have not ended at that time, by rising id.
    async fn nodes(&self, at: Timestamp) -> Result<Vec<Node>>;
    /// Forgets at most `limit` nodes whose leases ended before that time. Returns the number of forgotten nodes. Does nothing
    /// while another process does the same.
    async fn forget_nodes(&self, before: Timestamp, limit: usize) -> Result<u64>;
}
