//! Tail of the event log: follows it in order of position, calls the observers, and appends to the hub. Events that this node
//! commits come straight from the commit; events of other nodes, and missing ones, are read from the log. Polling each second
//! covers lost notifications. A store that tells cheaply whether anybody has committed is asked more often, and the event log is
//! read only then.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicI64, Ordering},
    },
    time::Duration,
};

use parking_lot::Mutex;
use storage::{Event, Fact, PartnerId, Position, Scope, Storage, Topic, Tx};
use tokio::{
    sync::{Notify, mpsc, oneshot},
    time::Instant,
};

use super::{
    hub::Hub,
    log_restart::{KnownLog, RESTART_MESSAGE},
    members::MembersCache,
    signals::Signal,
};
use crate::{
    bus::{BusNotification, BusSender},
    error::chain,
    lifecycle::Lifecycle,
    telemetry,
};

/// Polling interval: the longest delay of an event of another node whose notification is lost.
const POLL_INTERVAL: Duration = Duration::from_secs(1);
/// Polling interval where a poll without a commit since the last one costs next to nothing.
const VERSION_INTERVAL: Duration = Duration::from_millis(200);
/// Page size of a read of the event log, in events.
const LOG_PAGE: usize = 1_000;
/// Page size of a read of the event log, in bytes of facts.
const LOG_BYTES: usize = 4 * 1024 * 1024;

/// Observer of the event log: called with every event and its audience, in rising order of partner ids. Calls are in order of
/// position, once per event on this node, and must return quickly.
pub type Observer = Box<dyn Fn(&Event, &[PartnerId]) + Send + Sync>;

/// Publisher: hands committed events to this node's tail. Clones are handles to the same.
#[derive(Clone)]
pub struct Publisher {
    commits: mpsc::Sender<Commit>,
    wake: Arc<Notify>,
    /// Position of the newest event that this node has committed.
    newest: Arc<AtomicI64>,
    health: Arc<LogHealth>,
}

/// Health of the event log, as the tail sees it.
#[derive(Default)]
struct LogHealth {
    /// Begin of the current read failure; `None` if reads succeed.
    failing_since: Mutex<Option<Instant>>,
    /// True from the detection of lost events until listeners have received the restart.
    restarting: AtomicBool,
    /// Number of restarts of the event log.
    epoch: AtomicI64,
}

/// The receiving end of the publisher, for the tail.
pub struct CommitReceiver {
    commits: mpsc::Receiver<Commit>,
    publisher: Publisher,
}

/// The events of one transaction of this node.
struct Commit {
    events: Vec<Event>,
    /// Dropped once this node's listeners have received the events.
    _acknowledgement: oneshot::Sender<()>,
}

/// Creates a publisher and its receiver.
pub fn publisher() -> (Publisher, CommitReceiver) {
    let (sender, commits) = mpsc::channel(1_024);
    let publisher = Publisher { commits: sender, wake: Arc::default(), newest: Arc::default(), health: Arc::default() };
    (publisher.clone(), CommitReceiver { commits, publisher })
}

impl Publisher {
    /// Duration of the current read failure of the event log, if there is one.
    pub(crate) fn failing_for(&self) -> Option<Duration> {
        self.health.failing_since.lock().map(|since| since.elapsed())
    }

    /// True while the event log has lost events and is not restarted yet.
    pub(crate) fn is_restarting(&self) -> bool {
        self.health.restarting.load(Ordering::Relaxed)
    }

    /// The number of restarts of the event log.
    pub(crate) fn epoch(&self) -> i64 {
        self.health.epoch.load(Ordering::Relaxed)
    }

    /// True if this node has committed events that the hub does not have yet. A read must then not rely on the caches, so that
    /// a caller with a confirmed change sees it.
    pub(crate) fn is_ahead_of(&self, head: Position) -> bool {
        self.newest.load(Ordering::Acquire) > head.0
    }

    /// Makes the tail read the event log for events of other nodes.
    pub(crate) fn poll_soon(&self) {
        self.wake.notify_one();
    }

    /// Commits a transaction, and publishes its events as [`Publisher::publish`] does.
    ///
    /// # Errors
    /// Those of [`Tx::commit`].
    ///
    /// # Cancel safety
    /// Dropped before the commit, it changes nothing. Dropped during the commit, the transaction takes effect or does not;
    /// dropped afterwards, the tail publishes it.
    pub async fn commit(&self, tx: Box<dyn Tx>) -> storage::Result<()> {
        self.publish(tx.commit().await?).await;
        Ok(())
    }

    /// Publishes the events of a committed transaction on this node, and waits until the tail has delivered them. If the event
    /// log cannot be read, or the channel is full, it returns earlier; the tail catches up later.
    ///
    /// # Cancel safety
    /// The events are submitted at the first poll; a dropped future only stops waiting.
    ///
    /// # Ordering
    /// After it returns, listeners and caches of this node have the events, except in the two cases above: a caller reads its
    /// own writes.
    pub async fn publish(&self, events: Vec<Event>) {
        let Some(newest) = events.last() else { return };
        self.newest.fetch_max(newest.position.0, Ordering::AcqRel);
        let (untold, told) = oneshot::channel();
        match self.commits.try_send(Commit { events, _acknowledgement: untold }) {
            // The sender is only ever dropped: that is the acknowledgement.
            Ok(()) => drop(told.await),
            Err(_) => self.wake.notify_one(),
        }
    }
}

/// Starts the tail of `storage` in front of `hub`. It runs until the lifecycle stops.
pub(crate) fn start(
    announced: CommitReceiver,
    (storage, known): (Arc<dyn Storage>, KnownLog),
    hub: Arc<Hub>,
    audiences: Arc<MembersCache>,
    observers: Vec<Observer>,
    link: BusSender<Signal>,
    lifecycle: &Lifecycle,
) -> Publisher {
    let CommitReceiver { commits: committed, publisher } = announced;
    let (look, health) = (Arc::clone(&publisher.wake), Arc::clone(&publisher.health));
    health.epoch.store(known.epoch(), Ordering::Relaxed);
    let tail =
        Tail { storage, known, hub, observers, audiences, link, committed, look, health, version: None, has_warned: false };
    lifecycle.spawn(tail.run(lifecycle.clone()));
    publisher
}

struct Tail {
    storage: Arc<dyn Storage>,
    known: KnownLog,
    hub: Arc<Hub>,
    observers: Vec<Observer>,
    audiences: Arc<MembersCache>,
    link: BusSender<Signal>,
    committed: mpsc::Receiver<Commit>,
    look: Arc<Notify>,
    health: Arc<LogHealth>,
    /// Data version of the store before the last poll; `None` if the store has none, or since a failure.
    version: Option<i64>,
    /// True once the warning about unknown facts was logged.
    has_warned: bool,
}

impl Tail {
    async fn run(mut self, lifecycle: Lifecycle) {
        let mut looks_at = Instant::now() + POLL_INTERVAL;
        loop {
            let step = tokio::select! {
                commit = self.committed.recv() => match commit {
                    Some(Commit { events, _acknowledgement }) => self.follow(events).await,
                    None => return,
                },
                () = self.look.notified() => self.catch_up().await,
                // Also under load: commits of this node do not show lost events.
                () = tokio::time::sleep_until(looks_at) => {
                    let found = self.poll_if_changed().await;
                    looks_at = Instant::now() + if self.version.is_some() { VERSION_INTERVAL } else { POLL_INTERVAL };
                    found
                }
                () = lifecycle.stopping() => return,
            };
            if step.is_err() {
                // The next poll reads what this step has not.
                self.version = None;
            }
            self.record_health(&step);
        }
    }

    fn record_health(&self, step: &storage::Result<()>) {
        let mut unread_since = self.health.failing_since.lock();
        match step {
            Ok(()) => {
                if unread_since.take().is_some() {
                    tracing::info!("event log readable again");
                }
                telemetry::store_reached();
            }
            Err(error) if unread_since.is_none() => {
                *unread_since = Some(Instant::now());
                let what = "event log unreadable";
                match error {
                    storage::Error::Unavailable(_) => telemetry::deferred(what, error, true),
                    _ => tracing::error!(error = %chain(error), "{what}"),
                }
            }
            Err(_) => {}
        }
    }

    async fn follow(&mut self, events: Vec<Event>) -> storage::Result<()> {
        let head = self.hub.head();
        match (events.first(), events.last()) {
            (Some(first), Some(last)) if first.position.0 == head.0 + 1 => {
                let grown = last.position;
                self.deliver(events).await?;
                self.link.notify(BusNotification::LogGrown(grown));
                Ok(())
            }
            (_, Some(last)) => {
                self.link.notify(BusNotification::LogGrown(last.position));
                if last.position > head { self.catch_up().await } else { Ok(()) }
            }
            _ => Ok(()),
        }
    }

    /// Polls, unless the store tells that nobody has committed since the last poll.
    async fn poll_if_changed(&mut self) -> storage::Result<()> {
        let version = self.storage.data_version().await?;
        if version.is_none() || version != self.version {
            self.poll().await?;
            // Read before the poll: a commit meanwhile causes another one.
            self.version = version;
        }
        Ok(())
    }

    /// Polls the event log for events without a notification, and for lost events. Notifies the other nodes of growth, which
    /// would find it only at their next poll.
    async fn poll(&mut self) -> storage::Result<()> {
        let before = self.hub.head();
        let state = self.storage.log_state(self.known.compared_position()).await?;
        let loss = self.known.compare(before, &state);
        self.health.restarting.store(loss.is_some(), Ordering::Relaxed);
        if let Some(loss) = loss {
            self.known.restart(self.storage.as_ref(), &state, loss, before).await?;
        } else if state.head == before {
            return Ok(());
        }
        let found = self.catch_up().await;
        if found.is_ok() {
            self.health.restarting.store(false, Ordering::Relaxed);
        }
        let head = self.hub.head();
        if head > before {
            self.link.notify(BusNotification::LogGrown(head));
        }
        found
    }

    async fn catch_up(&mut self) -> storage::Result<()> {
        loop {
            let page = self.storage.log(self.hub.head(), Scope::Everything, LOG_PAGE, LOG_BYTES).await?;
            if !page.events.is_empty() {
                self.deliver(page.events).await?;
            }
            if !page.more {
                return Ok(());
            }
        }
    }

    async fn deliver(&mut self, events: Vec<Event>) -> storage::Result<()> {
        let mut told = Vec::with_capacity(events.len());
        for event in events {
            if event.fact == Fact::Unknown && !std::mem::replace(&mut self.has_warned, true) {
                tracing::warn!(position = event.position.0, "unknown event of a newer version skipped");
            }
            match self.audience(&event).await {
                Ok(audience) => told.push((event, audience)),
                Err(error) => {
                    self.audiences.reset(self.hub.head());
                    return Err(error);
                }
            }
        }
        let mut restarted = None;
        for (event, audience) in &told {
            if let Fact::LogRestarted { epoch, from, to } = event.fact {
                tracing::error!(epoch, from = from.0, to = to.0, "{RESTART_MESSAGE}");
                restarted = Some(epoch);
            }
            self.observers.iter().for_each(|observe| observe(event, audience));
        }
        self.hub.append(told);
        if let Some(epoch) = restarted {
            self.known.record_restart(epoch);
            self.health.epoch.store(epoch, Ordering::Relaxed);
            self.health.restarting.store(false, Ordering::Relaxed);
        }
        Ok(())
    }

    /// The audience of an event in rising order: the partners that find it in the event log. A new participant receives its own
    /// join; a former one receives a separate event on its own topic.
    async fn audience(&mut self, event: &Event) -> storage::Result<Arc<[PartnerId]>> {
        if event.fact.is_about_the_store() {
            self.audiences.reset(event.position);
        }
        match event.topic {
            Topic::Partner(partner) => Ok(Arc::from([partner])),
            Topic::Conversation(conversation) => {
                if changes_membership(&event.fact) {
                    self.audiences.invalidate(conversation, event.position);
                }
                Ok(self.audiences.of(conversation).await?.audience(event.fact.seq()))
            }
        }
    }
}

/// True if the fact changes a membership, or may do so.
fn changes_membership(fact: &Fact) -> bool {
    matches!(fact, Fact::ConversationCreated(_) | Fact::ParticipantJoined { .. } | Fact::ParticipantLeft { .. } | Fact::Unknown)
}
