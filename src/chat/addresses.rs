use quick_cache::sync::Cache;
use storage::{Conversation, ConversationId, Participant};
use uuid::Uuid;

use super::{Chat, Error, Result, Thing};
use crate::auth::Caller;

/// How many conversations' uuids are remembered.
const REMEMBERED: usize = 50_000;

/// Which uuid is whose. Neither id nor uuid ever changes, so what is remembered stays true.
pub(super) struct Addresses {
    ids: Cache<Uuid, ConversationId>,
    uuids: Cache<ConversationId, Uuid>,
}

impl Default for Addresses {
    fn default() -> Self {
        Self { ids: Cache::new(REMEMBERED), uuids: Cache::new(REMEMBERED) }
    }
}

impl Addresses {
    fn remember(&self, id: ConversationId, uuid: Uuid) {
        self.ids.insert(uuid, id);
        self.uuids.insert(id, uuid);
    }
}

impl Chat {
    /// The conversation with this uuid, if the caller is in it, and the caller's place there.
    pub async fn conversation_by_uuid(&self, caller: &Caller, uuid: Uuid) -> Result<(Conversation, Participant)> {
        let id = self.conversation_id(uuid).await?;
        self.conversation(caller, id).await
    }

    /// Which conversation has this uuid, whoever asks.
    pub(super) async fn conversation_id(&self, uuid: Uuid) -> Result<ConversationId> {
        if let Some(id) = self.0.addresses.ids.get(&uuid) {
            return Ok(id);
        }
        let found = self.visit("conversations_by_uuid", self.0.storage.conversations_by_uuid(&[uuid])).await?;
        let (id, _) = found.first().copied().ok_or(Error::NotFound(Thing::Conversation))?;
        self.0.addresses.remember(id, uuid);
        Ok(id)
    }

    /// The uuid of a conversation of which the caller has heard, and so may know it.
    pub async fn conversation_uuid(&self, id: ConversationId) -> Result<Uuid> {
        if let Some(uuid) = self.0.addresses.uuids.get(&id) {
            return Ok(uuid);
        }
        let found = self.visit("conversation_uuids", self.0.storage.conversation_uuids(&[id])).await?;
        let (_, uuid) = found.first().copied().ok_or(Error::NotFound(Thing::Conversation))?;
        self.0.addresses.remember(id, uuid);
        Ok(uuid)
    }
}
