use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicI64, Ordering},
    },
};

use parking_lot::Mutex;
use quick_cache::sync::Cache;
use storage::{DESK, Event, Fact, Message, MessageId, PartnerId, Position, Scope, Timestamp, Topic};
use tokio::sync::Notify;

use super::{
    ring::{Batch, Capacity, Ring},
    signals::{Audience, Recently, Signal, SignalMark, Signalled},
    told::Told,
};
use crate::{
    bus::{Link, Word},
    clock,
};

/// Who listens on this node, and the rings of recent events and signals from which listeners read. The hub is as far as the log when
/// nothing is under way; the tail keeps it there.
pub struct Hub {
    inner: Mutex<Inner>,
    /// Of which messages it was signalled that they were delivered.
    delivered: Cache<MessageId, ()>,
    link: Link<Signal>,
}

struct Inner {
    ring: Ring,
    head: Position,
    /// When the newest event happened.
    head_at: Timestamp,
    /// How often the log was restarted on this node's watch.
    restarts: u64,
    signals: Recently,
    listeners: HashMap<Scope, Vec<Arc<Listener>>>,
    /// Those of the listeners whom signals concern.
    hearers: HashMap<Scope, Vec<Arc<Listener>>>,
}

/// Of how many messages it is remembered that they were delivered.
const DELIVERED: usize = 10_000;

/// One who waits. `since` is the first event that concerned it since it last looked; 0 if there was none.
pub(super) struct Listener {
    since: AtomicI64,
    /// Whether there may be signals since it last looked.
    signalled: AtomicBool,
    bell: Notify,
    /// Whence it has signals.
    hears: Box<[Scope]>,
    /// How often the log had been restarted when it began.
    restarts: u64,
}

impl Listener {
    fn ring(&self, position: Position) {
        if self.since.compare_exchange(0, position.0, Ordering::AcqRel, Ordering::Acquire).is_ok() {
            self.bell.notify_one();
        }
    }

    fn signal(&self) {
        self.signalled.store(true, Ordering::Release);
        self.bell.notify_one();
    }

    /// Waits until there is something to look for. A ring before the call is not lost, nor is one by being cancelled.
    pub(super) async fn rung(&self) {
        while !self.is_rung() {
            self.bell.notified().await;
        }
    }

    /// Whether there is something to look for.
    pub(super) fn is_rung(&self) -> bool {
        self.since.load(Ordering::Acquire) != 0 || self.signalled.load(Ordering::Acquire)
    }
}

/// Up to where a listener was given everything.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cursor {
    pub(super) position: Position,
    pub(super) signals: SignalMark,
}

/// From where on somebody listens.
#[derive(Clone, Copy, Debug)]
pub(super) enum Start {
    Now,
    /// From after this on, events and signals alike.
    Seen(SignalMark),
    /// What happened after `time`, of events what follows `position`.
    Time {
        time: Timestamp,
        position: Position,
    },
}

/// What there is for a listener since it last looked.
pub(super) enum Recent {
    /// Everything up to this cursor. What follows begins at `rest`, if there is more.
    Batch { events: Vec<Arc<Told>>, signals: Vec<Arc<Signalled>>, cursor: Cursor, rest: Option<Position> },
    /// The ring begins later than the events do: read the log from here on.
    Older(Position),
    /// The log was restarted since the listener began: it may have been told what is lost.
    Restarted,
}

impl Hub {
    /// A hub that starts at `head`, the position of an event of that time.
    pub(super) fn new((head, head_at): (Position, Timestamp), capacity: Capacity, link: Link<Signal>) -> Self {
        let (listeners, hearers) = (HashMap::new(), HashMap::new());
        let signals = Recently::default();
        let inner = Inner { ring: Ring::new(capacity), head, head_at, restarts: 0, signals, listeners, hearers };
        Self { inner: Mutex::new(inner), delivered: Cache::new(DELIVERED), link }
    }

    /// The newest event that listeners were told of.
    pub fn head(&self) -> Position {
        self.inner.lock().head
    }

    /// Bytes of recent events, with their memoised encodings.
    pub fn ring_bytes(&self) -> usize {
        self.inner.lock().ring.bytes()
    }

    /// How many listeners wait.
    pub fn listening(&self) -> usize {
        let inner = self.inner.lock();
        // Those who listen to the desk listen to what is their own, too.
        let own = inner.listeners.iter().filter(|(scope, _)| **scope != Scope::Partner(DESK));
        own.map(|(_, there)| there.len()).sum()
    }

    /// Appends events, which must begin right after the head, and rings those whom they concern, nobody else.
    pub(super) fn append(&self, events: Vec<(Event, Arc<[PartnerId]>)>) {
        let mut inner = self.inner.lock();
        for (event, audience) in events {
            let is_next = event.position.0 == inner.head.0 + 1;
            debug_assert!(is_next || matches!(event.fact, Fact::LogRestarted { .. }), "the log has no other gaps");
            let position = event.position;
            (inner.head, inner.head_at) = (position, event.at);
            let ring = |scope| {
                for listener in inner.listeners.get(&scope).into_iter().flatten() {
                    listener.ring(position);
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
                    inner.signals.forget(*partner);
                }
                fact if fact.is_about_the_store() => {
                    inner.ring.clear();
                    inner.signals.clear();
                    self.delivered.clear();
                    if matches!(fact, Fact::LogRestarted { .. }) {
                        inner.restarts += 1;
                        inner.listeners.values().flatten().for_each(|listener| listener.ring(position));
                    }
                }
                _ => {}
            }
            inner.ring.push(event, audience);
        }
    }

    /// Registers a listener, and gives from where it reads on. What is beyond the newest event, or beyond any signal that
    /// there can be by now, counts as that: the log it came from is gone, or the node that told the signal is.
    pub(super) fn listen(&self, scopes: &[Scope], from: Start, hears: &[Scope]) -> (Arc<Listener>, Cursor) {
        let inner = &mut *self.inner.lock();
        let newest = Cursor { position: inner.head, signals: inner.signals.newest_at(inner.head) };
        let asked = match from {
            Start::Now => newest,
            Start::Seen(signals) => Cursor { position: signals.position, signals },
            Start::Time { time, position } => Cursor { position, signals: inner.signals.newest_until(time) },
        };
        let anywhere = inner.signals.newest_anywhere((inner.head, inner.head_at), clock::now());
        let signals = if asked.signals <= anywhere { asked.signals } else { newest.signals };
        let cursor = Cursor { position: asked.position.min(newest.position), signals };
        let listener = Arc::new(Listener {
            since: AtomicI64::new(0),
            signalled: AtomicBool::new(!hears.is_empty()),
            bell: Notify::new(),
            hears: hears.into(),
            restarts: inner.restarts,
        });
        if cursor.position < inner.head {
            listener.ring(Position(cursor.position.0 + 1));
        }
        for scope in scopes {
            inner.listeners.entry(*scope).or_default().push(Arc::clone(&listener));
        }
        for scope in hears {
            inner.hearers.entry(*scope).or_default().push(Arc::clone(&listener));
        }
        (listener, cursor)
    }

    /// Notes that the reader is handed an event.
    pub(super) fn handed_told(&self, told: &Told, reader: PartnerId) {
        if let Fact::MessagePosted(message) = &told.event.fact
            && message.author.partner != reader
            && told.is_first_handed()
        {
            self.handed(message, reader);
        }
    }

    /// Notes that the reader is handed a message, and signals it where somebody cares, once.
    pub(super) fn handed(&self, message: &Message, reader: PartnerId) {
        let (conversation, author) = (message.conversation, message.author.partner);
        if author == reader
            || (self.link.is_alone() && !self.inner.lock().hearers.contains_key(&Scope::Partner(author)))
            || !self.is_news(message.id)
        {
            return;
        }
        let signal = Signal::Delivered { conversation, message: message.id, seq: message.seq, author, at: clock::now() };
        self.link.say(Word::Signal(signal.clone()));
        self.signal(signal, Audience::of_author(author));
    }

    /// Whether this is the first that this node hears of the message being delivered.
    pub(super) fn is_news(&self, delivered: MessageId) -> bool {
        self.delivered.get(&delivered).is_none() && {
            self.delivered.insert(delivered, ());
            true
        }
    }

    /// Tells a signal to those whom it concerns and who care for signals, and remembers it for those who come back.
    pub(super) fn signal(&self, signal: Signal, audience: Audience) {
        self.signal_together([(signal, audience)]);
    }

    /// The same for many: whoever is woken by one of them finds the others with it.
    pub(super) fn signal_together(&self, signals: impl IntoIterator<Item = (Signal, Audience)>) {
        let inner = &mut *self.inner.lock();
        for (signal, audience) in signals {
            for scope in audience.scopes() {
                inner.hearers.get(&scope).into_iter().flatten().for_each(|listener| listener.signal());
            }
            inner.signals.tell(signal, audience, (inner.head, inner.head_at), clock::now());
        }
    }

    pub(super) fn leave(&self, scopes: &[Scope], listener: &Arc<Listener>) {
        let mut inner = self.inner.lock();
        for scope in scopes {
            remove(&mut inner.listeners, *scope, listener);
        }
        for scope in &listener.hears {
            remove(&mut inner.hearers, *scope, listener);
        }
    }

    /// The next batch for a listener that has read up to `cursor`. `unread` is from where it was to read last time, if it has
    /// not.
    pub(super) fn recent(&self, scopes: &[Scope], listener: &Listener, cursor: Cursor, unread: Option<Position>) -> Recent {
        let inner = self.inner.lock();
        if listener.restarts != inner.restarts {
            return Recent::Restarted;
        }
        let rung = Some(listener.since.swap(0, Ordering::AcqRel)).filter(|since| *since != 0).map(Position);
        // If nothing rang, nothing concerned it up to the head, since events ring under the same lock.
        let Batch { events, rest } = match unread.or(rung) {
            None => Batch::default(),
            Some(first) => {
                // What lies between the cursor and the bell concerned others.
                let from = first.max(Position(cursor.position.0 + 1));
                let oldest = inner.head.0 - inner.ring.len() as i64 + 1;
                let Ok(passed) = usize::try_from(from.0 - oldest) else { return Recent::Older(from) };
                inner.ring.batch(passed, scopes)
            }
        };
        listener.signalled.store(false, Ordering::Release);
        let upto = rest.map_or(inner.head, |next| Position(next.0 - 1));
        let signals = inner.signals.after(cursor.signals, upto, &listener.hears);
        let newest = match (rest, signals.last()) {
            // Another node may have told it more.
            (None, _) => inner.signals.newest_at(inner.head).max(cursor.signals),
            (Some(_), Some(last)) => last.mark,
            (Some(_), None) => cursor.signals,
        };
        Recent::Batch { events, signals, cursor: Cursor { position: upto, signals: newest }, rest }
    }

    /// The signals that were told before any event after the cursor, and the cursor behind them.
    pub(super) fn recent_signals(&self, listener: &Listener, cursor: Cursor) -> (Vec<Arc<Signalled>>, Cursor) {
        let inner = self.inner.lock();
        let signals = inner.signals.after(cursor.signals, cursor.position, &listener.hears);
        let newest = signals.last().map_or(cursor.signals, |signalled| signalled.mark);
        (signals, Cursor { signals: newest, ..cursor })
    }
}

fn remove(listeners: &mut HashMap<Scope, Vec<Arc<Listener>>>, scope: Scope, listener: &Arc<Listener>) {
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
    use storage::{AttachmentId, NOBODY};

    use super::{
        super::{
            fixtures::{ANN, ROOM, erased, event, message},
            signals::Acquainted,
            told::Encoding,
        },
        *,
    };

    const WORDS: &str = "test";
    const BYTES: usize = 64 * 1024;

    impl Encoding for String {
        fn bytes(&self) -> usize {
            self.len()
        }
    }

    fn hub() -> Hub {
        Hub::new((Position(0), Timestamp::UNIX_EPOCH), Capacity { events: 10, bytes: BYTES }, Link::alone())
    }

    /// Appends a fact about the conversation.
    fn happens(hub: &Hub, fact: Fact) {
        let next = hub.head().0 + 1;
        hub.append(vec![(event(next, Topic::Conversation(ROOM), fact), Arc::from([ANN.1]))]);
    }

    /// What the ring tells from a position on; `None` if the log is to be read.
    fn told_from(hub: &Hub, position: i64) -> Option<Vec<Arc<Told>>> {
        let scope = Scope::Conversation(ROOM);
        let seen = Start::Seen(SignalMark { position: Position(position - 1), count: 0 });
        let (listener, cursor) = hub.listen(&[scope], seen, &[]);
        match hub.recent(&[scope], &listener, cursor, None) {
            Recent::Batch { events, .. } => Some(events),
            Recent::Older(_) | Recent::Restarted => None,
        }
    }

    fn texts(told: &[Arc<Told>]) -> Vec<String> {
        let text = |told: &Arc<Told>| Some(told.shared(WORDS, || told.event.fact.message().unwrap().body.clone()));
        told.iter().filter(|told| told.event.fact.message().is_some()).filter_map(text).collect()
    }

    #[test]
    fn an_encoding_is_made_once_unless_there_are_files() {
        let hub = hub();
        happens(&hub, Fact::MessagePosted(message(1, "hello", &[])));
        happens(&hub, Fact::MessagePosted(message(2, "hello", &[1])));
        let told = told_from(&hub, 1).expect("the ring has it");
        let by_each =
            told.iter().map(|told| ["1", "2"].map(|reader| told.shared(WORDS, || reader.to_owned()))).collect::<Vec<_>>();
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
            assert!(hub.is_news(MessageId(1)) && !hub.is_news(MessageId(1)));
            let fact = match gap {
                0 => Fact::StoreChanged,
                _ => Fact::LogRestarted { epoch: 1, from: Position(2), to: Position(1 + gap) },
            };
            hub.append(vec![(event(2 + gap, Topic::Partner(NOBODY), fact), Arc::from([NOBODY]))]);
            happens(&hub, Fact::MessagePosted(message(2, "new", &[])));
            assert!(told_from(&hub, 1).is_none(), "the log is to be read");
            assert_eq!(texts(&told_from(&hub, 2 + gap).expect("the ring has it")), ["new"]);
            assert!(hub.is_news(MessageId(1)), "it may be another one");
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
        let audience = || Audience::of_acquainted(Acquainted { partners: Arc::clone(&partners), strangers: Arc::from([]) });
        let typing = |partner| Signal::Typing { conversation: ROOM, partner, typing: true, post: None };
        for partner in [ANN.1, PartnerId(99)] {
            hub.signal(typing(partner), audience());
        }
        let (listener, cursor) =
            hub.listen(&[Scope::Partner(ANN.1)], Start::Seen(SignalMark::default()), &[Scope::Partner(ANN.1)]);
        hub.append(vec![(erased(ANN), Arc::from([]))]);
        let (signals, _) = hub.recent_signals(&listener, cursor);
        assert_eq!(signals.iter().map(|signalled| signalled.signal.clone()).collect::<Vec<_>>(), [typing(PartnerId(99))]);
    }
}
