//! Group commit: jobs that wait at the same time share one transaction. A worker prepares the next batch while the previous one
//! commits; commits themselves are sequential. Locks of other transactions delay only the jobs that need them.

mod lock_waits;
mod mark_read;
mod send;
mod send_rules;

use std::{
    collections::HashSet,
    hash::Hash,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use storage::{Storage, Tx};
use tokio::{
    sync::{mpsc, oneshot},
    time::Instant,
};

use self::lock_waits::LockWaits;
pub(super) use self::{
    mark_read::{MarkRead, ReadMark},
    send::SendJob,
};
use super::error::{Error, Result};
use crate::{
    events::Publisher,
    lifecycle::Lifecycle,
    metrics::Metrics,
    transaction::{Retryable, retry_on_contention},
};

/// Maximum number of jobs in a batch.
const BATCH: usize = 256;
/// Capacity of the submission channel and, again, of the worker's own queue.
const QUEUE_CAPACITY: usize = 4 * BATCH;
/// Time for which a commit delays the next one. Most commits take milliseconds; one with an unknown outcome continues beside
/// later ones. Less than the deadline of a transaction.
const LONGEST_DELAY: Duration = Duration::from_secs(2);

/// A job of a group commit: one write whose caller waits for durability.
pub(super) trait Job: std::marker::Send + Sync + Sized + 'static {
    type Outcome: std::marker::Send + 'static;
    type Lock: Copy + Eq + Hash + std::marker::Send + Sync + 'static;

    /// The locks that the job's transaction holds until its commit.
    fn locks(&self) -> impl Iterator<Item = Self::Lock>;

    /// Writes a batch within the transaction, without the commit.
    ///
    /// # Errors
    /// An error fails the whole batch; the error of one job belongs in its outcome.
    ///
    /// # Cancel safety
    /// A dropped future leaves nothing behind but the open transaction.
    fn write(
        tx: &mut dyn Tx,
        batch: &[Self],
        locking: Locking,
    ) -> impl Future<Output = Result<BatchResult<Self::Outcome>>> + std::marker::Send;

    /// Counts the changes of a commit in the metrics.
    fn count(metrics: &Metrics, changes: usize);
}

/// Lock policy of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Locking {
    /// Waits for locks that other transactions hold.
    Wait,
    /// Skips jobs whose locks other transactions hold (`SKIP LOCKED`).
    Skip,
}

/// The result of a batch before its commit.
pub(super) struct BatchResult<T> {
    /// Outcomes in the order of the batch. A job that breaks a rule fails alone; `None` for a skipped one.
    outcomes: Vec<Option<Result<T>>>,
    /// Number of changes; 0 if there is nothing to commit.
    changes: usize,
}

/// Submission handle for jobs of one kind.
pub(super) struct GroupCommit<J: Job> {
    jobs: mpsc::Sender<QueuedJob<J>>,
    queued: Arc<AtomicUsize>,
}

struct QueuedJob<J: Job> {
    job: J,
    answer: oneshot::Sender<Result<J::Outcome>>,
}

impl<J: Job> GroupCommit<J> {
    /// Starts the worker of this node. No timer delays a batch: an idle node commits a single job at once, and jobs that arrive
    /// during a commit share the next one.
    ///
    /// `storage` serves batches. `lock_wait_storage` serves lock waits; it may be another lane, to leave the connections to batches.
    pub(super) fn start(
        storage: Arc<dyn Storage>,
        lock_wait_storage: Arc<dyn Storage>,
        publisher: Publisher,
        metrics: Metrics,
        lifecycle: &Lifecycle,
    ) -> Self {
        let (jobs, handed_in) = mpsc::channel(QUEUE_CAPACITY);
        let queued = Arc::<AtomicUsize>::default();
        let worker = Worker { storage, lock_wait_storage, publisher, metrics };
        lifecycle.spawn(worker.work::<J>(handed_in, Arc::clone(&queued), lifecycle.clone()));
        Self { jobs, queued }
    }

    /// Submits a job, and waits for its outcome, which is durable then. A full queue delays the submission: back-pressure.
    ///
    /// # Errors
    /// Those of the job; `Internal` after the worker has stopped.
    ///
    /// # Cancel safety
    /// A dropped future leaves the job stored or not.
    ///
    /// # Ordering
    /// Jobs with a common lock are stored in the order of their submission, unless a commit takes longer than `LONGEST_DELAY`.
    pub(super) async fn store(&self, job: J) -> Result<J::Outcome> {
        let (answer, answered) = oneshot::channel();
        let gone = || Error::internal("the writer has stopped");
        self.jobs.send(QueuedJob { job, answer }).await.map_err(|_| gone())?;
        answered.await.map_err(|_| gone())?
    }

    /// The number of jobs that wait for the next commit.
    pub(super) fn waiting(&self) -> usize {
        self.jobs.max_capacity() - self.jobs.capacity() + self.queued.load(Ordering::Relaxed)
    }
}

/// The commit in progress, if there is one.
struct CommitInProgress<L> {
    /// Locks of the commit in progress. A batch that waited for one in the store would delay all its jobs.
    locks: HashSet<L>,
    /// Jobs of the commit in progress. A batch of at least this size is prepared meanwhile. A smaller one waits for more jobs
    /// until the commit ends, since the cost of a batch hardly depends on its size.
    jobs: usize,
    /// Closed when the commit is done.
    done: Option<oneshot::Receiver<()>>,
    /// Deadline after which later batches proceed.
    deadline: Instant,
}

impl<L> CommitInProgress<L> {
    fn nothing() -> Self {
        Self { locks: HashSet::new(), jobs: 0, done: None, deadline: Instant::now() }
    }

    /// Waits until the next batch may proceed. Cancel safe.
    async fn wait(&mut self) {
        if let Some(done) = &mut self.done {
            let _ = tokio::time::timeout_at(self.deadline, done).await;
            *self = Self::nothing();
        }
    }

    /// Waits until the next batch may proceed, and registers it. The caller drops the result when that batch is done.
    async fn register<J: Job<Lock = L>>(&mut self, batch: &[J]) -> oneshot::Sender<()>
    where
        L: Eq + Hash,
    {
        self.wait().await;
        let (under_way, done) = oneshot::channel();
        let locks = batch.iter().flat_map(J::locks).collect();
        *self = Self { locks, jobs: batch.len(), done: Some(done), deadline: Instant::now() + LONGEST_DELAY };
        under_way
    }
}

/// The dependencies of the worker.
#[derive(Clone)]
struct Worker {
    storage: Arc<dyn Storage>,
    lock_wait_storage: Arc<dyn Storage>,
    publisher: Publisher,
    metrics: Metrics,
}

/// A batch in its open transaction.
struct Prepared<T> {
    tx: Box<dyn Tx>,
    written: BatchResult<T>,
}

impl Worker {
    /// The worker's loop. It prepares a batch while the previous one commits, if enough jobs wait. Commits are sequential, as
    /// the order of positions in the event log requires. Jobs whose locks are held elsewhere are set aside, and later jobs with
    /// the same lock stay behind them.
    async fn work<J: Job>(self, mut handed_in: mpsc::Receiver<QueuedJob<J>>, queued: Arc<AtomicUsize>, lifecycle: Lifecycle) {
        let mut queue = Vec::new();
        let mut under_way = CommitInProgress::nothing();
        let mut aside = LockWaits::new();
        loop {
            while queue.len() < QUEUE_CAPACITY
                && let Ok(waiting) = handed_in.try_recv()
            {
                queue.push(waiting);
            }
            let now = Instant::now();
            let is_free = |lock: &J::Lock| !under_way.locks.contains(lock) && !aside.must_stay_queued(lock, now);
            let free = |waiting: &QueuedJob<J>| waiting.job.locks().all(|lock| is_free(&lock));
            let enough = queue.iter().filter(|waiting| free(waiting)).count() >= under_way.jobs;
            let batch: Vec<_> = match enough {
                true => queue.extract_if(.., |waiting| free(waiting)).take(BATCH).collect(),
                false => Vec::new(),
            };
            queued.store(queue.len() + aside.jobs(), Ordering::Relaxed);
            if batch.is_empty() {
                tokio::select! {
                    biased;
                    () = under_way.wait(), if under_way.done.is_some() => {}
                    () = aside.wait_for_change(now) => {}
                    received = handed_in.recv_many(&mut queue, BATCH), if queue.len() < QUEUE_CAPACITY => if received == 0 { return },
                    // Submission has ended, and all submitted jobs are stored or in a commit.
                    () = lifecycle.stopping(), if queue.is_empty() => return,
                }
                continue;
            }
            let (batch, answers): (Vec<J>, Vec<_>) = batch.into_iter().map(|waiting| (waiting.job, waiting.answer)).unzip();
            match self.prepare(&batch, Locking::Skip).await {
                Ok(Prepared { tx, written }) => {
                    let SortedBatch { batch, answers, outcomes, busy } = sort(batch, answers, written.outcomes);
                    aside.freed(batch.iter().flat_map(J::locks));
                    if !busy.is_empty() {
                        let locks = busy.iter().flat_map(|waiting| waiting.job.locks()).collect();
                        queue.splice(0..0, busy);
                        aside.missed(locks, &mut queue, &self, &lifecycle);
                    }
                    if written.changes == 0 {
                        answer(answers, outcomes);
                        continue;
                    }
                    let committed = under_way.register(&batch).await;
                    let worker = self.clone();
                    lifecycle.spawn(async move {
                        let mut committed = Some(committed);
                        match worker.commit::<J>(tx, written.changes, &mut committed).await {
                            Ok(()) => answer(answers, outcomes),
                            Err(error) => answer(answers, worker.handle_failed(&batch, error).await),
                        }
                    });
                }
                Err(error) => {
                    let done = under_way.register(&batch).await;
                    let worker = self.clone();
                    lifecycle.spawn(async move {
                        answer(answers, worker.handle_failed(&batch, error).await);
                        drop(done);
                    });
                }
            }
        }
    }

    async fn prepare<J: Job>(&self, batch: &[J], locking: Locking) -> Result<Prepared<J::Outcome>> {
        let storage = match locking {
            Locking::Wait => &self.lock_wait_storage,
            Locking::Skip => &self.storage,
        };
        let mut tx = storage.begin().await?;
        let written = J::write(tx.as_mut(), batch, locking).await?;
        Ok(Prepared { tx, written })
    }

    /// Commits, and publishes the events on this node, so that a caller reads its own write. Takes `publish` after success;
    /// after a failure the caller keeps it, so that the retry precedes later batches.
    async fn commit<J: Job>(&self, tx: Box<dyn Tx>, changes: usize, committed: &mut Option<oneshot::Sender<()>>) -> Result<()> {
        if changes > 0 {
            let events = tx.commit().await?;
            drop(committed.take());
            self.publisher.publish(events).await;
            J::count(&self.metrics, changes);
        }
        Ok(())
    }

    /// Stores a batch with [`Locking::Wait`], and retries after contention.
    async fn store<J: Job>(&self, batch: &[J]) -> Result<Vec<Result<J::Outcome>>> {
        retry_on_contention(|| async {
            let Prepared { tx, written } = self.prepare(batch, Locking::Wait).await?;
            self.commit::<J>(tx, written.changes, &mut None).await?;
            Ok(written.outcomes.into_iter().map(|outcome| outcome.expect("its locks were waited for")).collect())
        })
        .await
    }

    /// Handles a failed batch: retries after contention, and otherwise stores the jobs one by one, to isolate the failing one.
    async fn handle_failed<J: Job>(&self, batch: &[J], mut error: Error) -> Vec<Result<J::Outcome>> {
        if error.is_contention() {
            match self.store(batch).await {
                Ok(outcomes) => return outcomes,
                Err(last) => error = last,
            }
        }
        let is_one_of_many = matches!(error, Error::Internal(_)) && batch.len() > 1;
        let mut outcomes = Vec::with_capacity(batch.len());
        for job in batch {
            outcomes.push(match is_one_of_many {
                true => self.store_one(job).await,
                false => Err(error.clone()),
            });
        }
        outcomes
    }

    async fn store_one<J: Job>(&self, job: &J) -> Result<J::Outcome> {
        self.store(std::slice::from_ref(job)).await?.remove(0)
    }
}

/// A batch without its skipped jobs.
struct SortedBatch<J: Job> {
    batch: Vec<J>,
    answers: Vec<oneshot::Sender<Result<J::Outcome>>>,
    outcomes: Vec<Result<J::Outcome>>,
    busy: Vec<QueuedJob<J>>,
}

fn sort<J: Job>(
    batch: Vec<J>,
    answers: Vec<oneshot::Sender<Result<J::Outcome>>>,
    outcomes: Vec<Option<Result<J::Outcome>>>,
) -> SortedBatch<J> {
    let mut sorted = SortedBatch { batch: Vec::new(), answers: Vec::new(), outcomes: Vec::new(), busy: Vec::new() };
    for ((job, answer), outcome) in batch.into_iter().zip(answers).zip(outcomes) {
        match outcome {
            Some(outcome) => {
                sorted.batch.push(job);
                sorted.answers.push(answer);
                sorted.outcomes.push(outcome);
            }
            None => sorted.busy.push(QueuedJob { job, answer }),
        }
    }
    sorted
}

fn answer<T>(answers: Vec<oneshot::Sender<Result<T>>>, outcomes: Vec<Result<T>>) {
    for (answer, outcome) in answers.into_iter().zip(outcomes) {
        // The caller may have been cancelled.
        let _ = answer.send(outcome);
    }
}
