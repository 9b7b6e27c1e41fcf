//! Held-message leases: the nodes to which authors of held messages are connected, so that they can release these.

use async_trait::async_trait;
use uuid::Uuid;

use crate::{MessageId, PartnerId, Result, Timestamp};

/// Held-message leases: a partner is attending while connected to a node with an unexpired lease. The lease of a node that dies
/// expires. All writes are outside transactions: a lost one costs only time. [`Storage`](crate::Storage) states errors and cancel
/// safety.
#[async_trait]
pub trait HeldMessages {
    /// Renews the node's lease and adds these existing partners to those connected to it. Returns true if the store knew any
    /// partner there before. If not, the store has perhaps forgotten the node, and the caller names all connected partners again.
    async fn renew_held_lease(&self, node: Uuid, until: Timestamp, partners: &[PartnerId]) -> Result<bool>;
    /// Removes partners that are no longer connected to the node.
    async fn end_held_lease(&self, node: Uuid, partners: &[PartnerId]) -> Result<()>;
    /// True if the partner is connected to a node whose lease lasts at that time.
    async fn has_held_lease(&self, partner: PartnerId, at: Timestamp) -> Result<bool>;
    /// Held messages of the partner, oldest first.
    async fn held_messages_of(&self, partner: PartnerId, limit: usize) -> Result<Vec<MessageId>>;
    /// Held messages of partners without a lease at that time, each partner's oldest first.
    async fn held_without_lease(&self, at: Timestamp, limit: usize) -> Result<Vec<MessageId>>;
}
