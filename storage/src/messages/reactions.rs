//! Reactions to messages, for example with an emoji.

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::{Conversation, Locked, MessageId, PartnerId, Result, Timestamp};

/// Number of equal reactions to one message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReactionCount {
    pub content: String,
    pub count: i64,
    /// True if the reader is one of those users.
    pub by_reader: bool,
}

/// Query of reactions. [`Storage`](crate::Storage) states errors and cancel safety.
#[async_trait]
pub trait Reactions {
    /// Reactions to a message, in the order of each content's first use.
    async fn reactions(&self, of: MessageId, reader: PartnerId) -> Result<Vec<ReactionCount>>;
}

/// Writes of reactions. [`Tx`](crate::Tx) states errors and cancel safety.
#[async_trait]
pub trait WriteReactions {
    /// Distinct contents of the reactions to a message of the conversation, in no particular order.
    async fn reaction_contents(&mut self, of: &Locked<Conversation>, message: MessageId) -> Result<Vec<String>>;
    /// Adds a reaction to a message of the conversation. Returns false if there is no such message, or the partner has the same
    /// reaction to it already.
    async fn insert_reaction(
        &mut self,
        of: &Locked<Conversation>,
        message: MessageId,
        partner: PartnerId,
        content: &str,
        at: Timestamp,
    ) -> Result<bool>;
    /// Removes a reaction. Returns false if there was none.
    async fn delete_reaction(
        &mut self,
        of: &Locked<Conversation>,
        message: MessageId,
        partner: PartnerId,
        content: &str,
    ) -> Result<bool>;
}
