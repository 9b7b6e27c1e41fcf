//! Caches of identifiers: uuids of conversations, and ids of messages by conversation and `seq`.

use std::sync::Arc;

use storage::{Conversation, ConversationId, MessageId, Participant};
use uuid::Uuid;

use super::{Chat, Error, ResourceKind, Result, cache::StoreCache};
use crate::{auth::Caller, events::Observer};

/// Capacity of each conversation cache, in entries.
const CONVERSATION_CACHE: usize = 50_000;
/// Capacity of the message cache, in entries.
const MESSAGE_CACHE: usize = 10_000;

/// Caches of identifiers. Entries never change, and are invalidated only when the store as a whole changes.
pub(super) struct IdCache {
    ids: StoreCache<Uuid, ConversationId>,
    uuids: StoreCache<ConversationId, Uuid>,
    messages: StoreCache<(ConversationId, i64), MessageId>,
}

impl Default for IdCache {
    fn default() -> Self {
        Self {
            ids: StoreCache::new(CONVERSATION_CACHE),
            uuids: StoreCache::new(CONVERSATION_CACHE),
            messages: StoreCache::new(MESSAGE_CACHE),
        }
    }
}

impl IdCache {
    pub(super) fn observer(self: &Arc<Self>) -> Observer {
        let addresses = Arc::clone(self);
        Box::new(move |event, _| {
            if event.fact.is_about_the_store() {
                addresses.ids.invalidate_all();
                addresses.uuids.invalidate_all();
                addresses.messages.invalidate_all();
            }
        })
    }
}

impl Chat {
    /// Finds the conversation of the caller with this uuid, with the caller as its participant.
    ///
    /// # Errors
    /// `NotFound` if there is none, `Forbidden` unless the caller is a participant.
    pub async fn conversation_by_uuid(&self, caller: &Caller, uuid: Uuid) -> Result<(Conversation, Participant)> {
        let id = self.conversation_id(uuid).await?;
        self.conversation(caller, id).await
    }

    /// Finds the id of the conversation with this uuid, without a check of access.
    ///
    /// # Errors
    /// `NotFound` if there is none.
    pub(super) async fn conversation_id(&self, uuid: Uuid) -> Result<ConversationId> {
        let IdCache { ids, uuids, .. } = &*self.0.ids;
        let read = async {
            let generation = uuids.generation();
            let found = self.0.storage.conversations_by_uuid(&[uuid]).await?.pop();
            Ok(found.map(|(id, _)| {
                uuids.put(id, uuid, generation);
                id
            }))
        };
        ids.get(uuid, read).await?.ok_or(Error::NotFound(ResourceKind::Conversation))
    }

    /// Finds the uuid of a conversation. Does not check access: the caller must know the conversation.
    ///
    /// # Errors
    /// `NotFound` if there is none.
    pub async fn conversation_uuid(&self, id: ConversationId) -> Result<Uuid> {
        let IdCache { ids, uuids, .. } = &*self.0.ids;
        let read = async {
            let generation = ids.generation();
            let found = self.0.storage.conversation_uuids(&[id]).await?.pop();
            Ok(found.map(|(_, uuid)| {
                ids.put(uuid, id, generation);
                uuid
            }))
        };
        uuids.get(id, read).await?.ok_or(Error::NotFound(ResourceKind::Conversation))
    }

    /// Finds the id of the message with this `seq` in a conversation. Does not check access: the caller must know the
    /// conversation.
    ///
    /// # Errors
    /// `NotFound` if there is none.
    pub async fn message_id_at(&self, of: ConversationId, seq: i64) -> Result<MessageId> {
        let read = async { Ok(self.messages_at(&[(of, seq)]).await?.pop().map(|message| message.id)) };
        self.0.ids.messages.get((of, seq), read).await?.ok_or(Error::NotFound(ResourceKind::Message))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::events::fixtures::{ANN, ROOM, erased, store_wide_events};

    #[tokio::test]
    async fn names_are_kept_as_long_as_the_store_is_the_same() {
        let addresses = Arc::<IdCache>::default();
        let known = async || {
            let id = addresses.ids.get(Uuid::nil(), async { Ok(None) }).await.expect("nothing can fail");
            let uuid = addresses.uuids.get(ROOM, async { Ok(None) }).await.expect("nothing can fail");
            let message = addresses.messages.get((ROOM, 1), async { Ok(None) }).await.expect("nothing can fail");
            [id.is_some(), uuid.is_some(), message.is_some()]
        };
        for event in store_wide_events() {
            addresses.ids.put(Uuid::nil(), ROOM, addresses.ids.generation());
            addresses.uuids.put(ROOM, Uuid::nil(), addresses.uuids.generation());
            addresses.messages.put((ROOM, 1), MessageId(1), addresses.messages.generation());
            addresses.observer()(&erased(ANN), &[]);
            assert_eq!(known().await, [true; 3]);
            addresses.observer()(&event, &[]);
            assert_eq!(known().await, [false; 3], "{event:?}");
        }
    }
}
