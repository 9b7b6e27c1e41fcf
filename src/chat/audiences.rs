use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use quick_cache::sync::Cache;
use storage::{ConversationId, PartnerId, Storage};

/// How many conversations' participants are remembered.
const REMEMBERED: usize = 50_000;

/// Who is in which conversation, so that telling them costs no query.
pub(super) struct Audiences {
    storage: Arc<dyn Storage>,
    remembered: Cache<ConversationId, Arc<[PartnerId]>>,
    /// Counts what was forgotten, so that a read that was overtaken by it is not remembered.
    generation: AtomicU64,
}

impl Audiences {
    pub(super) fn new(storage: Arc<dyn Storage>) -> Self {
        Self { storage, remembered: Cache::new(REMEMBERED), generation: AtomicU64::new(0) }
    }

    /// The participants of a conversation, in rising order.
    pub(super) async fn of(&self, conversation: ConversationId) -> storage::Result<Arc<[PartnerId]>> {
        if let Some(participants) = self.remembered.get(&conversation) {
            return Ok(participants);
        }
        let generation = self.generation.load(Ordering::Acquire);
        let participants: Arc<[PartnerId]> = self.storage.participant_ids(conversation).await?.into();
        self.remembered.insert(conversation, Arc::clone(&participants));
        if self.generation.load(Ordering::Acquire) != generation {
            self.remembered.remove(&conversation);
        }
        Ok(participants)
    }

    /// Must be called for whoever joins or leaves, before anybody is told of it.
    pub(super) fn forget(&self, conversation: ConversationId) {
        self.generation.fetch_add(1, Ordering::AcqRel);
        self.remembered.remove(&conversation);
    }
}
