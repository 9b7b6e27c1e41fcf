use std::{
    any::Any,
    collections::{HashMap, HashSet, VecDeque},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicI64, Ordering},
    },
};

use parking_lot::Mutex;
use quick_cache::sync::Cache;
use storage::{Event, Fact, Message, MessageId, PartnerId, Position, Scope, Topic};
use tokio::sync::Notify;

use super::signals::Signal;
use crate::clock;

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

    /// What all who tell the event in the same words share: the first makes it. `words` names them.
    pub fn shared<T: Clone + Send + Sync + 'static>(&self, words: &'static str, make: impl FnOnce() -> T) -> T {
        let mut made = self.words.lock();
        let known = made.iter().find(|(name, _)| *name == words).and_then(|(_, said)| said.downcast_ref::<T>());
        if let Some(said) = known {
            return said.clone();
        }
        let said = make();
        made.push((words, Box::new(said.clone())));
        said
    }

    fn concerns(&self, scope: Scope) -> bool {
        match scope {
            Scope::Everything => true,
            Scope::Conversation(id) => self.event.topic == Topic::Conversation(id),
            Scope::Partner(partner) => self.audience.binary_search(&partner).is_ok(),
        }
    }
}

/// Who listens on this node, and the ring of recent events from which listeners read. The hub is as far as the log when
/// nothing is under way; the tail keeps it there.
pub struct Hub {
    inner: Mutex<Inner>,
    /// How many events the ring holds at most.
    capacity: usize,
    /// Of which messages it was signalled that they were delivered.
    delivered: Cache<MessageId, ()>,
}

struct Inner {
    ring: VecDeque<Arc<Told>>,
    head: Position,
    listeners: HashMap<Scope, Vec<Arc<Listener>>>,
    /// Those of the listeners whom signals concern.
    hearers: HashMap<Scope, Vec<Arc<Listener>>>,
}

/// Of how many messages it is remembered that they were delivered.
const DELIVERED: usize = 10_000;
/// How many signals are kept for one who listens; older ones are forgotten first.
const SIGNALS: usize = 64;

/// One who waits. `since` is the first event that concerned it since it last looked; 0 if there was none.
pub(super) struct Listener {
    since: AtomicI64,
    bell: Notify,
    signals: Mutex<VecDeque<Arc<Signal>>>,
}

/// Why a listener was woken.
pub(super) struct Heard {
    /// From where to read the log, if anything in it concerns the listener.
    pub(super) since: Option<Position>,
    pub(super) signals: Vec<Arc<Signal>>,
}

impl Listener {
    fn ring(&self, position: Position) {
        if self.since.compare_exchange(0, position.0, Ordering::AcqRel, Ordering::Acquire).is_ok() {
            self.bell.notify_one();
        }
    }

    fn signal(&self, signal: &Arc<Signal>) {
        let mut signals = self.signals.lock();
        if signals.len() == SIGNALS {
            signals.pop_front();
        }
        signals.push_back(Arc::clone(signal));
        self.bell.notify_one();
    }

    /// Waits for the bell, and gives what it was rung for. A ring before the call is not lost.
    pub(super) async fn heard(&self) -> Heard {
        loop {
            // In this order, so that nobody hears of what became of a message before the message.
            let signals = std::mem::take(&mut *self.signals.lock());
            let since = Some(self.since.swap(0, Ordering::AcqRel)).filter(|since| *since != 0).map(Position);
            if since.is_some() || !signals.is_empty() {
                return Heard { since, signals: signals.into() };
            }
            self.bell.notified().await;
        }
    }
}

/// What the ring has to say about a range of the log.
pub(super) enum Recent {
    /// All that concerned the scope from there to the returned head.
    Events(Vec<Arc<Told>>, Position),
    /// The ring begins later: read the log.
    Older,
}

impl Hub {
    /// A hub that starts at `head` and remembers `capacity` events.
    pub fn new(head: Position, capacity: usize) -> Self {
        let inner = Inner { ring: VecDeque::new(), head, listeners: HashMap::new(), hearers: HashMap::new() };
        Self { inner: Mutex::new(inner), capacity, delivered: Cache::new(DELIVERED) }
    }

    /// The newest event that listeners were told of.
    pub fn head(&self) -> Position {
        self.inner.lock().head
    }

    /// How many listeners wait.
    pub fn listening(&self) -> usize {
        self.inner.lock().listeners.values().map(Vec::len).sum()
    }

    /// Appends events, which must begin right after the head, and rings those whom they concern, nobody else.
    pub(super) fn append(&self, events: Vec<(Event, Arc<[PartnerId]>)>) {
        let mut inner = self.inner.lock();
        for (event, audience) in events {
            debug_assert_eq!(event.position.0, inner.head.0 + 1, "the log has no gaps");
            let position = event.position;
            inner.head = position;
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
            if let Fact::MessageEdited(now) | Fact::MessageDeleted(now) = &event.fact {
                inner.bring_up_to_date(now);
            }
            inner.ring.push_back(Arc::new(Told::new(event, audience)));
        }
        let excess = inner.ring.len().saturating_sub(self.capacity);
        inner.ring.drain(..excess);
    }

    /// Registers a listener who has seen everything up to `after`, or up to now, and gives from where it reads on. A
    /// position beyond the log counts as now: the log it came from is gone.
    pub(super) fn listen(&self, scope: Scope, after: Option<Position>) -> (Arc<Listener>, Position) {
        let listener = Arc::new(Listener { since: AtomicI64::new(0), bell: Notify::new(), signals: Mutex::default() });
        let mut inner = self.inner.lock();
        let after = after.map_or(inner.head, |after| after.min(inner.head));
        if after < inner.head {
            listener.ring(Position(after.0 + 1));
        }
        inner.listeners.entry(scope).or_default().push(Arc::clone(&listener));
        (listener, after)
    }

    /// From now on the listener has the signals to that scope as well.
    pub(super) fn hear(&self, scope: Scope, listener: &Arc<Listener>) {
        self.inner.lock().hearers.entry(scope).or_default().push(Arc::clone(listener));
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
        let scope = Scope::Conversation(message.conversation);
        if message.author.partner == reader
            || !self.inner.lock().hearers.contains_key(&scope)
            || self.delivered.get(&message.id).is_some()
        {
            return;
        }
        self.delivered.insert(message.id, ());
        let (conversation, author) = (message.conversation, message.author.partner);
        self.signal([scope], &Arc::new(Signal::Delivered { conversation, message: message.id, author, at: clock::now() }));
    }

    /// Hands a signal, once, to those who listen in any of the scopes and care for signals.
    pub(super) fn signal(&self, scopes: impl IntoIterator<Item = Scope>, signal: &Arc<Signal>) {
        let inner = self.inner.lock();
        let mut reached = HashSet::new();
        for listener in scopes.into_iter().filter_map(|scope| inner.hearers.get(&scope)).flatten() {
            if reached.insert(Arc::as_ptr(listener)) {
                listener.signal(signal);
            }
        }
    }

    pub(super) fn leave(&self, scope: Scope, hears: &[Scope], listener: &Arc<Listener>) {
        let mut inner = self.inner.lock();
        remove(&mut inner.listeners, scope, listener);
        for scope in hears {
            remove(&mut inner.hearers, *scope, listener);
        }
    }

    pub(super) fn recent(&self, scope: Scope, from: Position) -> Recent {
        let inner = self.inner.lock();
        let oldest = inner.head.0 - inner.ring.len() as i64 + 1;
        if from.0 < oldest {
            return Recent::Older;
        }
        let passed = usize::try_from(from.0 - oldest).expect("not negative, checked above");
        let events = inner.ring.iter().skip(passed).filter(|told| told.concerns(scope)).cloned().collect();
        Recent::Events(events, inner.head)
    }
}

impl Inner {
    /// Whoever reads later reads what the message says now.
    fn bring_up_to_date(&mut self, now: &Message) {
        let posted = |told: &&mut Arc<Told>| matches!(&told.event.fact, Fact::MessagePosted(message) if message.id == now.id);
        if let Some(told) = self.ring.iter_mut().rev().find(posted) {
            let event = Event { fact: Fact::MessagePosted(now.clone()), ..told.event.clone() };
            *told = Arc::new(Told::new(event, Arc::clone(&told.audience)));
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
