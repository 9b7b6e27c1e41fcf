//! In-memory node leases.

use async_trait::async_trait;
use imbl::OrdMap;
use uuid::Uuid;

use super::Memory;
use crate::{Node, Nodes, Result, Timestamp};

#[derive(Clone, Default)]
pub(super) struct Table {
    rows: OrdMap<Uuid, Node>,
}

impl Table {
    /// True if the node's lease lasts at that time.
    pub(super) fn is_alive(&self, node: &Uuid, at: Timestamp) -> bool {
        self.rows.get(node).is_some_and(|node| node.until >= at)
    }

    /// Extends the lease of a node; creates it without further data if it is missing.
    pub(super) fn prolong(&mut self, id: Uuid, until: Timestamp) {
        match self.rows.get_mut(&id) {
            Some(node) => node.until = node.until.max(until),
            None => {
                let node = Node { id, version: None, bus: None, started_at: None, position: None, until };
                self.rows.insert(id, node);
            }
        }
    }
}

#[async_trait]
impl Nodes for Memory {
    async fn renew_lease(&self, node: &Node) -> Result<()> {
        let mut tx = self.draft().await?;
        let rows = &mut tx.draft.nodes.rows;
        let (until, position) = rows.get(&node.id).map_or((node.until, None), |known| (known.until, known.position));
        rows.insert(node.id, Node { until: node.until.max(until), position: node.position.max(position), ..node.clone() });
        tx.publish();
        Ok(())
    }

    async fn end_lease(&self, node: Uuid) -> Result<()> {
        let mut tx = self.draft().await?;
        tx.draft.nodes.rows.remove(&node);
        tx.draft.attendances.forget(&[node]);
        tx.publish();
        Ok(())
    }

    async fn nodes(&self, at: Timestamp) -> Result<Vec<Node>> {
        Ok(self.snapshot()?.nodes.rows.values().filter(|node| node.until >= at).cloned().collect())
    }

    async fn forget_nodes(&self, before: Timestamp, limit: usize) -> Result<u64> {
        let mut tx = self.draft().await?;
        let rows = &mut tx.draft.nodes.rows;
        let gone: Vec<_> = rows.values().filter(|node| node.until < before).map(|node| node.id).take(limit).collect();
        for node in &gone {
            rows.remove(node);
        }
        tx.draft.attendances.forget(&gone);
        tx.publish();
        Ok(gone.len() as u64)
    }
}
