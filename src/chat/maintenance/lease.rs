//! Lease of this node in the store: by it, other nodes and migrations know that the node is alive.
//! It ends by the clock of the store, and is renewed several times within its length.

use std::{
    collections::HashMap,
    sync::atomic::{AtomicI64, Ordering},
    time::Duration,
};

use chrono::TimeDelta;
use parking_lot::Mutex;
use storage::{NO_CLIENT, Node, Scope, Storage, Timestamp};
use uuid::Uuid;

use crate::{
    chat::{Chat, Error},
    clock,
    lifecycle::Lifecycle,
    telemetry,
};

/// Length of a lease; shorter if heartbeats end sooner.
const LEASE_LENGTH: Duration = Duration::from_secs(30);
/// Renewals per lease: one may fail.
const RENEWALS_PER_LEASE: u32 = 3;
/// Pause before a retry after the event log could not be read.
const PAUSE: Duration = Duration::from_secs(1);

/// Lease of this node.
pub(in crate::chat) struct Lease {
    /// Id of the node, from its start to its end.
    pub(in crate::chat) node: Uuid,
    bus: &'static str,
    started_at: Timestamp,
    /// Clock offset at the last measurement: microseconds by which the store's clock is ahead of this node's.
    clock_offset_micros: AtomicI64,
    /// Other nodes at the last renewal that share no bus with this one.
    unconnected: Mutex<HashMap<Uuid, UnconnectedNode>>,
}

/// Another node of the store that shares no bus with this one.
struct UnconnectedNode {
    until: Timestamp,
    /// True once its warning was logged.
    is_warned: bool,
}

impl Lease {
    pub(in crate::chat) async fn new(storage: &dyn Storage, bus: &'static str) -> storage::Result<Self> {
        let here = clock::now();
        let started_at = storage.now(here).await?;
        let ahead = AtomicI64::new(difference(started_at, here));
        Ok(Self { node: Uuid::new_v4(), bus, started_at, clock_offset_micros: ahead, unconnected: Mutex::default() })
    }

    /// Logs a warning of each node that shares no bus with this one, once until it is gone.
    fn warn_of_unconnected(&self, nodes: &[Node]) {
        let mut unheard = self.unconnected.lock();
        let before = std::mem::take(&mut *unheard);
        for Node { id, bus, until, .. } in nodes {
            let Some(bus) = bus.as_deref().filter(|bus| *id != self.node && (*bus != self.bus || *bus == "local")) else {
                continue;
            };
            let known = before.get(id);
            // A killed node keeps its lease for a while, without renewal.
            let is_told = known.is_some_and(|known| known.is_warned || known.until < *until);
            if is_told && known.is_some_and(|known| !known.is_warned) {
                tracing::warn!(
                    node = %id,
                    its_bus = bus,
                    own_bus = self.bus,
                    "another node serves this store without a shared bus: set the same `bus` on all nodes, and not local"
                );
            }
            unheard.insert(*id, UnconnectedNode { until: *until, is_warned: is_told });
        }
    }
}

fn difference(there: Timestamp, here: Timestamp) -> i64 {
    (there - here).num_microseconds().unwrap_or_default()
}

impl Chat {
    /// Current time by the store's clock, computed without a query. Leases end by it.
    pub(in crate::chat) fn store_time(&self) -> Timestamp {
        let ahead = TimeDelta::microseconds(self.0.lease.clock_offset_micros.load(Ordering::Relaxed));
        clock::now().checked_add_signed(ahead).unwrap_or(Timestamp::MAX_UTC)
    }

    /// End of a lease that is renewed now.
    pub(in crate::chat) fn lease_end(&self) -> Timestamp {
        self.store_time() + self.lease_length()
    }

    /// Time between two renewals.
    pub(in crate::chat) fn lease_renewal_interval(&self) -> Duration {
        self.lease_length() / RENEWALS_PER_LEASE
    }

    fn lease_length(&self) -> Duration {
        // Presence at a dead node must not outlast heartbeats.
        LEASE_LENGTH.min(self.0.rules.presence.poll)
    }

    /// Renews the lease of this node in the store, and measures the clock offset.
    ///
    /// # Errors
    /// Those of the store.
    pub(in crate::chat) async fn renew_lease(&self) -> storage::Result<()> {
        let (lease, storage) = (&self.0.lease, &self.0.storage);
        let here = clock::now();
        let now = storage.now(here).await?;
        lease.clock_offset_micros.store(difference(now, here), Ordering::Relaxed);
        let node = Node {
            id: lease.node,
            version: Some(env!("CARGO_PKG_VERSION").to_owned()),
            bus: Some(lease.bus.to_owned()),
            started_at: Some(lease.started_at),
            position: Some(self.0.hub.head()),
            until: now + self.lease_length(),
        };
        storage.renew_lease(&node).await?;
        lease.warn_of_unconnected(&storage.nodes(now).await?);
        Ok(())
    }

    /// Ends the lease of this node, which stops, and with it the held-message leases of the node. Logs a failure.
    pub(in crate::chat) async fn end_lease(&self) {
        if let Err(error) = self.0.storage.end_lease(self.0.lease.node).await.map_err(Error::from) {
            telemetry::deferred("node lease not ended", &error, error.is_unavailable());
        }
    }

    /// Starts the task that writes the state of this node to the store again after the store may have lost it.
    pub(in crate::chat) fn watch_store(&self, lifecycle: &Lifecycle) {
        let begin = |chat: &Self| chat.subscribe(Scope::Partner(NO_CLIENT), None);
        let (mut feed, chat, stop) = (begin(self), self.clone(), lifecycle.clone());
        lifecycle.spawn(async move {
            loop {
                let batch = tokio::select! {
                    batch = feed.next() => batch,
                    () = stop.stopping() => return,
                };
                match batch {
                    Ok(batch) if batch.events.iter().any(|told| told.event.fact.is_about_the_store()) => chat.resync_store(),
                    Ok(_) => {}
                    Err(_) if feed.is_restarted() => {
                        feed = begin(&chat);
                        chat.resync_store();
                    }
                    // The tail logs the error.
                    Err(_) => tokio::select! {
                        () = tokio::time::sleep(PAUSE) => {}
                        () = stop.stopping() => return,
                    },
                }
            }
        });
    }

    fn resync_store(&self) {
        self.0.presence.mark_unsaved();
        self.0.held_messages.resync();
    }
}
