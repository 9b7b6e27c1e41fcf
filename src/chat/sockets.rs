use storage::{Conversation, ConversationId, Message, PartnerId, Scope, Seen};

use super::{Chat, Feed, Result, hub::Start};
use crate::auth::Caller;

impl Chat {
    /// Everything that concerns the caller from now on, with signals. Whoever listens says what of it was handed over:
    /// [`Chat::hands_over`].
    pub fn hear_all(&self, caller: &Caller) -> Feed {
        let own = Scope::Partner(caller.partner);
        self.follow_hearing(own, Start::Now, &[own])
    }

    /// Notes that the caller was handed a message that was told.
    pub fn hands_over(&self, caller: &Caller, message: &Message) {
        self.0.hub.handed(message, caller.partner);
    }

    /// Everything that happens from now on in a conversation of the caller, with signals to it, and those to the caller:
    /// who comes and goes. Whoever reads its history afterwards misses nothing.
    pub async fn hear_conversation(&self, caller: &Caller, id: ConversationId) -> Result<(Feed, Conversation)> {
        let scope = Scope::Conversation(id);
        let hears = [scope, Scope::Partner(caller.partner)];
        let feed = self.follow_hearing(scope, Start::Now, &hears).read_by(caller);
        let (conversation, participant) = self.conversation(caller, id).await?;
        Ok((feed.visible_from(&participant), conversation))
    }

    /// Notes that the caller was handed messages of the history: those that it has not read may have reached nobody yet.
    pub fn hands(&self, caller: &Caller, messages: &[Seen]) {
        let unread = messages.iter().filter(|seen| !seen.is_read);
        unread.for_each(|seen| self.0.hub.handed(&seen.message, caller.partner));
    }

    /// Whether somebody is in a conversation.
    pub async fn is_in(&self, partner: PartnerId, id: ConversationId) -> Result<bool> {
        Ok(self.visit("participant_ids", self.0.audiences.of(id)).await?.partners.binary_search(&partner).is_ok())
    }
}
