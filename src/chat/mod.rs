//! The domain: every rule of the chat, once, whichever dialect asks and whichever backend stores.

mod addresses;
mod attachments;
mod audiences;
mod books;
mod bus;
mod conversations;
mod desk;
mod devices;
mod edits;
mod error;
mod feed;
mod hub;
mod meetings;
mod messages;
mod people;
mod pictures;
mod places;
mod presence;
mod signals;
mod sockets;
mod support;
mod tail;
mod typing;
mod updates;
mod writer;

use std::{collections::HashMap, future::Future, sync::Arc, time::Duration};

use parking_lot::Mutex;
use storage::{Position, Scope, Storage, UserId};
use tokio::time::Instant;

pub use attachments::{Download, FileBytes, Received};
pub use books::Acquaintance;
pub use bus::{Bus, Since};
pub use conversations::{InboxLine, NewThread};
pub use error::{Cause, Error, Result, Thing};
pub use feed::{Batch, Feed};
pub use hub::{Hub, Told};
pub use messages::{Draft, Sent};
pub use people::{Contact, Deactivated, PreferredId};
pub use places::KeptConversation;
pub use presence::{PersonPresence, PresenceRules, PresentSocket, Status};
pub use signals::{Signal, TypingPost};
pub use support::{Side, SupportMessage};
pub use tail::Observer;
pub use updates::Updates;

use crate::{auth::Caller, blobs::Blobs, lifecycle::Lifecycle, metrics::Metrics};

/// What the service may be told to do differently.
#[derive(Clone, Debug)]
pub struct Rules {
    /// How many polls of one user may wait at a time on this node.
    pub waiting_per_user: usize,
    /// How many sockets one user may have open at a time on this node.
    pub sockets_per_user: usize,
    /// The largest file taken.
    pub upload_bytes: u64,
    pub presence: PresenceRules,
    pub support: SupportRules,
    /// How many recent events are remembered for those who listen.
    pub recent_events: usize,
}

/// For how long nothing may be heard of those who ask for support.
#[derive(Clone, Copy, Debug)]
pub struct SupportRules {
    /// From the initiator of a session until it is closed.
    pub silence: Duration,
    /// On a connection of a device.
    pub connection: Duration,
}

/// The service. Clones are handles to the same one.
#[derive(Clone)]
pub struct Chat(Arc<Parts>);

struct Parts {
    storage: Arc<dyn Storage>,
    blobs: Blobs,
    hub: Arc<Hub>,
    audiences: Arc<audiences::Audiences>,
    desk: Arc<desk::Desk>,
    addresses: addresses::Addresses,
    announce: tail::Announce,
    writer: writer::Writer,
    lives: presence::Lives,
    typing: typing::Typing,
    waiting: Mutex<HashMap<UserId, usize>>,
    rules: Rules,
    metrics: Metrics,
    requests: Lifecycle,
}

impl Chat {
    /// Starts the service. Its tasks belong to `services`; polls end when `requests` stop. `observers` see every event of
    /// the log from now on.
    pub async fn start(
        storage: Arc<dyn Storage>,
        blobs: Blobs,
        rules: Rules,
        metrics: Metrics,
        mut observers: Vec<Observer>,
        services: &Lifecycle,
        requests: &Lifecycle,
    ) -> storage::Result<Self> {
        let hub = Arc::new(Hub::new(storage.position().await?, rules.recent_events));
        let audiences = Arc::new(audiences::Audiences::new(Arc::clone(&storage)));
        let desk = Arc::new(desk::Desk::new(Arc::clone(&storage)));
        observers.push(desk.observer());
        let announce = tail::start(Arc::clone(&storage), Arc::clone(&hub), Arc::clone(&audiences), observers, services);
        let writer = writer::Writer::start(Arc::clone(&storage), announce.clone(), metrics.clone(), services);
        let chat = Self(Arc::new(Parts {
            storage,
            blobs,
            hub,
            audiences,
            desk,
            addresses: addresses::Addresses::default(),
            announce,
            writer,
            lives: presence::Lives::default(),
            typing: typing::Typing::default(),
            waiting: Mutex::default(),
            rules,
            metrics,
            requests: requests.clone(),
        }));
        chat.watch_presence(services);
        chat.watch_typing(services);
        chat.watch_support(services);
        Ok(chat)
    }

    /// Events in `scope` from after `after` on, or from now on. Whether the caller may listen there is checked by the
    /// verbs that use it.
    fn follow(&self, scope: Scope, after: Option<Position>) -> Feed {
        Feed::new(Arc::clone(&self.0.hub), Arc::clone(&self.0.storage), scope, after)
    }

    /// The newest event that this node has told.
    pub fn position(&self) -> Position {
        self.0.hub.head()
    }

    /// How many sends wait for the next commit.
    pub fn sends_waiting(&self) -> usize {
        self.0.writer.waiting()
    }

    /// How many listen to the log on this node, polls included.
    pub fn listening(&self) -> usize {
        self.0.hub.listening()
    }

    /// How many polls wait on this node.
    pub fn polls_waiting(&self) -> usize {
        self.0.waiting.lock().values().sum()
    }

    /// Visits the store, and counts how long that took.
    async fn visit<T>(&self, operation: &'static str, visit: impl Future<Output = storage::Result<T>>) -> Result<T> {
        Ok(self.0.metrics.visit(operation, visit).await?)
    }

    /// Takes a place for whoever is going to wait; an answer at once needs none.
    fn take_place_until(&self, caller: &Caller, deadline: Instant) -> Result<Option<Place>> {
        if deadline <= Instant::now() { Ok(None) } else { self.take_place(caller).map(Some) }
    }

    /// Takes one of the caller's places for waiting, until the result is dropped.
    fn take_place(&self, caller: &Caller) -> Result<Place> {
        let mut waiting = self.0.waiting.lock();
        let places = waiting.entry(caller.user).or_insert(0);
        if *places >= self.0.rules.waiting_per_user {
            return Err(Error::TooMany("waiting requests"));
        }
        *places += 1;
        Ok(Place { parts: Arc::clone(&self.0), user: caller.user })
    }
}

/// One waiting poll of one user.
struct Place {
    parts: Arc<Parts>,
    user: UserId,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut waiting = self.parts.waiting.lock();
        if let Some(places) = waiting.get_mut(&self.user) {
            *places -= 1;
            if *places == 0 {
                waiting.remove(&self.user);
            }
        }
    }
}

/// Texts are kept exactly as sent; only what no store can hold is refused.
fn storable(field: &'static str, text: &str) -> Result<()> {
    if text.contains('\0') {
        return Err(Error::Invalid { field, reason: "must not contain the NUL character".into() });
    }
    Ok(())
}
