//! The domain: every rule of the chat, once, whichever dialect asks and whichever backend stores.

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

/// The time after which one of a user's places for waiting may be free.
const WAITING_PAUSE: Duration = Duration::from_secs(1);

/// What the service may be told to do differently.
#[derive(Clone, Debug)]
pub struct Rules {
    /// How many polls of one user may wait at a time on this node.
    pub waiting_per_user: usize,
    /// How many sockets one user may have open at a time on this node.
    pub sockets_per_user: usize,
    /// The largest file taken.
    pub upload_bytes: u64,
    pub uploads: UploadRules,
    pub upload_quota: UploadQuota,
    pub presence: PresenceRules,
    pub retention: Retention,
    pub support: SupportRules,
    pub rates: RateRules,
    /// Devices of one user; with one more the longest unused is forgotten. 0 for no limit.
    pub devices: usize,
    /// How long a repeat with the same client key and content is a retry.
    pub retry: TimeDelta,
    /// The longest text of a message, in bytes.
    pub message_bytes: usize,
    /// How many recent events are remembered for those who listen.
    pub recent_events: usize,
    /// The bytes that they may take, with what is memoised of them.
    pub ring_bytes: usize,
}

/// What the service stands on.
pub struct Ground {
    pub storage: Arc<dyn Storage>,
    pub blobs: Blobs,
    /// `None` for a node that is alone.
    pub bus: Option<Arc<dyn Bell>>,
    /// They see every event of the log from now on.
    pub observers: Vec<Observer>,
    /// What others than the service itself commit.
    pub announced: Commits,
    pub metrics: Metrics,
    /// To which the service's tasks belong.
    pub services: Lifecycle,
    /// Polls end when they stop.
    pub requests: Lifecycle,
}

/// The limits of support sessions.
#[derive(Clone, Copy, Debug)]
pub struct SupportRules {
    /// For how long nothing may be heard from the initiator of a session until it is closed.
    pub silence: Duration,
    /// For how long nothing may be heard on a connection of a device.
    pub connection: Duration,
    /// For how long an agent may be gone until its sessions wait again.
    pub absence: Duration,
    /// How many sessions of one initiator may be open at a time; 0 for as many as it likes.
    pub open_sessions: usize,
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
    pub async fn start(ground: Ground, rules: Rules) -> storage::Result<Self> {
        let Ground { storage, blobs, bus, observers, announced, metrics, services, requests } = ground;
        let services = &services;
        let log = storage.lane(Lane::Log);
        let known = log_restart::Known::begin(log.as_ref()).await?;
        let upload_key = uploads::Key::new(&secret(storage.as_ref(), "uploads").await?);
        let head = storage.position().await?;
        // Of a log that is empty, time does not count.
        let newest = storage.events(Position(head.0 - 1), Scope::Everything, 1).await?.pop();
        let head_at = newest.map_or(DateTime::UNIX_EPOCH, |event| event.at);
        // No secret, but made like one: once, by whichever node is the first.
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
        // What is remembered is forgotten before anybody acts upon the change.
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
        // Before anything is done that a migration must not meet.
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

    /// Events in `scope` from after `after` on, or from now on. Whether the caller may listen there is checked by the
    /// verbs that use it.
    fn follow(&self, scope: Scope, after: Option<Position>) -> Feed {
        let from = after.map_or(Start::Now, |position| Start::Seen(SignalMark { position, count: 0 }));
        self.follow_hearing(&[scope], from, &[])
    }

    /// As [`Chat::follow`] in several scopes, with the signals to these.
    fn follow_hearing(&self, scopes: &[Scope], from: Start, hears: &[Scope]) -> Feed {
        Feed::new(Arc::clone(&self.0.hub), Arc::clone(&self.0.storage), scopes, from, hears)
    }

    /// The newest event that this node has told.
    pub fn position(&self) -> Position {
        self.0.hub.head()
    }

    /// Whether other nodes can be heard, if there may be any.
    pub fn hears_others(&self) -> bool {
        self.0.link.is_connected()
    }

    /// For how long the log cannot be read, and so nobody is told anything, if that is so.
    pub fn log_unread_for(&self) -> Option<Duration> {
        self.0.announce.unread_for()
    }

    /// True while the event log has lost events and was not restarted yet.
    pub fn is_log_restarting(&self) -> bool {
        self.0.announce.is_restarting()
    }

    /// How often the event log was restarted, because it had lost events.
    pub fn log_epoch(&self) -> i64 {
        self.0.announce.epoch()
    }

    /// How many sends wait for the next commit.
    pub fn sends_waiting(&self) -> usize {
        self.0.sends.waiting()
    }

    /// How many marks as read wait for the next commit.
    pub fn marks_waiting(&self) -> usize {
        self.0.marks.waiting()
    }

    /// Bytes of recent events that this node remembers, with what is memoised of them.
    pub fn ring_bytes(&self) -> usize {
        self.0.hub.ring_bytes()
    }

    /// How many listen to the log on this node, polls included.
    pub fn listening(&self) -> usize {
        self.0.hub.listening()
    }

    /// How many polls wait on this node.
    pub fn polls_waiting(&self) -> usize {
        self.0.waiting.taken()
    }

    /// Runs a transaction, which commits itself; see [`transaction`].
    async fn transaction<T, F: Future<Output = Result<T>>>(&self, work: impl Fn(Box<dyn Tx>) -> F) -> Result<T> {
        transaction(self.0.storage.as_ref(), work).await
    }

    /// Takes a place for whoever is going to wait, and tells `waits` so; an answer at once needs none.
    fn take_place_until(&self, caller: &Caller, deadline: Instant, waits: impl FnOnce()) -> Result<Option<Place>> {
        if deadline <= Instant::now() {
            return Ok(None);
        }
        let place = self.take_place(caller)?;
        waits();
        Ok(Some(place))
    }

    /// Takes one of the caller's places for waiting, until the result is dropped.
    fn take_place(&self, caller: &Caller) -> Result<Place> {
        let place = self.0.waiting.take(caller.user, self.0.rules.waiting_per_user);
        place.ok_or(Error::TooFast { what: "waiting requests", retry_after: WAITING_PAUSE })
    }
}

/// The workspace's uuid, drawn if the store has none yet. Nodes that start at once agree on one.
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

/// A secret that all nodes share; the first who asks for it makes it.
async fn secret(storage: &dyn Storage, name: &str) -> storage::Result<String> {
    transaction(storage, |mut tx| async {
        let secret = tx.secret(name, &crate::auth::secret()).await?;
        tx.commit().await?;
        Ok(secret)
    })
    .await
}

/// One waiting poll of one user.
type Place = Taken<UserId>;
