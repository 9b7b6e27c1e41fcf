//! Which of their author's messages nobody else has read yet.

use std::{collections::VecDeque, ops::RangeInclusive};

use storage::{Message, MessageId};

/// Of how many messages their author is told at a time that they were read: of no more than may wait to be written.
pub(super) const MOST: usize = 400;

/// The author's side of being read. Places are `seq`s of one conversation.
#[derive(Debug)]
pub(super) struct Receipts {
    /// Up to here the first of the others has read.
    read: i64,
    /// Whose messages are up to here is not known: it is the newest place when the socket was opened, or the last of which
    /// it was forgotten.
    unknown: i64,
    /// The author's messages after that which nobody else has read, oldest first.
    posted: VecDeque<(i64, MessageId)>,
}

impl Receipts {
    pub(super) fn new(opened: i64) -> Self {
        Self { read: opened, unknown: opened, posted: VecDeque::new() }
    }

    /// Up to where others had read when the socket was opened.
    pub(super) fn read_before(&mut self, read: i64) {
        self.read = read;
    }

    /// The author has written.
    pub(super) fn posted(&mut self, message: &Message) {
        if message.seq <= self.unknown.max(self.read) {
            return;
        }
        if self.posted.len() == MOST
            && let Some((seq, _)) = self.posted.pop_front()
        {
            self.unknown = seq;
        }
        self.posted.push_back((message.seq, message.id));
    }

    /// Whether somebody else has read what stands there. That it was delivered is no news then, whoever it was.
    pub(super) fn is_read(&self, seq: i64) -> bool {
        seq <= self.read
    }

    /// Somebody else has read up to `seq`. Gives the places whose authors are to be looked up, and the author's messages
    /// that are known to have become read, oldest first.
    pub(super) fn read(&mut self, seq: i64) -> (RangeInclusive<i64>, Vec<MessageId>) {
        let from = self.read.saturating_add(1);
        self.read = self.read.max(seq);
        let unknown = self.unknown.min(seq);
        let newest = from.max(unknown.saturating_sub(MOST as i64 - 1));
        let known = self.posted.iter().take_while(|(at, _)| *at <= seq).count();
        (newest..=unknown, self.posted.drain(..known).map(|(_, id)| id).collect())
    }
}

#[cfg(test)]
mod tests {
    use chrono::DateTime;
    use storage::{Author, ConversationId, MessageType, PartnerId};

    use super::*;

    fn message(seq: i64) -> Message {
        Message {
            id: MessageId(1_000 + seq),
            seq,
            conversation: ConversationId(1),
            author: Author { partner: PartnerId(3), user: None, name: String::new() },
            message_type: MessageType::Text,
            body: String::new(),
            metadata: None,
            attachments: Vec::new(),
            client_key: None,
            held: false,
            created_at: DateTime::UNIX_EPOCH,
            edited_at: None,
            deleted_at: None,
        }
    }

    #[test]
    fn each_message_is_read_once() {
        let mut receipts = Receipts::new(5);
        receipts.read_before(3);
        receipts.posted(&message(6));
        receipts.posted(&message(8));
        let mut read = |seq| {
            let (unknown, known) = receipts.read(seq);
            (unknown.collect::<Vec<_>>(), known.into_iter().map(|id| id.0).collect::<Vec<_>>())
        };
        assert_eq!(read(3), (vec![], vec![]), "nothing new");
        assert_eq!(read(7), (vec![4, 5], vec![1_006]));
        assert_eq!(read(6), (vec![], vec![]), "a second reader");
        assert_eq!(read(9), (vec![], vec![1_008]));
    }

    #[test]
    fn only_the_newest_are_looked_up_and_remembered() {
        let mut receipts = Receipts::new(1_000);
        receipts.read_before(10);
        (1_001..=1_500).for_each(|seq| receipts.posted(&message(seq)));
        let (unknown, known) = receipts.read(1_500);
        assert_eq!(unknown, 701..=1_100, "what was forgotten can be looked up");
        assert_eq!((known.len(), known[0]), (MOST, MessageId(2_101)));
    }
}
