//! Domain rules of the chat, shared by all dialects and all storage backends. [`Chat`] is the entry point.

mod address_book;
mod attachments;
mod cache;
mod conversations;
mod devices;
mod directory;
mod error;
mod find_or_create;
mod group_commit;
mod held_messages;
mod maintenance;
mod messages;
mod peers;
mod people;
mod presence;
mod rates;
mod read_state;
mod signals;
mod subscriptions;
mod support;
mod texts;
mod typing;
mod uploads;

use std::{future::Future, sync::Arc, time::Duration};

use chrono::{DateTime, TimeDelta};
use storage::{Lane, Position, Scope, Storage, Tx, UserId};
use tokio::time::Instant;
use uuid::Uuid;

pub use address_book::Acquaintance;
pub use attachments::quota::UploadQuota;
pub use attachments::sent_files::SentFile;
pub use attachments::{FileName, ReceivedFile, attachment_token, text_for};
pub use conversations::InboxConversation;
pub use conversations::{InboxLine, ListContent, NewThread, may_change_members};
pub use directory::Recipient;
pub use error::{Error, NO_MEMORY, ResourceKind, Result};
pub use held_messages::HeldMessageLease;
pub use maintenance::retention::RetentionRules;
pub use messages::edits::EditPermission;
pub use messages::reactions::{ReactionChange, ReactionState};
pub use messages::search::{MessageMatches, MessageQuery};
pub use messages::{ATTACHMENTS, Draft, PageRead, SendOutcome};
pub use people::{Contact, Deactivated, LISTED_PEOPLE, PreferredId, people_bytes};
pub use presence::{PersonPresence, PresenceRules, PresentSocket};
pub use rates::RateRules;
pub use subscriptions::ChangedMessages;
pub use subscriptions::UnreadUpdates;
pub use subscriptions::{SubscribeSince, UserSubscription};
pub use support::{CallerSide, SupportMessage, side_of_message};
pub use texts::{NAME_CHARACTERS, check_email, check_external_id, check_login, check_name};
pub use uploads::{SignedUpload, StoredUpload, UploadAnnouncement, UploadGrant, UploadRules, UploadTarget};

use crate::{
    auth::Caller,
    blobs::Blobs,
    bus::{Bus, BusSender},
    events::{
        self, Capacity, CommitReceiver, Feed, Hub, KnownLog, MembersCache, Observer, Publisher, Signal, SignalMark,
        SubscriptionStart,
    },
    keyed_semaphore::{KeyedPermit, KeyedSemaphore},
    lifecycle::Lifecycle,
    metrics::Metrics,
    transaction::transaction,
};
use group_commit::{GroupCommit, MarkRead, SendJob};
use texts::check_storable;

/// Time for which a poll beyond the limit of waiting polls is asked to wait.
const POLL_RETRY_AFTER: Duration = Duration::from_secs(1);

/// Settings of the chat service.
#[derive(Clone, Debug)]
pub struct Rules {
    /// Limit of waiting polls per user on this node.
    pub polls_per_user: usize,
    /// Limit of open sockets per user on this node.
    pub sockets_per_user: usize,
    /// Limit of participants of a conversation; 0 for no limit.
    pub participants: usize,
    /// Size limit of a file, in bytes.
    pub upload_bytes: u64,
    pub uploads: UploadRules,
    pub upload_quota: UploadQuota,
    pub presence: PresenceRules,
    pub retention: RetentionRules,
    pub support: SupportRules,
    pub rates: RateRules,
    /// Limit of devices per user; beyond it, the longest unused one is deleted. 0 for no limit.
    pub devices: usize,
    /// Idempotency window: a repeat with the same client key and content within this time is a retry.
    pub idempotency_window: TimeDelta,
    /// Size limit of the text of a message, in bytes.
    pub message_bytes: usize,
    /// Capacity of the ring of recent events, in events.
    pub recent_events: usize,
    /// Capacity of that ring in bytes, memoised encodings included.
    pub ring_bytes: usize,
}

/// Dependencies of the chat service.
pub struct Dependencies {
    pub storage: Arc<dyn Storage>,
    pub blobs: Blobs,
    /// `None` for a single node.
    pub bus: Option<Arc<dyn Bus>>,
    /// Observers of every event of the event log from now on.
    pub observers: Vec<Observer>,
    /// Receiver of commits made outside of the service.
    pub commits: CommitReceiver,
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
    pub initiator_timeout: Duration,
    /// Time-out of an inactive device connection.
    pub connection_timeout: Duration,
    /// Time-out of an absent agent, after which the sessions of the agent wait for another one.
    pub agent_timeout: Duration,
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
pub struct Chat(Arc<ChatInner>);

struct ChatInner {
    storage: Arc<dyn Storage>,
    blobs: Blobs,
    hub: Arc<Hub>,
    members: Arc<MembersCache>,
    support: Arc<support::cache::SupportCache>,
    ids: Arc<directory::IdCache>,
    held_messages: held_messages::HeldMessageLeases,
    directory: Arc<directory::DirectoryCache>,
    unread: Arc<read_state::UnreadCache>,
    publisher: Publisher,
    lease: maintenance::lease::Lease,
    removal: maintenance::removal::ObjectRemoval,
    link: BusSender<Signal>,
    sends: GroupCommit<SendJob>,
    read_marks: GroupCommit<MarkRead>,
    presence: Arc<presence::PresenceTracker>,
    presence_news: presence::expiry::PresenceNews,
    typing: typing::TypingIndicators,
    upload_key: uploads::UploadSigningKey,
    poll_slots: KeyedSemaphore<UserId>,
    rates: rates::RateLimits,
    uploading: attachments::quota::UploadCounters,
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
    pub async fn start(ground: Dependencies, rules: Rules) -> storage::Result<Self> {
        let Dependencies { storage, blobs, bus, observers, commits: announced, metrics, services, requests } = ground;
        let services = &services;
        let log = storage.lane(Lane::Log);
        let known = KnownLog::load(log.as_ref()).await?;
        let upload_key = uploads::UploadSigningKey::new(&secret(storage.as_ref(), "uploads").await?);
        let head = storage.position().await?;
        // An empty event log has no time.
        let newest = storage.events(Position(head.0 - 1), Scope::Everything, 1).await?.pop();
        let head_at = newest.map_or(DateTime::UNIX_EPOCH, |event| event.at);
        // Not a secret, but drawn in the same way: once, by the first node.
        let workspace = secret(storage.as_ref(), "workspace").await?;
        let lease = maintenance::lease::Lease::new(storage.as_ref(), bus.as_ref().map_or("local", |bus| bus.kind())).await?;
        let (removal, removed) = maintenance::removal::ObjectRemoval::new();
        let (link, outbox) = bus.map(|bus| BusSender::new(bus, workspace, metrics.clone())).unzip();
        let link = link.unwrap_or_else(BusSender::single_node);
        let capacity = Capacity { events: rules.recent_events, bytes: rules.ring_bytes };
        let hub = Arc::new(Hub::new((head, head_at), capacity, link.clone()));
        let members = Arc::new(MembersCache::new(Arc::clone(&log), head));
        let directory = Arc::<directory::DirectoryCache>::default();
        let support = Arc::<support::cache::SupportCache>::default();
        let (ids, unread) = (Arc::<directory::IdCache>::default(), Arc::<read_state::UnreadCache>::default());
        // Caches come first: they drop stale entries before any other observer acts upon the event.
        let presence = Arc::<presence::PresenceTracker>::default();
        let caches = [directory.observer(), ids.observer(), support.observer(), unread.observer(), presence.observer()];
        let observers = caches.into_iter().chain(observers).collect();
        let (heard, told) = (Arc::clone(&hub), Arc::clone(&members));
        let publisher = events::start(announced, (log, known), heard, told, observers, link.clone(), services);
        let lock_waits = || Arc::clone(&storage);
        let sends = GroupCommit::start(storage.lane(Lane::Sends), lock_waits(), publisher.clone(), metrics.clone(), services);
        let marks = GroupCommit::start(lock_waits(), lock_waits(), publisher.clone(), metrics.clone(), services);
        let chat = Self(Arc::new(ChatInner {
            storage,
            blobs,
            hub,
            members,
            support,
            ids,
            held_messages: held_messages::HeldMessageLeases::default(),
            directory,
            unread,
            publisher,
            lease,
            removal,
            link,
            sends,
            read_marks: marks,
            presence,
            presence_news: presence::expiry::PresenceNews::default(),
            typing: typing::TypingIndicators::default(),
            upload_key,
            poll_slots: KeyedSemaphore::default(),
            rates: rates::RateLimits::new(rules.rates),
            uploading: attachments::quota::UploadCounters::new(rules.upload_quota),
            rules,
            metrics,
            requests,
        }));
        // The lease comes first: a migration must not meet the tasks below.
        chat.renew_lease().await?;
        if let Some(outbox) = outbox {
            chat.receive_from_peers(outbox, services);
        }
        chat.watch_presence(services);
        chat.watch_presence_expiry(services);
        chat.watch_typing(services);
        chat.watch_held_messages(services);
        chat.watch_store(services);
        chat.remove_objects(removed, services);
        chat.watch_retention(services);
        chat.sweep_files(services);
        chat.watch_support(services);
        Ok(chat)
    }

    /// Subscribes to the events in `scope`, from after `after` or from now on. Does not check access; the callers do.
    fn subscribe(&self, scope: Scope, after: Option<Position>) -> Feed {
        let from = after.map_or(SubscriptionStart::Now, |position| SubscriptionStart::Seen(SignalMark { position, count: 0 }));
        self.subscribe_with_signals(&[scope], from, &[])
    }

    /// Subscribes to events in several scopes, and to signals in the scopes of `hears`.
    fn subscribe_with_signals(&self, scopes: &[Scope], from: SubscriptionStart, hears: &[Scope]) -> Feed {
        Feed::new(Arc::clone(&self.0.hub), Arc::clone(&self.0.storage), scopes, from, hears)
    }

    /// Position of the newest event that this node has delivered.
    pub fn position(&self) -> Position {
        self.0.hub.head()
    }

    /// True if the bus to other nodes is connected, or the node has none.
    pub fn is_bus_connected(&self) -> bool {
        self.0.link.is_connected()
    }

    /// Time for which the event log has been unreadable, and delivery has stopped; `None` while it is readable.
    pub fn event_log_unreadable_for(&self) -> Option<Duration> {
        self.0.publisher.failing_for()
    }

    /// True while the event log has lost events and is not restarted yet.
    pub fn is_log_restarting(&self) -> bool {
        self.0.publisher.is_restarting()
    }

    /// Epoch of the event log: the number of its restarts after a loss of events.
    pub fn log_epoch(&self) -> i64 {
        self.0.publisher.epoch()
    }

    /// Number of sends that wait for the next group commit.
    pub fn sends_waiting(&self) -> usize {
        self.0.sends.waiting()
    }

    /// Number of read marks that wait for the next group commit.
    pub fn read_marks_waiting(&self) -> usize {
        self.0.read_marks.waiting()
    }

    /// Bytes in the ring of recent events, memoised encodings included.
    pub fn ring_bytes(&self) -> usize {
        self.0.hub.ring_bytes()
    }

    /// Number of subscriptions on this node, polls included.
    pub fn subscriptions(&self) -> usize {
        self.0.hub.subscriptions()
    }

    /// Number of waiting polls on this node.
    pub fn polls_waiting(&self) -> usize {
        self.0.poll_slots.taken()
    }

    /// Runs a transaction, which commits itself, with retry on contention; see [`transaction`].
    async fn transaction<T, F: Future<Output = Result<T>>>(&self, work: impl Fn(Box<dyn Tx>) -> F) -> Result<T> {
        transaction(self.0.storage.as_ref(), work).await
    }

    /// Takes a slot for a waiting poll and calls `waits`; a poll whose deadline has passed needs none.
    ///
    /// # Errors
    /// `TooFast` beyond the limit of waiting polls.
    fn take_poll_slot_until(&self, caller: &Caller, deadline: Instant, waits: impl FnOnce()) -> Result<Option<PollSlot>> {
        if deadline <= Instant::now() {
            return Ok(None);
        }
        let place = self.take_poll_slot(caller)?;
        waits();
        Ok(Some(place))
    }

    /// Takes one of the caller's slots for waiting polls, until the result is dropped.
    fn take_poll_slot(&self, caller: &Caller) -> Result<PollSlot> {
        let place = self.0.poll_slots.take(caller.user, self.0.rules.polls_per_user);
        place.ok_or_else(|| {
            self.0.metrics.refused("waiting_polls_per_user");
            Error::TooFast { what: "waiting requests", retry_after: POLL_RETRY_AFTER }
        })
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
type PollSlot = KeyedPermit<UserId>;
