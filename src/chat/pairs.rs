//! What passes between two people, and to whom a message goes.

use std::{
    cmp::Reverse,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use quick_cache::sync::Cache;
use storage::{ConversationId, ConversationKind, Fact, Message, MessageId, Page, PartnerId, Topic, User, UserId};
use uuid::Uuid;

use super::{Chat, Error, Observer, Result, Thing};
use crate::auth::Caller;

/// How many conversations, and how many users' uuids, are remembered.
const REMEMBERED: usize = 50_000;

/// To whom a message goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Addressee {
    /// Who else is in a direct conversation, or its author if nobody is; `None` if that is no user.
    User(Option<Uuid>),
    /// Everybody in a conversation that is not between two: its uuid.
    Everybody(Uuid),
}

/// Who talks in a conversation.
#[derive(Clone)]
enum Company {
    Two(Arc<[(PartnerId, Option<UserId>)]>),
    Any(Uuid),
}

/// What is remembered of conversations and users, so that telling of a message costs no query.
pub(super) struct Pairs {
    companies: Cache<ConversationId, Company>,
    uuids: Cache<UserId, Uuid>,
    /// Counts what was forgotten, so that a read that was overtaken by it is not remembered.
    generation: AtomicU64,
}

impl Default for Pairs {
    fn default() -> Self {
        Self { companies: Cache::new(REMEMBERED), uuids: Cache::new(REMEMBERED), generation: AtomicU64::new(0) }
    }
}

impl Pairs {
    /// Forgets what the log says has changed, before anybody is told of it.
    pub(super) fn observer(self: &Arc<Self>) -> Observer {
        let pairs = Arc::clone(self);
        Box::new(move |event| {
            let changed = matches!(
                event.fact,
                Fact::ParticipantJoined { .. } | Fact::ParticipantLeft { .. } | Fact::ConversationChanged(_)
            );
            if let (true, Topic::Conversation(id)) = (changed, event.topic) {
                pairs.generation.fetch_add(1, Ordering::AcqRel);
                pairs.companies.remove(&id);
            }
        })
    }
}

impl Chat {
    /// To whom a message goes of which the caller has heard.
    pub async fn addressee(&self, of: &Message) -> Result<Addressee> {
        let people = match self.company(of.conversation).await? {
            Company::Any(uuid) => return Ok(Addressee::Everybody(uuid)),
            Company::Two(people) => people,
        };
        let other = people.iter().find(|(partner, _)| *partner != of.author.partner);
        let user = other.map_or(of.author.user, |(_, user)| *user);
        Ok(Addressee::User(self.uuid_of(user).await?))
    }

    /// The uuid of a user of whom the caller has heard; none of nobody.
    pub async fn uuid_of(&self, user: Option<UserId>) -> Result<Option<Uuid>> {
        let Some(user) = user else { return Ok(None) };
        // It never changes.
        if let Some(uuid) = self.0.pairs.uuids.get(&user) {
            return Ok(Some(uuid));
        }
        let found = self.visit("users_by_id", self.0.storage.users_by_id(&[user])).await?;
        let uuid = found.first().map(|user| user.uuid);
        if let Some(uuid) = uuid {
            self.0.pairs.uuids.insert(user, uuid);
        }
        Ok(uuid)
    }

    /// The user with this uuid, who may be deactivated.
    pub async fn user_by_uuid(&self, uuid: Uuid) -> Result<User> {
        let found = self.visit("user_by_uuid", self.0.storage.user_by_uuid(uuid)).await?;
        found.ok_or(Error::NotFound(Thing::Partner))
    }

    /// What the caller and one other person have said to each other alone, in whichever conversations: newest first, with a
    /// smaller id than `before`, if that is given.
    pub async fn history_between(
        &self,
        caller: &Caller,
        other: PartnerId,
        before: Option<MessageId>,
        limit: usize,
    ) -> Result<Vec<Message>> {
        let storage = &self.0.storage;
        let page = before.map_or(Page::Newest { offset: 0, limit }, |id| Page::Before { id, limit });
        let mut messages = Vec::new();
        for id in self.visit("direct_conversations", storage.direct_conversations((caller.partner, other))).await? {
            let seen = self.visit("messages", storage.messages(id, caller.partner, page)).await?;
            messages.extend(seen.into_iter().map(|seen| seen.message));
        }
        messages.sort_unstable_by_key(|message| Reverse(message.id));
        messages.truncate(limit);
        Ok(messages)
    }

    /// The messages with attachments of a conversation of the caller: newest first, with a smaller id than `before`, if that
    /// is given.
    pub async fn files(
        &self,
        caller: &Caller,
        of: ConversationId,
        before: Option<MessageId>,
        limit: usize,
    ) -> Result<Vec<Message>> {
        self.conversation(caller, of).await?;
        self.visit("messages_with_files", self.0.storage.messages_with_files(of, before, limit)).await
    }

    async fn company(&self, id: ConversationId) -> Result<Company> {
        let pairs = &self.0.pairs;
        if let Some(company) = pairs.companies.get(&id) {
            return Ok(company);
        }
        let generation = pairs.generation.load(Ordering::Acquire);
        let conversation = self.visit("conversation", self.0.storage.conversation(id)).await?;
        let conversation = conversation.ok_or(Error::NotFound(Thing::Conversation))?;
        let company = match conversation.kind {
            ConversationKind::Direct => {
                let people = self.visit("people_in", self.0.storage.people_in(&[id])).await?;
                Company::Two(people.into_iter().map(|(_, person)| (person.partner.id, person.user)).collect())
            }
            ConversationKind::Group | ConversationKind::Support => Company::Any(conversation.uuid),
        };
        pairs.companies.insert(id, company.clone());
        if pairs.generation.load(Ordering::Acquire) != generation {
            pairs.companies.remove(&id);
        }
        Ok(company)
    }
}
