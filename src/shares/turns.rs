//! Concurrency limit of requests in the store, per user or address, with a queue.

use std::{collections::HashMap, sync::Arc, time::Duration};

use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::{NoShare, Party};
use crate::metrics::Metrics;

/// Capacity of a party's queue; more requests are refused.
const QUEUE: usize = 128;
/// Longest wait for a turn.
const PATIENCE: Duration = Duration::from_secs(10);

/// Concurrency limit: each party has so many requests in the store at once; its others queue. Clones are handles to the same.
#[derive(Clone)]
pub struct StoreTurns(Arc<Lines>);

struct Lines {
    per_user: usize,
    per_address: usize,
    /// Only parties with a turn or in the queue.
    lines: Mutex<HashMap<Party, Line>>,
    metrics: Metrics,
}

struct Line {
    turns: Arc<Semaphore>,
    /// Requests with a turn or in the queue.
    members: usize,
}

impl StoreTurns {
    /// Limits of concurrent requests; 0 for no limit.
    pub(super) fn new(per_user: usize, per_address: usize, metrics: &Metrics) -> Self {
        Self(Arc::new(Lines { per_user, per_address, lines: Mutex::default(), metrics: metrics.clone() }))
    }

    /// Waits for a turn of the party.
    ///
    /// # Errors
    ///
    /// [`NoShare::Requests`] if the queue is full, or after a wait of 10 seconds.
    ///
    /// # Cancel safety
    ///
    /// Dropped, it leaves the queue.
    pub async fn take(&self, party: Party) -> Result<StoreTurn, NoShare> {
        let (at_once, limit) = self.limit(party);
        if at_once == 0 {
            return Ok(StoreTurn(None));
        }
        let refuse = || {
            self.0.metrics.refused(limit);
            NoShare::Requests
        };
        let (turns, member) = self.join(party, at_once, QUEUE).ok_or_else(refuse)?;
        match tokio::time::timeout(PATIENCE, turns.acquire_owned()).await {
            Ok(permit) => Ok(StoreTurn(Some((permit.expect("the semaphore is never closed"), member)))),
            Err(_) => Err(refuse()),
        }
    }

    /// Waits for a turn of the party, without limits of queue and time: for sockets, whose number is limited, and which send one
    /// request at a time.
    ///
    /// # Cancel safety
    ///
    /// Dropped, it leaves the queue.
    pub async fn wait(&self, party: Party) -> StoreTurn {
        let (at_once, _) = self.limit(party);
        if at_once == 0 {
            return StoreTurn(None);
        }
        let (turns, member) = self.join(party, at_once, usize::MAX - at_once).expect("the queue is unbounded");
        StoreTurn(Some((turns.acquire_owned().await.expect("the semaphore is never closed"), member)))
    }

    /// Limit of concurrent requests of the party, and its setting.
    fn limit(&self, party: Party) -> (usize, &'static str) {
        match party {
            Party::User(_) => (self.0.per_user, "user.requests_at_once"),
            Party::Address(_) => (self.0.per_address, "address.requests_at_once"),
        }
    }

    fn join(&self, party: Party, at_once: usize, queue: usize) -> Option<(Arc<Semaphore>, LineMember)> {
        let mut lines = self.0.lines.lock();
        let line = lines.entry(party).or_insert_with(|| Line { turns: Arc::new(Semaphore::new(at_once)), members: 0 });
        if line.members >= at_once + queue {
            return None;
        }
        line.members += 1;
        Some((Arc::clone(&line.turns), LineMember { lines: Arc::clone(&self.0), party }))
    }
}

/// A turn: one request in the store, until it is dropped. `None` without a limit.
pub struct StoreTurn(#[expect(dead_code, reason = "held for its Drop")] Option<(OwnedSemaphorePermit, LineMember)>);

/// Membership in a party's line: with a turn, or in the queue.
struct LineMember {
    lines: Arc<Lines>,
    party: Party,
}

impl Drop for LineMember {
    fn drop(&mut self) {
        let mut lines = self.lines.lines.lock();
        if let Some(line) = lines.get_mut(&self.party) {
            line.members -= 1;
            if line.members == 0 {
                lines.remove(&self.party);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;
    use storage::UserId;

    use super::*;

    const ONE: Party = Party::User(UserId(1));

    #[tokio::test(start_paused = true)]
    async fn others_wait_and_the_queue_has_an_end() {
        let turns = StoreTurns::new(2, 1, &Metrics::default());
        let first = turns.take(ONE).await.expect("it is free");
        let _second = turns.take(ONE).await.expect("it is free");
        let mut waiting: Vec<_> = (0..QUEUE).map(|_| Box::pin(turns.take(ONE))).collect();
        assert!(waiting.iter_mut().all(|next| next.as_mut().now_or_never().is_none()));
        assert_eq!(turns.take(ONE).now_or_never().map(|turn| turn.err()), Some(Some(NoShare::Requests)));
        let _other = turns.take(Party::User(UserId(2))).await.expect("another party has turns of its own");
        drop(first);
        let third = waiting.remove(0).await.expect("it was the first to wait");
        // No turn is released any more.
        assert_eq!(waiting.remove(0).await.err(), Some(NoShare::Requests));
        drop((waiting, third));
        turns.take(ONE).await.expect("it is free again");
    }

    #[tokio::test]
    async fn who_has_gone_is_not_remembered() {
        let turns = StoreTurns::new(1, 1, &Metrics::default());
        let first = turns.take(ONE).await.expect("it is free");
        let mut second = Box::pin(turns.take(ONE));
        assert!(second.as_mut().now_or_never().is_none());
        drop((second, first));
        assert!(turns.0.lines.lock().is_empty());
    }
}
