//! Signals from peers: the other nodes of the workspace.
//! Notifications of a grown event log wake the tail; signals go through a bounded queue to the subscribers of this node.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
    time::Duration,
};

use storage::{PartnerId, Position, Scope};
use tokio::sync::mpsc;

use super::{Chat, Error, Result, presence::expiry::PAGE};
use crate::{
    bus::{BusMessage, BusNotification, Outbox},
    error::chain,
    events::{PresenceState, Signal},
    lifecycle::Lifecycle,
};

/// Capacity of the queue of signals from other nodes; more are dropped.
const SIGNAL_QUEUE: usize = 4_096;
/// Time-out of waiting for a position that another node has delivered.
const CATCH_UP_TIMEOUT: Duration = Duration::from_secs(3);

impl Chat {
    /// Starts the exchange of notifications and signals with the other nodes.
    pub(super) fn receive_from_peers(&self, outbox: Outbox<Signal>, lifecycle: &Lifecycle) {
        let (sender, mut signals) = mpsc::channel(SIGNAL_QUEUE);
        let (hub, publisher) = (Arc::clone(&self.0.hub), self.0.publisher.clone());
        outbox.run(lifecycle, move |heard| match heard {
            BusMessage::Notification(BusNotification::LogGrown(position)) if position <= hub.head() => {}
            BusMessage::Notification(BusNotification::LogGrown(_)) | BusMessage::Gap => publisher.poll_soon(),
            // Signals beyond the capacity are dropped, as signals may be.
            BusMessage::Notification(BusNotification::Signal(signal)) => drop(sender.try_send(signal)),
        });
        let (chat, stop) = (self.clone(), lifecycle.clone());
        lifecycle.spawn(async move {
            let mut some = Vec::with_capacity(PAGE);
            loop {
                let heard = tokio::select! {
                    heard = signals.recv_many(&mut some, PAGE) => heard,
                    () = stop.stopping() => 0,
                };
                if heard == 0 {
                    return;
                }
                chat.deliver_signals(some.drain(..)).await;
            }
        });
    }

    /// Waits until this node has delivered everything up to `position`, which the client knows from another node: it must not
    /// receive the same event twice, under the same position or a smaller one. Does not wait for a position beyond the end of the
    /// event log, since the event log that it came from is gone.
    ///
    /// # Errors
    /// `Unavailable` if this node stays behind beyond the time-out.
    pub(super) async fn wait_for_position(&self, position: Position) -> Result<()> {
        if position <= self.0.hub.head() {
            return Ok(());
        }
        let end = position.min(self.0.storage.position().await?);
        let catching_up = async {
            let mut feed = self.subscribe(Scope::Everything, None);
            while self.0.hub.head() < end {
                self.0.publisher.poll_soon();
                match feed.next().await {
                    Err(_) if feed.is_restarted() => break,
                    heard => drop(heard?),
                }
            }
            Ok(())
        };
        let reached = tokio::time::timeout(CATCH_UP_TIMEOUT, catching_up).await;
        reached.unwrap_or_else(|late| Err(Error::Unavailable(Arc::new(late))))
    }

    /// Delivers signals in their order. Consecutive presence changes share one lookup of their audiences.
    async fn deliver_signals(&self, signals: impl Iterator<Item = Signal>) {
        let mut presences = Vec::new();
        for signal in signals {
            if let Signal::Presence { partner, status } = signal {
                presences.push((partner, status));
                continue;
            }
            self.deliver_presences(&mut presences).await;
            match &signal {
                Signal::Typing { conversation, partner, typing, .. } => self.on_remote_typing(*conversation, *partner, *typing),
                Signal::Delivered { message, .. } if !self.0.hub.is_first_delivery(*message) => continue,
                Signal::Delivered { .. } | Signal::Presence { .. } => {}
            }
            self.signal_here(signal).await;
        }
        self.deliver_presences(&mut presences).await;
    }

    async fn deliver_presences(&self, presences: &mut Vec<(PartnerId, PresenceState)>) {
        presences.retain(|(partner, said)| !self.on_remote_presence(*partner, *said));
        let partners: BTreeSet<_> = presences.iter().map(|(partner, _)| *partner).collect();
        let partners: Vec<_> = partners.into_iter().collect();
        match self.presence_audiences(&partners).await {
            Ok(acquainted) => {
                let acquainted: HashMap<_, _> = acquainted.into_iter().collect();
                let shown = presences.iter().map(|(partner, status)| (*partner, *status, acquainted[partner].clone()));
                self.publish_presences(shown.collect());
            }
            Err(error) => tracing::debug!(error = %chain(&error), "signal not delivered"),
        }
        presences.clear();
    }
}
