//! Signals: ephemeral events (typing, delivery, presence) that are not in the event log. Delivery is best effort: a signal may
//! be lost, and a ring keeps the recent ones for listeners that poll. Marks order the signals of one node among its events.

use std::{collections::VecDeque, sync::Arc};

use chrono::TimeDelta;
use serde::{Deserialize, Serialize};
use storage::{ConversationId, MessageId, PartnerId, Position, Scope, Timestamp};

use crate::clock;

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
    Presence { partner: PartnerId, status: PresenceState },
}

/// An ephemeral message of an im_chat client that says only that its author is typing. It is delivered, and stored nowhere.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TypingPost {
    /// An id from the sequence of messages, of no stored message.
    pub id: MessageId,
    pub body: String,
    pub at: Timestamp,
}

/// Presence status of a partner.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PresenceState {
    Online,
    Away,
    Offline,
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
pub struct RecentSignal {
    pub signal: Signal,
    /// The cursor of the signal: the same for all listeners on this node, and larger than that of any earlier signal.
    pub mark: SignalMark,
    at: Timestamp,
    audience: SignalAudience,
}

/// The audience of a signal.
#[derive(Debug)]
pub(crate) struct SignalAudience {
    pub(crate) conversation: Option<ConversationId>,
    /// In rising order.
    pub(crate) partners: Arc<[PartnerId]>,
    /// Partners that have the signal's subject in their address books, and share no conversation with it. In rising order.
    pub(crate) strangers: Arc<[PartnerId]>,
}

/// The audience of a partner's presence.
#[derive(Clone, Debug)]
pub(crate) struct PresenceAudience {
    /// In rising order.
    pub(crate) partners: Arc<[PartnerId]>,
    /// As in [`SignalAudience`].
    pub(crate) strangers: Arc<[PartnerId]>,
}

impl SignalAudience {
    /// The audience of a delivery: the author of the message alone.
    pub(crate) fn of_author(author: PartnerId) -> Self {
        Self { conversation: None, partners: Arc::from([author]), strangers: Arc::from([]) }
    }

    /// The audience of a presence.
    pub(crate) fn of_presence(PresenceAudience { partners, strangers }: PresenceAudience) -> Self {
        Self { conversation: None, partners, strangers }
    }

    pub(crate) fn scopes(&self) -> impl Iterator<Item = Scope> {
        let partners = self.partners.iter().copied().map(Scope::Partner);
        self.conversation.map(Scope::Conversation).into_iter().chain(partners)
    }

    /// The number of partner ids that the audience holds.
    fn partner_ids(&self) -> usize {
        self.partners.len() + self.strangers.len()
    }

    fn contains(&self, scope: Scope) -> bool {
        match scope {
            Scope::Everything => false,
            Scope::Conversation(id) => self.conversation == Some(id),
            Scope::Partner(partner) => self.partners.binary_search(&partner).is_ok(),
        }
    }
}

impl RecentSignal {
    /// True if the partner shares a conversation with the signal's subject; false if it only has the subject in its address
    /// book.
    pub fn shares_conversation(&self, partner: PartnerId) -> bool {
        self.audience.strangers.binary_search(&partner).is_err()
    }
}

/// Capacity of the ring in signals.
const MAX_SIGNALS: usize = 16_384;
/// Capacity of the ring in partner ids of all audiences: the presence of a participant of a large conversation concerns
/// thousands.
const MAX_PARTNER_IDS: usize = 4_000_000;
/// TTL of a signal in the ring: it covers the gap between two polls.
const TTL: TimeDelta = TimeDelta::seconds(60);
/// Largest clock skew between two nodes.
const CLOCK_SKEW: TimeDelta = TimeDelta::seconds(1);

/// The ring of recent signals, bounded by count, size and TTL.
#[derive(Default)]
pub(crate) struct SignalRing {
    ring: VecDeque<Arc<RecentSignal>>,
    /// Partner ids in all audiences of the ring.
    partner_ids: usize,
    newest: SignalMark,
}

impl SignalRing {
    /// Appends a signal, with eviction of the oldest ones. `head` and `since`: position and time of the newest event.
    pub(crate) fn push(&mut self, signal: Signal, audience: SignalAudience, (head, since): (Position, Timestamp), at: Timestamp) {
        self.partner_ids += audience.partner_ids();
        while let Some(oldest) = self.ring.front()
            && (at - oldest.at > TTL || self.ring.len() >= MAX_SIGNALS || self.partner_ids > MAX_PARTNER_IDS)
        {
            self.partner_ids -= oldest.audience.partner_ids();
            self.ring.pop_front();
        }
        self.newest = self.newest_at(head);
        self.newest.count = steps(at - since).max(self.newest.count + 1);
        self.ring.push_back(Arc::new(RecentSignal { signal, mark: self.newest, at, audience }));
    }

    /// Removes all signals of a partner as subject; for a delivery, as the author.
    pub(crate) fn remove_partner(&mut self, partner: PartnerId) {
        let names = |signalled: &RecentSignal| match &signalled.signal {
            Signal::Typing { partner: typist, .. } => *typist == partner,
            Signal::Delivered { author, .. } => *author == partner,
            Signal::Presence { partner: present, .. } => *present == partner,
        };
        self.ring.retain(|signalled| !names(signalled));
        self.partner_ids = self.ring.iter().map(|signalled| signalled.audience.partner_ids()).sum();
    }

    /// Removes all signals. The counter does not restart.
    pub(crate) fn clear(&mut self) {
        self.ring.clear();
        self.partner_ids = 0;
    }

    /// The cursor behind all signals so far, with `head` as the newest event.
    pub(crate) fn newest_at(&self, head: Position) -> SignalMark {
        self.newest.max(SignalMark { position: head, count: 0 })
    }

    /// The cursor behind all signals that any node may have published since the newest event, within [`CLOCK_SKEW`].
    pub(crate) fn newest_anywhere(&self, (head, since): (Position, Timestamp), now: Timestamp) -> SignalMark {
        self.newest_at(head).max(SignalMark { position: head, count: steps(now + CLOCK_SKEW - since) })
    }

    /// The cursor behind all signals up to `time`.
    pub(crate) fn newest_until(&self, time: Timestamp) -> SignalMark {
        let told = self.ring.partition_point(|signalled| signalled.at <= time);
        told.checked_sub(1).map(|newest| self.ring[newest].mark).unwrap_or_default()
    }

    /// The signals after `mark`, in the scopes and within their TTL, up to the first one after an event behind `upto`.
    pub(crate) fn after(&self, mark: SignalMark, upto: Position, scopes: &[Scope]) -> Vec<Arc<RecentSignal>> {
        if scopes.is_empty() {
            return Vec::new();
        }
        let now = clock::now();
        let known = self.ring.partition_point(|signalled| signalled.mark <= mark);
        let rest = self.ring.range(known..).take_while(|signalled| signalled.mark.position <= upto);
        let concerns = |signalled: &RecentSignal| scopes.iter().any(|scope| signalled.audience.contains(*scope));
        rest.filter(|signalled| concerns(signalled) && now - signalled.at <= TTL).cloned().collect()
    }
}
