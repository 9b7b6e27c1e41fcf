use std::{
    any::Any,
    collections::{HashMap, VecDeque},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicI64, Ordering},
    },
};

use parking_lot::Mutex;
use quick_cache::sync::Cache;
use storage::{DESK, Event, Fact, Message, MessageId, PartnerId, Position, Scope, Timestamp, Topic};
use tokio::sync::Notify;

use super::signals::{Audience, Recently, Signal, SignalMark, Signalled};
use crate::{
    bus::{Link, Word},
    clock,
};

/// An event as this node remembers it: with whom it concerns.
#[derive(Debug)]
pub struct Told {
    pub event: Event,
    /// In rising order.
    audience: Arc<[PartnerId]>,
    /// Whether anybody but its author was handed it.
    handed: AtomicBool,
    words: Mutex<Vec<(&'static str, Box<dyn Any + Send + Sync>)>>,
}

impl Told {
    /// For one who asked the log itself, and so knows that the event concerns it.
    pub(super) fn from_log(event: Event) -> Self {
        Self::new(event, Arc::from([]))
    }

    fn new(event: Event, audience: Arc<[PartnerId]>) -> Self {
        Self { event, audience, handed: AtomicBool::new(false), words: Mutex::default() }
    }

    /// The memoised encoding of the event, which all readers share: the first makes it. `words` names the encoding. Of a
    /// message with files each reader has its own, because the addresses of files hold a token of the reader's.
    pub fn shared<T: Clone + Send + Sync + 'static>(&self, words: &'static str, make: impl FnOnce() -> T) -> T {
        if self.event.fact.message().is_some_and(|message| !message.attachments.is_empty()) {
            return make();
        }
        let mut made = self.words.lock();
        let known = made.iter().find(|(name, _)| *name == words).and_then(|(_, said)| said.downcast_ref::<T>());
        if let Some(said) = known {
            return said.clone();
        }
        let said = make();
        made.push((words, Box::new(said.clone())));
        said
    }

    /// The size of the event in bytes, roughly.
    pub(super) fn bytes(&self) -> usize {
        let Some(message) = self.event.fact.message() else { return LEAST_BYTES };
        let metadata = message.metadata.as_ref().map_or(0, |metadata| metadata.json().len());
        let files: usize = message.attachments.iter().map(|file| LEAST_BYTES + file.name.len()).sum();
        LEAST_BYTES + message.body.len() + metadata + files
    }

    fn concerns(&self, scopes: &[Scope]) -> bool {
        scopes.iter().any(|scope| match scope {
            Scope::Everything => true,
            Scope::Conversation(id) => self.event.topic == Topic::Conversation(*id),
            Scope::Partner(partner) => self.audience.binary_search(partner).is_ok(),
        })
    }
}

/// Who listens on this node, and the rings of recent events and signals from which listeners read. The hub is as far as the log when
/// nothing is under way; the tail keeps it there.
pub struct Hub {
    inner: Mutex<Inner>,
    /// How many events the ring holds at most.
    capacity: usize,
    /// Of which messages it was signalled that they were delivered.
    delivered: Cache<MessageId, ()>,
    link: Link<Signal>,
}

struct Inner {
    ring: VecDeque<Arc<Told>>,
    head: Position,
    /// When the newest event happened.
    head_at: Timestamp,
    signals: Recently,
    listeners: HashMap<Scope, Vec<Arc<Listener>>>,
    /// Those of the listeners whom signals concern.
    hearers: HashMap<Scope, Vec<Arc<Listener>>>,
}

/// The size of an event without its texts, roughly.
const LEAST_BYTES: usize = 256;
/// The largest batch, unless a single event is larger.
pub(super) const BATCH_BYTES: usize = 256 * 1024;

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
}

impl Hub {
    /// A hub that starts at `head`, the position of an event of that time, and remembers `capacity` events.
    pub(super) fn new((head, head_at): (Position, Timestamp), capacity: usize, link: Link<Signal>) -> Self {
        let (listeners, hearers) = (HashMap::new(), HashMap::new());
        let inner = Inner { ring: VecDeque::new(), head, head_at, signals: Recently::default(), listeners, hearers };
        Self { inner: Mutex::new(inner), capacity, delivered: Cache::new(DELIVERED), link }
    }

    /// The newest event that listeners were told of.
    pub fn head(&self) -> Position {
        self.inner.lock().head
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
                Fact::MessageEdited(now) | Fact::MessageDeleted(now) | Fact::MessageShown(now) => inner.rewrite_copies(now),
                Fact::AttachmentDeleted { attachment } => inner.rewrite_where(
                    |copy| copy.attachments.iter().any(|held| held.id == *attachment),
                    |copy| copy.attachments.retain(|held| held.id != *attachment),
                ),
                Fact::UserErased { partner, .. } => {
                    inner.ring.clear();
                    inner.signals.forget(*partner);
                }
                fact if fact.is_about_the_store() => {
                    inner.ring.clear();
                    inner.signals.clear();
                    self.delivered.clear();
                }
                _ => {}
            }
            inner.ring.push_back(Arc::new(Told::new(event, audience)));
        }
        let excess = inner.ring.len().saturating_sub(self.capacity);
        inner.ring.drain(..excess);
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
            && !told.handed.swap(true, Ordering::AcqRel)
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
        let rung = Some(listener.since.swap(0, Ordering::AcqRel)).filter(|since| *since != 0).map(Position);
        let (mut events, mut bytes, mut rest) = (Vec::new(), 0, None);
        // If nothing rang, nothing concerned it up to the head, since events ring under the same lock.
        if let Some(first) = unread.or(rung) {
            // What lies between the cursor and the bell concerned others.
            let from = first.max(Position(cursor.position.0 + 1));
            let oldest = inner.head.0 - inner.ring.len() as i64 + 1;
            let Ok(passed) = usize::try_from(from.0 - oldest) else { return Recent::Older(from) };
            for told in inner.ring.iter().skip(passed).filter(|told| told.concerns(scopes)) {
                bytes += told.bytes();
                if bytes > BATCH_BYTES && !events.is_empty() {
                    rest = Some(told.event.position);
                    break;
                }
                events.push(Arc::clone(told));
            }
        }
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

impl Inner {
    /// Rewrites the copies of a message, as the log does: later readers read what it says now, also in memoised frames.
    fn rewrite_copies(&mut self, now: &Message) {
        self.rewrite_where(|copy| copy.id == now.id, |copy| copy.clone_from(now));
    }

    fn rewrite_where(&mut self, is_stale: impl Fn(&Message) -> bool, rewrite: impl Fn(&mut Message)) {
        for told in &mut self.ring {
            if told.event.fact.message().is_some_and(&is_stale) {
                let mut event = told.event.clone();
                event.fact.message_mut().into_iter().for_each(&rewrite);
                *told = Arc::new(Told::new(event, Arc::clone(&told.audience)));
            }
        }
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
        },
        *,
    };

    const WORDS: &str = "test";

    fn hub() -> Hub {
        Hub::new((Position(0), Timestamp::UNIX_EPOCH), 10, Link::alone())
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
            Recent::Older(_) => None,
        }
    }

    fn texts(told: &[Arc<Told>]) -> Vec<String> {
        let text = |told: &Arc<Told>| told.shared(WORDS, || told.event.fact.message().map(|message| message.body.clone()));
        told.iter().filter_map(text).collect()
    }

    #[test]
    fn an_encoding_is_made_once_unless_there_are_files() {
        let hub = hub();
        happens(&hub, Fact::MessagePosted(message(1, "hello", &[])));
        happens(&hub, Fact::MessagePosted(message(2, "hello", &[1])));
        let told = told_from(&hub, 1).expect("the ring has it");
        let by_each = told.iter().map(|told| [1, 2].map(|reader| told.shared(WORDS, || reader))).collect::<Vec<_>>();
        assert_eq!(by_each, [[1, 1], [1, 2]]);
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
