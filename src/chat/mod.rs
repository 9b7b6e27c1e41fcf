//! The domain: every rule of the chat, once, whichever dialect asks and whichever backend stores.

mod attachments;
mod conversations;
mod error;
mod feed;
mod hub;
mod messages;
mod people;
mod presence;
mod tail;
mod typing;
mod updates;
mod writer;

use std::{collections::HashMap, sync::Arc, time::Duration};

use parking_lot::Mutex;
use storage::{Position, Scope, Storage, UserId};

pub use attachments::{Download, FileBytes, Received};
pub use conversations::{InboxLine, NewThread};
pub use error::{Cause, Error, Result, Thing};
pub use feed::Feed;
pub use hub::{Hub, Told};
pub use messages::Draft;
pub use people::PreferredId;
pub use presence::{PersonPresence, Status};
pub use tail::Observer;
pub use updates::Updates;

use crate::{auth::Caller, blobs::Blobs, lifecycle::Lifecycle};

/// What the service may be told to do differently.
#[derive(Clone, Debug)]
pub struct Rules {
    /// How many polls of one user may wait at a time on this node.
    pub waiting_per_user: usize,
    /// The largest file taken.
    pub upload_bytes: u64,
    /// Without activity for longer, a partner is offline.
    pub online_for: Duration,
    /// How many recent events are remembered for those who listen.
    pub recent_events: usize,
}

/// The service. Clones are handles to the same one.
#[derive(Clone)]
pub struct Chat(Arc<Parts>);

struct Parts {
    storage: Arc<dyn Storage>,
    blobs: Blobs,
    hub: Arc<Hub>,
    announce: tail::Announce,
    writer: writer::Writer,
    presence: presence::LastSeen,
    typing: typing::Typing,
    waiting: Mutex<HashMap<UserId, usize>>,
    rules: Rules,
    requests: Lifecycle,
}

impl Chat {
    /// Starts the service. Its tasks belong to `services`; polls end when `requests` stop. `observers` see every event of
    /// the log from now on.
    pub async fn start(
        storage: Arc<dyn Storage>,
        blobs: Blobs,
        rules: Rules,
        observers: Vec<Observer>,
        services: &Lifecycle,
        requests: &Lifecycle,
    ) -> storage::Result<Self> {
        let hub = Arc::new(Hub::new(storage.position().await?, rules.recent_events));
        let announce = tail::start(Arc::clone(&storage), Arc::clone(&hub), observers, services);
        let writer = writer::Writer::start(Arc::clone(&storage), announce.clone(), services);
        let presence = presence::LastSeen::start(Arc::clone(&storage), services);
        Ok(Self(Arc::new(Parts {
            storage,
            blobs,
            hub,
            announce,
            writer,
            presence,
            typing: typing::Typing::default(),
            waiting: Mutex::default(),
            rules,
            requests: requests.clone(),
        })))
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

    /// How many polls wait on this node.
    pub fn polls_waiting(&self) -> usize {
        self.0.waiting.lock().values().sum()
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
