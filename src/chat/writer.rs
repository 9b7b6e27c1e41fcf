//! Sends that wait at the same time share one commit, and while it is under way the next one is prepared.

mod admission;

use std::{
    collections::{HashMap, HashSet},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use storage::{Author, ClientKey, ConversationId, Fact, Message, Storage, Topic, Tx};
use tokio::{
    sync::{mpsc, oneshot},
    time::Instant,
};

use self::admission::{Admission, Judged};
use super::{
    error::{Error, Result},
    messages::{Draft, Sent},
    tail::Announce,
};
use crate::{lifecycle::Lifecycle, metrics::Metrics};

/// How many messages one commit carries at most.
const BATCH: usize = 256;
/// How many sends wait at most in either of two places: where they are handed in, and where the writer has them.
const WAITING: usize = 4 * BATCH;
/// For how long a commit holds up the next one. Most take milliseconds; one of which it is not known whether the store
/// has done it goes on beside the others until that is known. Less than a transaction may wait for.
const HELD_UP: Duration = Duration::from_secs(2);

/// A message on its way into the store.
struct Send {
    author: Author,
    to: ConversationId,
    draft: Draft,
    /// What the message names, and thereby keeps.
    uploads: Vec<String>,
    answer: oneshot::Sender<Result<Sent>>,
}

/// Where messages are handed in.
#[derive(Clone)]
pub(super) struct Writer {
    sends: mpsc::Sender<Send>,
    queued: Arc<AtomicUsize>,
}

impl Writer {
    /// Starts the writer of this node. Nobody waits for a timer: an idle node commits a lone send at once, and what
    /// arrives during a commit shares the next one.
    pub(super) fn start(storage: Arc<dyn Storage>, announce: Announce, metrics: Metrics, lifecycle: &Lifecycle) -> Self {
        let (sends, handed_in) = mpsc::channel(WAITING);
        let queued = Arc::<AtomicUsize>::default();
        let bench = Bench { storage, announce, metrics };
        lifecycle.spawn(bench.work(handed_in, Arc::clone(&queued), lifecycle.clone()));
        Self { sends, queued }
    }

    /// Stores a message, and gives it once it is durable. If the caller is cancelled the message may be stored or not.
    pub(super) async fn send(&self, author: Author, to: ConversationId, draft: Draft, uploads: Vec<String>) -> Result<Sent> {
        let (answer, answered) = oneshot::channel();
        let gone = |_| Error::internal("the writer has stopped");
        self.sends
            .send(Send { author, to, draft, uploads, answer })
            .await
            .map_err(|_| Error::internal("the writer has stopped"))?;
        answered.await.map_err(gone)?
    }

    /// How many sends wait for the next commit.
    pub(super) fn waiting(&self) -> usize {
        self.sends.max_capacity() - self.sends.capacity() + self.queued.load(Ordering::Relaxed)
    }
}

/// A commit that may be under way.
struct UnderWay {
    /// Locked until it is done. Who waited for them in the store would hold up everybody else in its batch.
    conversations: HashSet<ConversationId>,
    /// How many it carries. A batch as large is worth preparing meanwhile; a smaller one waits for the end, and for others to
    /// join it, since what a batch costs hardly depends on its size.
    messages: usize,
    /// Dropped when it is done.
    done: Option<oneshot::Receiver<()>>,
    /// When others go on without it.
    until: Instant,
}

impl UnderWay {
    fn nothing() -> Self {
        Self { conversations: HashSet::new(), messages: 0, done: None, until: Instant::now() }
    }

    /// Waits until others may go on. Safe to cancel.
    async fn passes(&mut self) {
        if let Some(done) = &mut self.done {
            let _ = tokio::time::timeout_at(self.until, done).await;
            *self = Self::nothing();
        }
    }
}

/// What the writer works with.
#[derive(Clone)]
struct Bench {
    storage: Arc<dyn Storage>,
    announce: Announce,
    metrics: Metrics,
}

impl Bench {
    /// One batch is prepared while the one before it is committed, if enough wait for it. Commits themselves go one after
    /// the other, in the store too: that is what the order of the log takes.
    async fn work(self, mut handed_in: mpsc::Receiver<Send>, queued: Arc<AtomicUsize>, lifecycle: Lifecycle) {
        let mut queue = Vec::new();
        let mut under_way = UnderWay::nothing();
        loop {
            while queue.len() < WAITING
                && let Ok(send) = handed_in.try_recv()
            {
                queue.push(send);
            }
            let free = |send: &Send| !under_way.conversations.contains(&send.to);
            let enough = queue.iter().filter(|send| free(send)).count() >= under_way.messages;
            let batch: Vec<_> = match enough {
                true => queue.extract_if(.., |send| free(send)).take(BATCH).collect(),
                false => Vec::new(),
            };
            queued.store(queue.len(), Ordering::Relaxed);
            if batch.is_empty() {
                tokio::select! {
                    biased;
                    () = under_way.passes(), if under_way.done.is_some() => {}
                    received = handed_in.recv_many(&mut queue, BATCH), if queue.len() < WAITING => if received == 0 { return },
                    // Nobody hands anything in any more, and what was handed in is stored or being committed.
                    () = lifecycle.stopping(), if queue.is_empty() => return,
                }
                continue;
            }
            match self.prepare(&batch).await {
                Ok(Prepared { verdicts, stored, .. }) if stored.is_empty() => answer(batch, outcomes(verdicts, &stored)),
                Ok(prepared) => {
                    under_way.passes().await;
                    let (committed, done) = oneshot::channel();
                    under_way = UnderWay {
                        conversations: batch.iter().map(|send| send.to).collect(),
                        messages: batch.len(),
                        done: Some(done),
                        until: Instant::now() + HELD_UP,
                    };
                    let bench = self.clone();
                    lifecycle.spawn(async move {
                        match bench.commit(prepared, Some(committed)).await {
                            Ok(outcomes) => answer(batch, outcomes),
                            Err(error) => bench.refused(batch, error).await,
                        }
                    });
                }
                Err(error) => self.refused(batch, error).await,
            }
        }
    }

    /// Does everything for a batch but the commit. A send that breaks a rule fails alone.
    async fn prepare(&self, batch: &[Send]) -> Result<Prepared> {
        self.metrics.visit("send", Prepared::begin(self.storage.as_ref(), batch)).await
    }

    /// Commits, and tells those who listen on this node, so that a sender who has its answer finds its message there.
    async fn commit(&self, prepared: Prepared, committed: Option<oneshot::Sender<()>>) -> Result<Vec<Result<Sent>>> {
        let Prepared { tx, verdicts, stored } = prepared;
        if !stored.is_empty() {
            let events = self.metrics.visit("commit", tx.commit()).await?;
            drop(committed);
            self.announce.committed(events).await;
            self.metrics.stored(stored.len());
        }
        Ok(outcomes(verdicts, &stored))
    }

    /// If the store refuses a batch, its sends are tried one by one.
    async fn refused(&self, batch: Vec<Send>, error: Error) {
        let is_one_of_many = matches!(error, Error::Internal(_)) && batch.len() > 1;
        for send in batch {
            let outcome = match is_one_of_many {
                true => self.alone(&send).await,
                false => Err(error.clone()),
            };
            answer(vec![send], vec![outcome]);
        }
    }

    async fn alone(&self, send: &Send) -> Result<Sent> {
        let prepared = self.prepare(std::slice::from_ref(send)).await?;
        self.commit(prepared, None).await?.remove(0)
    }
}

/// A batch in its transaction.
struct Prepared {
    tx: Box<dyn Tx>,
    verdicts: Vec<Verdict>,
    /// In the order of the batch.
    stored: Vec<Message>,
}

enum Verdict {
    Known(Message),
    /// Which one of those that are stored.
    New(usize),
    Refused(Error),
}

impl Prepared {
    async fn begin(storage: &dyn Storage, batch: &[Send]) -> Result<Self> {
        let mut tx = storage.begin().await?;
        let admission = Admission::read(tx.as_mut(), batch).await?;
        let mut new = Vec::with_capacity(batch.len());
        let mut uploads = Vec::new();
        let mut first_with: HashMap<ClientKey, usize> = HashMap::new();
        let judge = |send: &Send| match admission.judge(send) {
            Ok(Judged::Sent(message)) => Verdict::Known(message),
            Ok(Judged::New(message)) => {
                let index = match send.client_key() {
                    Some(key) => *first_with.entry(key).or_insert(new.len()),
                    None => new.len(),
                };
                if index == new.len() {
                    new.push(message);
                    uploads.extend(send.uploads.iter().map(|name| (index, name.clone())));
                }
                Verdict::New(index)
            }
            Err(error) => Verdict::Refused(error),
        };
        let verdicts = batch.iter().map(judge).collect();

        let stored = if new.is_empty() { Vec::new() } else { tx.insert_messages(admission.into_conversations(), new).await? };
        if !uploads.is_empty() {
            let named: Vec<_> = uploads.into_iter().map(|(index, name): (usize, String)| (stored[index].id, name)).collect();
            tx.keep_uploads(&named).await?;
        }
        for message in &stored {
            tx.record(Topic::Conversation(message.conversation), Fact::MessagePosted(message.clone()), message.created_at);
        }
        Ok(Self { tx, verdicts, stored })
    }
}

fn outcomes(verdicts: Vec<Verdict>, stored: &[Message]) -> Vec<Result<Sent>> {
    let outcome = |verdict| match verdict {
        Verdict::Known(message) => Ok(Sent { message, again: true }),
        Verdict::New(index) => Ok(Sent { message: stored[index].clone(), again: false }),
        Verdict::Refused(error) => Err(error),
    };
    verdicts.into_iter().map(outcome).collect()
}

fn answer(batch: Vec<Send>, outcomes: Vec<Result<Sent>>) {
    for (send, outcome) in batch.into_iter().zip(outcomes) {
        // A sender who has gone away needs no answer.
        let _ = send.answer.send(outcome);
    }
}

impl Send {
    fn client_key(&self) -> Option<ClientKey> {
        self.draft.client_key.clone().map(|key| (self.to, self.author.partner, key))
    }
}

fn client_key(message: &Message) -> Option<ClientKey> {
    message.client_key.clone().map(|key| (message.conversation, message.author.partner, key))
}
