use std::{
    collections::{HashMap, VecDeque},
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
};

use parking_lot::Mutex;
use storage::{Event, PartnerId, Position, Scope, Topic};
use tokio::sync::Notify;

use super::signals::Signal;

/// An event as this node remembers it: with whom it concerns.
#[derive(Debug)]
pub struct Told {
    pub event: Event,
    /// In rising order.
    audience: Arc<[PartnerId]>,
}

impl Told {
    /// For one who asked the log itself, and so knows that the event concerns it.
    pub(super) fn from_log(event: Event) -> Self {
        Self { event, audience: Arc::from([]) }
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
}

struct Inner {
    ring: VecDeque<Arc<Told>>,
    head: Position,
    listeners: HashMap<Scope, Vec<Arc<Listener>>>,
}

/// How many signals are kept for one who listens; older ones are forgotten first.
const SIGNALS: usize = 64;

/// One who waits. `since` is the first event that concerned it since it last looked; 0 if there was none.
pub(super) struct Listener {
    since: AtomicI64,
    bell: Notify,
    /// `None` for one whom signals do not concern.
    signals: Option<Mutex<VecDeque<Arc<Signal>>>>,
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
        if let Some(signals) = &self.signals {
            let mut signals = signals.lock();
            if signals.len() == SIGNALS {
                signals.pop_front();
            }
            signals.push_back(Arc::clone(signal));
            self.bell.notify_one();
        }
    }

    /// Waits for the bell, and gives what it was rung for. A ring before the call is not lost.
    pub(super) async fn heard(&self) -> Heard {
        loop {
            let since = Some(self.since.swap(0, Ordering::AcqRel)).filter(|since| *since != 0).map(Position);
            let signals = self.signals.as_ref().map(|signals| std::mem::take(&mut *signals.lock())).unwrap_or_default();
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
        Self { inner: Mutex::new(Inner { ring: VecDeque::new(), head, listeners: HashMap::new() }), capacity }
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
            inner.ring.push_back(Arc::new(Told { event, audience }));
        }
        let excess = inner.ring.len().saturating_sub(self.capacity);
        inner.ring.drain(..excess);
    }

    /// Registers a listener who has seen everything up to `after`, or up to now, and gives from where it reads on. A
    /// position beyond the log counts as now: the log it came from is gone.
    pub(super) fn listen(&self, scope: Scope, after: Option<Position>, signals: bool) -> (Arc<Listener>, Position) {
        let listener =
            Arc::new(Listener { since: AtomicI64::new(0), bell: Notify::new(), signals: signals.then(Mutex::default) });
        let mut inner = self.inner.lock();
        let after = after.map_or(inner.head, |after| after.min(inner.head));
        if after < inner.head {
            listener.ring(Position(after.0 + 1));
        }
        inner.listeners.entry(scope).or_default().push(Arc::clone(&listener));
        (listener, after)
    }

    /// Hands a signal to those who listen in any of the scopes and care for signals.
    pub(super) fn signal(&self, scopes: impl IntoIterator<Item = Scope>, signal: &Arc<Signal>) {
        let inner = self.inner.lock();
        for scope in scopes {
            for listener in inner.listeners.get(&scope).into_iter().flatten() {
                listener.signal(signal);
            }
        }
    }

    pub(super) fn leave(&self, scope: Scope, listener: &Arc<Listener>) {
        let mut inner = self.inner.lock();
        if let Some(listeners) = inner.listeners.get_mut(&scope) {
            if let Some(index) = listeners.iter().position(|other| Arc::ptr_eq(other, listener)) {
                listeners.swap_remove(index);
            }
            if listeners.is_empty() {
                inner.listeners.remove(&scope);
            }
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
