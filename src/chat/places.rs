use std::{collections::HashMap, sync::Arc};

use storage::{Conversation, ConversationId, Fact, InboxEntry, InboxFilter, Message, Person, Shelf, Topic, Window};

use super::{Chat, Error, Result, Thing, conversations::take_out, rates::Act, support};
use crate::{auth::Caller, clock};

/// A conversation as one participant keeps it.
#[derive(Clone, Debug)]
pub struct KeptConversation {
    pub entry: InboxEntry,
    /// In the order in which they joined.
    pub people: Vec<Arc<Person>>,
    /// The newest message of each of them that wrote one.
    pub last_messages: Vec<Message>,
}

impl KeptConversation {
    pub fn conversation(&self) -> &Conversation {
        &self.entry.conversation
    }

    pub fn is_read(&self) -> bool {
        self.entry.unread == 0
    }
}

impl Chat {
    /// Sets how the caller keeps a conversation of its own; `None` leaves it as it is.
    pub async fn set_place(
        &self,
        caller: &Caller,
        of: ConversationId,
        window: Option<Window>,
        shelf: Option<Shelf>,
    ) -> Result<()> {
        self.charge(caller, Act::Write)?;
        self.change_place(caller, of, window, shelf).await
    }

    /// Folds the window of a conversation of the caller's that it is about to be shown. Part of starting, and no act of the
    /// caller's.
    pub async fn fold(&self, caller: &Caller, of: ConversationId) -> Result<()> {
        self.change_place(caller, of, Some(Window::Folded), None).await
    }

    async fn change_place(
        &self,
        caller: &Caller,
        of: ConversationId,
        window: Option<Window>,
        shelf: Option<Shelf>,
    ) -> Result<()> {
        let (_, place) = self.conversation(caller, of).await?;
        self.transaction(|mut tx| async {
            if tx.set_place(of, caller.partner, window, shelf).await? {
                let (window, shelf) = (window.unwrap_or(place.window), shelf.unwrap_or(place.shelf));
                let fact = Fact::PlaceChanged { conversation: of, window, shelf };
                tx.record(Topic::Partner(caller.partner), fact, clock::now());
                self.0.announce.committed(tx.commit().await?).await;
            }
            Ok(())
        })
        .await
    }

    /// Takes the caller out of a conversation in which at least two others stay. What it wrote stays.
    pub async fn leave(&self, caller: &Caller, of: ConversationId) -> Result<()> {
        self.charge(caller, Act::Write)?;
        self.transaction(|mut tx| async {
            let locked = tx.lock_conversations(&[of]).await?;
            let conversation = locked.first().ok_or(Error::NotFound(Thing::Conversation))?;
            if !take_out(tx.as_mut(), conversation, caller.partner, clock::now()).await? {
                return Err(Error::Forbidden);
            }
            support::may_change_members(conversation)?;
            if tx.participant_count(conversation).await? < 2 {
                return Err(Error::Conflict("nobody would be left to talk to"));
            }
            if conversation.group.is_none() {
                // It is no longer the one between those two.
                tx.set_key(of, None).await?;
            }
            self.0.announce.committed(tx.commit().await?).await;
            self.typing_stopped(of, caller.partner).await;
            Ok(())
        })
        .await
    }

    /// The caller's conversations with all that a list of them shows: most recent message first.
    pub async fn places(&self, caller: &Caller, only: Option<&[ConversationId]>) -> Result<Vec<KeptConversation>> {
        let filter = InboxFilter { only, ..InboxFilter::default() };
        let entries = self.0.storage.inbox(caller.partner, filter).await?;
        let ids: Vec<_> = entries.iter().map(|entry| entry.conversation.id).collect();
        let mut people: HashMap<_, Vec<_>> = HashMap::new();
        for (id, person) in self.0.storage.people_in(&ids).await? {
            people.entry(id).or_default().push(person);
        }
        let mut last: HashMap<_, Vec<_>> = HashMap::new();
        for message in self.0.storage.last_messages(&ids, caller.partner).await? {
            last.entry(message.conversation).or_default().push(message);
        }
        Ok(entries
            .into_iter()
            .map(|entry| KeptConversation {
                people: people.remove(&entry.conversation.id).unwrap_or_default(),
                last_messages: last.remove(&entry.conversation.id).unwrap_or_default(),
                entry,
            })
            .collect())
    }
}
