//! Which of their author's messages nobody else has read yet.

use std::{collections::VecDeque, ops::RangeInclusive};

use storage::{ConversationId, Message, MessageId};

/// Of how many messages their author is told at a time that they were read: of no more than may wait to be written. So many
/// are remembered, too.
pub(super) const MOST: usize = 400;
/// Conversations with messages that nobody else has read; of more, the oldest are given up.
pub(super) const CONVERSATIONS: usize = 1_000;

/// The author's side of being read, in one conversation or in many. Places are `seq`s.
#[derive(Debug, Default)]
pub(super) struct Receipts {
    /// By rising conversation: those in which there is something that nobody else has read.
    unread: Vec<Unread>,
    /// The author's messages that nobody else has read, oldest first, as far as they were told on this socket.
    posted: VecDeque<(ConversationId, i64, MessageId)>,
}

#[derive(Debug)]
struct Unread {
    of: ConversationId,
    /// Up to here the first of the others has read.
    read: i64,
    /// Whose messages are up to here is not known: those from before the socket was opened, and those that were forgotten.
    unknown: i64,
}

/// How far a message of the author's has come, as far as this socket knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Progress {
    /// Not told yet, or read by others long ago.
    Unheard,
    Told,
    Read,
}

impl Receipts {
    /// Up to where others had read when the socket was opened, and up to where there are messages.
    pub(super) fn before(&mut self, of: ConversationId, read: i64, newest: i64) {
        if newest > read {
            self.insert(Unread { of, read, unknown: newest });
        }
    }

    /// The author has written.
    pub(super) fn posted(&mut self, message: &Message) {
        let (of, seq) = (message.conversation, message.seq);
        match self.find(of) {
            Ok(at) if seq <= self.unread[at].unknown.max(self.unread[at].read) => return,
            Ok(_) => {}
            Err(_) => self.insert(Unread { of, read: seq - 1, unknown: seq - 1 }),
        }
        if self.posted.len() == MOST
            && let Some((of, seq, _)) = self.posted.pop_front()
            && let Ok(at) = self.find(of)
        {
            self.unread[at].unknown = seq;
        }
        self.posted.push_back((of, seq, message.id));
    }

    /// How far the message at a place has come.
    pub(super) fn progress(&self, of: ConversationId, seq: i64) -> Progress {
        match self.find(of).map(|at| &self.unread[at]) {
            Ok(unread) if seq <= unread.read => Progress::Read,
            Ok(unread) if seq <= unread.unknown || self.posted.iter().any(|(id, at, _)| (*id, *at) == (of, seq)) => {
                Progress::Told
            }
            Ok(_) | Err(_) => Progress::Unheard,
        }
    }

    /// Somebody else has read up to `seq`. Gives the places whose authors are to be looked up, and the author's messages
    /// that are known to have become read, oldest first.
    pub(super) fn read(&mut self, of: ConversationId, seq: i64) -> (RangeInclusive<i64>, Vec<MessageId>) {
        let Ok(at) = self.find(of) else { return (seq.saturating_add(1)..=seq, Vec::new()) };
        let unread = &mut self.unread[at];
        let from = unread.read.saturating_add(1);
        unread.read = unread.read.max(seq);
        let unknown = unread.unknown.min(seq);
        let newest = from.max(unknown.saturating_sub(MOST as i64 - 1));
        let all_known_read = unread.read >= unread.unknown;
        let is_read = |(id, at, _): &mut (ConversationId, i64, MessageId)| *id == of && *at <= seq;
        let mut known = Vec::new();
        self.posted.retain_mut(|posted| {
            let is_read = is_read(posted);
            known.extend(is_read.then_some(posted.2));
            !is_read
        });
        if all_known_read && !self.posted.iter().any(|(id, ..)| *id == of) {
            self.unread.remove(at);
        }
        (newest..=unknown, known)
    }

    /// The author is no longer in a conversation.
    pub(super) fn left(&mut self, of: ConversationId) {
        if let Ok(at) = self.find(of) {
            self.unread.remove(at);
            self.posted.retain(|(id, ..)| *id != of);
        }
    }

    fn find(&self, of: ConversationId) -> Result<usize, usize> {
        self.unread.binary_search_by_key(&of, |unread| unread.of)
    }

    fn insert(&mut self, unread: Unread) {
        if self.unread.len() == CONVERSATIONS
            && let Some(oldest) = self.unread.first().map(|oldest| oldest.of)
        {
            self.left(oldest);
        }
        let (Ok(at) | Err(at)) = self.find(unread.of);
        self.unread.insert(at, unread);
    }
}

#[cfg(test)]
mod tests {
    use chrono::DateTime;
    use storage::{Author, MessageType, PartnerId};

    use super::*;

    const ONE: ConversationId = ConversationId(1);

    fn message(of: ConversationId, seq: i64) -> Message {
        Message {
            id: MessageId(1_000 * of.0 + seq),
            seq,
            conversation: of,
            author: Author { partner: PartnerId(3), user: None, name: String::new() },
            message_type: MessageType::Text,
            body: String::new(),
            metadata: None,
            attachments: Vec::new(),
            client_key: None,
            external_id: None,
            reply_to: None,
            support_side: None,
            held: false,
            created_at: DateTime::UNIX_EPOCH,
            edited_at: None,
            edited_by: None,
            deleted_at: None,
            deleted_by: None,
        }
    }

    fn read(receipts: &mut Receipts, of: ConversationId, seq: i64) -> (Vec<i64>, Vec<i64>) {
        let (unknown, known) = receipts.read(of, seq);
        (unknown.collect(), known.into_iter().map(|id| id.0).collect())
    }

    #[test]
    fn each_message_is_read_once() {
        let mut receipts = Receipts::default();
        receipts.before(ONE, 3, 5);
        receipts.posted(&message(ONE, 6));
        receipts.posted(&message(ONE, 8));
        let mut read = |seq| read(&mut receipts, ONE, seq);
        assert_eq!(read(3), (vec![], vec![]), "nothing new");
        assert_eq!(read(7), (vec![4, 5], vec![1_006]));
        assert_eq!(read(6), (vec![], vec![]), "a second reader");
        assert_eq!(read(9), (vec![], vec![1_008]));
    }

    #[test]
    fn only_the_newest_are_looked_up_and_remembered() {
        let mut receipts = Receipts::default();
        receipts.before(ONE, 10, 1_000);
        (1_001..=1_500).for_each(|seq| receipts.posted(&message(ONE, seq)));
        let (unknown, known) = receipts.read(ONE, 1_500);
        assert_eq!(unknown, 701..=1_100, "what was forgotten can be looked up");
        assert_eq!((known.len(), known[0]), (MOST, MessageId(2_101)));
    }

    #[test]
    fn conversations_are_read_each_for_itself_and_forgotten_once_they_are() {
        let mut receipts = Receipts::default();
        let two = ConversationId(2);
        receipts.before(ONE, 5, 5);
        receipts.before(two, 1, 2);
        receipts.posted(&message(ONE, 6));
        receipts.posted(&message(two, 3));
        assert_eq!(receipts.progress(ONE, 6), Progress::Told);
        assert_eq!(receipts.progress(ONE, 7), Progress::Unheard, "another node was quicker");
        assert_eq!([1, 2, 3].map(|seq| receipts.progress(two, seq)), [Progress::Read, Progress::Told, Progress::Told]);
        assert_eq!(read(&mut receipts, ONE, 6), (vec![], vec![1_006]));
        assert_eq!(receipts.unread.len(), 1);
        receipts.posted(&message(ONE, 9));
        assert_eq!(read(&mut receipts, ONE, 7), (vec![], vec![]), "others' messages are between");
        assert_eq!(read(&mut receipts, two, 3), (vec![2], vec![2_003]));
        assert_eq!(read(&mut receipts, ONE, 9), (vec![], vec![1_009]));
        receipts.posted(&message(two, 4));
        receipts.left(two);
        assert!(receipts.unread.is_empty() && receipts.posted.is_empty(), "{receipts:?}");
    }

    #[test]
    fn only_so_many_conversations_are_remembered() {
        let mut receipts = Receipts::default();
        (0..=CONVERSATIONS as i64).for_each(|id| receipts.posted(&message(ConversationId(1 + id), 1)));
        assert_eq!((receipts.unread.len(), receipts.posted.len()), (CONVERSATIONS, MOST));
        let newest = ConversationId(1 + CONVERSATIONS as i64);
        assert_eq!(read(&mut receipts, newest, 1), (vec![], vec![1_000 * newest.0 + 1]));
        assert_eq!(read(&mut receipts, ConversationId(2), 1), (vec![1], vec![]), "looked up");
        assert_eq!(read(&mut receipts, ONE, 1), (vec![], vec![]), "given up");
    }
}
