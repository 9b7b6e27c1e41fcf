//! Row of a conversation in memory: its participants, messages and indexes, and the counts that follow from them.

use std::sync::Arc;

use imbl::{OrdMap, OrdSet, Vector};

use crate::{
    ChangeKey, Conversation, EXCERPT_BYTES, Folder, Message, MessageId, ParticipantStatus, PartnerId, ReadAdvance, Timestamp,
    WindowState,
    memory::ranking::Ranking,
    messages::{excerpt, listed_files},
};

/// Conversation with its participants, messages and indexes.
#[derive(Clone)]
pub(crate) struct Row {
    pub(crate) conversation: Conversation,
    pub(crate) key: Option<String>,
    /// Messages in the order of `seq`: number n is at index n - 1.
    pub(crate) messages: Vector<Arc<Message>>,
    pub(crate) participations: OrdMap<PartnerId, Participation>,
    /// The same partners, by the time of joining.
    pub(crate) by_joining: OrdSet<(Timestamp, PartnerId)>,
    /// Greatest read `seq` of each reader, former participants included: a read message stays read.
    pub(crate) reads: Ranking<i64>,
    /// The same of newcomers, by the `seq` up to which messages are hidden from them.
    pub(crate) reads_of_newcomers: OrdMap<(PartnerId, i64), i64>,
    /// The `seq` of each changed message, sorted by its last change.
    pub(crate) changes: OrdMap<ChangeKey, i64>,
    pub(crate) changed: OrdMap<MessageId, ChangeKey>,
    /// Time of each author's latest message.
    pub(crate) posts: Ranking<Timestamp>,
}

/// Participation: one participant's state in a conversation.
#[derive(Clone)]
pub(crate) struct Participation {
    pub(crate) window: WindowState,
    pub(crate) shelf: Folder,
    pub(crate) read_seq: i64,
    /// Like `read_seq`, but 0 until the participant has read something itself.
    pub(crate) seen_seq: i64,
    /// Number of messages above `read_seq` that are its own, or deleted.
    pub(crate) own_after: i64,
    /// The `seq` of its newest message since it joined, if there is one.
    pub(crate) last_own: Option<i64>,
    pub(crate) joined_at: Timestamp,
    pub(crate) standing: ParticipantStatus,
}

/// Index in [`Row::messages`] of the message with this `seq`.
pub(super) fn index(seq: i64) -> usize {
    usize::try_from(seq - 1).expect("seq counts from 1")
}

/// Excerpt of a last message for lists.
pub(crate) fn last_message(message: &Message) -> Message {
    let metadata = message.metadata.clone().filter(|metadata| metadata.json().len() <= EXCERPT_BYTES);
    // Field by field, so that the full text is never copied.
    let Message { id, seq, conversation, message_type, held, created_at, edited_at, edited_by, deleted_at, deleted_by, .. } =
        *message;
    let Message { reply_to, support_side, .. } = *message;
    Message {
        id,
        seq,
        conversation,
        author: message.author.clone(),
        message_type,
        body: excerpt(&message.body).to_owned(),
        metadata,
        attachments: listed_files(&message.attachments).to_vec(),
        client_key: message.client_key.clone(),
        external_id: message.external_id.clone(),
        reply_to,
        support_side,
        held,
        created_at,
        edited_at,
        edited_by,
        deleted_at,
        deleted_by,
    }
}

impl Row {
    /// A conversation without participants and messages.
    pub(crate) fn new(conversation: Conversation) -> Self {
        Self {
            conversation,
            key: None,
            messages: Vector::new(),
            participations: OrdMap::new(),
            by_joining: OrdSet::new(),
            reads: Ranking::new(),
            reads_of_newcomers: OrdMap::new(),
            changes: OrdMap::new(),
            changed: OrdMap::new(),
            posts: Ranking::new(),
        }
    }

    pub(crate) fn message(&self, seq: i64) -> Option<&Message> {
        self.messages.get(index(seq)).map(AsRef::as_ref)
    }

    pub(crate) fn message_mut(&mut self, seq: i64) -> Option<&mut Message> {
        self.messages.get_mut(index(seq)).map(Arc::make_mut)
    }

    pub(crate) fn has(&self, partner: PartnerId) -> bool {
        self.participations.contains_key(&partner)
    }

    pub(crate) fn standing(&self, partner: PartnerId) -> Option<ParticipantStatus> {
        self.participations.get(&partner).map(|place| place.standing)
    }

    pub(crate) fn participant_count(&self) -> usize {
        self.participations.len()
    }

    pub(crate) fn read_seq(&self, partner: PartnerId) -> Option<i64> {
        self.participations.get(&partner).map(|place| place.read_seq)
    }

    /// Appends a message, whose `seq` must be the next.
    pub(crate) fn push(&mut self, message: Message) {
        self.conversation.last_seq = message.seq;
        self.conversation.last_message = Some(message.id);
        self.conversation.last_message_at = Some(message.created_at);
        self.posts.raise(message.author.partner, message.created_at);
        if let Some(place) = self.participations.get_mut(&message.author.partner) {
            place.own_after += 1;
            place.last_own = Some(message.seq);
        }
        self.messages.push_back(Arc::new(message));
    }

    /// Removes a message from the unread counts before its deletion.
    pub(crate) fn uncount(&mut self, seq: i64, author: PartnerId) {
        let behind: Vec<_> =
            self.participations.iter().filter(|(_, place)| place.read_seq < seq).map(|(partner, _)| *partner).collect();
        for partner in behind.into_iter().filter(|partner| *partner != author) {
            self.participations.get_mut(&partner).expect("it was just there").own_after += 1;
        }
    }

    /// Newest message of each participant.
    pub(crate) fn last_of_each(&self) -> impl Iterator<Item = &Message> {
        self.participations.values().filter_map(|place| self.message(place.last_own?))
    }

    /// Newest message of a participant.
    pub(crate) fn last_own(&self, partner: PartnerId) -> Option<&Message> {
        self.message(self.participations.get(&partner)?.last_own?)
    }

    /// Newest message, unless it is hidden from this participant.
    pub(super) fn last_visible(&self, place: &Participation) -> Option<Message> {
        let last = self.messages.back().filter(|last| last.seq > place.standing.visible_from_seq);
        last.map(|message| last_message(message))
    }

    pub(super) fn unread(&self, place: &Participation) -> i64 {
        self.conversation.last_seq - place.read_seq - place.own_after
    }

    pub(crate) fn unread_of(&self, partner: PartnerId) -> i64 {
        self.participations.get(&partner).map_or(0, |place| self.unread(place))
    }

    /// Updates the read receipts of a participant from whom messages up to `hidden` are hidden.
    pub(crate) fn note_read(&mut self, partner: PartnerId, hidden: i64, seq: i64) {
        match hidden {
            0 => self.reads.raise(partner, seq),
            hidden => drop(self.reads_of_newcomers.insert((partner, hidden), seq)),
        }
    }

    /// Moves the read position of a participant; `None` if nothing changed.
    pub(super) fn advance(&mut self, partner: PartnerId, seq: i64) -> Option<ReadAdvance> {
        let last_seq = self.conversation.last_seq;
        let seq = seq.min(last_seq);
        let place = self.participations.get_mut(&partner)?;
        if seq <= place.seen_seq.max(place.standing.visible_from_seq) {
            return None;
        }
        let message = |seq: i64| &self.messages[index(seq)];
        let is_own = |seq: &i64| message(*seq).author.partner == partner;
        let saw = !(place.seen_seq + 1..=seq.min(place.read_seq)).all(|seq| is_own(&seq));
        let read_seq = seq.max(place.read_seq);
        let counts_not = |seq: &i64| is_own(seq) || message(*seq).deleted_at.is_some();
        let own = match seq == last_seq {
            true => place.own_after,
            false => (place.read_seq + 1..=read_seq).filter(counts_not).count() as i64,
        };
        let unread = read_seq - place.read_seq - own;
        place.read_seq = read_seq;
        place.seen_seq = seq;
        place.own_after -= own;
        let hidden = place.standing.visible_from_seq;
        self.note_read(partner, hidden, seq);
        Some(ReadAdvance { newly_read: unread, has_seen: saw || unread > 0 })
    }
}
