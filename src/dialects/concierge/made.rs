use std::collections::VecDeque;

use storage::{ConversationId, MessageId, SupportSession};

use crate::dialects::socket::Frame;

/// How many things are remembered. A client cannot make nearly as much happen before it is told of the first.
const MOST: usize = 256;

/// What this connection itself has made happen, and what it is yet to be told of.
#[derive(Default)]
pub(super) struct Made(VecDeque<Thing>);

/// One thing, by what its event will say.
enum Thing {
    /// Answered when its turn comes among all messages.
    Sent {
        message: MessageId,
        of: ConversationId,
        answer: Frame,
    },
    /// Sent again, and answered at once. Its event, if it is yet to come, is of the same message.
    Repeated(MessageId),
    Unsent(MessageId),
    /// The message with this `seq` was marked as seen.
    Seen(ConversationId, i64),
    Changed(SupportSession),
}

impl Made {
    pub(super) fn sent(&mut self, message: MessageId, of: ConversationId, answer: Frame) {
        self.remember(Thing::Sent { message, of, answer });
    }

    pub(super) fn repeated(&mut self, message: MessageId) {
        self.remember(Thing::Repeated(message));
    }

    pub(super) fn unsent(&mut self, message: MessageId) {
        self.remember(Thing::Unsent(message));
    }

    pub(super) fn seen(&mut self, of: ConversationId, seq: i64) {
        self.remember(Thing::Seen(of, seq));
    }

    pub(super) fn changed(&mut self, session: SupportSession) {
        self.remember(Thing::Changed(session));
    }

    fn remember(&mut self, thing: Thing) {
        self.0.push_back(thing);
        if self.0.len() > MOST {
            // Unsending again has no event, so that what was remembered of it stays.
            self.take(|thing| !matches!(thing, Thing::Sent { .. }));
        }
    }

    /// The answer that has waited for this message.
    pub(super) fn take_sent(&mut self, id: MessageId) -> Option<Frame> {
        match self.take(|thing| matches!(thing, Thing::Sent { message, .. } if *message == id))? {
            Thing::Sent { answer, .. } => Some(answer),
            Thing::Repeated(_) | Thing::Unsent(_) | Thing::Seen(..) | Thing::Changed(_) => None,
        }
    }

    /// Whether this connection has sent that message again.
    pub(super) fn take_repeated(&mut self, id: MessageId) -> bool {
        self.take(|thing| matches!(thing, Thing::Repeated(message) if *message == id)).is_some()
    }

    /// Whether this connection has unsent that message.
    pub(super) fn take_unsent(&mut self, id: MessageId) -> bool {
        self.take(|thing| matches!(thing, Thing::Unsent(message) if *message == id)).is_some()
    }

    /// Whether this connection has marked the message with this `seq` as seen.
    pub(super) fn take_seen(&mut self, conversation: ConversationId, seq: i64) -> bool {
        self.take(|thing| matches!(thing, Thing::Seen(of, at) if (*of, *at) == (conversation, seq))).is_some()
    }

    /// Whether this connection has changed the session to this.
    pub(super) fn take_changed(&mut self, session: &SupportSession) -> bool {
        self.take(|thing| matches!(thing, Thing::Changed(changed) if changed == session)).is_some()
    }

    /// The answers that have waited for messages of a conversation, of which nothing more will be told.
    pub(super) fn take_sent_in(&mut self, conversation: ConversationId) -> Vec<Frame> {
        let mut answers = Vec::new();
        self.0.retain(|thing| match thing {
            Thing::Sent { of, answer, .. } if *of == conversation => {
                answers.push(answer.clone());
                false
            }
            Thing::Sent { .. } | Thing::Repeated(_) | Thing::Unsent(_) | Thing::Seen(..) | Thing::Changed(_) => true,
        });
        answers
    }

    fn take(&mut self, is_it: impl Fn(&Thing) -> bool) -> Option<Thing> {
        let place = self.0.iter().position(is_it)?;
        self.0.remove(place)
    }
}
