use storage::{ChangePlace, Conversation, ConversationId, DESK, Message, MessageId, PAGE_BYTES, Page, PartnerId, Scope, Seen};

use super::{Chat, Feed, PersonPresence, Result, hub::Start, support};
use crate::auth::Caller;

/// Changed messages that are looked at for one page of those that are told, and the most on a page.
const CHANGES_SOUGHT: usize = 1_000;
const CHANGES_TOLD: usize = 100;

/// A page of changed messages.
pub struct Changed {
    /// In the order in which they last were changed.
    pub messages: Vec<Message>,
    /// The place where it goes on; `None` if there are no messages that could have changed.
    pub place: Option<ChangePlace>,
    /// True if nothing follows yet.
    pub is_all: bool,
}

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

    /// A page of the messages of a conversation of the caller, up to `upto`, that were edited or deleted since that one was
    /// posted, or after a place among them: at most 100 messages, and not much more than 1 MiB. A page may be empty.
    ///
    /// # Errors
    /// As [`Chat::conversation`].
    pub async fn changed_since(
        &self,
        caller: &Caller,
        of: ConversationId,
        upto: MessageId,
        after: Option<ChangePlace>,
    ) -> Result<Changed> {
        let (_, participant) = self.conversation(caller, of).await?;
        let storage = &self.0.storage;
        let mut place = match after {
            Some(place) => place,
            None => {
                // A client may name a message of somewhere else: then the newest from before that is what it knows.
                let newest = Page::Before { id: MessageId(upto.0.saturating_add(1)), limit: 1 };
                let Some(known) = storage.messages(of, caller.partner, newest).await?.pop() else {
                    return Ok(Changed { messages: Vec::new(), place: None, is_all: true });
                };
                ChangePlace::since(known.message.id)
            }
        };
        let changes = storage.changes(of, place, CHANGES_SOUGHT).await?;
        let (mut told, mut bytes, mut is_all) = (Vec::new(), 0, changes.len() < CHANGES_SOUGHT);
        for change in changes {
            if told.len() == CHANGES_TOLD || bytes >= PAGE_BYTES {
                is_all = false;
                break;
            }
            place = change.place;
            if place.message <= upto {
                told.push(place.message);
                bytes += change.bytes;
            }
        }
        let mut messages = storage.messages_by_id(&told).await?;
        messages.retain(|message| message.seq > participant.standing.visible_from_seq);
        messages.sort_by_key(|message| told.iter().position(|id| *id == message.id));
        Ok(Changed { messages, place: Some(place), is_all })
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
