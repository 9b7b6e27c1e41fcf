//! Read positions of participants, which move forward only.

use async_trait::async_trait;

use crate::{ConversationId, PartnerId, Result};

/// Effect of a move of a read position.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReadAdvance {
    /// Number of messages by others that have turned from unread to read.
    pub newly_read: i64,
    /// True if the move covers messages by others that the participant had not read itself before. Messages older than its
    /// membership count too, though they are never unread.
    pub has_seen: bool,
}

/// Writes of read positions. [`Tx`](crate::Tx) states errors and cancel safety.
#[async_trait]
pub trait WriteReadPositions: Send {
    /// Moves read positions of participants to a `seq`, at most to the newest message; never back. `to` names no participant
    /// twice. Returns the effects, in the order of `to`; `None` where nothing changed, as for a partner that is no participant.
    async fn advance_reads(&mut self, to: &[(ConversationId, PartnerId, i64)]) -> Result<Vec<Option<ReadAdvance>>>;
    /// Moves one read position as [`WriteReadPositions::advance_reads`] does.
    async fn advance_read(&mut self, of: ConversationId, partner: PartnerId, seq: i64) -> Result<ReadAdvance> {
        Ok(self.advance_reads(&[(of, partner, seq)]).await?.pop().flatten().unwrap_or_default())
    }
    /// Moves the partner's read position to the newest message in each of its conversations. Returns, for each position that
    /// moved, even if only over the partner's own messages, the number of unread messages before and the new position; by rising
    /// conversation.
    async fn advance_read_everywhere(&mut self, partner: PartnerId) -> Result<Vec<(ConversationId, i64, i64)>>;
}
