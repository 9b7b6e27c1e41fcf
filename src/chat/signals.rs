//! Signals: ephemeral events (typing, delivery, presence) that are not in the event log. Delivery is best effort: a signal may
//! be lost, and a ring keeps the recent ones for listeners that poll. Marks order the signals of one node among its events.

use std::{collections::VecDeque, sync::Arc};

use chrono::TimeDelta;
use serde::{Deserialize, Serialize};
use storage::{ConversationId, MessageId, PartnerId, Position, Scope, Timestamp};

use super::{Chat, Result, Status};
use crate::{bus::Word, clock, telemetry};

/// A signal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Signal {
    /// A participant started or stopped typing.
    Typing {
        conversation: ConversationId,
        partner: PartnerId,
        typing: bool,
        /// The text that an im_chat client sends along.
        post: Option<TypingPost>,
    },
    /// A message has reached its first recipient.
    Delivered {
        conversation: ConversationId,
        message: MessageId,
        /// Place of the message in its conversation; 0 from nodes of older versions.
        #[serde(default)]
        seq: i64,
        author: PartnerId,
        at: Timestamp,
    },
    /// A partner's presence has changed.
    Presence { partner: PartnerId, status: Status },
}

/// An ephemeral message of an im_chat client that says only that its author is typing. It is delivered, and stored nowhere.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TypingPost {
    /// An id from the sequence of messages, of no stored message.
    pub id: MessageId,
    pub body: String,
    pub at: Timestamp,
}

/// Cursor of the signals: a listener has received all signals up to this mark.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct SignalMark {
    /// Position of the newest event at the time of the signal.
    pub position: Position,
    /// Counter of the signals after that event; 0 is the event itself. It also rises with the time since the event, so that
    /// marks stay monotonic across nodes and restarts.
    pub count: i64,
}

/// The part of the counter that the time since an event contributes: hundreds a second at first, to stay above the count of
/// signals, then fewer and fewer, up to half a day. After that only signals count.
fn steps(since: TimeDelta) -> i64 {
    const MOST: i64 = 1 << 18;
    since.num_milliseconds().max(0).saturating_mul(1_600).isqrt().min(MOST)
}

/// A signal in the ring, with its time and audience.
#[derive(Debug)]
pub struct Signalled {
    pub signal: Signal,
    /// The cursor of the signal: the same for all listeners on this node, and larger than that of any earlier signal.
    pub mark: SignalMark,
    at: Timestamp,
    audience: Audience,
}

/// The audience of a signal.
#[derive(Debug)]
pub(super) struct Audience {
    pub(super) conversation: Option<ConversationId>,
    /// In rising order.
    pub(super) partners: Arc<[PartnerId]>,
    /// Partners that have the signal's subject in their address books, and share no conversation with it. In rising order.
    pub(super) strangers: Arc<[PartnerId]>,
}

/// The audience of a partner's presence.
#[derive(Clone, Debug)]
pub(super) struct Acquainted {
    /// In rising order.
    pub(super) partners: Arc<[PartnerId]>,
    /// As in [`Audience`].
    pub(super) strangers: Arc<[PartnerId]>,
}

impl Audience {
    /// The audience of a delivery: the author of the message alone.
    pub(super) fn of_author(author: PartnerId) -> Self {
        Self { conversation: None, partners: Arc::from([author]), strangers: Arc::from([]) }
    }

    /// The audience of a presence.
    pub(super) fn of_acquainted(Acquainted { partners, strangers }: Acquainted) -> Self {
        Self { conversation: None, partners, strangers }
    }

    pub(super) fn scopes(&self) -> impl Iterator<Item = Scope> {
        let partners = self.partners.iter().copied().map(Scope::Partner);
        self.conversation.map(Scope::Conversation).into_iter().chain(partners)
    }

    /// The number of partner ids that the audience holds.
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
    /// True if the partner shares a conversation with the signal's subject; false if it only has the subject in its address
    /// book.
    pub fn is_for_company(&self, partner: PartnerId) -> bool {
        self.audience.strangers.binary_search(&partner).is_err()
    }
}

/// Capacity of the ring in signals.
const REMEMBERED: usize = 16_384;
/// Capacity of the ring in partner ids of all audiences: the presence of a participant of a large conversation concerns
/// thousands.
const NAMED: usize = 4_000_000;
/// TTL of a signal in the ring: it covers the gap between two polls.
const KEPT: TimeDelta = TimeDelta::seconds(60);
/// Largest clock skew between two nodes.
const AHEAD: TimeDelta = TimeDelta::seconds(1);

/// The ring of recent signals, bounded by count, size and TTL.
#[derive(Default)]
pub(super) struct Recently {
    ring: VecDeque<Arc<Signalled>>,
    /// Partner ids in all audiences of the ring.
    named: usize,
    newest: SignalMark,
}

impl Recently {
    /// Appends a signal, with eviction of the oldest ones. `head` and `since`: position and time of the newest event.
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

    /// Removes all signals of a partner as subject; for a delivery, as the author.
    pub(super) fn forget(&mut self, partner: PartnerId) {
        let names = |signalled: &Signalled| match &signalled.signal {
            Signal::Typing { partner: typist, .. } => *typist == partner,
            Signal::Delivered { author, .. } => *author == partner,
            Signal::Presence { partner: present, .. } => *present == partner,
        };
        self.ring.retain(|signalled| !names(signalled));
        self.named = self.ring.iter().map(|signalled| signalled.audience.names()).sum();
    }

    /// Removes all signals. The counter does not restart.
    pub(super) fn clear(&mut self) {
        self.ring.clear();
        self.named = 0;
    }

    /// The cursor behind all signals so far, with `head` as the newest event.
    pub(super) fn newest_at(&self, head: Position) -> SignalMark {
        self.newest.max(SignalMark { position: head, count: 0 })
    }

    /// The cursor behind all signals that any node may have published since the newest event, within [`AHEAD`].
    pub(super) fn newest_anywhere(&self, (head, since): (Position, Timestamp), now: Timestamp) -> SignalMark {
        self.newest_at(head).max(SignalMark { position: head, count: steps(now + AHEAD - since) })
    }

    /// The cursor behind all signals up to `time`.
    pub(super) fn newest_until(&self, time: Timestamp) -> SignalMark {
        let told = self.ring.partition_point(|signalled| signalled.at <= time);
        told.checked_sub(1).map(|newest| self.ring[newest].mark).unwrap_or_default()
    }

    /// The signals after `mark`, in the scopes and within their TTL, up to the first one after an event behind `upto`.
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
    /// Publishes a signal on all nodes. Best effort: failures are only logged.
    ///
    /// # Cancel safety
    /// Dropped, it may have reached the other nodes and not the listeners on this one.
    pub(super) async fn signal(&self, signal: Signal) {
        self.0.link.say(Word::Signal(signal.clone()));
        self.signal_here(signal).await;
    }

    /// Publishes a signal to the listeners on this node. Best effort: failures are only logged.
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
