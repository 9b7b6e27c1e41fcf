//! Lock waits of group commit, apart from the batches: jobs whose locks other transactions hold, for milliseconds on other
//! nodes, or for seconds if a transaction was abandoned. They delay no other jobs.

use std::{
    collections::{HashMap, HashSet},
    time::Duration,
};

use tokio::{sync::mpsc, time::Instant};

use super::{BATCH, Job, QueuedJob, Worker, answer};
use crate::lifecycle::Lifecycle;

/// Attempts to get a lock with a batch before a separate transaction waits for it.
const TRIES: usize = 3;
/// Concurrent lock waits. Each takes a connection.
const MAX_LOCK_WAITS: usize = 4;
/// Retry interval of a lock beyond that limit.
const AGAIN: Duration = Duration::from_millis(100);

/// The locks that other transactions are known to hold.
pub(super) struct LockWaits<L> {
    missed: HashMap<L, MissedLock>,
    /// Locks with a waiting transaction, each with the number of its jobs.
    waiting: HashMap<L, usize>,
    finished: (mpsc::Sender<L>, mpsc::Receiver<L>),
}

struct MissedLock {
    tries: usize,
    /// Earliest time of the next attempt.
    until: Instant,
}

impl<L: Copy + Eq + std::hash::Hash + Send + Sync + 'static> LockWaits<L> {
    pub(super) fn new() -> Self {
        Self { missed: HashMap::new(), waiting: HashMap::new(), finished: mpsc::channel(MAX_LOCK_WAITS) }
    }

    /// True if jobs with this lock must stay in the queue.
    pub(super) fn must_stay_queued(&self, lock: &L, now: Instant) -> bool {
        self.waiting.contains_key(lock) || self.missed.get(lock).is_some_and(|missed| missed.until > now)
    }

    /// The number of jobs in lock waits.
    pub(super) fn jobs(&self) -> usize {
        self.waiting.values().sum()
    }

    /// Waits until a lock may be attempted. Cancel safe.
    pub(super) async fn wait_for_change(&mut self, now: Instant) {
        let next = self.missed.values().map(|missed| missed.until).filter(|until| *until > now).min();
        let again = async {
            match next {
                Some(next) => tokio::time::sleep_until(next).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            over = self.finished.1.recv() => {
                let lock = over.expect("a sender is kept beside it");
                self.waiting.remove(&lock);
            }
            () = again => {}
        }
    }

    /// Records that a batch has got these locks.
    pub(super) fn freed(&mut self, locks: impl Iterator<Item = L>) {
        if !self.missed.is_empty() {
            locks.for_each(|lock| {
                self.missed.remove(&lock);
            });
        }
    }

    /// Records the locks that a batch has missed. Beyond `TRIES`, their jobs leave the queue for a lock wait.
    pub(super) fn missed<J: Job<Lock = L>>(
        &mut self,
        busy: HashSet<L>,
        queue: &mut Vec<QueuedJob<J>>,
        worker: &Worker,
        of: &Lifecycle,
    ) {
        while let Ok(lock) = self.finished.1.try_recv() {
            self.waiting.remove(&lock);
        }
        let now = Instant::now();
        for lock in busy {
            let missed = self.missed.entry(lock).or_insert(MissedLock { tries: 0, until: now });
            missed.tries += 1;
            if missed.tries < TRIES {
                continue;
            }
            missed.until = now + AGAIN;
            if self.waiting.len() < MAX_LOCK_WAITS {
                self.missed.remove(&lock);
                self.wait_for(lock, queue, worker, of);
            }
        }
    }

    /// Stores the queued jobs with this lock, in order, in a transaction that waits for it.
    fn wait_for<J: Job<Lock = L>>(&mut self, lock: L, queue: &mut Vec<QueuedJob<J>>, worker: &Worker, lifecycle: &Lifecycle) {
        let has_it = |waiting: &mut QueuedJob<J>| waiting.job.locks().any(|of| of == lock);
        let aside = queue.extract_if(.., has_it).take(BATCH);
        let (batch, answers): (Vec<_>, Vec<_>) = aside.map(|waiting| (waiting.job, waiting.answer)).unzip();
        self.waiting.insert(lock, batch.len());
        let (worker, over) = (worker.clone(), self.finished.0.clone());
        lifecycle.spawn(async move {
            let outcomes = match worker.store(&batch).await {
                Ok(outcomes) => outcomes,
                Err(error) => worker.handle_failed(&batch, error).await,
            };
            answer(answers, outcomes);
            // The receiver is gone only after the worker's end.
            let _ = over.send(lock).await;
        });
    }
}
