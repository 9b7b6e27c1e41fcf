use storage::{Conversation, ConversationId, DESK, Message, MessageId, PartnerId, Scope, Seen};

use super::{Chat, Feed, PersonPresence, Result, hub::Start, support};
use crate::auth::Caller;

impl Chat {
    /// Everything that concerns the caller from now on, with signals. Whoever listens says what of it was handed over:
    /// [`Chat::hands_over`].
    pub fn hear_all(&self, caller: &Caller) -> Feed {
        let own = Scope::Partner(caller.partner);
        self.follow_hearing(&[own], Start::Now, &[own])
    }

    /// The same, and what all are told who answer support sessions, if the caller is one of them.
    pub fn hear_desk(&self, caller: &Caller) -> Feed {
        let (own, desk) = (Scope::Partner(caller.partner), Scope::Partner(DESK));
        let scopes = [own, desk];
        let scopes = if support::answers(caller.role) { &scopes[..] } else { &scopes[..1] };
        self.follow_hearing(scopes, Start::Now, &[own])
    }

    /// The same for whoever is handed all of it.
    pub fn hear_conversations(&self, caller: &Caller) -> Feed {
        self.hear_all(caller).read_by(caller)
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
        let feed = self.follow_hearing(&[scope], Start::Now, &hears).read_by(caller);
        let (conversation, participant) = self.conversation(caller, id).await?;
        Ok((feed.visible_from(&participant), conversation))
    }

    /// Waits until this node has told everything that the log holds by now: whoever reads its feed afterwards finds there
    /// what any node has confirmed.
    pub async fn catch_up(&self) -> Result<()> {
        let end = self.0.storage.position().await?;
        self.reach(end).await
    }

    /// Notes that the caller was handed messages of the history: those that it has not read may have reached nobody yet.
    pub fn hands(&self, caller: &Caller, messages: &[Seen]) {
        let unread = messages.iter().filter(|seen| !seen.is_read);
        unread.for_each(|seen| self.0.hub.handed(&seen.message, caller.partner));
    }

    /// The messages of a conversation of the caller, up to `upto`, that were edited or deleted since that one was posted: at
    /// most so many, those that changed last, in the order in which they did. Of what the log has forgotten nothing is known.
    pub async fn changed_since(&self, caller: &Caller, of: ConversationId, upto: MessageId, most: usize) -> Result<Vec<Message>> {
        let (_, participant) = self.conversation(caller, of).await?;
        let changed = self.0.storage.changed_since(of, upto, most).await?;
        let mut messages = self.0.storage.messages_by_id(&changed).await?;
        let is_told = |message: &Message| {
            let has_changed = message.edited_at.is_some() || message.deleted_at.is_some();
            has_changed && message.seq > participant.standing.visible_from_seq
        };
        messages.retain(is_told);
        messages.sort_by_key(|message| changed.iter().position(|id| *id == message.id));
        Ok(messages)
    }

    /// Whether somebody is in a conversation.
    pub async fn is_in(&self, partner: PartnerId, id: ConversationId) -> Result<bool> {
        Ok(self.0.audiences.of(id).await?.partners.binary_search(&partner).is_ok())
    }

    /// Whether the caller is there, and whoever shares a conversation with it: the caller first, then by rising id, and at
    /// most so many, those who were seen last.
    pub async fn presence_around(&self, caller: &Caller, most: usize) -> Result<Vec<PersonPresence>> {
        let contacts = self.0.storage.contacts(&[caller.partner]).await?;
        let others = contacts.into_iter().next().map(|(_, others)| others).unwrap_or_default();
        let mut company = self.seen_last(others, most.saturating_sub(1)).await?;
        company.push(caller.partner);
        let mut people = self.0.storage.people(&company).await?;
        people.sort_unstable_by_key(|person| (person.partner.id != caller.partner, person.partner.id));
        self.presence(people).await
    }
}
