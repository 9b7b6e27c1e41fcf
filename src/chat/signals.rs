use std::{collections::VecDeque, sync::Arc};

use chrono::TimeDelta;
use serde::{Deserialize, Serialize};
use storage::{ConversationId, MessageId, PartnerId, Position, Scope, Timestamp};

use super::{Chat, Result, Status};
use crate::{bus::Word, clock, telemetry};

/// Something worth knowing now and not later. It may be lost, and is in no log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Signal {
    /// Somebody began or ceased to type.
    Typing {
        conversation: ConversationId,
        partner: PartnerId,
        typing: bool,
        /// What im_chat's clients post to say so.
        post: Option<TypingPost>,
    },
    /// A message has reached the first of those whom it was for.
    Delivered {
        conversation: ConversationId,
        message: MessageId,
        /// The message's place; 0 if a node that is older than this says nothing of it.
        #[serde(default)]
        seq: i64,
        author: PartnerId,
        at: Timestamp,
    },
    /// Somebody came, went, or turned away.
    Presence { partner: PartnerId, status: Status },
}

/// A message that says no more than that its author is typing: it is told, and kept nowhere.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TypingPost {
    /// Like a message's, and no message's.
    pub id: MessageId,
    pub body: String,
    pub at: Timestamp,
}

/// Between which signals somebody is: all up to this one are known to it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct SignalMark {
    /// The newest event when it was told.
    pub position: Position,
    /// Rises with the signals after that event, and by itself with the time since then, so that it goes on from where it
    /// was on another node and after a start; 0 is the event itself.
    pub count: i64,
}

/// What the time since an event counts: hundreds a second at first, so that signals seldom count more, and fewer and fewer,
/// up to half a day. After that the signals alone count.
fn steps(since: TimeDelta) -> i64 {
    const MOST: i64 = 1 << 18;
    since.num_milliseconds().max(0).saturating_mul(1_600).isqrt().min(MOST)
}

/// A signal as this node remembers it: when it was told, and to whom.
#[derive(Debug)]
pub struct Signalled {
    pub signal: Signal,
    /// The same for everybody who hears of it from this node, and larger than that of any signal before.
    pub mark: SignalMark,
    at: Timestamp,
    audience: Audience,
}

/// Whom a signal concerns.
#[derive(Debug)]
pub(super) struct Audience {
    pub(super) conversation: Option<ConversationId>,
    /// In rising order.
    pub(super) partners: Arc<[PartnerId]>,
    /// Those of them who share no conversation with whom the signal is about: it is in their address books. In rising order.
    pub(super) strangers: Arc<[PartnerId]>,
}

/// Whom the presence of a partner concerns.
#[derive(Clone, Debug)]
pub(super) struct Acquainted {
    /// In rising order.
    pub(super) partners: Arc<[PartnerId]>,
    /// As in [`Audience`].
    pub(super) strangers: Arc<[PartnerId]>,
}

impl Audience {
    /// That its message was delivered is news to nobody else.
    pub(super) fn of_author(author: PartnerId) -> Self {
        Self { conversation: None, partners: Arc::from([author]), strangers: Arc::from([]) }
    }

    /// Those who are told who comes and goes.
    pub(super) fn of_acquainted(Acquainted { partners, strangers }: Acquainted) -> Self {
        Self { conversation: None, partners, strangers }
    }

    pub(super) fn scopes(&self) -> impl Iterator<Item = Scope> {
        let partners = self.partners.iter().copied().map(Scope::Partner);
        self.conversation.map(Scope::Conversation).into_iter().chain(partners)
    }

    /// How many names it holds.
    fn names(&self) -> usize {
        self.partners.len() + self.strangers.len()
    }

    fn has(&self, scope: Scope) -> bool {
        match scope {
            Scope::Everything => false,
            Scope::Conversation(id) => self.conversation == Some(id),
            Scope::Partner(partner) => self.partners.binary_search(&partner).is_ok(),
        }
    }
}

impl Signalled {
    /// Whether the signal concerns the partner for a conversation that it shares with whom the signal is about, and not for
    /// its address book alone.
    pub fn is_for_company(&self, partner: PartnerId) -> bool {
        self.audience.strangers.binary_search(&partner).is_err()
    }
}

/// How many signals are remembered, and for how long: long enough for somebody who was not listening between two polls.
const REMEMBERED: usize = 16_384;
/// How many names the audiences of those may have together. Whoever is in a conversation with thousands comes and goes
/// before thousands.
const NAMED: usize = 4_000_000;
const KEPT: TimeDelta = TimeDelta::seconds(60);
/// By how much the clock of another node may be ahead.
const AHEAD: TimeDelta = TimeDelta::seconds(1);

/// The ring of recent signals.
#[derive(Default)]
pub(super) struct Recently {
    ring: VecDeque<Arc<Signalled>>,
    /// How many names all their audiences have.
    named: usize,
    newest: SignalMark,
}

impl Recently {
    /// Takes in a signal that is told while the event at `head`, which happened at `since`, is the newest one.
    pub(super) fn tell(&mut self, signal: Signal, audience: Audience, (head, since): (Position, Timestamp), at: Timestamp) {
        self.named += audience.names();
        while let Some(oldest) = self.ring.front()
            && (at - oldest.at > KEPT || self.ring.len() >= REMEMBERED || self.named > NAMED)
        {
            self.named -= oldest.audience.names();
            self.ring.pop_front();
        }
        self.newest = self.newest_at(head);
        self.newest.count = steps(at - since).max(self.newest.count + 1);
        self.ring.push_back(Arc::new(Signalled { signal, mark: self.newest, at, audience }));
    }

    /// Forgets what tells of a partner, or was told to it.
    pub(super) fn forget(&mut self, partner: PartnerId) {
        let names = |signalled: &Signalled| match &signalled.signal {
            Signal::Typing { partner: typist, .. } => *typist == partner,
            Signal::Delivered { author, .. } => *author == partner,
            Signal::Presence { partner: present, .. } => *present == partner,
        };
        self.ring.retain(|signalled| !names(signalled));
        self.named = self.ring.iter().map(|signalled| signalled.audience.names()).sum();
    }

    /// Forgets all signals. Those to come are still larger than those before.
    pub(super) fn clear(&mut self) {
        self.ring.clear();
        self.named = 0;
    }

    /// Behind all that was told, with `head` the newest event.
    pub(super) fn newest_at(&self, head: Position) -> SignalMark {
        self.newest.max(SignalMark { position: head, count: 0 })
    }

    /// Behind all that may have been told by any node while this is the newest event, if that is not further than what
    /// this one has told.
    pub(super) fn newest_anywhere(&self, (head, since): (Position, Timestamp), now: Timestamp) -> SignalMark {
        self.newest_at(head).max(SignalMark { position: head, count: steps(now + AHEAD - since) })
    }

    /// Behind all that was told until `time`.
    pub(super) fn newest_until(&self, time: Timestamp) -> SignalMark {
        let told = self.ring.partition_point(|signalled| signalled.at <= time);
        told.checked_sub(1).map(|newest| self.ring[newest].mark).unwrap_or_default()
    }

    /// What was told after `mark`, and before any event after `upto`, that concerns any of the scopes and is not too old.
    pub(super) fn after(&self, mark: SignalMark, upto: Position, scopes: &[Scope]) -> Vec<Arc<Signalled>> {
        if scopes.is_empty() {
            return Vec::new();
        }
        let now = clock::now();
        let known = self.ring.partition_point(|signalled| signalled.mark <= mark);
        let rest = self.ring.range(known..).take_while(|signalled| signalled.mark.position <= upto);
        let concerns = |signalled: &Signalled| scopes.iter().any(|scope| signalled.audience.has(*scope));
        rest.filter(|signalled| concerns(signalled) && now - signalled.at <= KEPT).cloned().collect()
    }
}

impl Chat {
    /// Tells a signal to those whom it concerns, on this node and on the others. It is worth no error to anybody.
    pub(super) async fn signal(&self, signal: Signal) {
        self.0.link.say(Word::Signal(signal.clone()));
        self.signal_here(signal).await;
    }

    /// Tells a signal to those whom it concerns on this node.
    pub(super) async fn signal_here(&self, signal: Signal) {
        match self.audience(&signal).await {
            Ok(audience) => self.0.hub.signal(signal, audience),
            Err(error) => tracing::debug!(error = %telemetry::chain(&error), "somebody could not be told of a signal"),
        }
    }

    async fn audience(&self, signal: &Signal) -> Result<Audience> {
        Ok(match signal {
            Signal::Typing { conversation, .. } => {
                let members = self.0.audiences.of(*conversation).await?;
                Audience { conversation: Some(*conversation), partners: members.partners, strangers: Arc::from([]) }
            }
            Signal::Delivered { author, .. } => Audience::of_author(*author),
            Signal::Presence { partner, .. } => {
                let acquainted = self.acquainted_with(&[*partner]).await?.pop();
                acquainted.map_or_else(|| Audience::of_author(*partner), |(_, acquainted)| Audience::of_acquainted(acquainted))
            }
        })
    }
}
