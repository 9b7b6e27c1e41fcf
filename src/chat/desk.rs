use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use quick_cache::sync::Cache;
use storage::{ConversationId, Fact, Storage, SupportSession};

use super::Observer;

/// How many conversations are remembered.
const REMEMBERED: usize = 50_000;

/// Which conversations are support sessions, and of whom, so that telling a message costs no query.
pub(super) struct Desk {
    storage: Arc<dyn Storage>,
    remembered: Cache<ConversationId, Option<Arc<SupportSession>>>,
    /// Counts what was forgotten, so that a read that was overtaken by it is not remembered.
    generation: AtomicU64,
}

impl Desk {
    pub(super) fn new(storage: Arc<dyn Storage>) -> Self {
        Self { storage, remembered: Cache::new(REMEMBERED), generation: AtomicU64::new(0) }
    }

    pub(super) async fn session(&self, id: ConversationId) -> storage::Result<Option<Arc<SupportSession>>> {
        if let Some(session) = self.remembered.get(&id) {
            return Ok(session);
        }
        let generation = self.generation.load(Ordering::Acquire);
        let session = self.storage.support_session(id).await?.map(Arc::new);
        self.remembered.insert(id, session.clone());
        if self.generation.load(Ordering::Acquire) != generation {
            self.remembered.remove(&id);
        }
        Ok(session)
    }

    /// Forgets what has changed, before anybody is told of it.
    pub(super) fn observer(self: &Arc<Self>) -> Observer {
        let desk = Arc::clone(self);
        Box::new(move |event| {
            if let Fact::SupportChanged { session, .. } = &event.fact {
                desk.generation.fetch_add(1, Ordering::AcqRel);
                desk.remembered.remove(&session.conversation);
            }
        })
    }
}
