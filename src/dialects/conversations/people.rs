//! People, and places of messages, as clients know them.

use storage::{ConversationId, MessageId, PartnerId, Person};

use crate::chat::{Chat, Contact, Error, Result, Thing};

/// Somebody, as clients know them.
#[derive(Debug)]
pub(super) struct Known {
    pub(super) number: i64,
    /// The same, written as a string.
    pub(super) id: String,
    pub(super) username: String,
}

/// Looks up what is asked again and again for every socket. The service has it cached.
pub(super) struct People(Chat);

impl People {
    pub(super) fn new(chat: &Chat) -> Self {
        Self(chat.clone())
    }

    pub(super) async fn known(&self, partner: PartnerId) -> Result<Known> {
        let contact = self.0.contact(partner).await?.ok_or(Error::NotFound(Thing::Partner))?;
        let number = number(&contact.person());
        Ok(Known { number, id: number.to_string(), username: username(&contact) })
    }

    /// The message with this `seq` in a conversation.
    pub(super) async fn message_at(&self, of: ConversationId, seq: i64) -> Result<MessageId> {
        self.0.message_id_at(of, seq).await
    }
}

/// The id by which clients know a person: the uid, or, of somebody without an account, the partner's, which is no uid.
pub(super) fn number(person: &Person) -> i64 {
    person.user.map_or(person.partner.id.0, |user| user.0)
}

/// The profile's, if it has one; else the login up to any `@`.
pub(super) fn username(contact: &Contact) -> String {
    let Some(user) = &contact.user else { return contact.partner.name.clone() };
    let own = user.profile.get("username").and_then(|name| name.as_str()).filter(|name| !name.is_empty());
    own.unwrap_or_else(|| user.login_text().split('@').next().unwrap_or_default()).to_owned()
}
