//! Conversations: list, creation, participants, membership changes, and per-user settings (the state of the window and the folder).
//! Every membership change is under the lock of its conversation, and in the event log in the same transaction. A change of settings
//! is an event to its user alone.
//!
//! # Errors
//! All async methods: `Unavailable` if the store cannot be reached. Those on one conversation: `NotFound` or `Forbidden` as for
//! [`Chat::conversation`]. Those that change something, except [`Chat::fold_window`]: `TooFast` beyond the caller's rate limit.
//! Those that add participants: `Invalid` if there would be more than [`Rules::participants`](super::Rules::participants).
//!
//! # Cancel safety
//! A future dropped before its commit changes nothing. One dropped during its commit changes all or nothing, and the tail
//! publishes the change.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use storage::{
    Conversation, ConversationId, ConversationKind, EXCERPT_BYTES, Fact, Folder, InboxEntry, InboxFilter, ListSize, Locked,
    Message, NewConversation, Participant, PartnerId, Person, ThreadType, Timestamp, Topic, Tx, WindowState,
};

use super::{Chat, Error, ResourceKind, Result, find_or_create::new_conversation, people::PERSON_BYTES, rates::Act, texts};
use crate::{auth::Caller, clock};

/// A conversation to create.
#[derive(Clone, Debug)]
pub struct NewThread {
    pub name: String,
    pub thread_type: ThreadType,
    /// Participants beside the caller, who always is one.
    pub participants: Vec<PartnerId>,
}

/// A conversation in the caller's list.
#[derive(Clone, Debug)]
pub struct InboxLine {
    pub entry: InboxEntry,
    /// Participants in the order in which they joined: the caller and those that joined first, at most 100.
    pub people: Vec<Arc<Person>>,
}

/// Bound of every list of conversations: the newest conversations, and the people in them.
const LISTED: ListSize = ListSize { conversations: 10_000, people: 20_000 };
/// Most people of one conversation in a list; fewer in a long list, but at least two.
const LISTED_OF_EACH: usize = 100;

/// Memory of an entry of a list while it is built, in bytes: its name and excerpt twice as rows, and as JSON with room for escapes.
const ENTRY_BYTES: usize = 4 * 2 * EXCERPT_BYTES;

/// Content of a list of conversations, as its memory depends on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ListContent {
    Entries,
    People,
    LastMessages,
}

impl ListContent {
    /// Estimates the memory of a list of this size while it is built.
    pub fn bytes(self, size: ListSize) -> usize {
        let of_person = match self {
            Self::Entries => 0,
            Self::People => PERSON_BYTES,
            Self::LastMessages => PERSON_BYTES + 4 * EXCERPT_BYTES,
        };
        size.conversations.min(LISTED.conversations) * ENTRY_BYTES + size.people * of_person
    }
}

/// Most people that a list of so many conversations shows of each.
fn listed_of_each(conversations: usize) -> usize {
    (LISTED.people / conversations.max(1)).clamp(2, LISTED_OF_EACH)
}

/// Guards the membership of support sessions: only [`Chat::join_support`], [`Chat::leave_support`] and the like change it.
///
/// # Errors
/// `Conflict` for a support session.
pub fn may_change_members(of: &Conversation) -> Result<()> {
    match of.kind {
        ConversationKind::Direct | ConversationKind::Group => Ok(()),
        ConversationKind::Support => Err(Error::Conflict("the people in a support session change only through the support chat")),
    }
}

impl Chat {
    /// Estimates the memory of a list of the caller's conversations while it is built, to reserve it before.
    pub async fn list_bytes(&self, caller: &Caller, content: ListContent) -> Result<usize> {
        Ok(content.bytes(self.0.storage.list_size(caller.partner, LISTED_OF_EACH, LISTED).await?))
    }

    /// Charges a list of all participants of a conversation as a look-up of people, and estimates its memory, to reserve it before.
    /// Access is checked when the list is read; for others than participants it is free and empty.
    ///
    /// # Errors
    /// `TooFast` beyond the rate limit of searches.
    pub async fn participants_bytes(&self, caller: &Caller, id: ConversationId, content: ListContent) -> Result<usize> {
        let size = self.participants_size(caller, id).await?;
        self.charge_for_people(caller, Act::Search, size.people)?;
        Ok(content.bytes(size))
    }

    /// Estimates the memory of a list of all participants, as [`Chat::participants_bytes`], that was charged already.
    pub async fn charged_participants_bytes(&self, caller: &Caller, id: ConversationId, content: ListContent) -> Result<usize> {
        Ok(content.bytes(self.participants_size(caller, id).await?))
    }

    async fn participants_size(&self, caller: &Caller, id: ConversationId) -> Result<ListSize> {
        let partners = self.0.members.of(id).await?.partners;
        let people = if partners.binary_search(&caller.partner).is_ok() { partners.len() } else { 0 };
        Ok(ListSize { conversations: 1, people })
    }

    /// Lists the caller's conversations: by newest message, the most recent first, then those without messages, newest first. At
    /// most 10,000.
    pub async fn inbox(&self, caller: &Caller, filter: InboxFilter<'_>) -> Result<Vec<InboxLine>> {
        let entries = self.inbox_entries(caller, filter).await?;
        self.with_people(caller, entries).await
    }

    /// Lists the caller's conversations without their people, as [`Chat::inbox`].
    pub async fn inbox_entries(&self, caller: &Caller, filter: InboxFilter<'_>) -> Result<Vec<InboxEntry>> {
        Ok(self.0.storage.inbox(caller.partner, InboxFilter { limit: Some(LISTED.conversations), ..filter }).await?)
    }

    async fn with_people(&self, caller: &Caller, entries: Vec<InboxEntry>) -> Result<Vec<InboxLine>> {
        let mut people: HashMap<ConversationId, Vec<Arc<Person>>> = HashMap::new();
        for (id, person) in self.listed_people(caller, &entries).await? {
            people.entry(id).or_default().push(person);
        }
        let line = |entry: InboxEntry| InboxLine { people: people.remove(&entry.conversation.id).unwrap_or_default(), entry };
        Ok(entries.into_iter().map(line).collect())
    }

    /// Reads the people that a list of these conversations shows, by conversation.
    pub(super) async fn listed_people(
        &self,
        caller: &Caller,
        entries: &[InboxEntry],
    ) -> Result<Vec<(ConversationId, Arc<Person>)>> {
        let ids: Vec<_> = entries.iter().map(|entry| entry.conversation.id).collect();
        Ok(self.0.storage.people_in(&ids, caller.partner, listed_of_each(ids.len()) - 1).await?)
    }

    /// Checks the number of participants of a conversation.
    ///
    /// # Errors
    /// `Invalid` beyond the limit.
    pub(super) fn check_participants(&self, participants: usize) -> Result<()> {
        let most = self.0.rules.participants;
        if most == 0 || participants <= most {
            return Ok(());
        }
        self.0.metrics.refused("participants");
        Err(Error::Invalid { field: "participants", reason: format!("must not be more than {most}").into() })
    }

    /// Creates a conversation. It is a direct one if its type is not group and it has at most two participants.
    ///
    /// # Errors
    /// `Invalid` for the name, `TooFast` beyond the rate limit of new conversations: a token for each started hundred participants.
    pub async fn create_conversation(&self, caller: &Caller, new: NewThread) -> Result<Conversation> {
        texts::check_name_length("name", &new.name)?;
        let mut participants = vec![caller.partner];
        let mut known = HashSet::from([caller.partner]);
        participants.extend(new.participants.into_iter().filter(|partner| known.insert(*partner)));
        self.check_participants(participants.len())?;
        self.charge_for_people(caller, Act::Conversation, participants.len())?;
        let is_direct = new.thread_type != ThreadType::Group && participants.len() <= 2;
        let kind = if is_direct { ConversationKind::Direct } else { ConversationKind::Group };
        let now = clock::now();
        self.transaction(|mut tx| async {
            let conversation = tx
                .insert_conversation(NewConversation {
                    thread_type: new.thread_type,
                    created_at: now,
                    owner: Some(caller.partner),
                    ..new_conversation(kind, new.name.clone(), participants.clone())
                })
                .await?;
            tx.record(Topic::Conversation(conversation.id), Fact::ConversationCreated(conversation.clone()), now);
            self.0.publisher.commit(tx).await?;
            Ok(conversation)
        })
        .await
    }

    /// Finds a conversation of the caller, with the caller as its participant.
    ///
    /// # Errors
    /// `NotFound` if there is none, `Forbidden` unless the caller is a participant.
    pub async fn conversation(&self, caller: &Caller, id: ConversationId) -> Result<(Conversation, Participant)> {
        match self.0.storage.conversation_seen_by(id, caller.partner).await? {
            None => Err(Error::NotFound(ResourceKind::Conversation)),
            Some((_, None)) => Err(Error::Forbidden),
            Some((conversation, Some(participant))) => Ok((conversation, participant)),
        }
    }

    /// Lists the participants of a conversation of the caller, in the order in which they joined.
    ///
    /// # Errors
    /// As [`Chat::conversation`].
    pub async fn participants(&self, caller: &Caller, id: ConversationId) -> Result<(Conversation, Vec<Participant>)> {
        let (conversation, _) = self.conversation(caller, id).await?;
        Ok((conversation, self.0.storage.participants(id).await?))
    }

    /// Adds a person to a conversation of the caller; returns true if it was no participant. The third participant turns a direct
    /// conversation into a group.
    ///
    /// # Errors
    /// `NotFound` for the conversation, `Forbidden` unless the caller is a participant, `Conflict` for a closed conversation or a
    /// support session, `TooFast` beyond the rate limit.
    pub async fn add_participant(&self, caller: &Caller, id: ConversationId, person: &Person) -> Result<bool> {
        self.charge(caller, Act::Write)?;
        let now = clock::now();
        self.transaction(|mut tx| async {
            let locked = tx.lock_conversations(&[id]).await?;
            let conversation = locked.first().ok_or(Error::NotFound(ResourceKind::Conversation))?;
            if tx.participant_statuses(&[(id, caller.partner)]).await?.is_empty() {
                return Err(Error::Forbidden);
            }
            may_change_members(conversation)?;
            must_be_open(conversation)?;
            if !self.add_participants(tx.as_mut(), conversation, &[person.partner.id], now).await? {
                return Ok(false);
            }
            if conversation.kind == ConversationKind::Direct && tx.participant_count(conversation).await? > 2 {
                tx.set_kind(conversation, ConversationKind::Group).await?;
                // It is no longer the unique conversation of the pair.
                tx.set_key(id, None).await?;
                let changed = Conversation { kind: ConversationKind::Group, ..Conversation::clone(conversation) };
                tx.record(Topic::Conversation(id), Fact::ConversationChanged(changed), now);
            }
            self.0.publisher.commit(tx).await?;
            Ok(true)
        })
        .await
    }

    /// Adds participants to a conversation, with their facts; returns true if any of them is new. New participants of a
    /// conversation that began as direct see only messages from now on.
    ///
    /// # Errors
    /// `Invalid` if there are too many then.
    pub(super) async fn add_participants(
        &self,
        tx: &mut dyn Tx,
        to: &Locked<Conversation>,
        partners: &[PartnerId],
        now: Timestamp,
    ) -> Result<bool> {
        let visible_from_seq = if to.began_direct { to.last_seq } else { 0 };
        let joined = tx.insert_participants(to, partners, visible_from_seq, now).await?;
        if joined.is_empty() {
            return Ok(false);
        }
        self.check_participants(usize::try_from(tx.participant_count(to).await?).unwrap_or(usize::MAX))?;
        for partner in joined {
            let fact = Fact::ParticipantJoined { partner, visible_from_seq };
            tx.record(Topic::Conversation(to.id), fact, now);
        }
        Ok(true)
    }
}

/// Checks that a conversation is not closed.
///
/// # Errors
/// `Conflict` if it is.
pub(super) fn must_be_open(conversation: &Conversation) -> Result<()> {
    match conversation.closed_at {
        None => Ok(()),
        Some(_) => Err(Error::Conflict("the conversation is closed")),
    }
}

/// Removes a participant from a conversation, with the facts; returns true if the partner was one.
pub(super) async fn remove_participant(
    tx: &mut dyn Tx,
    of: &Locked<Conversation>,
    partner: PartnerId,
    now: Timestamp,
) -> Result<bool> {
    let was_in = tx.delete_participant(of, partner).await?;
    if was_in {
        let left = Fact::ParticipantLeft { conversation: of.id, partner };
        tx.record(Topic::Conversation(of.id), left.clone(), now);
        tx.record(Topic::Partner(partner), left, now);
    }
    Ok(was_in)
}

/// A conversation with one participant's settings for it.
#[derive(Clone, Debug)]
pub struct InboxConversation {
    pub entry: InboxEntry,
    /// Ordered by time of joining.
    pub people: Vec<Arc<Person>>,
    /// The newest message of each of these people that wrote one.
    pub last_messages: HashMap<PartnerId, Message>,
}

impl InboxConversation {
    pub fn conversation(&self) -> &Conversation {
        &self.entry.conversation
    }

    pub fn is_read(&self) -> bool {
        self.entry.unread == 0
    }
}

impl Chat {
    /// Sets the caller's window and folder of a conversation; `None` keeps a setting.
    pub async fn set_conversation_settings(
        &self,
        caller: &Caller,
        of: ConversationId,
        window: Option<WindowState>,
        shelf: Option<Folder>,
    ) -> Result<()> {
        self.charge(caller, Act::Write)?;
        self.change_settings(caller, of, window, shelf).await
    }

    /// Folds the window of a conversation before it is first shown to the caller. Part of a session's start: no rate limit
    /// applies.
    pub async fn fold_window(&self, caller: &Caller, of: ConversationId) -> Result<()> {
        self.change_settings(caller, of, Some(WindowState::Folded), None).await
    }

    async fn change_settings(
        &self,
        caller: &Caller,
        of: ConversationId,
        window: Option<WindowState>,
        shelf: Option<Folder>,
    ) -> Result<()> {
        let (_, place) = self.conversation(caller, of).await?;
        self.transaction(|mut tx| async {
            if tx.set_conversation_settings(of, caller.partner, window, shelf).await? {
                let (window, shelf) = (window.unwrap_or(place.window), shelf.unwrap_or(place.folder));
                let fact = Fact::PlaceChanged { conversation: of, window, shelf };
                tx.record(Topic::Partner(caller.partner), fact, clock::now());
                self.0.publisher.commit(tx).await?;
            }
            Ok(())
        })
        .await
    }

    /// Removes the caller from a conversation in which at least two others stay. The caller's messages stay.
    ///
    /// # Errors
    /// `Conflict` for a support session, and if fewer than two others would stay.
    pub async fn leave(&self, caller: &Caller, of: ConversationId) -> Result<()> {
        self.charge(caller, Act::Write)?;
        self.transaction(|mut tx| async {
            let locked = tx.lock_conversations(&[of]).await?;
            let conversation = locked.first().ok_or(Error::NotFound(ResourceKind::Conversation))?;
            if !remove_participant(tx.as_mut(), conversation, caller.partner, clock::now()).await? {
                return Err(Error::Forbidden);
            }
            may_change_members(conversation)?;
            if tx.participant_count(conversation).await? < 2 {
                return Err(Error::Conflict("nobody would be left to talk to"));
            }
            if conversation.group.is_none() {
                // The conversation is no longer the direct one of a pair.
                tx.set_key(of, None).await?;
            }
            self.0.publisher.commit(tx).await?;
            self.end_typing(of, caller.partner).await;
            Ok(())
        })
        .await
    }

    /// The caller's inbox with all that a list shows, as [`Chat::inbox`] orders and bounds it; without the entries that `is_wanted`
    /// excludes.
    pub async fn inbox_conversations(
        &self,
        caller: &Caller,
        filter: InboxFilter<'_>,
        is_wanted: impl Fn(&InboxEntry) -> bool + Send,
    ) -> Result<Vec<InboxConversation>> {
        let mut entries = self.inbox_entries(caller, filter).await?;
        entries.retain(is_wanted);
        let lines = self.with_people(caller, entries).await?;
        self.with_last_messages(caller, lines).await
    }

    /// A conversation of the caller with all its participants; `None` if the caller is none.
    pub async fn inbox_conversation(&self, caller: &Caller, id: ConversationId) -> Result<Option<InboxConversation>> {
        let filter = InboxFilter { only: Some(&[id]), ..InboxFilter::default() };
        let Some(entry) = self.inbox_entries(caller, filter).await?.pop() else { return Ok(None) };
        let participants = self.0.storage.participants(id).await?;
        let people = participants.into_iter().map(|participant| Arc::new(participant.person)).collect();
        Ok(self.with_last_messages(caller, vec![InboxLine { entry, people }]).await?.pop())
    }

    async fn with_last_messages(&self, caller: &Caller, lines: Vec<InboxLine>) -> Result<Vec<InboxConversation>> {
        let people = |line: &InboxLine| {
            let id = line.entry.conversation.id;
            line.people.iter().map(move |person| (id, person.partner.id)).collect::<Vec<_>>()
        };
        let people: Vec<_> = lines.iter().flat_map(people).collect();
        let mut last: HashMap<_, HashMap<_, _>> = HashMap::new();
        for message in self.0.storage.last_messages(&people, caller.partner).await? {
            last.entry(message.conversation).or_default().insert(message.author.partner, message);
        }
        let conversation = |InboxLine { entry, people }| InboxConversation {
            last_messages: last.remove(&entry.conversation.id).unwrap_or_default(),
            entry,
            people,
        };
        Ok(lines.into_iter().map(conversation).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_list_shows_fewer_people_of_each() {
        for (conversations, people) in [(0, 100), (1, 100), (200, 100), (201, 99), (2_000, 10), (10_000, 2)] {
            assert_eq!(listed_of_each(conversations), people, "{conversations}");
            assert!(conversations * people <= LISTED.people, "{conversations}");
        }
    }
}
