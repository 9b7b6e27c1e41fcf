//! Search in the messages of a partner's conversations, by walks from newer ones to older ones.

use async_trait::async_trait;

use crate::{ConversationId, MessageId, PartnerId, Result, Seen};

/// The message with which a walk begins. The greater one is the newer one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SearchPoint {
    pub message: MessageId,
    pub conversation: ConversationId,
    pub seq: i64,
}

/// A walk towards older messages of one conversation, and what is sought there.
#[derive(Clone, Copy, Debug)]
pub struct Walk<'a> {
    /// How many messages to look at.
    pub messages: usize,
    /// A match contains it, whatever the case. Not empty, so that deleted messages match nothing.
    pub query: &'a str,
    /// The most matches to give.
    pub limit: usize,
    /// No match is given after those that have so many bytes together, as [`crate::Message::bytes`] has it.
    pub bytes: usize,
}

/// The outcome of a walk.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Walked {
    /// Newest first; none is left out between two of them.
    pub matches: Vec<Seen>,
    /// How many messages were looked at.
    pub messages: usize,
    /// The size of their texts.
    pub bytes: usize,
    /// The next message, with which another walk goes on.
    pub next: Option<SearchPoint>,
}

#[async_trait]
pub trait Search {
    /// The newest message of each of the partner's conversations, or of `only` that one: with an id smaller than `before`, if
    /// that is given. Conversations without one, or with none that the partner may see, are absent. In no particular order.
    async fn newest_messages(
        &self,
        partner: PartnerId,
        only: Option<ConversationId>,
        before: Option<MessageId>,
    ) -> Result<Vec<SearchPoint>>;
    /// Searches messages of a conversation, without what is hidden from `reader`. For who is no participant there are none.
    async fn search_messages(&self, from: SearchPoint, reader: PartnerId, walk: Walk<'_>) -> Result<Walked>;
}
