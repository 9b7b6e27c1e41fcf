//! Follows the log and keeps the hub up to it. What this node commits comes straight from the commit; what it finds
//! missing in between, and what other nodes commit, it reads.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicI64, Ordering},
    },
    time::Duration,
};

use parking_lot::Mutex;
use storage::{Event, Fact, PartnerId, Position, Scope, Storage, Topic};
use tokio::{
    sync::{Notify, mpsc, oneshot},
    time::Instant,
};

use super::{
    audiences::Audiences,
    hub::Hub,
    log_restart::{Known, LOST},
    signals::Signal,
};
use crate::{
    bus::{Link, Word},
    lifecycle::Lifecycle,
    telemetry,
};

/// How long an event of another node can go unnoticed if its announcement is lost.
const SAFETY_NET: Duration = Duration::from_secs(1);
/// How many events one read of the log brings at most.
const LOG_PAGE: usize = 1_000;
/// The size of such a read, in bytes of facts.
const LOG_BYTES: usize = 4 * 1024 * 1024;

/// Called with every event of the log and whom it concerns, in rising order: once, in order, on this node. Must be quick.
pub type Observer = Box<dyn Fn(&Event, &[PartnerId]) + Send + Sync>;

/// Where commits are announced to this node's tail.
#[derive(Clone)]
pub struct Announce {
    commits: mpsc::Sender<Commit>,
    look: Arc<Notify>,
    /// The newest event that this node has committed.
    newest: Arc<AtomicI64>,
    health: Arc<Health>,
}

/// How the log is.
#[derive(Default)]
struct Health {
    /// Since when it cannot be read; `None` while it can.
    unread_since: Mutex<Option<Instant>>,
    /// True from when it was seen to have lost events until listeners were told that it was restarted.
    restarting: AtomicBool,
    /// How often it was restarted.
    epoch: AtomicI64,
}

/// What was announced and waits for the tail.
pub struct Commits {
    commits: mpsc::Receiver<Commit>,
    announce: Announce,
}

/// What a transaction of this node has added to the log.
struct Commit {
    events: Vec<Event>,
    /// Dropped once this node's listeners have been told.
    _untold: oneshot::Sender<()>,
}

/// For whoever commits, and for the service that then tells of it.
pub fn announcing() -> (Announce, Commits) {
    let (sender, commits) = mpsc::channel(1_024);
    let announce = Announce { commits: sender, look: Arc::default(), newest: Arc::default(), health: Arc::default() };
    (announce.clone(), Commits { commits, announce })
}

impl Announce {
    /// For how long the log cannot be read, if it cannot.
    pub(super) fn unread_for(&self) -> Option<Duration> {
        self.health.unread_since.lock().map(|since| since.elapsed())
    }

    /// True while the log has lost events and was not restarted yet.
    pub(super) fn is_restarting(&self) -> bool {
        self.health.restarting.load(Ordering::Relaxed)
    }

    /// How often the log was restarted.
    pub(super) fn epoch(&self) -> i64 {
        self.health.epoch.load(Ordering::Relaxed)
    }

    /// Whether this node has committed events that nobody on it was told of yet. Whoever was answered already, because the
    /// log cannot be read, is to find what it did all the same.
    pub(super) fn is_ahead_of(&self, head: Position) -> bool {
        self.newest.load(Ordering::Acquire) > head.0
    }

    /// Has the tail look for what other nodes have added to the log.
    pub(super) fn look(&self) {
        self.look.notify_one();
    }

    /// Tells the tail what a transaction of this node has added to the log, and returns once whoever listens or asks on
    /// this node finds it there: a caller that is answered after this sees its own work. If the log cannot be read
    /// meanwhile, it returns as well; the tail catches up later.
    pub async fn committed(&self, events: Vec<Event>) {
        let Some(newest) = events.last() else { return };
        self.newest.fetch_max(newest.position.0, Ordering::AcqRel);
        let (untold, told) = oneshot::channel();
        match self.commits.try_send(Commit { events, _untold: untold }) {
            // It never answers, it only lets go.
            Ok(()) => drop(told.await),
            Err(_) => self.look.notify_one(),
        }
    }
}

/// Starts the tail of `storage` behind `hub`. It runs until the stop.
pub(super) fn start(
    announced: Commits,
    (storage, known): (Arc<dyn Storage>, Known),
    hub: Arc<Hub>,
    audiences: Arc<Audiences>,
    observers: Vec<Observer>,
    link: Link<Signal>,
    lifecycle: &Lifecycle,
) -> Announce {
    let Commits { commits: committed, announce } = announced;
    let (look, health) = (Arc::clone(&announce.look), Arc::clone(&announce.health));
    health.epoch.store(known.epoch(), Ordering::Relaxed);
    let tail = Tail { storage, known, hub, observers, audiences, link, committed, look, health, puzzled: false };
    lifecycle.spawn(tail.run(lifecycle.clone()));
    announce
}

struct Tail {
    storage: Arc<dyn Storage>,
    known: Known,
    hub: Arc<Hub>,
    observers: Vec<Observer>,
    audiences: Arc<Audiences>,
    link: Link<Signal>,
    committed: mpsc::Receiver<Commit>,
    look: Arc<Notify>,
    health: Arc<Health>,
    /// Whether it was said that the log holds what is unknown here.
    puzzled: bool,
}

impl Tail {
    async fn run(mut self, lifecycle: Lifecycle) {
        let mut looks_at = Instant::now() + SAFETY_NET;
        loop {
            let step = tokio::select! {
                commit = self.committed.recv() => match commit {
                    Some(Commit { events, _untold }) => self.follow(events).await,
                    None => return,
                },
                () = self.look.notified() => self.catch_up().await,
                // Also while there is much to follow: what is followed does not show what was lost.
                () = tokio::time::sleep_until(looks_at) => {
                    let found = self.find().await;
                    looks_at = Instant::now() + SAFETY_NET;
                    found
                }
                () = lifecycle.stopping() => return,
            };
            self.note(&step);
        }
    }

    fn note(&self, step: &storage::Result<()>) {
        let mut unread_since = self.health.unread_since.lock();
        match step {
            Ok(()) => {
                if unread_since.take().is_some() {
                    tracing::info!("the log can be read again");
                }
                telemetry::reached();
            }
            Err(error) if unread_since.is_none() => {
                *unread_since = Some(Instant::now());
                let what = "the log cannot be read";
                match error {
                    storage::Error::Unavailable(_) => telemetry::put_off(what, error, true),
                    _ => tracing::error!(error = %telemetry::chain(error), "{what}"),
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
                self.tell(events).await?;
                self.link.say(Word::LogGrew(grown));
                Ok(())
            }
            (_, Some(last)) => {
                self.link.say(Word::LogGrew(last.position));
                if last.position > head { self.catch_up().await } else { Ok(()) }
            }
            _ => Ok(()),
        }
    }

    /// Looks for what nobody has rung for, and whether the log has lost events. The other nodes are told, who would look for
    /// it only later.
    async fn find(&mut self) -> storage::Result<()> {
        let before = self.hub.head();
        let state = self.storage.log_state(self.known.asked()).await?;
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
            self.link.say(Word::LogGrew(head));
        }
        found
    }

    async fn catch_up(&mut self) -> storage::Result<()> {
        loop {
            let page = self.storage.log(self.hub.head(), Scope::Everything, LOG_PAGE, LOG_BYTES).await?;
            if !page.events.is_empty() {
                self.tell(page.events).await?;
            }
            if !page.more {
                return Ok(());
            }
        }
    }

    async fn tell(&mut self, events: Vec<Event>) -> storage::Result<()> {
        let mut told = Vec::with_capacity(events.len());
        for event in events {
            if event.fact == Fact::Unknown && !std::mem::replace(&mut self.puzzled, true) {
                tracing::warn!(position = event.position.0, "the log holds what only a newer version knows; it is passed over");
            }
            match self.audience(&event).await {
                Ok(audience) => told.push((event, audience)),
                Err(error) => {
                    self.audiences.start_over(self.hub.head());
                    return Err(error);
                }
            }
        }
        let mut restarted = None;
        for (event, audience) in &told {
            if let Fact::LogRestarted { epoch, from, to } = event.fact {
                tracing::error!(epoch, from = from.0, to = to.0, "{LOST}");
                restarted = Some(epoch);
            }
            self.observers.iter().for_each(|observe| observe(event, audience));
        }
        self.hub.append(told);
        if let Some(epoch) = restarted {
            self.known.restarted(epoch);
            self.health.epoch.store(epoch, Ordering::Relaxed);
            self.health.restarting.store(false, Ordering::Relaxed);
        }
        Ok(())
    }

    /// Whom an event concerns, in rising order: those who find it in the log. Somebody who joins is concerned by having
    /// joined; who has left, by an event of its own.
    async fn audience(&mut self, event: &Event) -> storage::Result<Arc<[PartnerId]>> {
        if event.fact.is_about_the_store() {
            self.audiences.start_over(event.position);
        }
        match event.topic {
            Topic::Partner(partner) => Ok(Arc::from([partner])),
            Topic::Conversation(conversation) => {
                if brings_or_takes(&event.fact) {
                    self.audiences.change(conversation, event.position);
                }
                Ok(self.audiences.of(conversation).await?.concerned(event.fact.seq()))
            }
        }
    }
}

/// Whether somebody comes or goes by this, or may.
fn brings_or_takes(fact: &Fact) -> bool {
    matches!(fact, Fact::ConversationCreated(_) | Fact::ParticipantJoined { .. } | Fact::ParticipantLeft { .. } | Fact::Unknown)
}
