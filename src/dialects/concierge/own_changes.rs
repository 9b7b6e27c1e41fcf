//! Echo suppression: tracks the changes that a connection has caused, so that their events are not pushed back to it.

use std::collections::VecDeque;

use storage::{ConversationId, MessageId, SupportSession};

use crate::web::websocket::Frame;

/// Maximum number of tracked changes. No client can cause nearly as many before the first event arrives.
const MAX_TRACKED: usize = 256;

/// Changes caused by this connection whose events are pending.
#[derive(Default)]
pub(super) struct OwnChanges(VecDeque<OwnChange>);

/// One change, identified by the content of its event.
enum OwnChange {
    /// A new message. Its answer is sent when its event arrives, in the order of all messages.
    Sent {
        message: MessageId,
        of: ConversationId,
        answer: Frame,
    },
    /// A repeated message (idempotent retry), answered at once. Its event, if still pending, is the original message's.
    Repeated(MessageId),
    Deleted(MessageId),
    /// The message with this `seq` was marked as seen.
    Seen(ConversationId, i64),
    Changed(SupportSession),
}

impl OwnChanges {
    pub(super) fn sent(&mut self, message: MessageId, of: ConversationId, answer: Frame) {
        self.remember(OwnChange::Sent { message, of, answer });
    }

    pub(super) fn repeated(&mut self, message: MessageId) {
        self.remember(OwnChange::Repeated(message));
    }

    pub(super) fn deleted(&mut self, message: MessageId) {
        self.remember(OwnChange::Deleted(message));
    }

    pub(super) fn seen(&mut self, of: ConversationId, seq: i64) {
        self.remember(OwnChange::Seen(of, seq));
    }

    pub(super) fn changed(&mut self, session: SupportSession) {
        self.remember(OwnChange::Changed(session));
    }

    fn remember(&mut self, thing: OwnChange) {
        self.0.push_back(thing);
        if self.0.len() > MAX_TRACKED {
            // Deleting a message twice causes one event only, which leaves an entry behind. Entries with a pending answer stay.
            self.take(|thing| !matches!(thing, OwnChange::Sent { .. }));
        }
    }

    /// Takes the delayed answer to a new message.
    pub(super) fn take_sent(&mut self, id: MessageId) -> Option<Frame> {
        match self.take(|thing| matches!(thing, OwnChange::Sent { message, .. } if *message == id))? {
            OwnChange::Sent { answer, .. } => Some(answer),
            OwnChange::Repeated(_) | OwnChange::Deleted(_) | OwnChange::Seen(..) | OwnChange::Changed(_) => None,
        }
    }

    /// True if this connection has repeated the message. Removes the entry.
    pub(super) fn take_repeated(&mut self, id: MessageId) -> bool {
        self.take(|thing| matches!(thing, OwnChange::Repeated(message) if *message == id)).is_some()
    }

    /// True if this connection has deleted the message. Removes the entry.
    pub(super) fn take_deleted(&mut self, id: MessageId) -> bool {
        self.take(|thing| matches!(thing, OwnChange::Deleted(message) if *message == id)).is_some()
    }

    /// True if this connection has marked the message with this `seq` as seen. Removes the entry.
    pub(super) fn take_seen(&mut self, conversation: ConversationId, seq: i64) -> bool {
        self.take(|thing| matches!(thing, OwnChange::Seen(of, at) if (*of, *at) == (conversation, seq))).is_some()
    }

    /// True if this connection has changed the session to this state. Removes the entry.
    pub(super) fn take_changed(&mut self, session: &SupportSession) -> bool {
        self.take(|thing| matches!(thing, OwnChange::Changed(changed) if changed == session)).is_some()
    }

    /// Takes the delayed answers for messages of a conversation whose events no longer reach this connection.
    pub(super) fn take_sent_in(&mut self, conversation: ConversationId) -> Vec<Frame> {
        let mut answers = Vec::new();
        self.0.retain(|thing| match thing {
            OwnChange::Sent { of, answer, .. } if *of == conversation => {
                answers.push(answer.clone());
                false
            }
            OwnChange::Sent { .. }
            | OwnChange::Repeated(_)
            | OwnChange::Deleted(_)
            | OwnChange::Seen(..)
            | OwnChange::Changed(_) => true,
        });
        answers
    }

    fn take(&mut self, is_it: impl Fn(&OwnChange) -> bool) -> Option<OwnChange> {
        let place = self.0.iter().position(is_it)?;
        self.0.remove(place)
    }
}
