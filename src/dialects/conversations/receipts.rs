//! Read receipts: tracks which messages of a user other participants have not read yet.

use std::collections::VecDeque;

use storage::{ConversationId, Message, MessageId, ReadRange};

/// Maximum number of read receipts sent at once, so that they fit in the socket's send queue, and of unread messages tracked.
pub(super) const MAX_RECEIPTS: usize = 400;
/// Maximum number of conversations tracked. Beyond it, the oldest are evicted.
pub(super) const MAX_CONVERSATIONS: usize = 1_000;
/// Maximum number of separate read ranges per conversation.
const MAX_RANGES: usize = 16;

/// Read receipts for one author, in one conversation or in many. Positions in a conversation are `seq`s.
#[derive(Debug, Default)]
pub(super) struct Receipts {
    /// Conversations with messages that no other participant has read, by ascending id.
    unread: Vec<UnreadConversation>,
    /// Unread messages that were delivered on this socket, oldest first.
    posted: VecDeque<(ConversationId, i64, MessageId)>,
}

#[derive(Debug)]
struct UnreadConversation {
    of: ConversationId,
    /// Ranges read by at least one other participant.
    read: ReadRanges,
    /// Authors of messages up to this position are unknown here: the messages precede the socket, or were evicted.
    unknown_upto: i64,
}

/// Disjoint read ranges of a conversation, in ascending order. Usually one from the beginning. New participants, to whom earlier
/// messages are hidden, read ranges that start later.
#[derive(Debug)]
struct ReadRanges(Vec<ReadRange>);

impl ReadRanges {
    fn contains(&self, seq: i64) -> bool {
        self.0.iter().any(|range| range.contains(seq))
    }

    /// Position up to which everything is read.
    fn contiguous_upto(&self) -> i64 {
        self.0.first().filter(|first| first.after == 0).map_or(0, |first| first.upto)
    }

    /// Adds a range. Returns the parts of it that are new.
    fn add(&mut self, added: ReadRange) -> Vec<ReadRange> {
        let (mut new, mut after) = (Vec::new(), added.after);
        let (apart, mut met): (Vec<_>, Vec<_>) =
            self.0.iter().copied().partition(|range| range.upto < added.after || range.after > added.upto);
        met.sort_unstable();
        for range in &met {
            new.push(ReadRange { after, upto: range.after.min(added.upto) });
            after = after.max(range.upto);
        }
        new.push(ReadRange { after, upto: added.upto });
        new.retain(|range| range.after < range.upto);
        let ends = met.iter().chain([&added]);
        let after = ends.clone().map(|range| range.after).min().unwrap_or(added.after);
        let upto = ends.map(|range| range.upto).max().unwrap_or(added.upto);
        self.0 = apart;
        self.0.push(ReadRange { after, upto });
        self.0.sort_unstable();
        if self.0.len() > MAX_RANGES {
            // Over the limit: merges the first two ranges, and counts the gap as read.
            let first = self.0.remove(0);
            self.0[0].after = first.after;
        }
        new
    }
}

/// Status of one of the author's messages, as far as this socket knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum DeliveryProgress {
    /// Not delivered yet, or no longer tracked.
    Untracked,
    Delivered,
    Read,
}

impl Receipts {
    /// Initial state: the ranges read before the socket was opened, and the position of the newest message.
    pub(super) fn initialise(&mut self, of: ConversationId, read: Vec<ReadRange>, newest: i64) {
        let read = ReadRanges(read);
        if newest > read.contiguous_upto() {
            self.insert(UnreadConversation { of, read, unknown_upto: newest });
        }
    }

    /// Tracks a new message of the author.
    pub(super) fn posted(&mut self, message: &Message) {
        let (of, seq) = (message.conversation, message.seq);
        match self.find(of) {
            Ok(at) if seq <= self.unread[at].unknown_upto || self.unread[at].read.contains(seq) => return,
            Ok(_) => {}
            Err(_) => {
                let read = ReadRanges(vec![ReadRange { after: 0, upto: seq - 1 }]);
                self.insert(UnreadConversation { of, read, unknown_upto: seq - 1 });
            }
        }
        if self.posted.len() == MAX_RECEIPTS
            && let Some((of, seq, _)) = self.posted.pop_front()
            && let Ok(at) = self.find(of)
        {
            self.unread[at].unknown_upto = seq;
        }
        self.posted.push_back((of, seq, message.id));
    }

    /// Status of the message at a position.
    pub(super) fn progress(&self, of: ConversationId, seq: i64) -> DeliveryProgress {
        match self.find(of).map(|at| &self.unread[at]) {
            Ok(unread) if unread.read.contains(seq) => DeliveryProgress::Read,
            Ok(unread) if seq <= unread.unknown_upto || self.posted.iter().any(|(id, at, _)| (*id, *at) == (of, seq)) => {
                DeliveryProgress::Delivered
            }
            Ok(_) | Err(_) => DeliveryProgress::Untracked,
        }
    }

    /// Records that another participant has read a range. Returns the positions whose authors must be looked up, the newest
    /// [`MAX_RECEIPTS`], and the author's tracked messages that this read covers, oldest first.
    pub(super) fn read(&mut self, of: ConversationId, part: ReadRange) -> (Vec<i64>, Vec<MessageId>) {
        let Ok(at) = self.find(of) else { return (Vec::new(), Vec::new()) };
        let unread = &mut self.unread[at];
        let new = unread.read.add(part);
        let unknown = new.iter().rev().flat_map(|range| (range.after + 1..=range.upto.min(unread.unknown_upto)).rev());
        let mut unknown: Vec<_> = unknown.take(MAX_RECEIPTS).collect();
        unknown.reverse();
        let all_known_read = unread.read.contiguous_upto() >= unread.unknown_upto;
        let is_read = |seq: i64| new.iter().any(|range| range.contains(seq));
        let mut known = Vec::new();
        self.posted.retain(|(id, seq, message)| {
            let is_read = *id == of && is_read(*seq);
            known.extend(is_read.then_some(*message));
            !is_read
        });
        if all_known_read && !self.posted.iter().any(|(id, ..)| *id == of) {
            self.unread.remove(at);
        }
        (unknown, known)
    }

    /// Stops tracking a conversation that the author has left.
    pub(super) fn left(&mut self, of: ConversationId) {
        if let Ok(at) = self.find(of) {
            self.unread.remove(at);
            self.posted.retain(|(id, ..)| *id != of);
        }
    }

    fn find(&self, of: ConversationId) -> Result<usize, usize> {
        self.unread.binary_search_by_key(&of, |unread| unread.of)
    }

    fn insert(&mut self, unread: UnreadConversation) {
        if self.unread.len() == MAX_CONVERSATIONS
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
        read_after(receipts, of, 0, seq)
    }

    fn read_after(receipts: &mut Receipts, of: ConversationId, after: i64, upto: i64) -> (Vec<i64>, Vec<i64>) {
        let (unknown, known) = receipts.read(of, ReadRange { after, upto });
        (unknown, known.into_iter().map(|id| id.0).collect())
    }

    fn upto(seq: i64) -> Vec<ReadRange> {
        vec![ReadRange { after: 0, upto: seq }]
    }

    /// A new participant, to whom the first ten messages are hidden, reads further than the earlier ones, who follow later.
    #[test]
    fn what_is_hidden_from_a_reader_is_not_read_by_it() {
        let mut receipts = Receipts::default();
        receipts.initialise(ONE, upto(4), 10);
        (11..=14).for_each(|seq| receipts.posted(&message(ONE, seq)));
        assert_eq!(read_after(&mut receipts, ONE, 10, 12), (vec![], vec![1_011, 1_012]));
        assert_eq!(
            [4, 10, 12, 13].map(|seq| receipts.progress(ONE, seq)),
            [DeliveryProgress::Read, DeliveryProgress::Delivered, DeliveryProgress::Read, DeliveryProgress::Delivered]
        );
        assert_eq!(read(&mut receipts, ONE, 6), (vec![5, 6], vec![]));
        assert_eq!(read(&mut receipts, ONE, 13), ((7..=10).collect(), vec![1_013]), "what the newcomer has read is told once");
        assert_eq!(read_after(&mut receipts, ONE, 10, 14), (vec![], vec![1_014]));
        assert!(receipts.unread.is_empty() && receipts.posted.is_empty(), "{receipts:?}");
    }

    #[test]
    fn only_so_many_parts_are_remembered() {
        let mut read = ReadRanges(upto(1));
        for part in 1..100 {
            let added = ReadRange { after: 10 * part, upto: 10 * part + 1 };
            assert_eq!(read.add(added), [added]);
        }
        assert_eq!((read.0.len(), read.contiguous_upto()), (MAX_RANGES, 841), "the oldest gaps are given up");
        assert_eq!(read.add(ReadRange { after: 0, upto: 1_000 }).len(), MAX_RANGES);
        assert_eq!(read.0, upto(1_000));
    }

    #[test]
    fn each_message_is_read_once() {
        let mut receipts = Receipts::default();
        receipts.initialise(ONE, upto(3), 5);
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
        receipts.initialise(ONE, upto(10), 1_000);
        (1_001..=1_500).for_each(|seq| receipts.posted(&message(ONE, seq)));
        let (unknown, known) = receipts.read(ONE, ReadRange { after: 0, upto: 1_500 });
        assert!(unknown.iter().copied().eq(701..=1_100), "what was forgotten can be looked up: {unknown:?}");
        assert_eq!((known.len(), known[0]), (MAX_RECEIPTS, MessageId(2_101)));
    }

    #[test]
    fn conversations_are_read_each_for_itself_and_forgotten_once_they_are() {
        let mut receipts = Receipts::default();
        let two = ConversationId(2);
        receipts.initialise(ONE, upto(5), 5);
        receipts.initialise(two, upto(1), 2);
        receipts.posted(&message(ONE, 6));
        receipts.posted(&message(two, 3));
        assert_eq!(receipts.progress(ONE, 6), DeliveryProgress::Delivered);
        assert_eq!(receipts.progress(ONE, 7), DeliveryProgress::Untracked, "another node was quicker");
        assert_eq!(
            [1, 2, 3].map(|seq| receipts.progress(two, seq)),
            [DeliveryProgress::Read, DeliveryProgress::Delivered, DeliveryProgress::Delivered]
        );
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
        (0..=MAX_CONVERSATIONS as i64).for_each(|id| receipts.posted(&message(ConversationId(1 + id), 1)));
        assert_eq!((receipts.unread.len(), receipts.posted.len()), (MAX_CONVERSATIONS, MAX_RECEIPTS));
        let newest = ConversationId(1 + MAX_CONVERSATIONS as i64);
        assert_eq!(read(&mut receipts, newest, 1), (vec![], vec![1_000 * newest.0 + 1]));
        assert_eq!(read(&mut receipts, ConversationId(2), 1), (vec![1], vec![]), "looked up");
        assert_eq!(read(&mut receipts, ONE, 1), (vec![], vec![]), "given up");
    }
}
