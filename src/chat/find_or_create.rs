//! Find-or-create of the unique conversation between two people, or of a group, about one document or none.
//! A unique key in the store makes concurrent calls return the same conversation.
//!
//! # Errors
//! All async methods: `Unavailable` if the store cannot be reached.
//!
//! # Cancel safety
//! A dropped read leaves nothing behind. A write dropped before its commit changes nothing; dropped during it, all or nothing.

use std::fmt::Write;

use storage::{
    ConversationId, ConversationKind, Document, Fact, Group, GroupId, NewConversation, PartnerId, ThreadType, Topic, User, UserId,
};
use uuid::Uuid;

use super::{Chat, Error, ResourceKind, Result, rates::Act, texts::check_bytes};
use crate::{auth::Caller, clock};

/// Size limit of the name of a document model, in bytes. It is part of a key, and index keys of stores are limited.
const MODEL_BYTES: usize = 256;

/// Batch size of a read of a group's members.
const GROUP_STEP: usize = 1_000;

/// Identity of a unique conversation.
struct UniqueConversation<'a> {
    parties: UniqueParties,
    about: Option<&'a Document>,
}

enum UniqueParties {
    /// The smaller id first.
    Pair(PartnerId, PartnerId),
    Group(GroupId),
}

impl UniqueConversation<'_> {
    /// The unique key in the store.
    fn key(&self) -> String {
        let mut key = match self.parties {
            UniqueParties::Pair(low, high) => format!("direct {low} {high}"),
            UniqueParties::Group(group) => format!("group {group}"),
        };
        if let Some(Document { model, id }) = self.about {
            write!(key, " {id} {model}").expect("writing to a String cannot fail");
        }
        key
    }
}

impl Chat {
    /// Finds or creates the direct conversation of the caller with a user, about exactly that document or none. Returns the
    /// oldest, whichever dialect created it; concurrent calls return the same one.
    ///
    /// # Errors
    /// `NotFound` for the user, also if deactivated; `Invalid` for the document; `TooFast` beyond the rate limit of new
    /// conversations.
    ///
    /// # Cancel safety
    /// The conversation may be created; a repeat finds it.
    pub async fn find_or_create_direct(&self, caller: &Caller, with: UserId, about: Option<&Document>) -> Result<ConversationId> {
        let user = self.user(with).await?.filter(|user| user.active).ok_or(Error::NotFound(ResourceKind::Partner))?;
        let other = &user.partner;
        self.check_document(about)?;
        let (low, high) = (caller.partner.min(other.id), caller.partner.max(other.id));
        let name = if caller.partner == other.id { caller.name.clone() } else { format!("{}, {}", caller.name, other.name) };
        let new = NewConversation {
            documents: about.into_iter().cloned().collect(),
            ..new_conversation(ConversationKind::Direct, name, vec![caller.partner, other.id])
        };
        self.find_or_create(caller, new, &UniqueConversation { parties: UniqueParties::Pair(low, high), about }).await
    }

    /// Finds or creates the conversation of a group of the caller, about exactly that document or none. Adds all active members
    /// of the group that are no participants yet.
    ///
    /// # Errors
    /// `NotFound` for the group; `Forbidden` unless the caller is a member; `Invalid` for the document, and if the group has more
    /// members than a conversation may have participants; `TooFast` beyond the rate limits: of searches, for more than 100 members,
    /// of new conversations, or, for members who are added, of changes.
    ///
    /// # Cancel safety
    /// The conversation may be created, without new members added; a repeat completes it.
    pub async fn find_or_create_for_group(
        &self,
        caller: &Caller,
        group: GroupId,
        about: Option<&Document>,
    ) -> Result<ConversationId> {
        let group = self.0.storage.group(group).await?.ok_or(Error::NotFound(ResourceKind::Group))?;
        self.check_document(about)?;
        let members = self.0.storage.group_members(group.id).await?;
        if !members.contains(&caller.user) {
            return Err(Error::Forbidden);
        }
        self.charge_for_people(caller, Act::Search, members.len())?;
        let mut partners = Vec::with_capacity(members.len());
        for some in members.chunks(GROUP_STEP) {
            partners.extend(self.active_users(some).await?.into_iter().map(|user| user.partner.id));
        }
        let members = partners;
        let new = NewConversation {
            thread_type: ThreadType::Group,
            group: Some(group.id),
            documents: about.into_iter().cloned().collect(),
            ..new_conversation(ConversationKind::Group, group.name.clone(), members.clone())
        };
        let id = self.find_or_create(caller, new, &UniqueConversation { parties: UniqueParties::Group(group.id), about }).await?;
        self.add_missing_members(caller, id, members).await?;
        Ok(id)
    }

    /// Lists all groups, by rising id.
    pub async fn groups(&self) -> Result<Vec<Group>> {
        Ok(self.0.storage.groups().await?)
    }

    async fn find_or_create(
        &self,
        caller: &Caller,
        new: NewConversation,
        meeting: &UniqueConversation<'_>,
    ) -> Result<ConversationId> {
        if let Some(id) = self.find(meeting).await? {
            return Ok(id);
        }
        self.check_participants(new.participants.len())?;
        self.charge_for_people(caller, Act::Conversation, new.participants.len())?;
        let now = new.created_at;
        let begun = self.transaction(|mut tx| async {
            let conversation = tx.insert_conversation(new.clone()).await?;
            match tx.set_key(conversation.id, Some(&meeting.key())).await {
                Ok(()) => {}
                // A concurrent call has created it.
                Err(storage::Error::Conflict("conversations_key")) => return Ok(None),
                Err(error) => return Err(error.into()),
            }
            let id = conversation.id;
            tx.record(Topic::Conversation(id), Fact::ConversationCreated(conversation), now);
            self.0.publisher.commit(tx).await?;
            Ok(Some(id))
        });
        match begun.await? {
            Some(id) => Ok(id),
            None => self.find(meeting).await?.ok_or_else(|| Error::internal("conversation key without a matching conversation")),
        }
    }

    async fn find(&self, meeting: &UniqueConversation<'_>) -> Result<Option<ConversationId>> {
        let storage = &self.0.storage;
        match meeting.parties {
            UniqueParties::Pair(low, high) if meeting.about.is_none() => self.direct_conversation_of((low, high)).await,
            UniqueParties::Pair(low, high) => Ok(storage.direct_conversation((low, high), meeting.about).await?),
            UniqueParties::Group(group) => Ok(storage.group_conversation(group, meeting.about).await?),
        }
    }

    async fn add_missing_members(&self, caller: &Caller, id: ConversationId, mut members: Vec<PartnerId>) -> Result<()> {
        let there = self.0.storage.participant_ids(id).await?;
        members.retain(|member| there.binary_search(member).is_err());
        if members.is_empty() {
            return Ok(());
        }
        self.charge_for_people(caller, Act::Write, members.len())?;
        let now = clock::now();
        self.transaction(|mut tx| async {
            let locked = tx.lock_conversations(&[id]).await?;
            let conversation = locked.first().ok_or(Error::NotFound(ResourceKind::Conversation))?;
            self.add_participants(tx.as_mut(), conversation, &members, now).await?;
            self.0.publisher.commit(tx).await?;
            Ok(())
        })
        .await
    }

    /// Filters out unknown and deactivated users; sorts by rising id.
    pub async fn active_users(&self, ids: &[UserId]) -> Result<Vec<User>> {
        let mut users = self.0.storage.users_by_id(ids).await?;
        users.retain(|user| user.active);
        users.sort_unstable_by_key(|user| user.id);
        Ok(users)
    }

    fn check_document(&self, about: Option<&Document>) -> Result<()> {
        let Some(document) = about else { return Ok(()) };
        check_bytes("doc_model", &document.model, MODEL_BYTES)
    }
}

/// A conversation of the thread type `chat` that begins now, with a new uuid.
pub(super) fn new_conversation(kind: ConversationKind, name: String, participants: Vec<PartnerId>) -> NewConversation {
    NewConversation {
        id: None,
        uuid: Uuid::new_v4(),
        kind,
        thread_type: ThreadType::Chat,
        name,
        created_at: clock::now(),
        group: None,
        documents: Vec::new(),
        external_id: None,
        participants,
        owner: None,
    }
}
