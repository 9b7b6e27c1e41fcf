//! Who can show what it holds back.

use async_trait::async_trait;
use uuid::Uuid;

use crate::{MessageId, PartnerId, Result, Timestamp};

/// On which nodes partners are who can show the messages that they hold back. Each node says until when it counts; what one
/// has said that dies runs out. All of it is written outside transactions: whoever is lost sight of has nothing to lose but
/// time.
#[async_trait]
pub trait Attendances {
    /// Notes that a node counts until then at least, and that these partners, who must exist, are there beside those who
    /// are already. Gives whether the store knew of anybody there: if not, it has perhaps forgotten the node meanwhile, and
    /// all who are there are to be named.
    async fn attend(&self, node: Uuid, until: Timestamp, partners: &[PartnerId]) -> Result<bool>;
    /// Notes that these partners are at the node no longer.
    async fn depart(&self, node: Uuid, partners: &[PartnerId]) -> Result<()>;
    /// Whether the partner is at any node that counts at that time.
    async fn is_attending(&self, partner: PartnerId, at: Timestamp) -> Result<bool>;
    /// The partner's messages that are held back, oldest first.
    async fn held_by(&self, partner: PartnerId, limit: usize) -> Result<Vec<MessageId>>;
    /// Messages that are held back by partners who are at no node that counts at that time, each partner's oldest first.
    async fn held_by_nobody(&self, at: Timestamp, limit: usize) -> Result<Vec<MessageId>>;
}
