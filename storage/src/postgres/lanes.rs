//! Connection budgets: shares of the pool for kinds of work (bulkheads).

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::circuit_breaker::CircuitBreaker;
use crate::{Error, Result};

/// Connection budget of one kind of work. A request waits only for others of its kind.
#[derive(Clone)]
pub(super) struct ConnectionBudget {
    connections: Arc<Semaphore>,
    /// Permits for open transactions. Fewer than connections, so that transactions waiting for a lock leave connections for
    /// reads.
    transactions: Arc<Semaphore>,
}

/// Lanes of a pool.
#[derive(Clone)]
pub(super) struct Lanes {
    pub(super) others: ConnectionBudget,
    pub(super) sends: ConnectionBudget,
    pub(super) sessions: ConnectionBudget,
}

impl ConnectionBudget {
    fn new(connections: usize, transactions: usize) -> Self {
        Self { connections: Arc::new(Semaphore::new(connections)), transactions: Arc::new(Semaphore::new(transactions)) }
    }

    /// Acquires a permit for a connection, for the whole time of its use.
    pub(super) async fn connection(&self, gate: &CircuitBreaker) -> Result<OwnedSemaphorePermit> {
        take(&self.connections, gate, "too many concurrent requests").await
    }

    /// Acquires a permit for a transaction.
    pub(super) async fn transaction(&self, gate: &CircuitBreaker) -> Result<OwnedSemaphorePermit> {
        take(&self.transactions, gate, "too many concurrent transactions").await
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
            0 => ConnectionBudget::new(all, all),
            own => ConnectionBudget::new(own, most_of(own)),
        };
        // Group commit keeps the number of concurrent sends small, so they may use every connection that is free.
        Self {
            others: ConnectionBudget::new(others, most_of(others)),
            sends: ConnectionBudget::new(all, all),
            sessions: lane(own),
        }
    }
}

async fn take(share: &Arc<Semaphore>, gate: &CircuitBreaker, full: &'static str) -> Result<OwnedSemaphorePermit> {
    if let Ok(leave) = Arc::clone(share).try_acquire_owned() {
        return Ok(leave);
    }
    match gate.wait_for_answer(gate.patience(), Arc::clone(share).acquire_owned()).await {
        Some(Ok(leave)) => Ok(leave),
        Some(Err(_)) | None => Err(Error::Unavailable(full.into())),
    }
}
