use std::sync::Arc;

use storage::{ConversationId, Fact, SupportSession};

use super::{Observer, remembered::Remembered};

/// How many conversations are remembered.
const REMEMBERED: usize = 50_000;

/// Which conversations are support sessions, and of whom, so that telling a message costs no query.
pub(super) struct Desk {
    pub(super) sessions: Remembered<ConversationId, Option<Arc<SupportSession>>>,
}

impl Default for Desk {
    fn default() -> Self {
        Self { sessions: Remembered::new(REMEMBERED) }
    }
}

impl Desk {
    /// Forgets what has changed, before anybody is told of it.
    pub(super) fn observer(self: &Arc<Self>) -> Observer {
        let desk = Arc::clone(self);
        Box::new(move |event, _| {
            if let Fact::SupportChanged { session, .. } = &event.fact {
                desk.sessions.forget(&session.conversation);
            }
        })
    }
}
