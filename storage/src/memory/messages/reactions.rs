//! In-memory reactions.

use async_trait::async_trait;
use imbl::{OrdMap, OrdSet};

use crate::{
    Conversation, Locked, MessageId, PartnerId, ReactionCount, Reactions, Result, Timestamp, WriteMessages, WriteReactions,
    memory::{Memory, MemoryTx},
};

/// Reactions by message and content: partners with the time of their reaction.
#[derive(Clone, Default)]
pub(crate) struct Table {
    pub(crate) rows: OrdMap<MessageId, OrdMap<String, OrdMap<PartnerId, Timestamp>>>,
}

impl Table {
    /// Counts of each content, in the order of first use.
    pub(crate) fn counts(&self, of: MessageId, reader: PartnerId) -> Vec<ReactionCount> {
        let contents = self.rows.get(&of).into_iter().flatten();
        let in_order: OrdSet<_> = contents.map(|(content, by)| (by.values().min().copied(), content.clone())).collect();
        let count = |(_, content): (_, String)| {
            let by = &self.rows[&of][&content];
            ReactionCount { count: i64::try_from(by.len()).expect("a count fits"), by_reader: by.contains_key(&reader), content }
        };
        in_order.into_iter().map(count).collect()
    }

    pub(crate) fn forget(&mut self, of: MessageId) {
        self.rows.remove(&of);
    }
}

#[async_trait]
impl Reactions for Memory {
    async fn reactions(&self, of: MessageId, reader: PartnerId) -> Result<Vec<ReactionCount>> {
        Ok(self.snapshot()?.reactions.counts(of, reader))
    }
}

#[async_trait]
impl WriteReactions for MemoryTx {
    async fn reaction_contents(&mut self, _of: &Locked<Conversation>, message: MessageId) -> Result<Vec<String>> {
        Ok(self.draft.reactions.rows.get(&message).into_iter().flatten().map(|(content, _)| content.clone()).collect())
    }

    async fn insert_reaction(
        &mut self,
        of: &Locked<Conversation>,
        message: MessageId,
        partner: PartnerId,
        content: &str,
        at: Timestamp,
    ) -> Result<bool> {
        self.draft.users.person(partner)?;
        if self.message_of(of, message).await?.is_none() {
            return Ok(false);
        }
        let by = self.draft.reactions.rows.entry(message).or_default().entry(content.to_owned()).or_default();
        if by.contains_key(&partner) {
            return Ok(false);
        }
        by.insert(partner, at);
        Ok(true)
    }

    async fn delete_reaction(
        &mut self,
        _of: &Locked<Conversation>,
        message: MessageId,
        partner: PartnerId,
        content: &str,
    ) -> Result<bool> {
        let Some(contents) = self.draft.reactions.rows.get_mut(&message) else { return Ok(false) };
        let Some(by) = contents.get_mut(content) else { return Ok(false) };
        let was_there = by.remove(&partner).is_some();
        if by.is_empty() {
            contents.remove(content);
        }
        if contents.is_empty() {
            self.draft.reactions.forget(message);
        }
        Ok(was_there)
    }
}
