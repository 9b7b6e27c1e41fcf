//! Connection budgets: shares of the pool for kinds of work (bulkheads).

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::gate::Gate;
use crate::{Error, Result};

/// Connection budget of one kind of work. A request waits only for others of its kind.
#[derive(Clone)]
pub(super) struct Lane {
    connections: Arc<Semaphore>,
    /// Permits for open transactions. Fewer than connections, so that transactions waiting for a lock leave connections for
    /// reads.
    transactions: Arc<Semaphore>,
}

/// Lanes of a pool.
#[derive(Clone)]
pub(super) struct Lanes {
    pub(super) others: Lane,
    pub(super) sends: Lane,
    pub(super) sessions: Lane,
}

impl Lane {
    fn new(connections: usize, transactions: usize) -> Self {
        Self { connections: Arc::new(Semaphore::new(connections)), transactions: Arc::new(Semaphore::new(transactions)) }
    }

    /// Acquires a permit for a connection, for the whole time of its use.
    pub(super) async fn connection(&self, gate: &Gate) -> Result<OwnedSemaphorePermit> {
        take(&self.connections, gate, "too many requests are under way").await
    }

    /// Acquires a permit for a transaction.
    pub(super) async fn transaction(&self, gate: &Gate) -> Result<OwnedSemaphorePermit> {
        take(&self.transactions, gate, "too many transactions are under way").await
    }
}

impl Lanes {
    /// Reserves an eighth of the connections each for sends and for sessions. With fewer than eight connections, all lanes share
    /// them.
    pub(super) fn of(connections: u32) -> Self {
        let all = connections as usize;
        let own = all / 8;
        let most_of = |connections: usize| connections.saturating_sub((connections / 4).max(1)).max(1);
        let others = all - 2 * own;
        let lane = |own| match own {
            0 => Lane::new(all, all),
            own => Lane::new(own, most_of(own)),
        };
        // Group commit keeps the number of concurrent sends small, so they may use every connection that is free.
        Self { others: Lane::new(others, most_of(others)), sends: Lane::new(all, all), sessions: lane(own) }
    }
}

async fn take(share: &Arc<Semaphore>, gate: &Gate, full: &'static str) -> Result<OwnedSemaphorePermit> {
    if let Ok(leave) = Arc::clone(share).try_acquire_owned() {
        return Ok(leave);
    }
    match gate.answer(gate.patience(), Arc::clone(share).acquire_owned()).await {
        Some(Ok(leave)) => Ok(leave),
        Some(Err(_)) | None => Err(Error::Unavailable(full.into())),
    }
}
