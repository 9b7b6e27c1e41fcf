//! Domain rules of the chat, shared by all dialects and all storage backends. [`Chat`] is the entry point.

mod absence;
mod addresses;
mod attachments;
mod attendances;
mod audiences;
mod books;
mod bus;
mod conversations;
mod counts;
mod desk;
mod devices;
mod edits;
mod error;
mod feed;
#[cfg(test)]
mod fixtures;
mod housekeeping;
mod hub;
mod lease;
mod log_restart;
mod meetings;
mod messages;
mod others;
mod pairs;
mod people;
mod pictures;
mod places;
mod presence;
mod rates;
mod reactions;
mod reads;
mod remembered;
mod ring;
mod search;
mod sent_files;
mod signals;
mod sockets;
mod support;
mod sweep;
mod tail;
mod texts;
mod told;
mod typing;
mod updates;
mod upload_quota;
mod uploads;
mod writer;

use std::{future::Future, sync::Arc, time::Duration};

use chrono::{DateTime, TimeDelta};
use storage::{Lane, Position, Scope, Storage, Tx, UserId};
use tokio::time::Instant;
use uuid::Uuid;

pub use attachments::{FileBytes, FileName, Received, attachment_token, is_bidi_control, text_for};
pub use attendances::Attending;
pub use books::Acquaintance;
pub use bus::{Bus, Since};
pub use conversations::{InboxLine, NewThread};
pub use edits::Right;
pub use error::{Cause, Error, Result, Thing};
pub use feed::{Batch, Feed};
pub use housekeeping::Retention;
pub use hub::Hub;
pub use log_restart::settle_log;
pub use messages::{ATTACHMENTS, Draft, Sent};
pub use pairs::Addressee;
pub use people::{Contact, Deactivated, PreferredId};
pub use places::KeptConversation;
pub use presence::{PersonPresence, PresenceRules, PresentSocket, Status};
pub use rates::RateRules;
pub use reactions::{Reacted, Reacting};
pub use search::{Found, Query};
pub use sent_files::SentFile;
pub use signals::{Signal, SignalMark, Signalled, TypingPost};
pub use sockets::Changed;
pub use support::{Side, SupportMessage, may_change_members, side_of_message};
pub use tail::{Announce, Commits, Observer, announcing};
pub use texts::{LOGIN_BYTES, NAME_CHARACTERS, check_email, check_external_id, check_login, check_name, escaped};
pub use told::{Encoding, Told};
pub use updates::Updates;
pub use upload_quota::UploadQuota;
pub use uploads::{Announced, Door, Leave, Permit, Shown, UploadRules};

use crate::{
    auth::Caller,
    blobs::Blobs,
    bus::{Bus as Bell, Link},
    lifecycle::Lifecycle,
    metrics::Metrics,
    tally::{Taken, Tally},
    transaction::transaction,
};
use hub::Start;
use texts::storable;
use writer::{Mark, Send, Writer};

/// Time for which a poll beyond the limit of waiting polls is asked to wait.
const WAITING_PAUSE: Duration = Duration::from_secs(1);

/// Settings of the chat service.
#[derive(Clone, Debug)]
pub struct Rules {
    /// Limit of waiting polls per user on this node.
    pub waiting_per_user: usize,
    /// Limit of open sockets per user on this node.
    pub sockets_per_user: usize,
    /// Size limit of a file, in bytes.
    pub upload_bytes: u64,
    pub uploads: UploadRules,
    pub upload_quota: UploadQuota,
    pub presence: PresenceRules,
    pub retention: Retention,
    pub support: SupportRules,
    pub rates: RateRules,
    /// Limit of devices per user; beyond it, the longest unused one is deleted. 0 for no limit.
    pub devices: usize,
    /// Idempotency window: a repeat with the same client key and content within this time is a retry.
    pub retry: TimeDelta,
    /// Size limit of the text of a message, in bytes.
    pub message_bytes: usize,
    /// Capacity of the ring of recent events, in events.
    pub recent_events: usize,
    /// Capacity of that ring in bytes, memoised encodings included.
    pub ring_bytes: usize,
}

/// Dependencies of the chat service.
pub struct Ground {
    pub storage: Arc<dyn Storage>,
    pub blobs: Blobs,
    /// `None` for a single node.
    pub bus: Option<Arc<dyn Bell>>,
    /// Observers of every event of the event log from now on.
    pub observers: Vec<Observer>,
    /// Receiver of commits made outside of the service.
    pub announced: Commits,
    pub metrics: Metrics,
    /// Lifecycle of the background tasks.
    pub services: Lifecycle,
    /// Lifecycle of requests: polls end when it stops.
    pub requests: Lifecycle,
}

/// The limits of support sessions.
#[derive(Clone, Copy, Debug)]
pub struct SupportRules {
    /// Time-out of a session whose initiator is inactive; then it is closed.
    pub silence: Duration,
    /// Time-out of an inactive device connection.
    pub connection: Duration,
    /// Time-out of an absent agent, after which the sessions of the agent wait for another one.
    pub absence: Duration,
    /// Limit of open sessions per initiator; 0 for no limit.
    pub open_sessions: usize,
}

/// The chat service. Clones are handles to the same service.
///
/// The async methods share the following; each documents only its differences.
///
/// # Errors
/// [`Error::Unavailable`] if the store cannot be reached, or contention outlasts the retries; [`Error::Internal`] for corrupt
/// data. `TooFast`, where a method names it, is for requests: a socket is held back instead (back-pressure), and the call
/// succeeds.
///
/// # Cancel safety
/// A dropped read leaves nothing behind. A change that is dropped before its commit stores nothing; during the commit, all of it
/// is stored or nothing.
///
/// # Ordering
/// The caches and subscriptions of this node have the event of a change before its method returns, unless the tail is behind: the
/// event log is unreadable, or the queue of commits is full.
#[derive(Clone)]
pub struct Chat(Arc<Parts>);

struct Parts {
    storage: Arc<dyn Storage>,
    blobs: Blobs,
    hub: Arc<Hub>,
    audiences: Arc<audiences::Audiences>,
    desk: Arc<desk::Desk>,
    addresses: Arc<addresses::Addresses>,
    attendances: attendances::Attendances,
    pairs: Arc<pairs::Pairs>,
    counts: Arc<counts::Counts>,
    announce: tail::Announce,
    lease: lease::Lease,
    link: Link<Signal>,
    sends: Writer<Send>,
    marks: Writer<Mark>,
    lives: Arc<presence::Lives>,
    news: absence::News,
    typing: typing::Typing,
    upload_key: uploads::Key,
    waiting: Tally<UserId>,
    rates: rates::Rates,
    uploading: upload_quota::Uploading,
    rules: Rules,
    metrics: Metrics,
    requests: Lifecycle,
}

impl Chat {
    /// Starts the service: restarts the event log if the database was failed over or restored, then starts the tail, the group
    /// commits and the background tasks.
    ///
    /// # Errors
    /// Those of the store.
    ///
    /// # Cancel safety
    /// Tasks that have been started run until `ground.services` stops.
    pub async fn start(ground: Ground, rules: Rules) -> storage::Result<Self> {
        let Ground { storage, blobs, bus, observers, announced, metrics, services, requests } = ground;
        let services = &services;
        let log = storage.lane(Lane::Log);
        let known = log_restart::Known::begin(log.as_ref()).await?;
        let upload_key = uploads::Key::new(&secret(storage.as_ref(), "uploads").await?);
        let head = storage.position().await?;
        // An empty event log has no time.
        let newest = storage.events(Position(head.0 - 1), Scope::Everything, 1).await?.pop();
        let head_at = newest.map_or(DateTime::UNIX_EPOCH, |event| event.at);
        // Not a secret, but drawn in the same way: once, by the first node.
        let workspace = secret(storage.as_ref(), "workspace").await?;
        let lease = lease::Lease::new(storage.as_ref(), bus.as_ref().map_or("local", |bus| bus.kind())).await?;
        let (link, outbox) = bus.map(|bus| Link::new(bus, workspace, metrics.clone())).unzip();
        let link = link.unwrap_or_else(Link::alone);
        let capacity = ring::Capacity { events: rules.recent_events, bytes: rules.ring_bytes };
        let hub = Arc::new(Hub::new((head, head_at), capacity, link.clone()));
        let audiences = Arc::new(audiences::Audiences::new(Arc::clone(&log), head));
        let pairs = Arc::<pairs::Pairs>::default();
        let desk = Arc::<desk::Desk>::default();
        let (addresses, counts) = (Arc::<addresses::Addresses>::default(), Arc::<counts::Counts>::default());
        // Caches come first: they drop stale entries before any other observer acts upon the event.
        let lives = Arc::<presence::Lives>::default();
        let caches = [pairs.observer(), addresses.observer(), desk.observer(), counts.observer(), lives.observer()];
        let observers = caches.into_iter().chain(observers).collect();
        let (heard, told) = (Arc::clone(&hub), Arc::clone(&audiences));
        let announce = tail::start(announced, (log, known), heard, told, observers, link.clone(), services);
        let patient = || Arc::clone(&storage);
        let sends = Writer::start(storage.lane(Lane::Sends), patient(), announce.clone(), metrics.clone(), services);
        let marks = Writer::start(patient(), patient(), announce.clone(), metrics.clone(), services);
        let chat = Self(Arc::new(Parts {
            storage,
            blobs,
            hub,
            audiences,
            desk,
            addresses,
            attendances: attendances::Attendances::default(),
            pairs,
            counts,
            announce,
            lease,
            link,
            sends,
            marks,
            lives,
            news: absence::News::default(),
            typing: typing::Typing::default(),
            upload_key,
            waiting: Tally::default(),
            rates: rates::Rates::new(rules.rates),
            uploading: upload_quota::Uploading::new(rules.upload_quota),
            rules,
            metrics,
            requests,
        }));
        // The lease comes first: a migration must not meet the tasks below.
        chat.renew_lease().await?;
        if let Some(outbox) = outbox {
            chat.hear_others(outbox, services);
        }
        chat.watch_presence(services);
        chat.watch_absence(services);
        chat.watch_typing(services);
        chat.watch_attendances(services);
        chat.watch_store(services);
        chat.keep_house(services);
        chat.sweep_files(services);
        chat.watch_support(services);
        Ok(chat)
    }

    /// Subscribes to the events in `scope`, from after `after` or from now on. Does not check access; the callers do.
    fn follow(&self, scope: Scope, after: Option<Position>) -> Feed {
        let from = after.map_or(Start::Now, |position| Start::Seen(SignalMark { position, count: 0 }));
        self.follow_hearing(&[scope], from, &[])
    }

    /// Subscribes to events in several scopes, and to signals in the scopes of `hears`.
    fn follow_hearing(&self, scopes: &[Scope], from: Start, hears: &[Scope]) -> Feed {
        Feed::new(Arc::clone(&self.0.hub), Arc::clone(&self.0.storage), scopes, from, hears)
    }

    /// Position of the newest event that this node has delivered.
    pub fn position(&self) -> Position {
        self.0.hub.head()
    }

    /// True if the bus to other nodes is connected, or the node has none.
    pub fn hears_others(&self) -> bool {
        self.0.link.is_connected()
    }

    /// Time for which the event log has been unreadable, and delivery has stopped; `None` while it is readable.
    pub fn log_unread_for(&self) -> Option<Duration> {
        self.0.announce.unread_for()
    }

    /// True while the event log has lost events and is not restarted yet.
    pub fn is_log_restarting(&self) -> bool {
        self.0.announce.is_restarting()
    }

    /// Epoch of the event log: the number of its restarts after a loss of events.
    pub fn log_epoch(&self) -> i64 {
        self.0.announce.epoch()
    }

    /// Number of sends that wait for the next group commit.
    pub fn sends_waiting(&self) -> usize {
        self.0.sends.waiting()
    }

    /// Number of read marks that wait for the next group commit.
    pub fn marks_waiting(&self) -> usize {
        self.0.marks.waiting()
    }

    /// Bytes in the ring of recent events, memoised encodings included.
    pub fn ring_bytes(&self) -> usize {
        self.0.hub.ring_bytes()
    }

    /// Number of subscriptions on this node, polls included.
    pub fn listening(&self) -> usize {
        self.0.hub.listening()
    }

    /// Number of waiting polls on this node.
    pub fn polls_waiting(&self) -> usize {
        self.0.waiting.taken()
    }

    /// Runs a transaction, which commits itself, with retry on contention; see [`transaction`].
    async fn transaction<T, F: Future<Output = Result<T>>>(&self, work: impl Fn(Box<dyn Tx>) -> F) -> Result<T> {
        transaction(self.0.storage.as_ref(), work).await
    }

    /// Takes a slot for a waiting poll and calls `waits`; a poll whose deadline has passed needs none.
    ///
    /// # Errors
    /// `TooFast` beyond the limit of waiting polls.
    fn take_place_until(&self, caller: &Caller, deadline: Instant, waits: impl FnOnce()) -> Result<Option<Place>> {
        if deadline <= Instant::now() {
            return Ok(None);
        }
        let place = self.take_place(caller)?;
        waits();
        Ok(Some(place))
    }

    /// Takes one of the caller's slots for waiting polls, until the result is dropped.
    fn take_place(&self, caller: &Caller) -> Result<Place> {
        let place = self.0.waiting.take(caller.user, self.0.rules.waiting_per_user);
        place.ok_or(Error::TooFast { what: "waiting requests", retry_after: WAITING_PAUSE })
    }
}

/// The uuid of the workspace, drawn if the store has none. Nodes that start at once agree on one.
///
/// # Errors
/// Those of the store.
///
/// # Cancel safety
/// Idempotent: a repeat returns the uuid that was stored.
pub async fn workspace_uuid(storage: &dyn Storage) -> storage::Result<Uuid> {
    if let Some(uuid) = storage.workspace().await?.uuid {
        return Ok(uuid);
    }
    transaction(storage, |mut tx| async {
        let mut workspace = tx.lock_workspace().await?;
        let uuid = *workspace.uuid.get_or_insert_with(Uuid::new_v4);
        tx.set_workspace(&workspace).await?;
        tx.commit().await?;
        Ok(uuid)
    })
    .await
}

/// A secret that all nodes share, drawn by the first caller.
async fn secret(storage: &dyn Storage, name: &str) -> storage::Result<String> {
    transaction(storage, |mut tx| async {
        let secret = tx.secret(name, &crate::auth::secret()).await?;
        tx.commit().await?;
        Ok(secret)
    })
    .await
}

/// Slot of a waiting poll of one user.
type Place = Taken<UserId>;
