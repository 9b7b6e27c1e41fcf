//! What is asked again and again for every socket, remembered for all of them.

use std::sync::Arc;

use quick_cache::sync::Cache;
use storage::{ConversationId, MessageId, PartnerId, Person};

use crate::chat::{Chat, Contact, Error, Result, Thing};

/// How many people's names are remembered, and how many messages' places.
const REMEMBERED: usize = 10_000;

/// Somebody, as clients know them. Neither id nor login ever changes.
#[derive(Debug)]
pub(super) struct Known {
    pub(super) number: i64,
    /// The same, written as a string.
    pub(super) id: String,
    pub(super) username: String,
}

/// People by their ids, and messages by their places.
pub(super) struct People {
    chat: Chat,
    known: Cache<PartnerId, Arc<Known>>,
    places: Cache<(ConversationId, i64), MessageId>,
}

impl People {
    pub(super) fn new(chat: &Chat) -> Self {
        Self { chat: chat.clone(), known: Cache::new(REMEMBERED), places: Cache::new(REMEMBERED) }
    }

    pub(super) async fn known(&self, partner: PartnerId) -> Result<Arc<Known>> {
        let read = async {
            let contact = self.chat.contacts_by_id(&[partner]).await?.pop().ok_or(Error::NotFound(Thing::Partner))?;
            let id = number(&contact.person());
            Ok(Arc::new(Known { number: id, id: id.to_string(), username: username(&contact) }))
        };
        self.known.get_or_insert_async(&partner, read).await
    }

    /// The message with this `seq` in a conversation.
    pub(super) async fn message_at(&self, of: ConversationId, seq: i64) -> Result<MessageId> {
        let read = async {
            let message = self.chat.messages_at(&[(of, seq)]).await?.pop().ok_or(Error::NotFound(Thing::Message))?;
            Ok(message.id)
        };
        self.places.get_or_insert_async(&(of, seq), read).await
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
