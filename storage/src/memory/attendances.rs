use async_trait::async_trait;
use imbl::{OrdMap, OrdSet};
use uuid::Uuid;

use super::Memory;
use crate::{Attendances, Message, MessageId, PartnerId, Result, Timestamp};

#[derive(Clone, Default)]
pub(super) struct Table {
    /// Until when each node counts.
    nodes: OrdMap<Uuid, Timestamp>,
    there: OrdSet<(PartnerId, Uuid)>,
    /// What is held back, by its author.
    held: OrdSet<(PartnerId, MessageId)>,
}

impl Table {
    fn is_attending(&self, partner: PartnerId, at: Timestamp) -> bool {
        let there = self.there.range((partner, Uuid::nil())..).take_while(|(whose, _)| *whose == partner);
        there.into_iter().any(|(_, node)| self.nodes.get(node).is_some_and(|until| *until >= at))
    }

    /// Follows a message that was stored or changed.
    pub(super) fn follow(&mut self, message: &Message) {
        let held = (message.author.partner, message.id);
        if message.held && message.deleted_at.is_none() {
            self.held.insert(held);
        } else {
            self.held.remove(&held);
        }
    }
}

#[async_trait]
impl Attendances for Memory {
    async fn attend(&self, node: Uuid, until: Timestamp, partners: &[PartnerId]) -> Result<bool> {
        let mut tx = self.draft().await?;
        for partner in partners {
            tx.draft.users.person(*partner)?;
        }
        let table = &mut tx.draft.attendances;
        let known = table.nodes.get(&node).copied();
        table.nodes.insert(node, known.map_or(until, |known| known.max(until)));
        table.there.extend(partners.iter().map(|partner| (*partner, node)));
        tx.publish();
        Ok(known.is_some())
    }

    async fn depart(&self, node: Uuid, partners: &[PartnerId]) -> Result<()> {
        let mut tx = self.draft().await?;
        for partner in partners {
            tx.draft.attendances.there.remove(&(*partner, node));
        }
        tx.publish();
        Ok(())
    }

    async fn is_attending(&self, partner: PartnerId, at: Timestamp) -> Result<bool> {
        Ok(self.snapshot()?.attendances.is_attending(partner, at))
    }

    async fn held_by(&self, partner: PartnerId, limit: usize) -> Result<Vec<MessageId>> {
        let state = self.snapshot()?;
        let held = state.attendances.held.range((partner, MessageId(i64::MIN))..);
        Ok(held.take_while(|(whose, _)| *whose == partner).take(limit).map(|(_, message)| *message).collect())
    }

    async fn held_by_nobody(&self, at: Timestamp, limit: usize) -> Result<Vec<MessageId>> {
        let state = self.snapshot()?;
        let table = &state.attendances;
        let held = table.held.iter().filter(|(partner, _)| !table.is_attending(*partner, at));
        Ok(held.take(limit).map(|(_, message)| *message).collect())
    }

    async fn forget_nodes(&self, before: Timestamp, limit: usize) -> Result<u64> {
        let mut tx = self.draft().await?;
        let table = &mut tx.draft.attendances;
        let gone: Vec<_> = table.nodes.iter().filter(|(_, until)| **until < before).map(|(node, _)| *node).take(limit).collect();
        for node in &gone {
            table.nodes.remove(node);
        }
        table.there = table.there.iter().filter(|(_, node)| !gone.contains(node)).copied().collect();
        tx.publish();
        Ok(gone.len() as u64)
    }
}
