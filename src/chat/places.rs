//! Per-user conversation settings: the state of the window and the folder. Also the inbox with these settings, and leaving a
//! conversation. A change is an event to its user alone.
//!
//! # Errors
//! All async methods: `Unavailable` if the store cannot be reached. Those on one conversation: `NotFound` or `Forbidden` as for
//! [`Chat::conversation`]. Those that change something, except [`Chat::fold_window`]: `TooFast` beyond the caller's rate limit.
//!
//! # Cancel safety
//! A future dropped before its commit changes nothing. One dropped during its commit changes all or nothing, and the tail
//! publishes the change.

use std::{collections::HashMap, sync::Arc};

use storage::{Conversation, ConversationId, Fact, Folder, InboxEntry, InboxFilter, Message, Person, Topic, WindowState};

use super::{Chat, Error, ResourceKind, Result, conversations::remove_participant, rates::Act, support};
use crate::{auth::Caller, clock};

/// A conversation with one participant's settings for it.
#[derive(Clone, Debug)]
pub struct InboxConversation {
    pub entry: InboxEntry,
    /// Ordered by time of joining.
    pub people: Vec<Arc<Person>>,
    /// The newest message of each participant that wrote one.
    pub last_messages: Vec<Message>,
}

impl InboxConversation {
    pub fn conversation(&self) -> &Conversation {
        &self.entry.conversation
    }

    pub fn is_read(&self) -> bool {
        self.entry.unread == 0
    }
}

impl Chat {
    /// Sets the caller's window and folder of a conversation; `None` keeps a setting.
    pub async fn set_conversation_settings(
        &self,
        caller: &Caller,
        of: ConversationId,
        window: Option<WindowState>,
        shelf: Option<Folder>,
    ) -> Result<()> {
        self.charge(caller, Act::Write)?;
        self.change_settings(caller, of, window, shelf).await
    }

    /// Folds the window of a conversation before it is first shown to the caller. Part of a session's start: no rate limit
    /// applies.
    pub async fn fold_window(&self, caller: &Caller, of: ConversationId) -> Result<()> {
        self.change_settings(caller, of, Some(WindowState::Folded), None).await
    }

    async fn change_settings(
        &self,
        caller: &Caller,
        of: ConversationId,
        window: Option<WindowState>,
        shelf: Option<Folder>,
    ) -> Result<()> {
        let (_, place) = self.conversation(caller, of).await?;
        self.transaction(|mut tx| async {
            if tx.set_conversation_settings(of, caller.partner, window, shelf).await? {
                let (window, shelf) = (window.unwrap_or(place.window), shelf.unwrap_or(place.folder));
                let fact = Fact::PlaceChanged { conversation: of, window, shelf };
                tx.record(Topic::Partner(caller.partner), fact, clock::now());
                self.0.publisher.publish(tx.commit().await?).await;
            }
            Ok(())
        })
        .await
    }

    /// Removes the caller from a conversation in which at least two others stay. The caller's messages stay.
    ///
    /// # Errors
    /// `Conflict` for a support session, and if fewer than two others would stay.
    pub async fn leave(&self, caller: &Caller, of: ConversationId) -> Result<()> {
        self.charge(caller, Act::Write)?;
        self.transaction(|mut tx| async {
            let locked = tx.lock_conversations(&[of]).await?;
            let conversation = locked.first().ok_or(Error::NotFound(ResourceKind::Conversation))?;
            if !remove_participant(tx.as_mut(), conversation, caller.partner, clock::now()).await? {
                return Err(Error::Forbidden);
            }
            support::may_change_members(conversation)?;
            if tx.participant_count(conversation).await? < 2 {
                return Err(Error::Conflict("nobody would be left to talk to"));
            }
            if conversation.group.is_none() {
                // The conversation is no longer the direct one of a pair.
                tx.set_key(of, None).await?;
            }
            self.0.publisher.publish(tx.commit().await?).await;
            self.end_typing(of, caller.partner).await;
            Ok(())
        })
        .await
    }

    /// The caller's inbox with all that a list shows, most recent message first; `only` restricts it to these conversations.
    pub async fn inbox_conversations(&self, caller: &Caller, only: Option<&[ConversationId]>) -> Result<Vec<InboxConversation>> {
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
            .map(|entry| InboxConversation {
                people: people.remove(&entry.conversation.id).unwrap_or_default(),
                last_messages: last.remove(&entry.conversation.id).unwrap_or_default(),
                entry,
            })
            .collect())
    }
}
