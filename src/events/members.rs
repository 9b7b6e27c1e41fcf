//! Cache of conversation members, as of the events that were delivered, so that fan-out costs no query.
//! It follows the event log, whose membership changes invalidate it.

use std::sync::Arc;

use parking_lot::Mutex;
use storage::{ConversationId, Member, PartnerId, Position, Storage};

use crate::weighed::{self, Weighed, WeighedCache};

/// Capacity of the cache, in conversations (approximately) and in bytes.
const REMEMBERED: usize = 50_000;
const REMEMBERED_BYTES: u64 = 64 * 1024 * 1024;

/// The members of a conversation.
#[derive(Clone, Debug)]
pub(crate) struct ConversationMembers {
    /// Sorted by rising id.
    pub(crate) partners: Arc<[PartnerId]>,
    /// Members from whom older messages are hidden.
    newcomers: Arc<[Member]>,
}

impl ConversationMembers {
    fn new(members: &[Member]) -> Self {
        let newcomers = members.iter().filter(|member| member.visible_from_seq > 0).copied();
        Self { partners: members.iter().map(|member| member.partner).collect(), newcomers: newcomers.collect() }
    }

    fn bytes(&self) -> usize {
        size_of_val(&*self.partners) + size_of_val(&*self.newcomers)
    }

    /// The `seq` up to which messages are hidden from a member; 0 if none are.
    pub(crate) fn hidden_from(&self, partner: PartnerId) -> i64 {
        self.newcomers.iter().find(|member| member.partner == partner).map_or(0, |member| member.visible_from_seq)
    }

    /// The audience of a fact about the message with this `seq`, or about none; sorted by rising id.
    pub(crate) fn audience(&self, seq: Option<i64>) -> Arc<[PartnerId]> {
        let Some(seq) = seq else { return Arc::clone(&self.partners) };
        let hidden: Vec<_> = self.newcomers.iter().filter(|member| seq <= member.visible_from_seq).collect();
        match hidden.as_slice() {
            [] => Arc::clone(&self.partners),
            hidden => {
                let is_hidden = |partner: &PartnerId| hidden.iter().any(|member| member.partner == *partner);
                self.partners.iter().copied().filter(|partner| !is_hidden(partner)).collect()
            }
        }
    }
}

/// Cache of the members of conversations. It follows the event log, and so gives each event the same audience as the event log
/// itself.
pub(crate) struct MembersCache {
    storage: Arc<dyn Storage>,
    cache: WeighedCache<ConversationId, ConversationMembers>,
    /// Position of the newest membership change. Cache entries are as of that position; an older read is not cached.
    changed_at: Mutex<Position>,
}

impl MembersCache {
    /// Creates a cache that is up to date with the event at `head`.
    pub(crate) fn new(storage: Arc<dyn Storage>, head: Position) -> Self {
        Self { storage, cache: weighed::cache(REMEMBERED, REMEMBERED_BYTES), changed_at: Mutex::new(head) }
    }

    /// Finds the members of a conversation, in the cache or else in the store.
    ///
    /// # Errors
    /// Those of the store.
    pub(crate) async fn of(&self, conversation: ConversationId) -> storage::Result<ConversationMembers> {
        if let Some(members) = self.cache.get(&conversation) {
            return Ok(members.value);
        }
        let changed = *self.changed_at.lock();
        let members = ConversationMembers::new(&self.storage.members_at(conversation, changed).await?);
        let now = self.changed_at.lock();
        if *now == changed {
            self.cache.insert(conversation, Weighed::new(members.clone(), members.bytes()));
        }
        Ok(members)
    }

    /// Invalidates the whole cache: events after `head` are not delivered yet, or the store was changed without facts.
    pub(crate) fn reset(&self, head: Position) {
        let mut changed = self.changed_at.lock();
        *changed = head;
        self.cache.clear();
    }

    /// Invalidates a conversation. Must be called for every membership change, before its event is delivered.
    pub(crate) fn invalidate(&self, conversation: ConversationId, at: Position) {
        let mut changed = self.changed_at.lock();
        *changed = at;
        self.cache.remove(&conversation);
    }
}
