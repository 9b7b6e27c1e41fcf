//! What waits at the same time to be stored shares one commit, and while that is under way the next one is prepared.

mod admission;
mod aside;
mod marks;
mod sends;

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

use self::aside::Aside;
pub(super) use self::{
    marks::{Mark, Upto},
    sends::Send,
};
use super::{
    error::{Error, Result},
    tail::Announce,
};
use crate::{
    lifecycle::Lifecycle,
    metrics::Metrics,
    transaction::{Undone, again},
};

/// How many jobs one commit carries at most.
const BATCH: usize = 256;
/// How many jobs wait at most in either of two places: where they are handed in, and where the writer has them.
const WAITING: usize = 4 * BATCH;
/// For how long a commit holds up the next one. Most take milliseconds; one of which it is not known whether the store
/// has done it goes on beside the others until that is known. Less than a transaction may wait for.
const HELD_UP: Duration = Duration::from_secs(2);

/// Something that somebody waits for to be stored.
pub(super) trait Job: std::marker::Send + Sync + Sized + 'static {
    type Outcome: std::marker::Send + 'static;
    type Lock: Copy + Eq + Hash + std::marker::Send + Sync + 'static;

    /// What its transaction has locked until it is committed.
    fn locks(&self) -> impl Iterator<Item = Self::Lock>;

    /// Does everything for a batch but the commit.
    fn write(
        tx: &mut dyn Tx,
        batch: &[Self],
        locking: Locking,
    ) -> impl Future<Output = Result<Written<Self::Outcome>>> + std::marker::Send;

    /// Counts what a commit has stored.
    fn count(metrics: &Metrics, changes: usize);
}

/// Manner in which a batch takes its locks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Locking {
    /// Waits for whoever has them.
    Wait,
    /// Leaves alone what somebody else has locked.
    Skip,
}

/// What became of a batch.
pub(super) struct Written<T> {
    /// In the order of the batch. One that breaks a rule fails alone; `None` for one that was left alone.
    outcomes: Vec<Option<Result<T>>>,
    /// How much there is to commit.
    changes: usize,
}

/// Where jobs of one kind are handed in.
pub(super) struct Writer<J: Job> {
    jobs: mpsc::Sender<Waiting<J>>,
    queued: Arc<AtomicUsize>,
}

struct Waiting<J: Job> {
    job: J,
    answer: oneshot::Sender<Result<J::Outcome>>,
}

impl<J: Job> Writer<J> {
    /// Starts the writer of this node. Nobody waits for a timer: an idle node commits a lone job at once, and what
    /// arrives during a commit shares the next one.
    ///
    /// `storage` is for batches; what waits for locks of others uses `patient`, so that batches need not wait for it.
    pub(super) fn start(
        storage: Arc<dyn Storage>,
        patient: Arc<dyn Storage>,
        announce: Announce,
        metrics: Metrics,
        lifecycle: &Lifecycle,
    ) -> Self {
        let (jobs, handed_in) = mpsc::channel(WAITING);
        let queued = Arc::<AtomicUsize>::default();
        let bench = Bench { storage, patient, announce, metrics };
        lifecycle.spawn(bench.work::<J>(handed_in, Arc::clone(&queued), lifecycle.clone()));
        Self { jobs, queued }
    }

    /// Stores something, and gives what became of it once that is durable. If the caller is cancelled it may be stored or not.
    pub(super) async fn store(&self, job: J) -> Result<J::Outcome> {
        let (answer, answered) = oneshot::channel();
        let gone = || Error::internal("the writer has stopped");
        self.jobs.send(Waiting { job, answer }).await.map_err(|_| gone())?;
        answered.await.map_err(|_| gone())?
    }

    /// How many jobs wait for the next commit.
    pub(super) fn waiting(&self) -> usize {
        self.jobs.max_capacity() - self.jobs.capacity() + self.queued.load(Ordering::Relaxed)
    }
}

/// A commit that may be under way.
struct UnderWay<L> {
    /// Locked until it is done. Who waited for them in the store would hold up everybody else in its batch.
    locks: HashSet<L>,
    /// How many it carries. A batch as large is worth preparing meanwhile; a smaller one waits for the end, and for others to
    /// join it, since what a batch costs hardly depends on its size.
    jobs: usize,
    /// Dropped when it is done.
    done: Option<oneshot::Receiver<()>>,
    /// When others go on without it.
    until: Instant,
}

impl<L> UnderWay<L> {
    fn nothing() -> Self {
        Self { locks: HashSet::new(), jobs: 0, done: None, until: Instant::now() }
    }

    /// Waits until others may go on. Safe to cancel.
    async fn passes(&mut self) {
        if let Some(done) = &mut self.done {
            let _ = tokio::time::timeout_at(self.until, done).await;
            *self = Self::nothing();
        }
    }

    /// Waits until others may go on, and goes on with a batch; what it gives is dropped when that is done.
    async fn follow<J: Job<Lock = L>>(&mut self, batch: &[J]) -> oneshot::Sender<()>
    where
        L: Eq + Hash,
    {
        self.passes().await;
        let (under_way, done) = oneshot::channel();
        let locks = batch.iter().flat_map(J::locks).collect();
        *self = Self { locks, jobs: batch.len(), done: Some(done), until: Instant::now() + HELD_UP };
        under_way
    }
}

/// What a writer works with.
#[derive(Clone)]
struct Bench {
    storage: Arc<dyn Storage>,
    patient: Arc<dyn Storage>,
    announce: Announce,
    metrics: Metrics,
}

/// A batch in its transaction.
struct Prepared<T> {
    tx: Box<dyn Tx>,
    written: Written<T>,
}

impl Bench {
    /// One batch is prepared while the one before it is committed, if enough wait for it. Commits themselves go one after
    /// the other, in the store too: that is what the order of the log takes. Jobs whose locks somebody else has are put
    /// aside, and those that follow them with the same lock stay behind them.
    async fn work<J: Job>(self, mut handed_in: mpsc::Receiver<Waiting<J>>, queued: Arc<AtomicUsize>, lifecycle: Lifecycle) {
        let mut queue = Vec::new();
        let mut under_way = UnderWay::nothing();
        let mut aside = Aside::new();
        loop {
            while queue.len() < WAITING
                && let Ok(waiting) = handed_in.try_recv()
            {
                queue.push(waiting);
            }
            let now = Instant::now();
            let is_free = |lock: &J::Lock| !under_way.locks.contains(lock) && !aside.holds(lock, now);
            let free = |waiting: &Waiting<J>| waiting.job.locks().all(|lock| is_free(&lock));
            let enough = queue.iter().filter(|waiting| free(waiting)).count() >= under_way.jobs;
            let batch: Vec<_> = match enough {
                true => queue.extract_if(.., |waiting| free(waiting)).take(BATCH).collect(),
                false => Vec::new(),
            };
            queued.store(queue.len() + aside.jobs(), Ordering::Relaxed);
            if batch.is_empty() {
                tokio::select! {
                    biased;
                    () = under_way.passes(), if under_way.done.is_some() => {}
                    () = aside.changes(now) => {}
                    received = handed_in.recv_many(&mut queue, BATCH), if queue.len() < WAITING => if received == 0 { return },
                    // Nobody hands anything in any more, and what was handed in is stored or being committed.
                    () = lifecycle.stopping(), if queue.is_empty() => return,
                }
                continue;
            }
            let (batch, answers): (Vec<J>, Vec<_>) = batch.into_iter().map(|waiting| (waiting.job, waiting.answer)).unzip();
            match self.prepare(&batch, Locking::Skip).await {
                Ok(Prepared { tx, written }) => {
                    let Sorted { batch, answers, outcomes, busy } = sort(batch, answers, written.outcomes);
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
                    let committed = under_way.follow(&batch).await;
                    let bench = self.clone();
                    lifecycle.spawn(async move {
                        let mut committed = Some(committed);
                        match bench.commit::<J>(tx, written.changes, &mut committed).await {
                            Ok(()) => answer(answers, outcomes),
                            Err(error) => answer(answers, bench.refused(&batch, error).await),
                        }
                    });
                }
                Err(error) => {
                    let done = under_way.follow(&batch).await;
                    let bench = self.clone();
                    lifecycle.spawn(async move {
                        answer(answers, bench.refused(&batch, error).await);
                        drop(done);
                    });
                }
            }
        }
    }

    async fn prepare<J: Job>(&self, batch: &[J], locking: Locking) -> Result<Prepared<J::Outcome>> {
        let storage = match locking {
            Locking::Wait => &self.patient,
            Locking::Skip => &self.storage,
        };
        let mut tx = storage.begin().await?;
        let written = J::write(tx.as_mut(), batch, locking).await?;
        Ok(Prepared { tx, written })
    }

    /// Commits, and tells those who listen on this node, so that whoever has its answer finds there what it stored.
    /// `committed` is taken once that is done; what has failed keeps it, so that it is tried again before what follows.
    async fn commit<J: Job>(&self, tx: Box<dyn Tx>, changes: usize, committed: &mut Option<oneshot::Sender<()>>) -> Result<()> {
        if changes > 0 {
            let events = tx.commit().await?;
            drop(committed.take());
            self.announce.committed(events).await;
            J::count(&self.metrics, changes);
        }
        Ok(())
    }

    /// Does everything for a batch, however long others have its locks, and again if the store has undone it for their sake.
    async fn store<J: Job>(&self, batch: &[J]) -> Result<Vec<Result<J::Outcome>>> {
        again(|| async {
            let Prepared { tx, written } = self.prepare(batch, Locking::Wait).await?;
            self.commit::<J>(tx, written.changes, &mut None).await?;
            Ok(written.outcomes.into_iter().map(|outcome| outcome.expect("its locks were waited for")).collect())
        })
        .await
    }

    /// If the store refuses a batch, its jobs are tried one by one; what it has undone for the sake of others is done again.
    async fn refused<J: Job>(&self, batch: &[J], mut error: Error) -> Vec<Result<J::Outcome>> {
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
                true => self.alone(job).await,
                false => Err(error.clone()),
            });
        }
        outcomes
    }

    async fn alone<J: Job>(&self, job: &J) -> Result<J::Outcome> {
        self.store(std::slice::from_ref(job)).await?.remove(0)
    }
}

/// A batch without the jobs that were left alone.
struct Sorted<J: Job> {
    batch: Vec<J>,
    answers: Vec<oneshot::Sender<Result<J::Outcome>>>,
    outcomes: Vec<Result<J::Outcome>>,
    busy: Vec<Waiting<J>>,
}

fn sort<J: Job>(
    batch: Vec<J>,
    answers: Vec<oneshot::Sender<Result<J::Outcome>>>,
    outcomes: Vec<Option<Result<J::Outcome>>>,
) -> Sorted<J> {
    let mut sorted = Sorted { batch: Vec::new(), answers: Vec::new(), outcomes: Vec::new(), busy: Vec::new() };
    for ((job, answer), outcome) in batch.into_iter().zip(answers).zip(outcomes) {
        match outcome {
            Some(outcome) => {
                sorted.batch.push(job);
                sorted.answers.push(answer);
                sorted.outcomes.push(outcome);
            }
            None => sorted.busy.push(Waiting { job, answer }),
        }
    }
    sorted
}

fn answer<T>(answers: Vec<oneshot::Sender<Result<T>>>, outcomes: Vec<Result<T>>) {
    for (answer, outcome) in answers.into_iter().zip(outcomes) {
        // Whoever has gone away needs no answer.
        let _ = answer.send(outcome);
    }
}
