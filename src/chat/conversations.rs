use std::{collections::HashMap, sync::Arc};

use storage::{
    Conversation, ConversationId, ConversationKind, Fact, InboxEntry, InboxFilter, Locked, NewConversation, Participant,
    PartnerId, Person, ThreadType, Timestamp, Topic, Tx,
};
use uuid::Uuid;

use super::{Chat, Error, Result, Thing, rates::Act, support, texts};
use crate::{auth::Caller, clock};

/// A conversation to be begun.
#[derive(Clone, Debug)]
pub struct NewThread {
    pub name: String,
    pub thread_type: ThreadType,
    /// Beside the caller, who is always in.
    pub participants: Vec<PartnerId>,
}

/// One line of the caller's list of conversations.
#[derive(Clone, Debug)]
pub struct InboxLine {
    pub entry: InboxEntry,
    /// In the order in which they joined.
    pub people: Vec<Arc<Person>>,
}

impl Chat {
    /// The caller's conversations, most recent message first, then, among those without one, newest first.
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

    /// Those of the caller's conversations that hold unread messages, most recent first.
    pub async fn unread(&self, caller: &Caller) -> Result<Vec<InboxEntry>> {
        Ok(self.0.storage.inbox(caller.partner, InboxFilter { unread: true, ..InboxFilter::default() }).await?)
    }

    /// Begins a conversation. Two people in a chat, or one alone, make it a direct one.
    pub async fn create_conversation(&self, caller: &Caller, new: NewThread) -> Result<Conversation> {
        texts::name("name", &new.name)?;
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
            self.0.announce.committed(tx.commit().await?).await;
            Ok(conversation)
        })
        .await
    }

    /// A conversation that the caller is in, and the caller's place there.
    pub async fn conversation(&self, caller: &Caller, id: ConversationId) -> Result<(Conversation, Participant)> {
        match self.0.storage.conversation_seen_by(id, caller.partner).await? {
            None => Err(Error::NotFound(Thing::Conversation)),
            Some((_, None)) => Err(Error::Forbidden),
            Some((conversation, Some(participant))) => Ok((conversation, participant)),
        }
    }

    /// Who is in a conversation of the caller, in the order in which they joined.
    pub async fn participants(&self, caller: &Caller, id: ConversationId) -> Result<(Conversation, Vec<Participant>)> {
        let (conversation, _) = self.conversation(caller, id).await?;
        Ok((conversation, self.0.storage.participants(id).await?))
    }

    /// Brings a person into a conversation of the caller; one who is in already stays. With a third, a direct
    /// conversation becomes a group.
    pub async fn add_participant(&self, caller: &Caller, id: ConversationId, person: &Person) -> Result<()> {
        self.charge(caller, Act::Write)?;
        let now = clock::now();
        self.transaction(|mut tx| async {
            let locked = tx.lock_conversations(&[id]).await?;
            let conversation = locked.first().ok_or(Error::NotFound(Thing::Conversation))?;
            if tx.participating(&[(id, caller.partner)]).await?.is_empty() {
                return Err(Error::Forbidden);
            }
            support::may_change_members(conversation)?;
            must_be_open(conversation)?;
            if !bring_in(tx.as_mut(), conversation, &[person.partner.id], now).await? {
                return Ok(());
            }
            if conversation.kind == ConversationKind::Direct && tx.participant_count(conversation).await? > 2 {
                tx.set_kind(conversation, ConversationKind::Group).await?;
                // It is no longer the one between two.
                tx.set_key(id, None).await?;
                let changed = Conversation { kind: ConversationKind::Group, ..Conversation::clone(conversation) };
                tx.record(Topic::Conversation(id), Fact::ConversationChanged(changed), now);
            }
            self.0.announce.committed(tx.commit().await?).await;
            Ok(())
        })
        .await
    }
}

/// Nothing is added to a conversation that is closed.
pub(super) fn must_be_open(conversation: &Conversation) -> Result<()> {
    match conversation.closed_at {
        None => Ok(()),
        Some(_) => Err(Error::Conflict("the conversation is closed")),
    }
}

/// Adds partners to a conversation, with the facts that say so; gives whether any of them was not in before. Newcomers to a
/// conversation that began as direct see only what is said from now on.
pub(super) async fn bring_in(tx: &mut dyn Tx, to: &Locked<Conversation>, partners: &[PartnerId], now: Timestamp) -> Result<bool> {
    let visible_from_seq = if to.began_direct { to.last_seq } else { 0 };
    let joined = tx.insert_participants(to, partners, visible_from_seq, now).await?;
    for partner in &joined {
        let fact = Fact::ParticipantJoined { partner: *partner, visible_from_seq };
        tx.record(Topic::Conversation(to.id), fact, now);
    }
    Ok(!joined.is_empty())
}

/// Removes a partner from a conversation, with the facts that say so; gives whether it was in.
pub(super) async fn take_out(tx: &mut dyn Tx, of: &Locked<Conversation>, partner: PartnerId, now: Timestamp) -> Result<bool> {
    let was_in = tx.delete_participant(of, partner).await?;
    if was_in {
        let left = Fact::ParticipantLeft { conversation: of.id, partner };
        tx.record(Topic::Conversation(of.id), left.clone(), now);
        tx.record(Topic::Partner(partner), left, now);
    }
    Ok(was_in)
}
