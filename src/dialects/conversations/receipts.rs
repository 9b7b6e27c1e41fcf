//! Which of their author's messages nobody else has read yet.

use std::collections::VecDeque;

use storage::{ConversationId, Message, MessageId, ReadRange};

/// Of how many messages their author is told at a time that they were read: of no more than may wait to be written. So many
/// are remembered, too.
pub(super) const MOST: usize = 400;
/// Conversations with messages that nobody else has read; of more, the oldest are given up.
pub(super) const CONVERSATIONS: usize = 1_000;
/// Parts of one conversation that are read, with others between them.
const PARTS: usize = 16;

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
    /// What the first of the others has read.
    read: Read,
    /// Whose messages are up to here is not known: those from before the socket was opened, and those that were forgotten.
    unknown: i64,
}

/// The parts of a conversation that are read, by rising place, apart from each other. Nearly always it is one, from the
/// beginning: only newcomers, from whom what was said before is hidden, read on where others have not.
#[derive(Debug)]
struct Read(Vec<ReadRange>);

impl Read {
    fn contains(&self, seq: i64) -> bool {
        self.0.iter().any(|range| range.contains(seq))
    }

    /// Up to where all is read.
    fn whole(&self) -> i64 {
        self.0.first().filter(|first| first.after == 0).map_or(0, |first| first.upto)
    }

    /// Adds a part, and gives what of it was not read before.
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
        if self.0.len() > PARTS {
            // What is between the first two is given up.
            let first = self.0.remove(0);
            self.0[0].after = first.after;
        }
        new
    }
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
    /// What others had read when the socket was opened, and up to where there are messages.
    pub(super) fn before(&mut self, of: ConversationId, read: Vec<ReadRange>, newest: i64) {
        let read = Read(read);
        if newest > read.whole() {
            self.insert(Unread { of, read, unknown: newest });
        }
    }

    /// The author has written.
    pub(super) fn posted(&mut self, message: &Message) {
        let (of, seq) = (message.conversation, message.seq);
        match self.find(of) {
            Ok(at) if seq <= self.unread[at].unknown || self.unread[at].read.contains(seq) => return,
            Ok(_) => {}
            Err(_) => {
                let read = Read(vec![ReadRange { after: 0, upto: seq - 1 }]);
                self.insert(Unread { of, read, unknown: seq - 1 });
            }
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
            Ok(unread) if unread.read.contains(seq) => Progress::Read,
            Ok(unread) if seq <= unread.unknown || self.posted.iter().any(|(id, at, _)| (*id, *at) == (of, seq)) => {
                Progress::Told
            }
            Ok(_) | Err(_) => Progress::Unheard,
        }
    }

    /// Somebody else has read a part of a conversation. Gives the places whose authors are to be looked up, the newest
    /// [`MOST`], and the author's messages that are known to have become read, oldest first.
    pub(super) fn read(&mut self, of: ConversationId, part: ReadRange) -> (Vec<i64>, Vec<MessageId>) {
        let Ok(at) = self.find(of) else { return (Vec::new(), Vec::new()) };
        let unread = &mut self.unread[at];
        let new = unread.read.add(part);
        let unknown = new.iter().rev().flat_map(|range| (range.after + 1..=range.upto.min(unread.unknown)).rev());
        let mut unknown: Vec<_> = unknown.take(MOST).collect();
        unknown.reverse();
        let all_known_read = unread.read.whole() >= unread.unknown;
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
        read_after(receipts, of, 0, seq)
    }

    fn read_after(receipts: &mut Receipts, of: ConversationId, after: i64, upto: i64) -> (Vec<i64>, Vec<i64>) {
        let (unknown, known) = receipts.read(of, ReadRange { after, upto });
        (unknown, known.into_iter().map(|id| id.0).collect())
    }

    fn upto(seq: i64) -> Vec<ReadRange> {
        vec![ReadRange { after: 0, upto: seq }]
    }

    /// A newcomer from whom the first ten are hidden reads on, and then those who were there before do.
    #[test]
    fn what_is_hidden_from_a_reader_is_not_read_by_it() {
        let mut receipts = Receipts::default();
        receipts.before(ONE, upto(4), 10);
        (11..=14).for_each(|seq| receipts.posted(&message(ONE, seq)));
        assert_eq!(read_after(&mut receipts, ONE, 10, 12), (vec![], vec![1_011, 1_012]));
        assert_eq!(
            [4, 10, 12, 13].map(|seq| receipts.progress(ONE, seq)),
            [Progress::Read, Progress::Told, Progress::Read, Progress::Told]
        );
        assert_eq!(read(&mut receipts, ONE, 6), (vec![5, 6], vec![]));
        assert_eq!(read(&mut receipts, ONE, 13), ((7..=10).collect(), vec![1_013]), "what the newcomer has read is told once");
        assert_eq!(read_after(&mut receipts, ONE, 10, 14), (vec![], vec![1_014]));
        assert!(receipts.unread.is_empty() && receipts.posted.is_empty(), "{receipts:?}");
    }

    #[test]
    fn only_so_many_parts_are_remembered() {
        let mut read = Read(upto(1));
        for part in 1..100 {
            let added = ReadRange { after: 10 * part, upto: 10 * part + 1 };
            assert_eq!(read.add(added), [added]);
        }
        assert_eq!((read.0.len(), read.whole()), (PARTS, 841), "the oldest gaps are given up");
        assert_eq!(read.add(ReadRange { after: 0, upto: 1_000 }).len(), PARTS);
        assert_eq!(read.0, upto(1_000));
    }

    #[test]
    fn each_message_is_read_once() {
        let mut receipts = Receipts::default();
        receipts.before(ONE, upto(3), 5);
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
        receipts.before(ONE, upto(10), 1_000);
        (1_001..=1_500).for_each(|seq| receipts.posted(&message(ONE, seq)));
        let (unknown, known) = receipts.read(ONE, ReadRange { after: 0, upto: 1_500 });
        assert!(unknown.iter().copied().eq(701..=1_100), "what was forgotten can be looked up: {unknown:?}");
        assert_eq!((known.len(), known[0]), (MOST, MessageId(2_101)));
    }

    #[test]
    fn conversations_are_read_each_for_itself_and_forgotten_once_they_are() {
        let mut receipts = Receipts::default();
        let two = ConversationId(2);
        receipts.before(ONE, upto(5), 5);
        receipts.before(two, upto(1), 2);
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
