//! In-memory index of edited and deleted messages, by their last change.

use std::ops::Bound::{Excluded, Unbounded};

use async_trait::async_trait;

use crate::{
    ChangeKey, Changes, ConversationId, Message, MessageChange, MessageId, Result, Timestamp,
    memory::{Memory, conversations::Row},
};

/// Time of a message's last change; `None` if it was not changed.
fn changed_at(message: &Message) -> Option<Timestamp> {
    message.edited_at.max(message.deleted_at)
}

impl Row {
    /// Updates the index after a message may have changed.
    pub(crate) fn note_change(&mut self, before: &Message, now: &Message) {
        if (before.edited_at, before.deleted_at) == (now.edited_at, now.deleted_at) {
            return;
        }
        let Some(at) = changed_at(now) else { return };
        if let Some(known) = self.changed.remove(&now.id) {
            self.changes.remove(&known);
        }
        let after = self.conversation.last_message.unwrap_or(MessageId(0));
        let place = ChangeKey { after, at, message: now.id };
        self.changed.insert(now.id, place);
        self.changes.insert(place, now.seq);
    }
}

#[async_trait]
impl Changes for Memory {
    async fn changes(&self, of: ConversationId, after: ChangeKey, limit: usize) -> Result<Vec<MessageChange>> {
        let state = self.snapshot()?;
        let Some(row) = state.conversations.get(of) else { return Ok(Vec::new()) };
        let bytes = |seq| row.message(seq).map_or(0, Message::bytes);
        let change = |(place, seq): (&ChangeKey, &i64)| MessageChange { key: *place, bytes: bytes(*seq) };
        Ok(row.changes.range((Excluded(after), Unbounded)).take(limit).map(change).collect())
    }
}
