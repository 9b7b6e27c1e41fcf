//! Lock waits of group commit, apart from the batches: jobs whose locks other transactions hold, for milliseconds on other
//! nodes, or for seconds if a transaction was abandoned. They delay no other jobs.

use std::{
    collections::{HashMap, HashSet},
    time::Duration,
};

use tokio::{sync::mpsc, time::Instant};

use super::{BATCH, Bench, Job, Waiting, answer};
use crate::lifecycle::Lifecycle;

/// Attempts to get a lock with a batch before a separate transaction waits for it.
const TRIES: usize = 3;
/// Concurrent lock waits. Each takes a connection.
const WAITED_FOR: usize = 4;
/// Retry interval of a lock beyond that limit.
const AGAIN: Duration = Duration::from_millis(100);

/// The locks that other transactions are known to hold.
pub(super) struct Aside<L> {
    missed: HashMap<L, Missed>,
    /// Locks with a waiting transaction, each with the number of its jobs.
    waited_for: HashMap<L, usize>,
    over: (mpsc::Sender<L>, mpsc::Receiver<L>),
}

struct Missed {
    tries: usize,
    /// Earliest time of the next attempt.
    until: Instant,
}

impl<L: Copy + Eq + std::hash::Hash + Send + Sync + 'static> Aside<L> {
    pub(super) fn new() -> Self {
        Self { missed: HashMap::new(), waited_for: HashMap::new(), over: mpsc::channel(WAITED_FOR) }
    }

    /// True if jobs with this lock must stay in the queue.
    pub(super) fn holds(&self, lock: &L, now: Instant) -> bool {
        self.waited_for.contains_key(lock) || self.missed.get(lock).is_some_and(|missed| missed.until > now)
    }

    /// The number of jobs in lock waits.
    pub(super) fn jobs(&self) -> usize {
        self.waited_for.values().sum()
    }

    /// Waits until a lock may be attempted. Cancel safe.
    pub(super) async fn changes(&mut self, now: Instant) {
        let next = self.missed.values().map(|missed| missed.until).filter(|until| *until > now).min();
        let again = async {
            match next {
                Some(next) => tokio::time::sleep_until(next).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            over = self.over.1.recv() => {
                let lock = over.expect("a sender is kept beside it");
                self.waited_for.remove(&lock);
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
        queue: &mut Vec<Waiting<J>>,
        bench: &Bench,
        of: &Lifecycle,
    ) {
        while let Ok(lock) = self.over.1.try_recv() {
            self.waited_for.remove(&lock);
        }
        let now = Instant::now();
        for lock in busy {
            let missed = self.missed.entry(lock).or_insert(Missed { tries: 0, until: now });
            missed.tries += 1;
            if missed.tries < TRIES {
                continue;
            }
            missed.until = now + AGAIN;
            if self.waited_for.len() < WAITED_FOR {
                self.missed.remove(&lock);
                self.wait_for(lock, queue, bench, of);
            }
        }
    }

    /// Stores the queued jobs with this lock, in order, in a transaction that waits for it.
    fn wait_for<J: Job<Lock = L>>(&mut self, lock: L, queue: &mut Vec<Waiting<J>>, bench: &Bench, lifecycle: &Lifecycle) {
        let has_it = |waiting: &mut Waiting<J>| waiting.job.locks().any(|of| of == lock);
        let aside = queue.extract_if(.., has_it).take(BATCH);
        let (batch, answers): (Vec<_>, Vec<_>) = aside.map(|waiting| (waiting.job, waiting.answer)).unzip();
        self.waited_for.insert(lock, batch.len());
        let (bench, over) = (bench.clone(), self.over.0.clone());
        lifecycle.spawn(async move {
            let outcomes = match bench.store(&batch).await {
                Ok(outcomes) => outcomes,
                Err(error) => bench.refused(&batch, error).await,
            };
            answer(answers, outcomes);
            // The receiver is gone only after the worker's end.
            let _ = over.send(lock).await;
        });
    }
}
