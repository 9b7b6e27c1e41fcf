//! Finding conversations by what they are instead of by their ids.

use async_trait::async_trait;
use uuid::Uuid;

use crate::{ConversationId, Document, GroupId, PartnerId, Result};

#[async_trait]
pub trait Directory {
    /// The ids of the conversations with these uuids, in no particular order; unknown ones are absent.
    async fn conversations_by_uuid(&self, uuids: &[Uuid]) -> Result<Vec<(ConversationId, Uuid)>>;
    /// The uuids of these conversations, in no particular order; unknown ones are absent.
    async fn conversation_uuids(&self, ids: &[ConversationId]) -> Result<Vec<(ConversationId, Uuid)>>;
    /// The oldest direct conversation that has these partners, who may be one and the same, and nobody else, and is about
    /// this document alone, or about none.
    async fn direct_conversation(
        &self,
        partners: (PartnerId, PartnerId),
        about: Option<&Document>,
    ) -> Result<Option<ConversationId>>;
    /// All direct conversations that have these partners and nobody else, whatever they are about; by rising id.
    async fn direct_conversations(&self, partners: (PartnerId, PartnerId)) -> Result<Vec<ConversationId>>;
    /// The oldest conversation of the group that is about this document alone, or about none.
    async fn group_conversation(&self, group: GroupId, about: Option<&Document>) -> Result<Option<ConversationId>>;
}

#[async_trait]
pub trait WriteDirectory {
    /// Gives the conversation, which must exist, a key that no other has, in place of the one it had; `None` frees it.
    /// Fails with `Conflict("conversations_key")` if another has it, after waiting for whoever is just taking it.
    async fn set_key(&mut self, of: ConversationId, key: Option<&str>) -> Result<()>;
}
