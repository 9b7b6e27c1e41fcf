//! The lease by which other nodes, and migrations, know that this node serves the store.

use std::{
    collections::HashMap,
    sync::atomic::{AtomicI64, Ordering},
    time::Duration,
};

use chrono::TimeDelta;
use parking_lot::Mutex;
use storage::{NOBODY, Node, Scope, Storage, Timestamp};
use uuid::Uuid;

use super::{Chat, Error};
use crate::{clock, lifecycle::Lifecycle, telemetry};

/// Length of a lease, unless signs of life end sooner.
const LENGTH: Duration = Duration::from_secs(30);
/// How many renewals are due within a lease: one may fail.
const ROUNDS: u32 = 3;
/// Pause after the event log could not be read.
const PAUSE: Duration = Duration::from_secs(1);

/// This node as others know it.
pub(super) struct Lease {
    /// The node's one id, from its start to its end.
    pub(super) node: Uuid,
    bus: &'static str,
    started_at: Timestamp,
    /// By how many microseconds the store's clock is ahead of this node's, as it was last measured.
    ahead: AtomicI64,
    /// The other nodes of the last look that this one does not hear.
    unheard: Mutex<HashMap<Uuid, Unheard>>,
}

/// Another node that serves the store, and by another bus.
struct Unheard {
    until: Timestamp,
    /// True once it was warned of.
    is_told: bool,
}

impl Lease {
    pub(super) async fn new(storage: &dyn Storage, bus: &'static str) -> storage::Result<Self> {
        let here = clock::now();
        let started_at = storage.now(here).await?;
        let ahead = AtomicI64::new(difference(started_at, here));
        Ok(Self { node: Uuid::new_v4(), bus, started_at, ahead, unheard: Mutex::default() })
    }

    /// Warns of nodes that this one does not hear, once until they are gone.
    fn meet(&self, nodes: &[Node]) {
        let mut unheard = self.unheard.lock();
        let before = std::mem::take(&mut *unheard);
        for Node { id, bus, until, .. } in nodes {
            let Some(bus) = bus.as_deref().filter(|bus| *id != self.node && (*bus != self.bus || *bus == "local")) else {
                continue;
            };
            let known = before.get(id);
            // The lease of one that was killed lasts for a while, and is not renewed.
            let is_told = known.is_some_and(|known| known.is_told || known.until < *until);
            if is_told && known.is_some_and(|known| !known.is_told) {
                tracing::warn!(
                    node = %id,
                    its_bus = bus,
                    own_bus = self.bus,
                    "another node serves this store, and the two do not hear each other: set `bus` alike on all nodes, and not to local"
                );
            }
            unheard.insert(*id, Unheard { until: *until, is_told });
        }
    }
}

fn difference(there: Timestamp, here: Timestamp) -> i64 {
    (there - here).num_microseconds().unwrap_or_default()
}

impl Chat {
    /// The time by the store's clock, by which leases end, without asking for it.
    pub(super) fn store_time(&self) -> Timestamp {
        let ahead = TimeDelta::microseconds(self.0.lease.ahead.load(Ordering::Relaxed));
        clock::now().checked_add_signed(ahead).unwrap_or(Timestamp::MAX_UTC)
    }

    /// The end of a lease that is renewed now.
    pub(super) fn lease_end(&self) -> Timestamp {
        self.store_time() + self.lease_length()
    }

    /// Time between two renewals.
    pub(super) fn lease_round(&self) -> Duration {
        self.lease_length() / ROUNDS
    }

    fn lease_length(&self) -> Duration {
        // Nobody at a node that is dead counts as there for longer than signs of life do.
        LENGTH.min(self.0.rules.presence.poll)
    }

    /// Stores the node's lease anew.
    pub(super) async fn renew_lease(&self) -> storage::Result<()> {
        let (lease, storage) = (&self.0.lease, &self.0.storage);
        let here = clock::now();
        let now = storage.now(here).await?;
        lease.ahead.store(difference(now, here), Ordering::Relaxed);
        let node = Node {
            id: lease.node,
            version: Some(env!("CARGO_PKG_VERSION").to_owned()),
            bus: Some(lease.bus.to_owned()),
            started_at: Some(lease.started_at),
            position: Some(self.0.hub.head()),
            until: now + self.lease_length(),
        };
        storage.renew_lease(&node).await?;
        lease.meet(&storage.nodes(now).await?);
        Ok(())
    }

    /// Ends the lease of this node, which stops, and with it all that the store knows of who is at it.
    pub(super) async fn end_lease(&self) {
        if let Err(error) = self.0.storage.end_lease(self.0.lease.node).await.map_err(Error::from) {
            telemetry::put_off("the lease of this node could not be ended", &error, error.is_unavailable());
        }
    }

    /// Starts the task that tells the store again what this node has told it, when the store may have lost that.
    pub(super) fn watch_store(&self, lifecycle: &Lifecycle) {
        let begin = |chat: &Self| chat.follow(Scope::Partner(NOBODY), None);
        let (mut feed, chat, stop) = (begin(self), self.clone(), lifecycle.clone());
        lifecycle.spawn(async move {
            loop {
                let batch = tokio::select! {
                    batch = feed.next() => batch,
                    () = stop.stopping() => return,
                };
                match batch {
                    Ok(batch) if batch.events.iter().any(|told| told.event.fact.is_about_the_store()) => chat.tell_store_again(),
                    Ok(_) => {}
                    Err(_) if feed.is_over() => {
                        feed = begin(&chat);
                        chat.tell_store_again();
                    }
                    // The tail says why.
                    Err(_) => tokio::select! {
                        () = tokio::time::sleep(PAUSE) => {}
                        () = stop.stopping() => return,
                    },
                }
            }
        });
    }

    fn tell_store_again(&self) {
        self.0.lives.doubt_store();
        self.0.attendances.doubt_store();
    }
}
