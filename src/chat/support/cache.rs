//! Cache of support sessions, and the queue of changed accounts that may no longer answer them.
//! An observer of the event log invalidates it before events are delivered.

use std::{collections::HashSet, sync::Arc};

use parking_lot::Mutex;
use storage::{ConversationId, Fact, SupportSession, UserId};
use tokio::sync::Notify;

use crate::{chat::cache::StoreCache, events::Observer};

/// Capacity of the cache, in conversations.
const REMEMBERED: usize = 50_000;

/// Cached state of support sessions and of their agents.
pub(in crate::chat) struct SupportCache {
    /// Cache of support sessions by conversation, `None` for other conversations, so that delivery of a message costs no query.
    pub(in crate::chat) sessions: StoreCache<ConversationId, Option<Arc<SupportSession>>>,
    /// Accounts that have changed since the last check: an agent among them may have lost its role.
    pub(in crate::chat) changed_accounts: Mutex<HashSet<UserId>>,
    /// Notified of each changed account.
    pub(in crate::chat) accounts_changed: Notify,
}

impl Default for SupportCache {
    fn default() -> Self {
        Self { sessions: StoreCache::new(REMEMBERED), changed_accounts: Mutex::default(), accounts_changed: Notify::new() }
    }
}

impl SupportCache {
    /// Cache invalidation, before an event is delivered.
    pub(in crate::chat) fn observer(self: &Arc<Self>) -> Observer {
        let desk = Arc::clone(self);
        Box::new(move |event, _| match &event.fact {
            Fact::SupportChanged { session, .. } => desk.sessions.invalidate(&session.conversation),
            Fact::UserChanged { user } => {
                desk.changed_accounts.lock().insert(*user);
                desk.accounts_changed.notify_one();
            }
            Fact::UserErased { user, .. } => desk.sessions.invalidate_where(|_, session| names(session.as_deref(), *user)),
            fact if fact.is_about_the_store() => desk.sessions.invalidate_all(),
            _ => {}
        })
    }
}

fn names(session: Option<&SupportSession>, user: UserId) -> bool {
    session.is_some_and(|session| session.initiator.user == user || session.joiner.is_some_and(|joiner| joiner.user == user))
}

#[cfg(test)]
mod tests {
    use storage::{PartnerId, SupportSide};

    use super::*;
    use crate::events::fixtures::{ANN, BEN, ROOM, erased, store_wide_events};

    const NONE: ConversationId = ConversationId(2);

    fn side((user, partner): (UserId, PartnerId)) -> SupportSide {
        SupportSide { partner, user, pinged_at: chrono::DateTime::UNIX_EPOCH }
    }

    #[tokio::test]
    async fn what_is_stale_is_forgotten() {
        let joined = SupportSession {
            conversation: ROOM,
            uuid: uuid::Uuid::nil(),
            initiator: side(ANN),
            joiner: Some(side(BEN)),
            closed_at: None,
        };
        let known_after = async |event: &storage::Event| {
            let desk = Arc::<SupportCache>::default();
            desk.sessions.put(ROOM, Some(Arc::new(joined)), desk.sessions.generation());
            desk.sessions.put(NONE, None, desk.sessions.generation());
            desk.observer()(event, &[]);
            let mut known = Vec::new();
            for id in [ROOM, NONE] {
                known.push(desk.sessions.get(id, async { Ok(None) }).await.expect("nothing can fail").is_some());
            }
            known
        };
        assert_eq!(known_after(&erased((UserId(99), PartnerId(99)))).await, [true, true]);
        assert_eq!(known_after(&erased(ANN)).await, [false, true]);
        assert_eq!(known_after(&erased(BEN)).await, [false, true]);
        for event in store_wide_events() {
            assert_eq!(known_after(&event).await, [false, false], "{event:?}");
        }
    }
}
