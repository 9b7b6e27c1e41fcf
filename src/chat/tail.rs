//! Follows the log and keeps the hub up to it. What this node commits comes straight from the commit; what it finds
//! missing in between, and what other nodes commit, it reads.

use std::{sync::Arc, time::Duration};

use storage::{Event, Fact, PartnerId, Scope, Storage, Topic};
use tokio::sync::{Notify, mpsc, oneshot};

use super::{audiences::Audiences, hub::Hub, signals::Signal};
use crate::{
    bus::{Link, Word},
    lifecycle::Lifecycle,
};

/// How long an event of another node can go unnoticed if its announcement is lost.
const SAFETY_NET: Duration = Duration::from_secs(1);
/// How many events one read of the log brings at most.
const LOG_PAGE: usize = 1_000;

/// Called with every event of the log and whom it concerns, in rising order: once, in order, on this node. Must be quick.
pub type Observer = Box<dyn Fn(&Event, &[PartnerId]) + Send + Sync>;

/// Where commits are announced to this node's tail.
#[derive(Clone)]
pub(super) struct Announce {
    commits: mpsc::Sender<Commit>,
    look: Arc<Notify>,
}

/// What a transaction of this node has added to the log.
struct Commit {
    events: Vec<Event>,
    /// Dropped once this node's listeners have been told.
    _untold: oneshot::Sender<()>,
}

impl Announce {
    /// Has the tail look for what other nodes have added to the log.
    pub(super) fn look(&self) {
        self.look.notify_one();
    }

    /// Tells the tail what a transaction of this node has added to the log, and returns once whoever listens or asks on
    /// this node finds it there: a caller that is answered after this sees its own work. If the log cannot be read
    /// meanwhile, it returns as well; the tail catches up later.
    pub(super) async fn committed(&self, events: Vec<Event>) {
        if events.is_empty() {
            return;
        }
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
    storage: Arc<dyn Storage>,
    hub: Arc<Hub>,
    audiences: Arc<Audiences>,
    observers: Vec<Observer>,
    link: Link<Signal>,
    lifecycle: &Lifecycle,
) -> Announce {
    let (commits, committed) = mpsc::channel(1_024);
    let look = Arc::new(Notify::new());
    let tail = Tail { storage, hub, observers, audiences, link, committed, look: Arc::clone(&look) };
    lifecycle.spawn(tail.run(lifecycle.clone()));
    Announce { commits, look }
}

struct Tail {
    storage: Arc<dyn Storage>,
    hub: Arc<Hub>,
    observers: Vec<Observer>,
    audiences: Arc<Audiences>,
    link: Link<Signal>,
    committed: mpsc::Receiver<Commit>,
    look: Arc<Notify>,
}

impl Tail {
    async fn run(mut self, lifecycle: Lifecycle) {
        let mut away = false;
        loop {
            let step = tokio::select! {
                commit = self.committed.recv() => match commit {
                    Some(Commit { events, _untold }) => self.follow(events).await,
                    None => return,
                },
                () = self.look.notified() => self.catch_up().await,
                () = tokio::time::sleep(SAFETY_NET) => self.catch_up().await,
                () = lifecycle.stopping() => return,
            };
            match step {
                Ok(()) if away => tracing::info!("the log can be read again"),
                Ok(()) => {}
                Err(ref error) if !away => tracing::error!(error = %crate::telemetry::chain(error), "the log cannot be read"),
                Err(_) => {}
            }
            away = step.is_err();
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
            (_, Some(last)) if last.position > head => {
                self.link.say(Word::LogGrew(last.position));
                self.catch_up().await
            }
            _ => Ok(()),
        }
    }

    async fn catch_up(&mut self) -> storage::Result<()> {
        loop {
            let events = self.storage.events(self.hub.head(), Scope::Everything, LOG_PAGE).await?;
            let read = events.len();
            if read > 0 {
                self.tell(events).await?;
            }
            if read < LOG_PAGE {
                return Ok(());
            }
        }
    }

    async fn tell(&mut self, events: Vec<Event>) -> storage::Result<()> {
        let mut told = Vec::with_capacity(events.len());
        for event in events {
            match self.audience(&event).await {
                Ok(audience) => told.push((event, audience)),
                Err(error) => {
                    self.audiences.start_over(self.hub.head());
                    return Err(error);
                }
            }
        }
        for (event, audience) in &told {
            self.observers.iter().for_each(|observe| observe(event, audience));
        }
        self.hub.append(told);
        Ok(())
    }

    /// Whom an event concerns, in rising order: those who find it in the log. Somebody who joins is concerned by having
    /// joined; who has left, by an event of its own.
    async fn audience(&mut self, event: &Event) -> storage::Result<Arc<[PartnerId]>> {
        match event.topic {
            Topic::Partner(partner) => Ok(Arc::from([partner])),
            Topic::Conversation(conversation) => {
                if brings_or_takes(&event.fact) {
                    self.audiences.change(conversation, event.position);
                }
                self.audiences.of(conversation).await
            }
        }
    }
}

/// Whether somebody comes or goes by this.
fn brings_or_takes(fact: &Fact) -> bool {
    matches!(fact, Fact::ConversationCreated(_) | Fact::ParticipantJoined { .. } | Fact::ParticipantLeft { .. })
}
