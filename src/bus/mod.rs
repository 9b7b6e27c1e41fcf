//! How nodes tell each other that there is news. Whatever is told here may be lost: the log is the truth, this is its
//! bell, and a node that hears nothing looks by itself within a second.

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

pub use nats::{Nats, NatsOptions};
pub use postgres::Postgres;

use crate::{lifecycle::Lifecycle, metrics::Metrics, telemetry};

/// How many words wait to be told before more are dropped.
const OUTBOX: usize = 4_096;
/// How many words one letter carries at most.
const GATHERED: usize = 256;
/// Within which a letter must be on its way.
const PATIENCE: Duration = Duration::from_secs(2);

/// A connection on which nothing comes for so long, though it was asked for, is given up.
const SILENCE: Duration = Duration::from_secs(10);

/// Why a letter could not be sent.
pub type Error = Box<dyn std::error::Error + Send + Sync>;

/// What carries letters to all other nodes, at most once each.
#[async_trait]
pub trait Bus: Send + Sync + 'static {
    /// The word by which the settings name it.
    fn kind(&self) -> &'static str;
    /// The largest letter that it carries.
    fn most_bytes(&self) -> usize;
    /// Sends a letter, or fails without trying again.
    async fn send(&self, letter: String) -> Result<(), Error>;
    /// Hands over what comes, and connects again whenever that is needed. Ends only by being dropped.
    async fn listen(&self, inbox: &Inbox<'_>);
}

/// Where a bus hands over what comes.
pub type Inbox<'b> = dyn for<'a> Fn(Incoming<'a>) + Send + Sync + 'b;

/// What comes from a bus.
pub enum Incoming<'a> {
    /// From here on letters arrive; what was sent before may have been missed.
    Connected,
    /// Letters may be missed from here on.
    Disconnected,
    /// May be one's own.
    Letter(&'a [u8]),
}

/// What one node has to tell the others. `S` is what they signal beside the log.
#[derive(Clone, Debug)]
pub enum Word<S> {
    /// The log has grown up to here.
    LogGrew(Position),
    Signal(S),
}

/// What one node hears of the others.
#[derive(Debug)]
pub enum Heard<S> {
    Word(Word<S>),
    /// Whatever was told meanwhile was not heard.
    Gap,
}

#[derive(Serialize, Deserialize)]
struct Letter<S> {
    from: Uuid,
    /// Several may share a bus without knowing. Older versions do not say which they are of.
    workspace: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    head: Option<Position>,
    #[serde(default = "Vec::new", skip_serializing_if = "Vec::is_empty")]
    signals: Vec<S>,
}

/// This node's end of the bus. Clones share it.
pub struct Link<S> {
    outbox: Option<mpsc::Sender<Word<S>>>,
    connected: Arc<AtomicBool>,
}

impl<S> Clone for Link<S> {
    fn clone(&self) -> Self {
        Self { outbox: self.outbox.clone(), connected: Arc::clone(&self.connected) }
    }
}

/// What waits to be told until [`Outbox::run`] begins.
pub struct Outbox<S> {
    bus: Arc<dyn Bus>,
    words: mpsc::Receiver<Word<S>>,
    workspace: String,
    connected: Arc<AtomicBool>,
    metrics: Metrics,
}

impl<S> Link<S> {
    /// For a node that is alone, with nobody to tell.
    pub fn alone() -> Self {
        Self { outbox: None, connected: Arc::new(AtomicBool::new(true)) }
    }

    /// The end of a node that serves `workspace`, which hears no other.
    pub fn new(bus: Arc<dyn Bus>, workspace: String, metrics: Metrics) -> (Self, Outbox<S>) {
        let (sender, words) = mpsc::channel(OUTBOX);
        let connected = Arc::new(AtomicBool::new(false));
        (Self { outbox: Some(sender), connected: Arc::clone(&connected) }, Outbox { bus, words, workspace, connected, metrics })
    }

    /// Whether there is nobody to tell.
    pub fn is_alone(&self) -> bool {
        self.outbox.is_none()
    }

    /// Tells the other nodes, soon and at most once. Never waits; while too much waits to be told, it is not told.
    pub fn say(&self, word: Word<S>) {
        if let Some(outbox) = &self.outbox {
            // A bell that does not ring is heard a second later.
            let _ = outbox.try_send(word);
        }
    }

    /// Whether the other nodes can be heard.
    pub fn is_connected(&self) -> bool {
        self.connected.load(Ordering::Acquire)
    }
}

impl<S: Serialize + DeserializeOwned + Send + 'static> Outbox<S> {
    /// Tells what waits, and gives what is heard to `hear`, until the stop. What comes while a letter is under way shares
    /// the next one; nobody waits for a timer.
    pub fn run(self, lifecycle: &Lifecycle, hear: impl Fn(Heard<S>) + Send + Sync + 'static) {
        let Self { bus, mut words, workspace, connected, metrics } = self;
        let own = Uuid::new_v4();
        let (listening, counted, stop) = (Arc::clone(&bus), metrics.clone(), lifecycle.clone());
        let of = workspace.clone();
        lifecycle.spawn(async move {
            let inbox = |incoming: Incoming<'_>| receive(own, &of, &incoming, &connected, &counted, &hear);
            tokio::select! {
                () = listening.listen(&inbox) => {}
                () = stop.stopping() => {}
            }
        });
        let stop = lifecycle.clone();
        lifecycle.spawn(async move {
            let mut gathered = Vec::with_capacity(GATHERED);
            let mut failing = false;
            loop {
                tokio::select! {
                    biased;
                    _ = words.recv_many(&mut gathered, GATHERED) => {}
                    () = stop.stopping() => return,
                }
                for letter in letters(own, &workspace, gathered.drain(..), bus.most_bytes()) {
                    let sent = match tokio::time::timeout(PATIENCE, bus.send(letter)).await {
                        Ok(sent) => sent,
                        Err(elapsed) => Err(elapsed.into()),
                    };
                    match sent {
                        Ok(()) if std::mem::take(&mut failing) => tracing::info!("the bus takes letters again"),
                        Ok(()) => {}
                        Err(error) if !std::mem::replace(&mut failing, true) => {
                            tracing::warn!(error = %telemetry::chain(error.as_ref()), "the bus takes no letters");
                        }
                        Err(_) => {}
                    }
                    metrics.bus_letter(if failing { "lost" } else { "sent" });
                }
            }
        });
    }
}

fn receive<S: DeserializeOwned>(
    own: Uuid,
    workspace: &str,
    incoming: &Incoming<'_>,
    connected: &AtomicBool,
    metrics: &Metrics,
    hear: &(impl Fn(Heard<S>) + Send + Sync),
) {
    match incoming {
        Incoming::Connected => {
            if !connected.swap(true, Ordering::AcqRel) {
                tracing::info!("connected to the bus");
            }
            metrics.bus_connected(true);
            hear(Heard::Gap);
        }
        Incoming::Disconnected => {
            if connected.swap(false, Ordering::AcqRel) {
                tracing::warn!("the bus cannot be heard; news of other nodes comes late");
            }
            metrics.bus_connected(false);
        }
        Incoming::Letter(letter) => match serde_json::from_slice::<Letter<S>>(letter) {
            Ok(letter) if letter.from == own => {}
            Ok(letter) if letter.workspace.as_deref().is_some_and(|of| of != workspace) => {}
            Ok(letter) => {
                metrics.bus_letter("heard");
                let head = letter.head.map(Word::LogGrew);
                head.into_iter().chain(letter.signals.into_iter().map(Word::Signal)).map(Heard::Word).for_each(hear);
            }
            // A node of another version may know more words.
            Err(error) => tracing::debug!(%error, "a letter could not be read"),
        },
    }
}

/// Packs words into as few letters as they fit in; of several positions only the last one counts.
fn letters<S: Serialize>(from: Uuid, workspace: &str, words: impl Iterator<Item = Word<S>>, most_bytes: usize) -> Vec<String> {
    let (mut head, mut signals) = (None, Vec::new());
    for word in words {
        match word {
            Word::LogGrew(position) => head = head.max(Some(position)),
            Word::Signal(signal) => signals.push(signal),
        }
    }
    let mut letters = Vec::new();
    pack(&Letter { from, workspace: Some(workspace.to_owned()), head, signals }, most_bytes, &mut letters);
    letters
}

fn pack<S: Serialize>(letter: &Letter<S>, most_bytes: usize, letters: &mut Vec<String>) {
    #[derive(Serialize)]
    struct Part<'a, S> {
        from: Uuid,
        workspace: Option<&'a str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        head: Option<Position>,
        #[serde(skip_serializing_if = "<[S]>::is_empty")]
        signals: &'a [S],
    }
    let mut parts = vec![(letter.head, letter.signals.as_slice())];
    while let Some((head, signals)) = parts.pop() {
        let part = Part { from: letter.from, workspace: letter.workspace.as_deref(), head, signals };
        let text = serde_json::to_string(&part).expect("signals can be written as JSON");
        if text.len() <= most_bytes {
            letters.push(text);
        } else if signals.len() > 1 {
            let (first, second) = signals.split_at(signals.len() / 2);
            parts.extend([(None, second), (head, first)]);
        } else if head.is_some() {
            // One signal that no letter can carry is not told; that the log has grown is.
            parts.push((head, &[]));
        }
    }
}
