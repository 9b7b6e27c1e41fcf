use async_trait::async_trait;

use crate::{ConversationId, MessageId, Result, Timestamp};

/// A message that was edited or deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Change {
    pub place: ChangePlace,
    /// As [`crate::Message::bytes`] has it.
    pub bytes: usize,
}

/// The place of a changed message among those of its conversation, by its last change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ChangePlace {
    /// The newest message at that time.
    pub after: MessageId,
    /// By the clock of the node that made it.
    pub at: Timestamp,
    pub message: MessageId,
}

impl ChangePlace {
    /// The place before the changes since a message was posted.
    pub fn since(message: MessageId) -> Self {
        Self { after: message, at: Timestamp::UNIX_EPOCH, message: MessageId(0) }
    }
}

#[async_trait]
pub trait Changes {
    /// The messages of a conversation that were edited or deleted, in the order of their places: those after one, at most `limit`.
    /// They are known as long as the messages are, whatever the log has forgotten.
    async fn changes(&self, of: ConversationId, after: ChangePlace, limit: usize) -> Result<Vec<Change>>;
}
