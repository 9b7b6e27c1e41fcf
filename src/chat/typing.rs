use std::{collections::HashMap, time::Duration};

use parking_lot::Mutex;
use storage::{ConversationId, ConversationKind, MessageId, PartnerId, Person};
use tokio::time::Instant;

use super::{Chat, Result, Signal, TypingPost, conversations::must_be_open, rates::Act, support, texts::short};
use crate::{auth::Caller, clock, lifecycle::Lifecycle};

/// Typing runs out by itself after this long.
const RUNS_OUT: Duration = Duration::from_secs(10);
/// After how long it is told again of somebody who goes on: clients show nobody as typing who was not heard of for a few
/// seconds, and other nodes let it run out.
const AGAIN: Duration = Duration::from_secs(2);
/// How long the text may be that a client sends along. It is remembered for a while, and crosses to other nodes.
const LONGEST_POST: usize = 1_024;
/// How often it is looked for who has not gone on.
const SWEEP: Duration = Duration::from_secs(1);

/// Who is typing where, as far as this node knows.
#[derive(Default)]
pub(super) struct Typing(Mutex<HashMap<ConversationId, Vec<Typist>>>);

struct Typist {
    partner: PartnerId,
    until: Instant,
    /// When others were last told.
    told: Instant,
}

impl Typing {
    /// Whether others are to be told: they were not, or not for long.
    fn start(&self, conversation: ConversationId, partner: PartnerId) -> bool {
        let now = Instant::now();
        let mut typing = self.0.lock();
        let typists = typing.entry(conversation).or_default();
        let before = typists.iter().position(|typist| typist.partner == partner).map(|index| typists.remove(index).told);
        let told = before.filter(|told| now - *told < AGAIN);
        typists.push(Typist { partner, until: now + RUNS_OUT, told: told.unwrap_or(now) });
        told.is_none()
    }

    /// Whether the partner typed there before.
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

    fn now(&self, conversation: ConversationId) -> Vec<PartnerId> {
        let now = Instant::now();
        let typing = self.0.lock();
        let typists = typing.get(&conversation).into_iter().flatten();
        typists.filter(|typist| typist.until > now).map(|typist| typist.partner).collect()
    }

    /// Everybody who types, with where.
    fn everywhere(&self) -> Vec<(ConversationId, PartnerId)> {
        let now = Instant::now();
        let typing = self.0.lock();
        let typists = typing.iter().flat_map(|(conversation, typists)| typists.iter().map(|typist| (*conversation, typist)));
        typists.filter(|(_, typist)| typist.until > now).map(|(conversation, typist)| (conversation, typist.partner)).collect()
    }

    /// Takes out, and gives, whose typing has run out.
    fn ran_out(&self) -> Vec<(ConversationId, PartnerId)> {
        let now = Instant::now();
        let mut gone = Vec::new();
        self.0.lock().retain(|conversation, typists| {
            typists.retain(|typist| {
                let on = typist.until > now;
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
    /// Starts the task that notices who has not gone on typing.
    pub(super) fn watch_typing(&self, lifecycle: &Lifecycle) {
        let (chat, stop) = (self.clone(), lifecycle.clone());
        lifecycle.spawn(async move {
            loop {
                tokio::select! {
                    () = tokio::time::sleep(SWEEP) => {}
                    () = stop.stopping() => return,
                }
                for (conversation, partner) in chat.0.typing.ran_out() {
                    // Every node notices by itself.
                    chat.signal_here(ended(conversation, partner)).await;
                }
            }
        });
    }

    /// Shows the caller as typing in a conversation of its own, until it stops, sends, or 10 s have passed.
    pub async fn start_typing(&self, caller: &Caller, conversation: ConversationId) -> Result<()> {
        self.charge(caller, Act::Write)?;
        self.may_type(caller, conversation).await?;
        self.acts(caller);
        if self.0.typing.start(conversation, caller.partner) {
            self.signal(Signal::Typing { conversation, partner: caller.partner, typing: true, post: None }).await;
        }
        Ok(())
    }

    /// The same, told each time with the text that the caller's client has sent along. Gives an id that no message has.
    pub async fn post_typing(&self, caller: &Caller, conversation: ConversationId, body: String) -> Result<MessageId> {
        short("body", &body, LONGEST_POST)?;
        self.charge(caller, Act::Write)?;
        self.may_type(caller, conversation).await?;
        self.acts(caller);
        let id = self.0.storage.draw_message_id().await?;
        self.0.typing.start(conversation, caller.partner);
        let post = TypingPost { id, body, at: clock::now() };
        self.signal(Signal::Typing { conversation, partner: caller.partner, typing: true, post: Some(post) }).await;
        Ok(id)
    }

    /// Whoever could say nothing types nothing.
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

    /// Shows the caller as not typing.
    pub async fn stop_typing(&self, caller: &Caller, conversation: ConversationId) -> Result<()> {
        self.charge(caller, Act::Write)?;
        self.conversation(caller, conversation).await?;
        self.typing_stopped(conversation, caller.partner).await;
        Ok(())
    }

    /// Shows somebody who may have typed as not typing.
    pub(super) async fn typing_stopped(&self, conversation: ConversationId, partner: PartnerId) {
        if self.0.typing.stop(conversation, partner) {
            self.signal(ended(conversation, partner)).await;
        }
    }

    /// Another node says who types, or does no longer.
    pub(super) fn typing_elsewhere(&self, conversation: ConversationId, partner: PartnerId, typing: bool) {
        if typing {
            self.0.typing.start(conversation, partner);
        } else {
            self.0.typing.stop(conversation, partner);
        }
    }

    /// Who else is typing in a conversation of the caller, by the time at which they last said so.
    pub async fn typing(&self, caller: &Caller, conversation: ConversationId) -> Result<Vec<Person>> {
        self.conversation(caller, conversation).await?;
        self.typists(caller, conversation).await
    }

    /// The same of a conversation that the caller is known to be in.
    pub async fn typists(&self, caller: &Caller, conversation: ConversationId) -> Result<Vec<Person>> {
        let typists: Vec<_> = self.0.typing.now(conversation).into_iter().filter(|partner| *partner != caller.partner).collect();
        if typists.is_empty() {
            return Ok(Vec::new());
        }
        let people = self.0.storage.people(&typists).await?;
        Ok(typists.iter().filter_map(|id| people.iter().find(|person| person.partner.id == *id)).cloned().collect())
    }
}

impl Chat {
    /// Who else is typing, and where, in all conversations of the caller.
    pub async fn typists_around(&self, caller: &Caller) -> Result<Vec<(ConversationId, PartnerId)>> {
        let mut around = Vec::new();
        for (conversation, partner) in self.0.typing.everywhere() {
            // Cached: whoever was told of the typing was looked up there.
            if partner != caller.partner && self.is_in(caller.partner, conversation).await? {
                around.push((conversation, partner));
            }
        }
        Ok(around)
    }
}

fn ended(conversation: ConversationId, partner: PartnerId) -> Signal {
    Signal::Typing { conversation, partner, typing: false, post: None }
}
