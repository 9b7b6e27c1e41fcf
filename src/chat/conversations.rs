//! Conversations: list, creation, participants, membership changes, and per-user settings (the state of the window and the folder).
//! Every membership change is under the lock of its conversation, and in the event log in the same transaction. A change of settings
//! is an event to its user alone.
//!
//! # Errors
//! All async methods: `Unavailable` if the store cannot be reached. Those on one conversation: `NotFound` or `Forbidden` as for
//! [`Chat::conversation`]. Those that change something, except [`Chat::fold_window`]: `TooFast` beyond the caller's rate limit.
//!
//! # Cancel safety
//! A future dropped before its commit changes nothing. One dropped during its commit changes all or nothing, and the tail
//! publishes the change.

use std::{collections::HashMap, sync::Arc};

use storage::{
    Conversation, ConversationId, ConversationKind, Fact, Folder, InboxEntry, InboxFilter, Locked, Message, NewConversation,
    Participant, PartnerId, Person, ThreadType, Timestamp, Topic, Tx, WindowState,
};
use uuid::Uuid;

use super::{Chat, Error, ResourceKind, Result, rates::Act, texts};
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
    /// Participants in the order in which they joined.
    pub people: Vec<Arc<Person>>,
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
    /// Lists the caller's conversations: by newest message, the most recent first, then those without messages, newest first.
    pub async fn inbox(&self, caller: &Caller, thread_type: Option<ThreadType>) -> Result<Vec<InboxLine>> {
        let entries = self.0.storage.inbox(caller.partner, InboxFilter { thread_type, ..InboxFilter::default() }).await?;
        let ids: Vec<_> = entries.iter().map(|entry| entry.conversation.id).collect();
        let mut people: HashMap<ConversationId, Vec<Arc<Person>>> = HashMap::new();
        for (id, person) in self.0.storage.people_in(&ids).await? {
            people.entry(id).or_default().push(person);
        }
        Ok(entries
            .into_iter()
            .map(|entry| InboxLine { people: people.remove(&entry.conversation.id).unwrap_or_default(), entry })
            .collect())
    }

    /// Lists the conversations of the caller that hold unread messages, most recent first.
    pub async fn unread(&self, caller: &Caller) -> Result<Vec<InboxEntry>> {
        Ok(self.0.storage.inbox(caller.partner, InboxFilter { unread: true, ..InboxFilter::default() }).await?)
    }

    /// Creates a conversation. It is a direct one if its type is not group and it has at most two participants.
    ///
    /// # Errors
    /// `Invalid` for the name, `TooFast` beyond the rate limit of new conversations.
    pub async fn create_conversation(&self, caller: &Caller, new: NewThread) -> Result<Conversation> {
        texts::check_name_length("name", &new.name)?;
        self.charge(caller, Act::Conversation)?;
        let mut participants = vec![caller.partner];
        for partner in new.participants {
            if !participants.contains(&partner) {
                participants.push(partner);
            }
        }
        let direct = new.thread_type != ThreadType::Group && participants.len() <= 2;
        let now = clock::now();
        self.transaction(|mut tx| async {
            let conversation = tx
                .insert_conversation(NewConversation {
                    id: None,
                    uuid: Uuid::new_v4(),
                    kind: if direct { ConversationKind::Direct } else { ConversationKind::Group },
                    thread_type: new.thread_type,
                    name: new.name.clone(),
                    created_at: now,
                    group: None,
                    documents: Vec::new(),
                    external_id: None,
                    participants: participants.clone(),
                    owner: Some(caller.partner),
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

    /// Adds a person to a conversation of the caller. Idempotent. The third participant turns a direct conversation into a group.
    ///
    /// # Errors
    /// `NotFound` for the conversation, `Forbidden` unless the caller is a participant, `Conflict` for a closed conversation or a
    /// support session, `TooFast` beyond the rate limit.
    pub async fn add_participant(&self, caller: &Caller, id: ConversationId, person: &Person) -> Result<()> {
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
            if !add_participants(tx.as_mut(), conversation, &[person.partner.id], now).await? {
                return Ok(());
            }
            if conversation.kind == ConversationKind::Direct && tx.participant_count(conversation).await? > 2 {
                tx.set_kind(conversation, ConversationKind::Group).await?;
                // It is no longer the unique conversation of the pair.
                tx.set_key(id, None).await?;
                let changed = Conversation { kind: ConversationKind::Group, ..Conversation::clone(conversation) };
                tx.record(Topic::Conversation(id), Fact::ConversationChanged(changed), now);
            }
            self.0.publisher.commit(tx).await?;
            Ok(())
        })
        .await
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

/// Adds participants to a conversation, with their facts; returns true if any of them is new. New participants of a conversation
/// that began as direct see only messages from now on.
pub(super) async fn add_participants(
    tx: &mut dyn Tx,
    to: &Locked<Conversation>,
    partners: &[PartnerId],
    now: Timestamp,
) -> Result<bool> {
    let visible_from_seq = if to.began_direct { to.last_seq } else { 0 };
    let joined = tx.insert_participants(to, partners, visible_from_seq, now).await?;
    for partner in &joined {
        let fact = Fact::ParticipantJoined { partner: *partner, visible_from_seq };
        tx.record(Topic::Conversation(to.id), fact, now);
    }
    Ok(!joined.is_empty())
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
    /// The newest message of each participant that wrote one.
    pub last_messages: Vec<Message>,
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

    /// The caller's inbox with all that a list shows, most recent message first; `only` restricts it to these conversations.
    pub async fn inbox_conversations(&self, caller: &Caller, only: Option<&[ConversationId]>) -> Result<Vec<InboxConversation>> {
        let filter = InboxFilter { only, ..InboxFilter::default() };
        let entries = self.0.storage.inbox(caller.partner, filter).await?;
        let ids: Vec<_> = entries.iter().map(|entry| entry.conversation.id).collect();
        let mut people: HashMap<_, Vec<_>> = HashMap::new();
        for (id, person) in self.0.storage.people_in(&ids).await? {
            people.entry(id).or_default().push(person);
        }
        let mut last: HashMap<_, Vec<_>> = HashMap::new();
        for message in self.0.storage.last_messages(&ids, caller.partner).await? {
            last.entry(message.conversation).or_default().push(message);
        }
        Ok(entries
            .into_iter()
            .map(|entry| InboxConversation {
                people: people.remove(&entry.conversation.id).unwrap_or_default(),
                last_messages: last.remove(&entry.conversation.id).unwrap_or_default(),
                entry,
            })
            .collect())
    }
}
