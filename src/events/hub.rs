//! Publish-subscribe hub of a node: its subscribers, and ring buffers of recent events and signals that serve them.
//! Events are appended in the order of the event log and wake only the subscribers that they concern. The tail keeps the hub at
//! the head of the event log.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicI64, Ordering},
    },
};

use parking_lot::Mutex;
use quick_cache::sync::Cache;
use storage::{Event, Fact, Message, MessageId, PartnerId, Position, SUPPORT_AGENTS, Scope, Timestamp, Topic};
use tokio::sync::Notify;

use super::{
    delivered_event::DeliveredEvent,
    ring::{Capacity, Ring, RingBatch},
    signals::{RecentSignal, Signal, SignalAudience, SignalMark, SignalRing},
};
use crate::{
    bus::{BusNotification, BusSender},
    clock,
};

/// The subscribers of this node, and the rings of recent events and signals that they read. An idle hub is at the head of the
/// event log.
pub struct Hub {
    inner: Mutex<HubState>,
    /// Deduplication cache: messages whose delivery was signalled.
    signalled_deliveries: Cache<MessageId, ()>,
    link: BusSender<Signal>,
}

struct HubState {
    ring: Ring,
    head: Position,
    /// Time of the newest event.
    head_at: Timestamp,
    /// Number of event log restarts that this node has seen.
    restarts: u64,
    signals: SignalRing,
    subscribers: HashMap<Scope, Vec<Arc<Subscriber>>>,
    /// The subscribers to signals, by scope of the signals.
    signal_subscribers: HashMap<Scope, Vec<Arc<Subscriber>>>,
}

/// Capacity of the deduplication cache of delivery signals, in messages.
const DELIVERY_CACHE: usize = 10_000;

/// A subscriber. `first_unread`: position of the first relevant event since its last read; 0 if none.
pub(crate) struct Subscriber {
    first_unread: AtomicI64,
    /// True if there may be signals since its last read.
    signalled: AtomicBool,
    notify: Notify,
    /// Scopes of its signals.
    signal_scopes: Box<[Scope]>,
    /// Number of event log restarts when the subscription began.
    restarts: u64,
}

impl Subscriber {
    fn notify_event(&self, position: Position) {
        if self.first_unread.compare_exchange(0, position.0, Ordering::AcqRel, Ordering::Acquire).is_ok() {
            self.notify.notify_one();
        }
    }

    fn notify_signal(&self) {
        self.signalled.store(true, Ordering::Release);
        self.notify.notify_one();
    }

    /// Waits until there is something to read.
    ///
    /// # Cancel safety
    /// No notification is lost, neither by cancellation nor before the call.
    pub(crate) async fn notified(&self) {
        while !self.is_notified() {
            self.notify.notified().await;
        }
    }

    /// True if there is something to read.
    pub(crate) fn is_notified(&self) -> bool {
        self.first_unread.load(Ordering::Acquire) != 0 || self.signalled.load(Ordering::Acquire)
    }
}

/// The cursor of a subscription: everything up to here was delivered.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cursor {
    pub(crate) position: Position,
    pub(crate) signals: SignalMark,
}

/// Start of a subscription.
#[derive(Clone, Copy, Debug)]
pub(crate) enum SubscriptionStart {
    Now,
    /// After this mark, events and signals alike.
    Seen(SignalMark),
    /// Signals after `time`, and events after `position`.
    Time {
        time: Timestamp,
        position: Position,
    },
}

/// Result of a read from the rings.
pub(crate) enum RingRead {
    /// Everything up to `cursor`. `rest`: position of the next event, if the batch is full.
    Batch { events: Vec<Arc<DeliveredEvent>>, signals: Vec<Arc<RecentSignal>>, cursor: Cursor, rest: Option<Position> },
    /// The ring begins after the next event: read the event log from this position.
    Older(Position),
    /// The event log was restarted during the subscription: the subscriber may have received events that are lost.
    Restarted,
}

impl Hub {
    /// Creates a hub at `head`, the position of an event of that time.
    pub(crate) fn new((head, head_at): (Position, Timestamp), capacity: Capacity, link: BusSender<Signal>) -> Self {
        let (listeners, hearers) = (HashMap::new(), HashMap::new());
        let signals = SignalRing::default();
        let inner = HubState {
            ring: Ring::new(capacity),
            head,
            head_at,
            restarts: 0,
            signals,
            subscribers: listeners,
            signal_subscribers: hearers,
        };
        Self { inner: Mutex::new(inner), signalled_deliveries: Cache::new(DELIVERY_CACHE), link }
    }

    /// Position of the newest event that subscribers can read.
    pub fn head(&self) -> Position {
        self.inner.lock().head
    }

    /// Bytes of recent events, with their memoised encodings.
    pub fn ring_bytes(&self) -> usize {
        self.inner.lock().ring.bytes()
    }

    /// Number of subscriptions.
    pub fn subscriptions(&self) -> usize {
        let inner = self.inner.lock();
        // A subscriber to the support desk has its own scope, too, and counts once.
        let own = inner.subscribers.iter().filter(|(scope, _)| **scope != Scope::Partner(SUPPORT_AGENTS));
        own.map(|(_, there)| there.len()).sum()
    }

    /// Appends events, which must begin right after the head, and wakes the subscribers that they concern.
    pub(crate) fn append(&self, events: Vec<(Event, Arc<[PartnerId]>)>) {
        let mut inner = self.inner.lock();
        for (event, audience) in events {
            let is_next = event.position.0 == inner.head.0 + 1;
            debug_assert!(is_next || matches!(event.fact, Fact::LogRestarted { .. }), "gap in the event log without a restart");
            let position = event.position;
            (inner.head, inner.head_at) = (position, event.at);
            let ring = |scope| {
                for listener in inner.subscribers.get(&scope).into_iter().flatten() {
                    listener.notify_event(position);
                }
            };
            ring(Scope::Everything);
            if let Topic::Conversation(id) = event.topic {
                ring(Scope::Conversation(id));
            }
            for partner in audience.iter() {
                ring(Scope::Partner(*partner));
            }
            match &event.fact {
                Fact::MessageEdited(now) | Fact::MessageDeleted(now) | Fact::MessageShown(now) => {
                    inner.ring.rewrite_copies(now);
                }
                Fact::AttachmentDeleted { attachment } => inner.ring.remove_attachment(*attachment),
                Fact::UserErased { partner, .. } => {
                    inner.ring.clear();
                    inner.signals.remove_partner(*partner);
                }
                fact if fact.is_about_the_store() => {
                    inner.ring.clear();
                    inner.signals.clear();
                    self.signalled_deliveries.clear();
                    if matches!(fact, Fact::LogRestarted { .. }) {
                        inner.restarts += 1;
                        inner.subscribers.values().flatten().for_each(|listener| listener.notify_event(position));
                    }
                }
                _ => {}
            }
            inner.ring.push(event, audience);
        }
    }

    /// Registers a subscriber, and returns its start cursor. A position beyond the head counts as the head: the event log that it
    /// came from is gone. A signal mark beyond any possible one counts as the newest: the node that published it is gone.
    pub(crate) fn subscribe(&self, scopes: &[Scope], from: SubscriptionStart, hears: &[Scope]) -> (Arc<Subscriber>, Cursor) {
        let inner = &mut *self.inner.lock();
        let newest = Cursor { position: inner.head, signals: inner.signals.newest_at(inner.head) };
        let asked = match from {
            SubscriptionStart::Now => newest,
            SubscriptionStart::Seen(signals) => Cursor { position: signals.position, signals },
            SubscriptionStart::Time { time, position } => Cursor { position, signals: inner.signals.newest_until(time) },
        };
        let anywhere = inner.signals.newest_anywhere((inner.head, inner.head_at), clock::now());
        let signals = if asked.signals <= anywhere { asked.signals } else { newest.signals };
        let cursor = Cursor { position: asked.position.min(newest.position), signals };
        let listener = Arc::new(Subscriber {
            first_unread: AtomicI64::new(0),
            signalled: AtomicBool::new(!hears.is_empty()),
            notify: Notify::new(),
            signal_scopes: hears.into(),
            restarts: inner.restarts,
        });
        if cursor.position < inner.head {
            listener.notify_event(Position(cursor.position.0 + 1));
        }
        for scope in scopes {
            inner.subscribers.entry(*scope).or_default().push(Arc::clone(&listener));
        }
        for scope in hears {
            inner.signal_subscribers.entry(*scope).or_default().push(Arc::clone(&listener));
        }
        (listener, cursor)
    }

    /// Records the delivery of an event to a reader.
    pub(crate) fn record_event_delivery(&self, told: &DeliveredEvent, reader: PartnerId) {
        if let Fact::MessagePosted(message) = &told.event.fact
            && message.author.partner != reader
            && told.is_first_delivery()
        {
            self.record_delivery(message, reader);
        }
    }

    /// Records the delivery of a message to a reader, and publishes the first one as a signal, if the author may have a
    /// subscriber.
    pub(crate) fn record_delivery(&self, message: &Message, reader: PartnerId) {
        let (conversation, author) = (message.conversation, message.author.partner);
        if author == reader
            || (self.link.is_single_node() && !self.inner.lock().signal_subscribers.contains_key(&Scope::Partner(author)))
            || !self.is_first_delivery(message.id)
        {
            return;
        }
        let signal = Signal::Delivered { conversation, message: message.id, seq: message.seq, author, at: clock::now() };
        self.link.notify(BusNotification::Signal(signal.clone()));
        self.publish_signal(signal, SignalAudience::of_author(author));
    }

    /// True for the first delivery of the message that this node learns of. Records it in the deduplication cache.
    pub(crate) fn is_first_delivery(&self, delivered: MessageId) -> bool {
        self.signalled_deliveries.get(&delivered).is_none() && {
            self.signalled_deliveries.insert(delivered, ());
            true
        }
    }

    /// Publishes a signal to the subscribers that it concerns, and stores it in the ring for clients that reconnect.
    pub(crate) fn publish_signal(&self, signal: Signal, audience: SignalAudience) {
        self.publish_signals([(signal, audience)]);
    }

    /// Publishes several signals at once: a subscriber that one of them wakes reads the others with it.
    pub(crate) fn publish_signals(&self, signals: impl IntoIterator<Item = (Signal, SignalAudience)>) {
        let inner = &mut *self.inner.lock();
        for (signal, audience) in signals {
            for scope in audience.scopes() {
                inner.signal_subscribers.get(&scope).into_iter().flatten().for_each(|listener| listener.notify_signal());
            }
            inner.signals.push(signal, audience, (inner.head, inner.head_at), clock::now());
        }
    }

    pub(crate) fn unsubscribe(&self, scopes: &[Scope], listener: &Arc<Subscriber>) {
        let mut inner = self.inner.lock();
        for scope in scopes {
            remove(&mut inner.subscribers, *scope, listener);
        }
        for scope in &listener.signal_scopes {
            remove(&mut inner.signal_subscribers, *scope, listener);
        }
    }

    /// Reads the next batch for a subscriber at `cursor`. `unread`: position where its last read stopped, if it left events.
    pub(crate) fn read(&self, scopes: &[Scope], listener: &Subscriber, cursor: Cursor, unread: Option<Position>) -> RingRead {
        let inner = self.inner.lock();
        if listener.restarts != inner.restarts {
            return RingRead::Restarted;
        }
        let rung = Some(listener.first_unread.swap(0, Ordering::AcqRel)).filter(|since| *since != 0).map(Position);
        // Without a notification, no event up to the head concerned it: events notify under the same lock.
        let RingBatch { events, rest } = match unread.or(rung) {
            None => RingBatch::default(),
            Some(first) => {
                // Events between the cursor and the notification concern others.
                let from = first.max(Position(cursor.position.0 + 1));
                let oldest = inner.head.0 - inner.ring.len() as i64 + 1;
                let Ok(passed) = usize::try_from(from.0 - oldest) else { return RingRead::Older(from) };
                inner.ring.batch(passed, scopes)
            }
        };
        listener.signalled.store(false, Ordering::Release);
        let upto = rest.map_or(inner.head, |next| Position(next.0 - 1));
        let signals = inner.signals.after(cursor.signals, upto, &listener.signal_scopes);
        let newest = match (rest, signals.last()) {
            // The cursor may be ahead: another node may have delivered more signals.
            (None, _) => inner.signals.newest_at(inner.head).max(cursor.signals),
            (Some(_), Some(last)) => last.mark,
            (Some(_), None) => cursor.signals,
        };
        RingRead::Batch { events, signals, cursor: Cursor { position: upto, signals: newest }, rest }
    }

    /// Reads the signals published before any event after the cursor, with the cursor behind them.
    pub(crate) fn read_signals(&self, listener: &Subscriber, cursor: Cursor) -> (Vec<Arc<RecentSignal>>, Cursor) {
        let inner = self.inner.lock();
        let signals = inner.signals.after(cursor.signals, cursor.position, &listener.signal_scopes);
        let newest = signals.last().map_or(cursor.signals, |signalled| signalled.mark);
        (signals, Cursor { signals: newest, ..cursor })
    }
}

fn remove(listeners: &mut HashMap<Scope, Vec<Arc<Subscriber>>>, scope: Scope, listener: &Arc<Subscriber>) {
    if let Some(there) = listeners.get_mut(&scope) {
        if let Some(index) = there.iter().position(|other| Arc::ptr_eq(other, listener)) {
            there.swap_remove(index);
        }
        if there.is_empty() {
            listeners.remove(&scope);
        }
    }
}

#[cfg(test)]
mod tests {
    use storage::{AttachmentId, NO_CLIENT};

    use super::{
        super::{delivered_event::Encoding, signals::PresenceAudience},
        *,
    };
    use crate::events::fixtures::{ANN, ROOM, erased, event, message};

    const WORDS: &str = "test";
    const BYTES: usize = 64 * 1024;

    impl Encoding for String {
        fn bytes(&self) -> usize {
            self.len()
        }
    }

    fn hub() -> Hub {
        Hub::new((Position(0), Timestamp::UNIX_EPOCH), Capacity { events: 10, bytes: BYTES }, BusSender::single_node())
    }

    /// Appends a fact about the conversation.
    fn happens(hub: &Hub, fact: Fact) {
        let next = hub.head().0 + 1;
        hub.append(vec![(event(next, Topic::Conversation(ROOM), fact), Arc::from([ANN.1]))]);
    }

    /// Reads events from the ring from a position on; `None` if the event log has to be read.
    fn told_from(hub: &Hub, position: i64) -> Option<Vec<Arc<DeliveredEvent>>> {
        let scope = Scope::Conversation(ROOM);
        let seen = SubscriptionStart::Seen(SignalMark { position: Position(position - 1), count: 0 });
        let (listener, cursor) = hub.subscribe(&[scope], seen, &[]);
        match hub.read(&[scope], &listener, cursor, None) {
            RingRead::Batch { events, .. } => Some(events),
            RingRead::Older(_) | RingRead::Restarted => None,
        }
    }

    fn texts(told: &[Arc<DeliveredEvent>]) -> Vec<String> {
        let text = |told: &Arc<DeliveredEvent>| Some(told.memoised(WORDS, || told.event.fact.message().unwrap().body.clone()));
        told.iter().filter(|told| told.event.fact.message().is_some()).filter_map(text).collect()
    }

    #[test]
    fn an_encoding_is_made_once_unless_there_are_files() {
        let hub = hub();
        happens(&hub, Fact::MessagePosted(message(1, "hello", &[])));
        happens(&hub, Fact::MessagePosted(message(2, "hello", &[1])));
        let told = told_from(&hub, 1).expect("the ring has it");
        let by_each =
            told.iter().map(|told| ["1", "2"].map(|reader| told.memoised(WORDS, || reader.to_owned()))).collect::<Vec<_>>();
        assert_eq!(by_each, [["1", "1"], ["1", "2"]]);
    }

    #[test]
    fn later_readers_are_told_what_a_message_says_now() {
        let hub = hub();
        happens(&hub, Fact::MessagePosted(message(1, "first", &[])));
        happens(&hub, Fact::MessagePosted(message(2, "other", &[7])));
        assert_eq!(texts(&told_from(&hub, 1).expect("the ring has it")), ["first", "other"]);
        happens(&hub, Fact::MessageEdited(message(1, "second", &[])));
        assert_eq!(texts(&told_from(&hub, 1).expect("the ring has it")), ["second", "other", "second"]);
        happens(&hub, Fact::MessageDeleted(message(1, "", &[])));
        assert_eq!(texts(&told_from(&hub, 1).expect("the ring has it")), ["", "other", "", ""]);
        happens(&hub, Fact::AttachmentDeleted { attachment: AttachmentId(7) });
        let told = told_from(&hub, 2).expect("the ring has it");
        assert!(told[0].event.fact.message().is_some_and(|message| message.attachments.is_empty()));
    }

    #[test]
    fn what_is_stale_is_read_from_the_log() {
        for gap in [0, 100] {
            let hub = hub();
            happens(&hub, Fact::MessagePosted(message(1, "old", &[])));
            assert!(hub.is_first_delivery(MessageId(1)) && !hub.is_first_delivery(MessageId(1)));
            let fact = match gap {
                0 => Fact::StoreChanged,
                _ => Fact::LogRestarted { epoch: 1, from: Position(2), to: Position(1 + gap) },
            };
            hub.append(vec![(event(2 + gap, Topic::Partner(NO_CLIENT), fact), Arc::from([NO_CLIENT]))]);
            happens(&hub, Fact::MessagePosted(message(2, "new", &[])));
            assert!(told_from(&hub, 1).is_none(), "the log is to be read");
            assert_eq!(texts(&told_from(&hub, 2 + gap).expect("the ring has it")), ["new"]);
            assert!(hub.is_first_delivery(MessageId(1)), "it may be another one");
        }
        let hub = hub();
        happens(&hub, Fact::MessagePosted(message(1, "old", &[])));
        hub.append(vec![(Event { position: Position(2), ..erased(ANN) }, Arc::from([]))]);
        assert!(told_from(&hub, 1).is_none(), "the log is to be read");
    }

    #[test]
    fn signals_of_the_erased_are_forgotten() {
        let hub = hub();
        let partners = Arc::from([ANN.1, PartnerId(99)]);
        let audience =
            || SignalAudience::of_presence(PresenceAudience { partners: Arc::clone(&partners), strangers: Arc::from([]) });
        let typing = |partner| Signal::Typing { conversation: ROOM, partner, typing: true, post: None };
        for partner in [ANN.1, PartnerId(99)] {
            hub.publish_signal(typing(partner), audience());
        }
        let (listener, cursor) =
            hub.subscribe(&[Scope::Partner(ANN.1)], SubscriptionStart::Seen(SignalMark::default()), &[Scope::Partner(ANN.1)]);
        hub.append(vec![(erased(ANN), Arc::from([]))]);
        let (signals, _) = hub.read_signals(&listener, cursor);
        assert_eq!(signals.iter().map(|signalled| signalled.signal.clone()).collect::<Vec<_>>(), [typing(PartnerId(99))]);
    }
}
