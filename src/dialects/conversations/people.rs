//! Ids and names of people, and message ids, as clients of this dialect see them.

use storage::{ConversationId, MessageId, PartnerId, Person};

use crate::chat::{Chat, Contact, Error, ResourceKind, Result};

/// A person's ids and name in this dialect.
#[derive(Debug)]
pub(super) struct PersonName {
    pub(super) number: i64,
    /// `person_id` as a string.
    pub(super) id: String,
    pub(super) username: String,
}

/// Lookups that every socket repeats, served from the chat's cache.
pub(super) struct PeopleLookup(Chat);

impl PeopleLookup {
    pub(super) fn new(chat: &Chat) -> Self {
        Self(chat.clone())
    }

    pub(super) async fn person(&self, partner: PartnerId) -> Result<PersonName> {
        let contact = self.0.contact(partner).await?.ok_or(Error::NotFound(ResourceKind::Partner))?;
        let number = person_id(&contact.person());
        Ok(PersonName { number, id: number.to_string(), username: username(&contact) })
    }

    /// Id of the message at position `seq` of a conversation.
    pub(super) async fn message_at(&self, of: ConversationId, seq: i64) -> Result<MessageId> {
        self.0.message_id_at(of, seq).await
    }
}

/// A person's id for clients: the user id, or, without an account, the partner id, which is no user id.
pub(super) fn person_id(person: &Person) -> i64 {
    person.user.map_or(person.partner.id.0, |user| user.0)
}

/// Username: from the profile, else the login up to `@`.
pub(super) fn username(contact: &Contact) -> String {
    let Some(user) = &contact.user else { return contact.partner.name.clone() };
    let own = user.profile.get("username").and_then(|name| name.as_str()).filter(|name| !name.is_empty());
    own.unwrap_or_else(|| user.login_text().split('@').next().unwrap_or_default()).to_owned()
}
