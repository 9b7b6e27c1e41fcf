//! Lookups of conversations by uuid, participants, group, document or unique key.

use async_trait::async_trait;
use uuid::Uuid;

use crate::{ConversationId, Document, GroupId, PartnerId, Result};

/// Lookups of conversations. [`Storage`](crate::Storage) states errors and cancel safety.
#[async_trait]
pub trait Directory {
    /// Ids of the conversations with these uuids, in no particular order; unknown ones are absent.
    async fn conversations_by_uuid(&self, uuids: &[Uuid]) -> Result<Vec<(ConversationId, Uuid)>>;
    /// Uuids of these conversations, in no particular order; unknown ones are absent.
    async fn conversation_uuids(&self, ids: &[ConversationId]) -> Result<Vec<(ConversationId, Uuid)>>;
    /// Finds the oldest direct conversation between exactly these partners (or of one partner with itself) that is about exactly
    /// this document, or about none.
    async fn direct_conversation(
        &self,
        partners: (PartnerId, PartnerId),
        about: Option<&Document>,
    ) -> Result<Option<ConversationId>>;
    /// All direct conversations between exactly these partners, about any document or none; by rising id.
    async fn direct_conversations(&self, partners: (PartnerId, PartnerId)) -> Result<Vec<ConversationId>>;
    /// Finds the oldest conversation of the group that is about exactly this document, or about none.
    async fn group_conversation(&self, group: GroupId, about: Option<&Document>) -> Result<Option<ConversationId>>;
}

/// Writes of unique keys. [`Tx`](crate::Tx) states errors and cancel safety.
#[async_trait]
pub trait WriteDirectory {
    /// Sets the unique key of a conversation, which must exist, in place of its earlier one; `None` frees it.
    ///
    /// # Errors
    /// `Conflict("conversations_key")` if another conversation has the key. Waits for a concurrent transaction that is taking it.
    async fn set_key(&mut self, of: ConversationId, key: Option<&str>) -> Result<()>;
}
