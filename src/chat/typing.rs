use std::{collections::HashMap, time::Duration};

use parking_lot::Mutex;
use storage::{ConversationId, PartnerId, Person};
use tokio::time::Instant;

use super::{Chat, Result};
use crate::auth::Caller;

/// Typing runs out by itself after this long.
const RUNS_OUT: Duration = Duration::from_secs(10);

/// Who is typing where, as far as this node knows.
#[derive(Default)]
pub(super) struct Typing(Mutex<HashMap<ConversationId, Vec<(PartnerId, Instant)>>>);

impl Typing {
    fn start(&self, conversation: ConversationId, partner: PartnerId) {
        let now = Instant::now();
        let mut typing = self.0.lock();
        let typists = typing.entry(conversation).or_default();
        typists.retain(|(other, until)| *other != partner && *until > now);
        typists.push((partner, now + RUNS_OUT));
    }

    pub(super) fn stop(&self, conversation: ConversationId, partner: PartnerId) {
        let mut typing = self.0.lock();
        if let Some(typists) = typing.get_mut(&conversation) {
            typists.retain(|(other, _)| *other != partner);
            if typists.is_empty() {
                typing.remove(&conversation);
            }
        }
    }

    fn now(&self, conversation: ConversationId) -> Vec<PartnerId> {
        let now = Instant::now();
        let mut typing = self.0.lock();
        let Some(typists) = typing.get_mut(&conversation) else { return Vec::new() };
        typists.retain(|(_, until)| *until > now);
        let typists: Vec<_> = typists.iter().map(|(partner, _)| *partner).collect();
        if typists.is_empty() {
            typing.remove(&conversation);
        }
        typists
    }
}

impl Chat {
    /// Shows the caller as typing in a conversation of its own, until it stops, sends, or 10 s have passed.
    pub async fn start_typing(&self, caller: &Caller, conversation: ConversationId) -> Result<()> {
        self.conversation(caller, conversation).await?;
        self.0.typing.start(conversation, caller.partner);
        Ok(())
    }

    /// Shows the caller as not typing.
    pub async fn stop_typing(&self, caller: &Caller, conversation: ConversationId) -> Result<()> {
        self.conversation(caller, conversation).await?;
        self.0.typing.stop(conversation, caller.partner);
        Ok(())
    }

    /// Who else is typing in a conversation of the caller, by the time at which they began.
    pub async fn typing(&self, caller: &Caller, conversation: ConversationId) -> Result<Vec<Person>> {
        self.conversation(caller, conversation).await?;
        let typists: Vec<_> = self.0.typing.now(conversation).into_iter().filter(|partner| *partner != caller.partner).collect();
        if typists.is_empty() {
            return Ok(Vec::new());
        }
        let people = self.visit("people", self.0.storage.people(&typists)).await?;
        Ok(typists.iter().filter_map(|id| people.iter().find(|person| person.partner.id == *id)).cloned().collect())
    }
}
