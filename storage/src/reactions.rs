//! Reactions to messages, for example with an emoji.

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::{Conversation, Locked, MessageId, PartnerId, Result, Timestamp};

/// How often a message got the same reaction.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReactionCount {
    pub content: String,
    pub count: i64,
    /// Whether the reader is among those who reacted so.
    pub by_reader: bool,
}

#[async_trait]
pub trait Reactions {
    /// The reactions to a message, in the order in which each was first given.
    async fn reactions(&self, of: MessageId, reader: PartnerId) -> Result<Vec<ReactionCount>>;
}

#[async_trait]
pub trait WriteReactions {
    /// The different contents of the reactions to a message of the conversation, in no particular order.
    async fn reaction_contents(&mut self, of: &Locked<Conversation>, message: MessageId) -> Result<Vec<String>>;
    /// Adds a reaction to a message of the conversation; gives whether there was such a message to which the partner had not
    /// reacted so before.
    async fn insert_reaction(
        &mut self,
        of: &Locked<Conversation>,
        message: MessageId,
        partner: PartnerId,
        content: &str,
        at: Timestamp,
    ) -> Result<bool>;
    /// Removes a reaction; gives whether there was one.
    async fn delete_reaction(
        &mut self,
        of: &Locked<Conversation>,
        message: MessageId,
        partner: PartnerId,
        content: &str,
    ) -> Result<bool>;
}
