//! Edits and deletions of messages, in the order of their changes, for clients that synchronise by polling.

use async_trait::async_trait;

use crate::{ConversationId, MessageId, Result, Timestamp};

/// Edited or deleted message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MessageChange {
    pub key: ChangeKey,
    /// Size, as [`crate::Message::bytes`] counts it.
    pub bytes: usize,
}

/// Sort key of a changed message within its conversation, by its last change. Serves as keyset.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ChangeKey {
    /// Newest message of the conversation at the time of the change.
    pub after: MessageId,
    /// Time of the change, by the clock of the node that made it.
    pub at: Timestamp,
    pub message: MessageId,
}

impl ChangeKey {
    /// Key before all changes made since a message was posted.
    pub fn since(message: MessageId) -> Self {
        Self { after: message, at: Timestamp::UNIX_EPOCH, message: MessageId(0) }
    }
}

/// Query of changes. [`Storage`](crate::Storage) states errors and cancel safety.
#[async_trait]
pub trait Changes {
    /// Keyset page of edited or deleted messages of a conversation, in the order of their keys, after `after`. They are known as
    /// long as the messages are, whatever the event log has forgotten.
    async fn changes(&self, of: ConversationId, after: ChangeKey, limit: usize) -> Result<Vec<MessageChange>>;
}
