//! Jobs whose locks somebody else has: other nodes for milliseconds, or whoever has forgotten a transaction for seconds. They
//! delay nobody else's.

use std::{
    collections::{HashMap, HashSet},
    time::Duration,
};

use tokio::{sync::mpsc, time::Instant};

use super::{BATCH, Bench, Job, Waiting, answer};
use crate::lifecycle::Lifecycle;

/// Tries of a lock with a batch before it is waited for.
const TRIES: usize = 3;
/// Locks that are waited for at a time. Each takes a connection.
const WAITED_FOR: usize = 4;
/// After how long a lock is tried again that nobody can wait for yet.
const AGAIN: Duration = Duration::from_millis(100);

/// The locks that somebody else has, as far as that was noticed.
pub(super) struct Aside<L> {
    missed: HashMap<L, Missed>,
    /// Those that are waited for, and how many jobs do so.
    waited_for: HashMap<L, usize>,
    over: (mpsc::Sender<L>, mpsc::Receiver<L>),
}

struct Missed {
    tries: usize,
    /// Before that it is not tried again.
    until: Instant,
}

impl<L: Copy + Eq + std::hash::Hash + Send + Sync + 'static> Aside<L> {
    pub(super) fn new() -> Self {
        Self { missed: HashMap::new(), waited_for: HashMap::new(), over: mpsc::channel(WAITED_FOR) }
    }

    /// True if jobs with this lock stay in the queue for now.
    pub(super) fn holds(&self, lock: &L, now: Instant) -> bool {
        self.waited_for.contains_key(lock) || self.missed.get(lock).is_some_and(|missed| missed.until > now)
    }

    /// The number of jobs that are put aside.
    pub(super) fn jobs(&self) -> usize {
        self.waited_for.values().sum()
    }

    /// Waits until another lock may be tried. Safe to cancel.
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

    /// Notes that a batch has had these locks.
    pub(super) fn freed(&mut self, locks: impl Iterator<Item = L>) {
        if !self.missed.is_empty() {
            locks.for_each(|lock| {
                self.missed.remove(&lock);
            });
        }
    }

    /// Sees to the jobs in the queue whose locks a batch has missed: they come first there.
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

    /// Stores what is in the queue with this lock, in order, as soon as nobody else has it.
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
            // Nobody is there any more only at the end.
            let _ = over.send(lock).await;
        });
    }
}
