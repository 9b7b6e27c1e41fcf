//! In-memory held-message leases.

use async_trait::async_trait;
use imbl::OrdSet;
use uuid::Uuid;

use crate::{
    HeldMessages, Message, MessageId, PartnerId, Result, Timestamp,
    memory::{Memory, State},
};

#[derive(Clone, Default)]
pub(crate) struct Table {
    there: OrdSet<(PartnerId, Uuid)>,
    /// Held messages, by author.
    held: OrdSet<(PartnerId, MessageId)>,
}

impl Table {
    /// Drops the leases of these nodes.
    pub(crate) fn forget(&mut self, nodes: &[Uuid]) {
        self.there = self.there.iter().filter(|(_, node)| !nodes.contains(node)).copied().collect();
    }

    /// Updates the index of held messages after a message was stored or changed.
    pub(crate) fn update(&mut self, message: &Message) {
        let held = (message.author.partner, message.id);
        if message.held && message.deleted_at.is_none() {
            self.held.insert(held);
        } else {
            self.held.remove(&held);
        }
    }
}

impl State {
    fn is_attending(&self, partner: PartnerId, at: Timestamp) -> bool {
        let there = self.attendances.there.range((partner, Uuid::nil())..).take_while(|(whose, _)| *whose == partner);
        there.into_iter().any(|(_, node)| self.nodes.is_alive(node, at))
    }
}

#[async_trait]
impl HeldMessages for Memory {
    async fn renew_held_lease(&self, node: Uuid, until: Timestamp, partners: &[PartnerId]) -> Result<bool> {
        let mut tx = self.draft().await?;
        for partner in partners {
            tx.draft.users.person(*partner)?;
        }
        tx.draft.nodes.prolong(node, until);
        let there = &mut tx.draft.attendances.there;
        let knows_somebody = there.iter().any(|(_, at)| *at == node);
        there.extend(partners.iter().map(|partner| (*partner, node)));
        tx.publish();
        Ok(knows_somebody)
    }

    async fn end_held_lease(&self, node: Uuid, partners: &[PartnerId]) -> Result<()> {
        let mut tx = self.draft().await?;
        for partner in partners {
            tx.draft.attendances.there.remove(&(*partner, node));
        }
        tx.publish();
        Ok(())
    }

    async fn has_held_lease(&self, partner: PartnerId, at: Timestamp) -> Result<bool> {
        Ok(self.snapshot()?.is_attending(partner, at))
    }

    async fn held_messages_of(&self, partner: PartnerId, limit: usize) -> Result<Vec<MessageId>> {
        let state = self.snapshot()?;
        let held = state.attendances.held.range((partner, MessageId(i64::MIN))..);
        Ok(held.take_while(|(whose, _)| *whose == partner).take(limit).map(|(_, message)| *message).collect())
    }

    async fn held_without_lease(&self, at: Timestamp, limit: usize) -> Result<Vec<MessageId>> {
        let state = self.snapshot()?;
        let held = state.attendances.held.iter().filter(|(partner, _)| !state.is_attending(*partner, at));
        Ok(held.take(limit).map(|(_, message)| *message).collect())
    }
}
