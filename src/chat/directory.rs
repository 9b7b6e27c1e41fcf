//! Directory caches: users, partners, the participants of direct conversations, and identifiers (uuids of conversations, ids of
//! messages by `seq`), so that the delivery of an event costs no query. Also the recipient of a message, and histories between two
//! users. Observers of the event log invalidate the caches before any listener receives the event.
//!
//! # Errors
//! All async methods: `Unavailable` if the store cannot be reached.
//!
//! # Cancel safety
//! All async methods only read: a dropped future leaves nothing behind.

use std::{cmp::Reverse, sync::Arc};

use storage::{
    Conversation, ConversationId, ConversationKind, Fact, Message, MessageId, Page, Participant, Partner, PartnerId, Topic, User,
    UserId, page_length,
};
use uuid::Uuid;

use super::{Chat, Contact, Error, ResourceKind, Result, cache::StoreCache};
use crate::{auth::Caller, events::Observer};

/// Capacity of the caches of conversations and of users' uuids, in entries.
const CACHED_IDS: usize = 50_000;
/// Capacities of the caches of users and of partners, in entries and in bytes.
const CACHED_USERS: usize = 10_000;
const USERS_BYTES: u64 = 16 * 1024 * 1024;

/// The recipient of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Recipient {
    /// The other participant of a direct conversation, or the author if there is no other; `None` if that partner has no
    /// account.
    User(Option<Uuid>),
    /// All participants of a group or support conversation, by its uuid.
    Conversation(Uuid),
}

/// The participants of a conversation, as far as the cache needs them.
#[derive(Clone)]
enum CachedParticipants {
    Direct(Arc<[(PartnerId, Option<UserId>)]>),
    Other(Uuid),
}

impl CachedParticipants {
    fn is_between(&self, (low, high): (PartnerId, PartnerId)) -> bool {
        match self {
            Self::Direct(people) => {
                let mut there: Vec<_> = people.iter().map(|(partner, _)| *partner).collect();
                there.sort_unstable();
                there.first() == Some(&low) && there.last() == Some(&high)
            }
            Self::Other(_) => false,
        }
    }

    fn contains(&self, partner: PartnerId) -> bool {
        matches!(self, Self::Direct(people) if people.iter().any(|(there, _)| *there == partner))
    }
}

/// The directory cache. It answers without a query to whom an event is delivered and where a message goes.
pub(super) struct DirectoryCache {
    participants: StoreCache<ConversationId, CachedParticipants>,
    /// The direct conversation of a pair, the smaller id first, without documents. The hit is checked against `participants`: a
    /// third participant may have joined.
    direct_conversations: StoreCache<(PartnerId, PartnerId), ConversationId>,
    users: StoreCache<UserId, Arc<User>>,
    contacts: StoreCache<PartnerId, Arc<Contact>>,
    /// Immutable, except when the store is replaced.
    uuids: StoreCache<UserId, Uuid>,
    ids: StoreCache<Uuid, UserId>,
}

impl Default for DirectoryCache {
    fn default() -> Self {
        Self {
            participants: StoreCache::new(CACHED_IDS),
            direct_conversations: StoreCache::new(CACHED_IDS),
            users: StoreCache::weighed(CACHED_USERS, USERS_BYTES, |user| user_bytes(user)),
            contacts: StoreCache::weighed(CACHED_USERS, USERS_BYTES, |contact| contact_bytes(contact)),
            uuids: StoreCache::new(CACHED_IDS),
            ids: StoreCache::new(CACHED_IDS),
        }
    }
}

fn partner_bytes(partner: &Partner) -> usize {
    let Partner { name, email, phone, mobile, .. } = partner;
    name.len() + [email, phone, mobile].into_iter().flatten().map(String::len).sum::<usize>()
}

fn user_bytes(user: &User) -> usize {
    let User { login, external_id, picture_url, language, time_zone, password, .. } = user;
    let optional = [login, external_id, picture_url].into_iter().flatten().map(String::len).sum::<usize>();
    let texts = optional + language.len() + time_zone.len() + password.as_ref().map_or(0, |hash| hash.0.len());
    size_of::<User>() + texts + partner_bytes(&user.partner) + user.profile.to_string().len()
}

fn contact_bytes(contact: &Contact) -> usize {
    size_of::<Contact>() + partner_bytes(&contact.partner) + contact.user.as_ref().map_or(0, user_bytes)
}

impl DirectoryCache {
    /// Observer of the event log that invalidates changed entries. It runs before any listener receives the event.
    pub(super) fn observer(self: &Arc<Self>) -> Observer {
        let pairs = Arc::clone(self);
        Box::new(move |event, audience| match (&event.fact, event.topic) {
            (
                Fact::ParticipantJoined { .. } | Fact::ParticipantLeft { .. } | Fact::ConversationChanged(_),
                Topic::Conversation(id),
            ) => {
                pairs.participants.invalidate(&id);
                // A change of membership may make this the pair's oldest conversation, in place of the cached one.
                if let (Some(low), Some(high), 1..=2) = (audience.first(), audience.last(), audience.len()) {
                    pairs.direct_conversations.invalidate(&(*low, *high));
                }
            }
            (Fact::UserChanged { user }, _) => pairs.invalidate_user(*user),
            (Fact::UserErased { user, partner }, _) => {
                pairs.invalidate_user(*user);
                pairs.contacts.invalidate(partner);
                pairs.uuids.invalidate(user);
                pairs.ids.invalidate_where(|_, id| id == user);
                pairs.participants.invalidate_where(|_, company| company.contains(*partner));
                pairs.direct_conversations.invalidate_where(|(low, high), _| [low, high].contains(&partner));
            }
            (fact, _) if fact.is_about_the_store() => {
                pairs.participants.invalidate_all();
                pairs.direct_conversations.invalidate_all();
                pairs.users.invalidate_all();
                pairs.contacts.invalidate_all();
                pairs.uuids.invalidate_all();
                pairs.ids.invalidate_all();
            }
            _ => {}
        })
    }

    fn invalidate_user(&self, user: UserId) {
        self.users.invalidate(&user);
        self.contacts.invalidate_where(|_, contact| contact.user.as_ref().is_some_and(|known| known.id == user));
    }
}

impl Chat {
    /// The recipient of a message. Access is not checked: the caller has received the message.
    ///
    /// # Errors
    /// `NotFound` if the conversation is gone.
    pub async fn recipient(&self, of: &Message) -> Result<Recipient> {
        let people = match self.cached_participants(of.conversation).await? {
            CachedParticipants::Other(uuid) => return Ok(Recipient::Conversation(uuid)),
            CachedParticipants::Direct(people) => people,
        };
        let other = people.iter().find(|(partner, _)| *partner != of.author.partner);
        let user = other.map_or(of.author.user, |(_, user)| *user);
        Ok(Recipient::User(self.uuid_of(user).await?))
    }

    /// The uuid of a user, or `None` without a user. Access is not checked.
    pub async fn uuid_of(&self, user: Option<UserId>) -> Result<Option<Uuid>> {
        let Some(user) = user else { return Ok(None) };
        let read = async { Ok(self.user(user).await?.map(|user| user.uuid)) };
        self.0.directory.uuids.get(user, read).await
    }

    /// A partner with its account and settings. Access is not checked.
    pub async fn contact(&self, id: PartnerId) -> Result<Option<Arc<Contact>>> {
        let read = async { Ok(self.contacts_by_id(&[id]).await?.pop().map(Arc::new)) };
        self.0.directory.contacts.get(id, read).await
    }

    /// Finds a user by uuid; deactivated users are included.
    ///
    /// # Errors
    /// `NotFound` if no user has the uuid.
    pub async fn user_by_uuid(&self, uuid: Uuid) -> Result<Arc<User>> {
        let read = async {
            let users = &self.0.directory.users;
            let generation = users.generation();
            let found = self.0.storage.user_by_uuid(uuid).await?;
            Ok(found.map(|user| {
                let id = user.id;
                users.put(id, Arc::new(user), generation);
                id
            }))
        };
        let id = self.0.directory.ids.get(uuid, read).await?.ok_or(Error::NotFound(ResourceKind::Partner))?;
        self.user(id).await?.ok_or(Error::NotFound(ResourceKind::Partner))
    }

    /// Finds a user by id; deactivated users are included.
    pub(super) async fn user(&self, id: UserId) -> Result<Option<Arc<User>>> {
        let read = async {
            let mut found = self.0.storage.users_by_id(&[id]).await?;
            Ok(found.pop().map(Arc::new))
        };
        self.0.directory.users.get(id, read).await
    }

    /// Finds the oldest direct conversation of a pair, the smaller id first, without documents.
    pub(super) async fn direct_conversation_of(&self, pair: (PartnerId, PartnerId)) -> Result<Option<ConversationId>> {
        let find = async || Ok(self.0.storage.direct_conversation(pair, None).await?);
        let Some(id) = self.0.directory.direct_conversations.get(pair, find()).await? else { return Ok(None) };
        if self.cached_participants(id).await?.is_between(pair) {
            return Ok(Some(id));
        }
        // A third participant has joined since.
        self.0.directory.direct_conversations.invalidate(&pair);
        find().await
    }

    /// A page of the messages that the caller and one other partner have exchanged in all their direct conversations: newest
    /// first, keyset pagination by `before`, a message id.
    pub async fn history_between(
        &self,
        caller: &Caller,
        other: PartnerId,
        before: Option<MessageId>,
        limit: usize,
    ) -> Result<Vec<Message>> {
        let storage = &self.0.storage;
        let page = before.map_or(Page::latest(limit), |id| Page::Before { id, limit });
        let mut messages = Vec::new();
        for id in storage.direct_conversations((caller.partner, other)).await? {
            let seen = storage.messages(id, caller.partner, page).await?;
            messages.extend(seen.into_iter().map(|seen| seen.message));
            // Truncation is final: later messages only push these further beyond the end of the page.
            messages.sort_unstable_by_key(|message: &Message| Reverse(message.id));
            messages.truncate(limit);
            messages.truncate(page_length(messages.iter().map(|message| message.body.len())));
        }
        Ok(messages)
    }

    /// A page of the messages with attachments in a conversation of the caller: newest first, keyset pagination by `before`, a
    /// message id.
    ///
    /// # Errors
    /// `NotFound` or `Forbidden` as for [`Chat::conversation`].
    pub async fn files(
        &self,
        caller: &Caller,
        of: ConversationId,
        before: Option<MessageId>,
        limit: usize,
    ) -> Result<Vec<Message>> {
        self.conversation(caller, of).await?;
        Ok(self.0.storage.messages_with_files(of, caller.partner, before, limit).await?)
    }

    async fn cached_participants(&self, id: ConversationId) -> Result<CachedParticipants> {
        let read = async {
            let conversation = self.0.storage.conversation(id).await?;
            let Some(conversation) = conversation else { return Ok(None) };
            Ok(Some(match conversation.kind {
                ConversationKind::Direct => {
                    let people = self.0.storage.participants(id).await?.into_iter().map(|participant| participant.person);
                    CachedParticipants::Direct(people.map(|person| (person.partner.id, person.user)).collect())
                }
                ConversationKind::Group | ConversationKind::Support => CachedParticipants::Other(conversation.uuid),
            }))
        };
        self.0.directory.participants.get(id, read).await?.ok_or(Error::NotFound(ResourceKind::Conversation))
    }
}

/// Capacity of each conversation cache, in entries.
const CONVERSATION_CACHE: usize = 50_000;
/// Capacity of the message cache, in entries.
const MESSAGE_CACHE: usize = 10_000;

/// Caches of identifiers. Entries never change, and are invalidated only when the store as a whole changes.
pub(super) struct IdCache {
    ids: StoreCache<Uuid, ConversationId>,
    uuids: StoreCache<ConversationId, Uuid>,
    messages: StoreCache<(ConversationId, i64), MessageId>,
}

impl Default for IdCache {
    fn default() -> Self {
        Self {
            ids: StoreCache::new(CONVERSATION_CACHE),
            uuids: StoreCache::new(CONVERSATION_CACHE),
            messages: StoreCache::new(MESSAGE_CACHE),
        }
    }
}

impl IdCache {
    pub(super) fn observer(self: &Arc<Self>) -> Observer {
        let addresses = Arc::clone(self);
        Box::new(move |event, _| {
            if event.fact.is_about_the_store() {
                addresses.ids.invalidate_all();
                addresses.uuids.invalidate_all();
                addresses.messages.invalidate_all();
            }
        })
    }
}

impl Chat {
    /// Finds the conversation of the caller with this uuid, with the caller as its participant.
    ///
    /// # Errors
    /// `NotFound` if there is none, `Forbidden` unless the caller is a participant.
    pub async fn conversation_by_uuid(&self, caller: &Caller, uuid: Uuid) -> Result<(Conversation, Participant)> {
        let id = self.conversation_id(uuid).await?;
        self.conversation(caller, id).await
    }

    /// Finds the id of the conversation with this uuid, without a check of access.
    ///
    /// # Errors
    /// `NotFound` if there is none.
    pub(super) async fn conversation_id(&self, uuid: Uuid) -> Result<ConversationId> {
        let IdCache { ids, uuids, .. } = &*self.0.ids;
        let read = async {
            let generation = uuids.generation();
            let found = self.0.storage.conversations_by_uuid(&[uuid]).await?.pop();
            Ok(found.map(|(id, _)| {
                uuids.put(id, uuid, generation);
                id
            }))
        };
        ids.get(uuid, read).await?.ok_or(Error::NotFound(ResourceKind::Conversation))
    }

    /// Finds the uuid of a conversation. Does not check access: the caller must know the conversation.
    ///
    /// # Errors
    /// `NotFound` if there is none.
    pub async fn conversation_uuid(&self, id: ConversationId) -> Result<Uuid> {
        let IdCache { ids, uuids, .. } = &*self.0.ids;
        let read = async {
            let generation = ids.generation();
            let found = self.0.storage.conversation_uuids(&[id]).await?.pop();
            Ok(found.map(|(_, uuid)| {
                ids.put(uuid, id, generation);
                uuid
            }))
        };
        uuids.get(id, read).await?.ok_or(Error::NotFound(ResourceKind::Conversation))
    }

    /// Finds the id of the message with this `seq` in a conversation. Does not check access: the caller must know the
    /// conversation.
    ///
    /// # Errors
    /// `NotFound` if there is none.
    pub async fn message_id_at(&self, of: ConversationId, seq: i64) -> Result<MessageId> {
        let read = async { Ok(self.messages_at(&[(of, seq)]).await?.pop().map(|message| message.id)) };
        self.0.ids.messages.get((of, seq), read).await?.ok_or(Error::NotFound(ResourceKind::Message))
    }
}

#[cfg(test)]
mod tests {
    use storage::Event;

    use super::*;
    use crate::events::fixtures::{ANN, BEN, ROOM, erased, event, store_wide_events, user};

    const OTHERS: ConversationId = ConversationId(2);

    fn pairs() -> Arc<DirectoryCache> {
        let pairs = Arc::<DirectoryCache>::default();
        for who in [ANN, BEN] {
            let user = user(who);
            let contact = Contact { partner: user.partner.clone(), user: Some(user.clone()) };
            pairs.contacts.put(who.1, Arc::new(contact), pairs.contacts.generation());
            pairs.uuids.put(who.0, user.uuid, pairs.uuids.generation());
            pairs.ids.put(user.uuid, who.0, pairs.ids.generation());
            pairs.users.put(who.0, Arc::new(user), pairs.users.generation());
        }
        for (id, two) in [(ROOM, [ANN, BEN]), (OTHERS, [BEN, BEN])] {
            let people = two.map(|(user, partner)| (partner, Some(user)));
            pairs.participants.put(id, CachedParticipants::Direct(Arc::from(people)), pairs.participants.generation());
            pairs.direct_conversations.put((two[0].1, two[1].1), id, pairs.direct_conversations.generation());
        }
        pairs
    }

    async fn knows<K: Copy + Eq + std::hash::Hash, V: Clone>(cache: &StoreCache<K, V>, key: K) -> bool {
        cache.get(key, async { Ok(None) }).await.expect("nothing can fail").is_some()
    }

    /// The cache hits after an event: for Ann and for Ben the mutable and the immutable entries, then the two conversations.
    async fn known_after(event: &Event) -> ([[bool; 2]; 2], [bool; 2]) {
        let pairs = pairs();
        pairs.observer()(event, &[]);
        let of = async |(id, partner): (UserId, PartnerId)| {
            let (whole, uuid) = (knows(&pairs.users, id).await, knows(&pairs.uuids, id).await);
            assert_eq!(knows(&pairs.contacts, partner).await, whole);
            assert_eq!(knows(&pairs.ids, user((id, partner)).uuid).await, uuid);
            [whole, uuid]
        };
        let between = async |id, pair| {
            let known = knows(&pairs.participants, id).await;
            assert_eq!(knows(&pairs.direct_conversations, pair).await, known);
            known
        };
        let conversations = [between(ROOM, (ANN.1, BEN.1)).await, between(OTHERS, (BEN.1, BEN.1)).await];
        ([of(ANN).await, of(BEN).await], conversations)
    }

    #[tokio::test]
    async fn what_has_changed_is_forgotten() {
        let changed = event(1, Topic::Partner(ANN.1), Fact::UserChanged { user: ANN.0 });
        assert_eq!(known_after(&changed).await, ([[false, true], [true, true]], [true, true]));
        assert_eq!(known_after(&erased(ANN)).await, ([[false, false], [true, true]], [false, true]));
        for event in store_wide_events() {
            assert_eq!(known_after(&event).await, ([[false; 2]; 2], [false; 2]), "{event:?}");
        }
    }
}

#[cfg(test)]
mod addresses_tests {
    use super::*;
    use crate::events::fixtures::{ANN, ROOM, erased, store_wide_events};

    #[tokio::test]
    async fn names_are_kept_as_long_as_the_store_is_the_same() {
        let addresses = Arc::<IdCache>::default();
        let known = async || {
            let id = addresses.ids.get(Uuid::nil(), async { Ok(None) }).await.expect("nothing can fail");
            let uuid = addresses.uuids.get(ROOM, async { Ok(None) }).await.expect("nothing can fail");
            let message = addresses.messages.get((ROOM, 1), async { Ok(None) }).await.expect("nothing can fail");
            [id.is_some(), uuid.is_some(), message.is_some()]
        };
        for event in store_wide_events() {
            addresses.ids.put(Uuid::nil(), ROOM, addresses.ids.generation());
            addresses.uuids.put(ROOM, Uuid::nil(), addresses.uuids.generation());
            addresses.messages.put((ROOM, 1), MessageId(1), addresses.messages.generation());
            addresses.observer()(&erased(ANN), &[]);
            assert_eq!(known().await, [true; 3]);
            addresses.observer()(&event, &[]);
            assert_eq!(known().await, [false; 3], "{event:?}");
        }
    }
}
