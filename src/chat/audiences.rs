use std::sync::Arc;

use parking_lot::Mutex;
use storage::{ConversationId, Member, PartnerId, Position, Storage};

use crate::weighed::{self, Weighed, WeighedCache};

/// Capacity of the cache: about so many conversations, in so many bytes.
const REMEMBERED: usize = 50_000;
const REMEMBERED_BYTES: u64 = 64 * 1024 * 1024;

/// The members of a conversation.
#[derive(Clone, Debug)]
pub(super) struct Members {
    /// In rising order.
    pub(super) partners: Arc<[PartnerId]>,
    /// Those of them from whom older messages are hidden.
    newcomers: Arc<[Member]>,
}

impl Members {
    fn new(members: &[Member]) -> Self {
        let newcomers = members.iter().filter(|member| member.visible_from_seq > 0).copied();
        Self { partners: members.iter().map(|member| member.partner).collect(), newcomers: newcomers.collect() }
    }

    fn bytes(&self) -> usize {
        size_of_val(&*self.partners) + size_of_val(&*self.newcomers)
    }

    /// The `seq` up to which messages are hidden from a member; 0 if none are.
    pub(super) fn hidden_from(&self, partner: PartnerId) -> i64 {
        self.newcomers.iter().find(|member| member.partner == partner).map_or(0, |member| member.visible_from_seq)
    }

    /// Those whom a fact concerns that is about the message with this `seq`, or about none; in rising order.
    pub(super) fn concerned(&self, seq: Option<i64>) -> Arc<[PartnerId]> {
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

/// A cache of the members of conversations as far as subscribers have been told, so that delivery costs no query. It
/// follows the event log, and so says of every event what the log itself says of it.
pub(super) struct Audiences {
    storage: Arc<dyn Storage>,
    remembered: WeighedCache<ConversationId, Members>,
    /// The newest event by which anybody came or went. Cache entries are as of then; a read from before is not cached.
    changed: Mutex<Position>,
}

impl Audiences {
    /// Begins where subscribers have been told everything up to `head`.
    pub(super) fn new(storage: Arc<dyn Storage>, head: Position) -> Self {
        Self { storage, remembered: weighed::cache(REMEMBERED, REMEMBERED_BYTES), changed: Mutex::new(head) }
    }

    /// The members of a conversation.
    pub(super) async fn of(&self, conversation: ConversationId) -> storage::Result<Members> {
        if let Some(members) = self.remembered.get(&conversation) {
            return Ok(members.value);
        }
        let changed = *self.changed.lock();
        let members = Members::new(&self.storage.members_at(conversation, changed).await?);
        let now = self.changed.lock();
        if *now == changed {
            self.remembered.insert(conversation, Weighed::new(members.clone(), members.bytes()));
        }
        Ok(members)
    }

    /// Invalidates the whole cache: subscribers were told no more than up to `head`, or the store was changed without
    /// facts.
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
