use std::sync::Arc;

use parking_lot::Mutex;
use quick_cache::sync::Cache;
use storage::{ConversationId, PartnerId, Position, Storage};

/// How many conversations' participants are remembered.
const REMEMBERED: usize = 50_000;

/// Who is in which conversation as far as listeners have been told, so that telling them costs no query. It follows the
/// log, and so says of every event what the log itself says of it.
pub(super) struct Audiences {
    storage: Arc<dyn Storage>,
    remembered: Cache<ConversationId, Arc<[PartnerId]>>,
    /// The newest event by which anybody came or went. What is remembered is as of then, and nothing is remembered that
    /// was read before.
    changed: Mutex<Position>,
}

impl Audiences {
    /// Begins where listeners have been told everything up to `head`.
    pub(super) fn new(storage: Arc<dyn Storage>, head: Position) -> Self {
        Self { storage, remembered: Cache::new(REMEMBERED), changed: Mutex::new(head) }
    }

    /// Who is in a conversation, in rising order.
    pub(super) async fn of(&self, conversation: ConversationId) -> storage::Result<Arc<[PartnerId]>> {
        if let Some(members) = self.remembered.get(&conversation) {
            return Ok(members);
        }
        let changed = *self.changed.lock();
        let members: Arc<[PartnerId]> = self.storage.members_at(conversation, changed).await?.into();
        let now = self.changed.lock();
        if *now == changed {
            self.remembered.insert(conversation, Arc::clone(&members));
        }
        Ok(members)
    }

    /// Forgets everything, since listeners were told no more than up to `head` after all.
    pub(super) fn start_over(&self, head: Position) {
        let mut changed = self.changed.lock();
        *changed = head;
        self.remembered.clear();
    }

    /// Must be called for every event by which anybody comes or goes, before anybody is told of it.
    pub(super) fn change(&self, conversation: ConversationId, at: Position) {
        let mut changed = self.changed.lock();
        *changed = at;
        self.remembered.remove(&conversation);
    }
}
