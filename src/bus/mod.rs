//! Bus between nodes: notifications of new events, and signals beside the event log.
//! Delivery is at most once: the event log is the truth, and a node that misses a notification reads it within a second.
//!
//! # Cancel safety
//! A dropped [`Bus::send`] may or may not have sent its batch.

mod nats;
mod postgres;

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use storage::Position;
use tokio::sync::mpsc;
use uuid::Uuid;

pub use nats::{NatsBus, NatsOptions};
pub use postgres::PostgresBus;

use crate::{error::chain, lifecycle::Lifecycle, metrics::Metrics};

/// Capacity of the outbox; further notifications are dropped.
const OUTBOX: usize = 4_096;
/// Maximum number of notifications in a batch.
const BATCH_CAPACITY: usize = 256;
/// Send time-out of a batch.
const SEND_TIMEOUT: Duration = Duration::from_secs(2);

/// Receive time-out: a connection without a message for this long, despite a heartbeat, is closed.
const RECEIVE_TIMEOUT: Duration = Duration::from_secs(10);

/// Error of sending or of the configuration.
pub type Error = Box<dyn std::error::Error + Send + Sync>;

/// A notifier: carries batches of notifications to all other nodes, at most once each.
#[async_trait]
pub trait Bus: Send + Sync + 'static {
    /// Name in the settings.
    fn kind(&self) -> &'static str;
    /// Size limit of a batch in bytes.
    fn max_batch_bytes(&self) -> usize;
    /// Sends a batch without a retry.
    ///
    /// # Errors
    /// Any failure of the connection.
    async fn send(&self, letter: String) -> Result<(), Error>;
    /// Passes what arrives to `inbox`, and reconnects as needed. Never returns while the process runs.
    ///
    /// # Cancel safety
    /// Dropping it ends the subscription.
    ///
    /// # Ordering
    /// Batches arrive in the order in which their sender sent them, except across a reconnect.
    async fn listen(&self, inbox: &Inbox<'_>);
}

/// Callback for what arrives.
pub type Inbox<'b> = dyn for<'a> Fn(BusInput<'a>) + Send + Sync + 'b;

/// Input from a bus.
pub enum BusInput<'a> {
    /// Batches arrive from here on; earlier ones may be lost.
    Connected,
    /// Batches may be lost from here on.
    Disconnected,
    /// A batch, perhaps the node's own.
    Batch(&'a [u8]),
}

/// A notification to the other nodes. `S`: the type of signals, which are not in the event log.
#[derive(Clone, Debug)]
pub enum BusNotification<S> {
    /// The event log has grown up to this position.
    LogGrown(Position),
    Signal(S),
}

/// Input from the other nodes.
#[derive(Debug)]
pub enum BusMessage<S> {
    Notification(BusNotification<S>),
    /// Notifications may have been lost.
    Gap,
}

/// A batch of notifications, as JSON on the bus.
#[derive(Serialize, Deserialize)]
struct NotificationBatch<S> {
    from: Uuid,
    /// Name of the workspace, since several may share a bus. Absent in batches of older versions.
    workspace: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    head: Option<Position>,
    #[serde(default = "Vec::new", skip_serializing_if = "Vec::is_empty")]
    signals: Vec<S>,
}

/// Sending end of the bus on this node. Clones share it.
pub struct BusSender<S> {
    outbox: Option<mpsc::Sender<BusNotification<S>>>,
    connected: Arc<AtomicBool>,
}

impl<S> Clone for BusSender<S> {
    fn clone(&self) -> Self {
        Self { outbox: self.outbox.clone(), connected: Arc::clone(&self.connected) }
    }
}

/// Queue of notifications until [`Outbox::run`] begins.
pub struct Outbox<S> {
    bus: Arc<dyn Bus>,
    words: mpsc::Receiver<BusNotification<S>>,
    workspace: String,
    connected: Arc<AtomicBool>,
    metrics: Metrics,
}

impl<S> BusSender<S> {
    /// The end of a single node, which sends nothing.
    pub fn single_node() -> Self {
        Self { outbox: None, connected: Arc::new(AtomicBool::new(true)) }
    }

    /// The end of a node that serves `workspace`, and ignores batches of other workspaces.
    pub fn new(bus: Arc<dyn Bus>, workspace: String, metrics: Metrics) -> (Self, Outbox<S>) {
        let (sender, words) = mpsc::channel(OUTBOX);
        let connected = Arc::new(AtomicBool::new(false));
        (Self { outbox: Some(sender), connected: Arc::clone(&connected) }, Outbox { bus, words, workspace, connected, metrics })
    }

    /// True for a single node.
    pub fn is_single_node(&self) -> bool {
        self.outbox.is_none()
    }

    /// Queues a notification, to be sent at most once. Never waits; drops it while the queue is full.
    pub fn notify(&self, word: BusNotification<S>) {
        if let Some(outbox) = &self.outbox {
            // The receiver reads the event log within a second anyway.
            let _ = outbox.try_send(word);
        }
    }

    /// True while other nodes can be received.
    pub fn is_connected(&self) -> bool {
        self.connected.load(Ordering::Acquire)
    }
}

impl<S: Serialize + DeserializeOwned + Send + 'static> Outbox<S> {
    /// Sends queued notifications, and passes received ones to `hear`, until the stop. Notifications that are queued during a
    /// send share the next batch; there is no timer.
    pub fn run(self, lifecycle: &Lifecycle, hear: impl Fn(BusMessage<S>) + Send + Sync + 'static) {
        let Self { bus, mut words, workspace, connected, metrics } = self;
        let own = Uuid::new_v4();
        let (listening, counted, stop) = (Arc::clone(&bus), metrics.clone(), lifecycle.clone());
        let of = workspace.clone();
        lifecycle.spawn(async move {
            let inbox = |incoming: BusInput<'_>| receive(own, &of, &incoming, &connected, &counted, &hear);
            tokio::select! {
                () = listening.listen(&inbox) => {}
                () = stop.stopping() => {}
            }
        });
        let stop = lifecycle.clone();
        lifecycle.spawn(async move {
            let mut gathered = Vec::with_capacity(BATCH_CAPACITY);
            let mut failing = false;
            loop {
                tokio::select! {
                    biased;
                    _ = words.recv_many(&mut gathered, BATCH_CAPACITY) => {}
                    () = stop.stopping() => return,
                }
                for letter in batches(own, &workspace, gathered.drain(..), bus.max_batch_bytes()) {
                    let sent = match tokio::time::timeout(SEND_TIMEOUT, bus.send(letter)).await {
                        Ok(sent) => sent,
                        Err(elapsed) => Err(elapsed.into()),
                    };
                    match sent {
                        Ok(()) if std::mem::take(&mut failing) => tracing::info!("bus publishing works again"),
                        Ok(()) => {}
                        Err(error) if !std::mem::replace(&mut failing, true) => {
                            tracing::warn!(error = %chain(error.as_ref()), "bus publishing failed");
                        }
                        Err(_) => {}
                    }
                    metrics.bus_batch(if failing { "lost" } else { "sent" });
                }
            }
        });
    }
}

fn receive<S: DeserializeOwned>(
    own: Uuid,
    workspace: &str,
    incoming: &BusInput<'_>,
    connected: &AtomicBool,
    metrics: &Metrics,
    hear: &(impl Fn(BusMessage<S>) + Send + Sync),
) {
    match incoming {
        BusInput::Connected => {
            if !connected.swap(true, Ordering::AcqRel) {
                tracing::info!("bus connected");
            }
            metrics.bus_connected(true);
            hear(BusMessage::Gap);
        }
        BusInput::Disconnected => {
            if connected.swap(false, Ordering::AcqRel) {
                tracing::warn!("bus disconnected: events of other nodes are delayed");
            }
            metrics.bus_connected(false);
        }
        BusInput::Batch(letter) => match serde_json::from_slice::<NotificationBatch<S>>(letter) {
            Ok(letter) if letter.from == own => {}
            Ok(letter) if letter.workspace.as_deref().is_some_and(|of| of != workspace) => {}
            Ok(letter) => {
                metrics.bus_batch("heard");
                let head = letter.head.map(BusNotification::LogGrown);
                head.into_iter()
                    .chain(letter.signals.into_iter().map(BusNotification::Signal))
                    .map(BusMessage::Notification)
                    .for_each(hear);
            }
            // A node of another version may have other signals.
            Err(error) => tracing::debug!(%error, "bus message undecodable"),
        },
    }
}

/// Packs notifications into the fewest batches that fit; only the greatest position counts.
fn batches<S: Serialize>(
    from: Uuid,
    workspace: &str,
    words: impl Iterator<Item = BusNotification<S>>,
    most_bytes: usize,
) -> Vec<String> {
    let (mut head, mut signals) = (None, Vec::new());
    for word in words {
        match word {
            BusNotification::LogGrown(position) => head = head.max(Some(position)),
            BusNotification::Signal(signal) => signals.push(signal),
        }
    }
    let mut letters = Vec::new();
    pack(&NotificationBatch { from, workspace: Some(workspace.to_owned()), head, signals }, most_bytes, &mut letters);
    letters
}

fn pack<S: Serialize>(letter: &NotificationBatch<S>, most_bytes: usize, letters: &mut Vec<String>) {
    #[derive(Serialize)]
    struct BatchPart<'a, S> {
        from: Uuid,
        workspace: Option<&'a str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        head: Option<Position>,
        #[serde(skip_serializing_if = "<[S]>::is_empty")]
        signals: &'a [S],
    }
    let mut parts = vec![(letter.head, letter.signals.as_slice())];
    while let Some((head, signals)) = parts.pop() {
        let part = BatchPart { from: letter.from, workspace: letter.workspace.as_deref(), head, signals };
        let text = serde_json::to_string(&part).expect("signals serialize to JSON");
        if text.len() <= most_bytes {
            letters.push(text);
        } else if signals.len() > 1 {
            let (first, second) = signals.split_at(signals.len() / 2);
            parts.extend([(None, second), (head, first)]);
        } else if head.is_some() {
            // A signal that exceeds the size limit is dropped; the position is not.
            parts.push((head, &[]));
        }
    }
}
