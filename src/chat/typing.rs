//! Typing indicators: kept in memory on each node, published as signals, and ended by a TTL. They are not in the event log.
//!
//! # Errors
//! All async methods on a conversation: `Unavailable` if the store cannot be reached, `NotFound` or `Forbidden` as for
//! [`Chat::conversation`]. Starting, posting and stopping: `TooFast` beyond the caller's rate limit.
//!
//! # Cancel safety
//! A dropped future may have changed the indicator without publishing it; the TTL ends it on every node.

use std::{collections::HashMap, time::Duration};

use parking_lot::Mutex;
use storage::{ConversationId, ConversationKind, MessageId, PartnerId, Person};
use tokio::time::Instant;

use super::{Chat, Result, conversations::must_be_open, rates::Act, support, texts::check_bytes};
use crate::{
    auth::Caller,
    clock,
    events::{Signal, TypingPost},
    lifecycle::Lifecycle,
};

/// TTL of a typing indicator.
const TTL: Duration = Duration::from_secs(10);
/// Debounce: the least interval between two signals of one typist. It is shorter than the few seconds after which clients and
/// other nodes drop an indicator.
const DEBOUNCE: Duration = Duration::from_secs(2);
/// Maximum length of the text of [`TypingPost`], in bytes: the ring keeps it for a while, and the bus carries it.
const LONGEST_POST: usize = 1_024;
/// Interval between two looks for expired indicators.
const SWEEP: Duration = Duration::from_secs(1);

/// The typing indicators that this node knows.
#[derive(Default)]
pub(super) struct TypingIndicators(Mutex<HashMap<ConversationId, Vec<TypingIndicator>>>);

struct TypingIndicator {
    partner: PartnerId,
    expires_at: Instant,
    /// Time of the last signal.
    signalled_at: Instant,
}

impl TypingIndicators {
    /// Starts or renews an indicator. True if a signal is due: the first, or one after the debounce interval.
    fn start(&self, conversation: ConversationId, partner: PartnerId) -> bool {
        let now = Instant::now();
        let mut typing = self.0.lock();
        let typists = typing.entry(conversation).or_default();
        let before = typists.iter().position(|typist| typist.partner == partner).map(|index| typists.remove(index).signalled_at);
        let told = before.filter(|told| now - *told < DEBOUNCE);
        typists.push(TypingIndicator { partner, expires_at: now + TTL, signalled_at: told.unwrap_or(now) });
        told.is_none()
    }

    /// Ends an indicator. True if there was one.
    fn stop(&self, conversation: ConversationId, partner: PartnerId) -> bool {
        let mut typing = self.0.lock();
        let Some(typists) = typing.get_mut(&conversation) else { return false };
        let before = typists.len();
        typists.retain(|typist| typist.partner != partner);
        let stopped = typists.len() < before;
        if typists.is_empty() {
            typing.remove(&conversation);
        }
        stopped
    }

    fn current(&self, conversation: ConversationId) -> Vec<PartnerId> {
        let now = Instant::now();
        let typing = self.0.lock();
        let typists = typing.get(&conversation).into_iter().flatten();
        typists.filter(|typist| typist.expires_at > now).map(|typist| typist.partner).collect()
    }

    /// All live indicators.
    fn all(&self) -> Vec<(ConversationId, PartnerId)> {
        let now = Instant::now();
        let typing = self.0.lock();
        let typists = typing.iter().flat_map(|(conversation, typists)| typists.iter().map(|typist| (*conversation, typist)));
        typists
            .filter(|(_, typist)| typist.expires_at > now)
            .map(|(conversation, typist)| (conversation, typist.partner))
            .collect()
    }

    /// Removes expired indicators, and gives them.
    fn take_expired(&self) -> Vec<(ConversationId, PartnerId)> {
        let now = Instant::now();
        let mut gone = Vec::new();
        self.0.lock().retain(|conversation, typists| {
            typists.retain(|typist| {
                let on = typist.expires_at > now;
                if !on {
                    gone.push((*conversation, typist.partner));
                }
                on
            });
            !typists.is_empty()
        });
        gone
    }
}

impl Chat {
    /// Starts the task that ends expired indicators.
    pub(super) fn watch_typing(&self, lifecycle: &Lifecycle) {
        let (chat, stop) = (self.clone(), lifecycle.clone());
        lifecycle.spawn(async move {
            loop {
                tokio::select! {
                    () = tokio::time::sleep(SWEEP) => {}
                    () = stop.stopping() => return,
                }
                for (conversation, partner) in chat.0.typing.take_expired() {
                    // Every node has its own expiry, so the signal is local.
                    chat.signal_here(end_signal(conversation, partner)).await;
                }
            }
        });
    }

    /// Shows the caller as typing in a conversation of its own, until it stops, sends, or 10 s have passed.
    ///
    /// # Errors
    /// `Conflict` for a closed conversation, `Forbidden` for a support session in which the caller cannot write.
    pub async fn start_typing(&self, caller: &Caller, conversation: ConversationId) -> Result<()> {
        self.charge(caller, Act::Write)?;
        self.may_type(caller, conversation).await?;
        self.record_activity(caller);
        if self.0.typing.start(conversation, caller.partner) {
            self.signal(Signal::Typing { conversation, partner: caller.partner, typing: true, post: None }).await;
        }
        Ok(())
    }

    /// Starts typing with a text of the client, which every call publishes. Gives an id that no message has.
    ///
    /// # Errors
    /// As [`Chat::start_typing`], and `Invalid` for a text that is too long.
    pub async fn post_typing(&self, caller: &Caller, conversation: ConversationId, body: String) -> Result<MessageId> {
        check_bytes("body", &body, LONGEST_POST)?;
        self.charge(caller, Act::Write)?;
        self.may_type(caller, conversation).await?;
        self.record_activity(caller);
        let id = self.0.storage.draw_message_id().await?;
        self.0.typing.start(conversation, caller.partner);
        let post = TypingPost { id, body, at: clock::now() };
        self.signal(Signal::Typing { conversation, partner: caller.partner, typing: true, post: Some(post) }).await;
        Ok(id)
    }

    /// Checks that the caller may write in the conversation.
    async fn may_type(&self, caller: &Caller, id: ConversationId) -> Result<()> {
        let (conversation, _) = self.conversation(caller, id).await?;
        must_be_open(&conversation)?;
        if conversation.kind == ConversationKind::Support
            && let Some(session) = self.support_of(id).await?
        {
            support::side_of(&session, caller.partner)?;
        }
        Ok(())
    }

    /// Ends the caller's typing indicator.
    pub async fn stop_typing(&self, caller: &Caller, conversation: ConversationId) -> Result<()> {
        self.charge(caller, Act::Write)?;
        self.conversation(caller, conversation).await?;
        self.end_typing(conversation, caller.partner).await;
        Ok(())
    }

    /// Ends the typing indicator of a partner, if there is one.
    pub(super) async fn end_typing(&self, conversation: ConversationId, partner: PartnerId) {
        if self.0.typing.stop(conversation, partner) {
            self.signal(end_signal(conversation, partner)).await;
        }
    }

    /// Applies a typing signal of another node.
    pub(super) fn on_remote_typing(&self, conversation: ConversationId, partner: PartnerId, typing: bool) {
        if typing {
            self.0.typing.start(conversation, partner);
        } else {
            self.0.typing.stop(conversation, partner);
        }
    }

    /// Lists the other participants that are typing in a conversation of the caller, by the time of their last renewal.
    pub async fn typing(&self, caller: &Caller, conversation: ConversationId) -> Result<Vec<Person>> {
        self.conversation(caller, conversation).await?;
        self.typists(caller, conversation).await
    }

    /// Lists them without a check of the caller's membership.
    pub async fn typists(&self, caller: &Caller, conversation: ConversationId) -> Result<Vec<Person>> {
        let typists: Vec<_> =
            self.0.typing.current(conversation).into_iter().filter(|partner| *partner != caller.partner).collect();
        if typists.is_empty() {
            return Ok(Vec::new());
        }
        let people = self.0.storage.people(&typists).await?;
        Ok(typists.iter().filter_map(|id| people.iter().find(|person| person.partner.id == *id)).cloned().collect())
    }
}

impl Chat {
    /// Lists the other typing participants in all conversations of the caller.
    pub async fn typists_around(&self, caller: &Caller) -> Result<Vec<(ConversationId, PartnerId)>> {
        let mut around = Vec::new();
        for (conversation, partner) in self.0.typing.all() {
            // A cache hit: publishing the typing has loaded the members.
            if partner != caller.partner && self.is_participant(caller.partner, conversation).await? {
                around.push((conversation, partner));
            }
        }
        Ok(around)
    }
}

fn end_signal(conversation: ConversationId, partner: PartnerId) -> Signal {
    Signal::Typing { conversation, partner, typing: false, post: None }
}
