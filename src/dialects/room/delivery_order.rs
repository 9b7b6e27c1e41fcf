//! Delivery order of messages on a socket. An upload stores its message before the sender shows it, yet message ids must rise in
//! each conversation.

use std::collections::{BTreeMap, HashMap};

use storage::{ConversationId, Fact, Message, MessageId};

/// Capacity of the buffer of held messages. Beyond it, the oldest is delivered, shown or not.
const MAX_HELD: usize = 100;

/// Held and delivered messages of one socket.
#[derive(Debug, Default)]
pub(super) struct DeliveryOrder {
    held: BTreeMap<MessageId, Message>,
    /// Largest message id delivered in each conversation.
    delivered: HashMap<ConversationId, MessageId>,
}

impl DeliveryOrder {
    /// Messages to deliver after an event, in this order.
    pub(super) fn due(&mut self, fact: &Fact) -> Vec<Message> {
        match fact {
            Fact::MessagePosted(message) if message.held => {
                self.held.insert(message.id, message.clone());
                let oldest = (self.held.len() > MAX_HELD).then(|| self.held.pop_first()).flatten();
                oldest.into_iter().map(|(_, message)| self.mark_delivered(message)).collect()
            }
            Fact::MessagePosted(message) => self.release_up_to(message),
            Fact::MessageShown(message) if self.held.contains_key(&message.id) || !self.has_passed(message) => {
                self.release_up_to(message)
            }
            Fact::MessageEdited(message) => {
                if let Some(held) = self.held.get_mut(&message.id) {
                    held.clone_from(message);
                }
                Vec::new()
            }
            Fact::AttachmentDeleted { attachment } => {
                self.held.values_mut().for_each(|held| held.attachments.retain(|file| file.id != *attachment));
                Vec::new()
            }
            // Held messages were not delivered, so their deletion needs no frame.
            Fact::MessageDeleted(message) => {
                self.held.remove(&message.id);
                Vec::new()
            }
            Fact::MessageShown(_)
            | Fact::ReadUpTo { .. }
            | Fact::ConversationCreated(_)
            | Fact::ConversationChanged(_)
            | Fact::ParticipantJoined { .. }
            | Fact::ParticipantLeft { .. }
            | Fact::PlaceChanged { .. }
            | Fact::SessionEnded { .. }
            | Fact::TokensRevoked { .. }
            | Fact::SupportWaits(_)
            | Fact::SupportChanged { .. }
            | Fact::DeviceConnected { .. }
            | Fact::UserChanged { .. }
            | Fact::MessageReacted { .. }
            | Fact::MemberUnread { .. }
            | Fact::UserErased { .. }
            | Fact::StoreChanged
            | Fact::LogRestarted { .. }
            | Fact::EditSuperseded
            | Fact::Unknown => Vec::new(),
        }
    }

    /// True if the message, or a later one of its conversation, was delivered.
    pub(super) fn has_passed(&self, message: &Message) -> bool {
        self.delivered.get(&message.conversation).is_some_and(|told| *told >= message.id)
    }

    /// The message, preceded by the held ones before it in its conversation.
    fn release_up_to(&mut self, message: &Message) -> Vec<Message> {
        let before = self.held.range(..message.id).filter(|(_, held)| held.conversation == message.conversation);
        let mut due: Vec<_> = before.map(|(id, _)| *id).collect();
        due.push(message.id);
        let due = due.into_iter().map(|id| match self.held.remove(&id) {
            Some(held) if id != message.id => held,
            Some(_) | None => message.clone(),
        });
        let due: Vec<_> = due.collect();
        due.into_iter().map(|message| self.mark_delivered(message)).collect()
    }

    fn mark_delivered(&mut self, message: Message) -> Message {
        self.delivered.insert(message.conversation, message.id);
        message
    }
}

#[cfg(test)]
mod tests {
    use storage::{Author, MessageType, PartnerId};

    use super::*;

    fn message(conversation: i64, id: i64, held: bool) -> Message {
        Message {
            id: MessageId(id),
            seq: id,
            conversation: ConversationId(conversation),
            author: Author { partner: PartnerId(1), user: None, name: String::new() },
            message_type: MessageType::File,
            body: String::new(),
            metadata: None,
            attachments: Vec::new(),
            client_key: None,
            external_id: None,
            reply_to: None,
            support_side: None,
            held,
            created_at: chrono::DateTime::UNIX_EPOCH,
            edited_at: None,
            edited_by: None,
            deleted_at: None,
            deleted_by: None,
        }
    }

    fn told(order: &mut DeliveryOrder, fact: Fact) -> Vec<i64> {
        order.due(&fact).into_iter().map(|message| message.id.0).collect()
    }

    fn posted(order: &mut DeliveryOrder, conversation: i64, id: i64, held: bool) -> Vec<i64> {
        told(order, Fact::MessagePosted(message(conversation, id, held)))
    }

    fn shown(order: &mut DeliveryOrder, conversation: i64, id: i64) -> Vec<i64> {
        told(order, Fact::MessageShown(message(conversation, id, false)))
    }

    #[test]
    fn a_held_message_is_told_once_it_is_shown_and_not_again() {
        let mut order = DeliveryOrder::default();
        assert_eq!(posted(&mut order, 1, 5, true), [0; 0]);
        assert_eq!(shown(&mut order, 1, 5), [5]);
        assert_eq!(shown(&mut order, 1, 5), [0; 0]);
    }

    #[test]
    fn a_later_message_of_its_conversation_brings_it_along() {
        let mut order = DeliveryOrder::default();
        assert_eq!(posted(&mut order, 1, 5, true), [0; 0]);
        assert_eq!(posted(&mut order, 1, 6, true), [0; 0]);
        assert_eq!(posted(&mut order, 2, 7, false), [7]);
        assert_eq!(posted(&mut order, 1, 8, false), [5, 6, 8]);
        assert_eq!(shown(&mut order, 1, 6), [0; 0]);
    }

    #[test]
    fn showing_a_later_one_shows_those_before_it() {
        let mut order = DeliveryOrder::default();
        assert_eq!(posted(&mut order, 1, 5, true), [0; 0]);
        assert_eq!(posted(&mut order, 1, 6, true), [0; 0]);
        assert_eq!(shown(&mut order, 1, 6), [5, 6]);
        assert_eq!(shown(&mut order, 1, 5), [0; 0]);
    }

    #[test]
    fn a_socket_that_came_later_goes_on_upwards() {
        let mut order = DeliveryOrder::default();
        assert_eq!(posted(&mut order, 1, 8, false), [8]);
        assert_eq!(shown(&mut order, 1, 5), [0; 0]);
        assert_eq!(shown(&mut order, 2, 6), [6]);
    }

    #[test]
    fn what_was_taken_back_is_not_told() {
        let mut order = DeliveryOrder::default();
        assert_eq!(posted(&mut order, 1, 5, true), [0; 0]);
        assert_eq!(told(&mut order, Fact::MessageDeleted(message(1, 5, true))), [0; 0]);
        assert_eq!(posted(&mut order, 1, 6, false), [6]);
    }

    #[test]
    fn what_was_held_back_is_told_as_it_reads_then() {
        let mut order = DeliveryOrder::default();
        assert_eq!(posted(&mut order, 1, 5, true), [0; 0]);
        let edited = Message { body: "edited".into(), ..message(1, 5, true) };
        assert_eq!(told(&mut order, Fact::MessageEdited(edited.clone())), [0; 0]);
        assert_eq!(order.due(&Fact::MessagePosted(message(1, 6, false)))[0], edited);
    }

    #[test]
    fn only_so_many_are_held_back() {
        let mut order = DeliveryOrder::default();
        for id in 1..=MAX_HELD as i64 {
            assert_eq!(posted(&mut order, id, id, true), [0; 0]);
        }
        assert_eq!(posted(&mut order, 1_000, 1_000, true), [1]);
    }
}
