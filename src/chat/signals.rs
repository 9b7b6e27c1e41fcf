use std::sync::Arc;

use storage::{ConversationId, MessageId, PartnerId, Scope, Timestamp};

use super::{Chat, Result, Status};

/// Something worth knowing now and not later. It may be lost, and is in no log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Signal {
    /// Somebody began or ceased to type.
    Typing {
        conversation: ConversationId,
        partner: PartnerId,
        typing: bool,
        /// What im_chat's clients post to say so.
        post: Option<TypingPost>,
    },
    /// A message has reached the first of those whom it was for.
    Delivered { conversation: ConversationId, message: MessageId, author: PartnerId, at: Timestamp },
    /// Somebody came, went, or turned away.
    Presence { partner: PartnerId, status: Status },
}

/// A message that says no more than that its author is typing: it is told, and kept nowhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TypingPost {
    /// Like a message's, and no message's.
    pub id: MessageId,
    pub body: String,
    pub at: Timestamp,
}

impl Chat {
    /// Tells everybody who listens to a conversation, by itself or among all of its own.
    pub(super) async fn signal_conversation(&self, conversation: ConversationId, signal: Signal) -> Result<()> {
        let audience = self.visit("participant_ids", self.0.audiences.of(conversation)).await?;
        let partners = audience.iter().copied().map(Scope::Partner);
        self.0.hub.signal(std::iter::once(Scope::Conversation(conversation)).chain(partners), &Arc::new(signal));
        Ok(())
    }
}
