//! Shares of the pool's connections.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::gate::Gate;
use crate::{Error, Result};

/// A share of the connections for one kind of work. Whoever waits, waits for its own kind alone.
#[derive(Clone)]
pub(super) struct Lane {
    connections: Arc<Semaphore>,
    /// As many transactions may be open. There are fewer of them than connections, so that those who wait for a lock that
    /// somebody holds do not keep from reading those who only read.
    transactions: Arc<Semaphore>,
}

/// The lanes of a pool.
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

    /// Leave to use a connection, for as long as it lives.
    pub(super) async fn connection(&self, gate: &Gate) -> Result<OwnedSemaphorePermit> {
        take(&self.connections, gate, "too many requests are under way").await
    }

    /// Leave to have a transaction.
    pub(super) async fn transaction(&self, gate: &Gate) -> Result<OwnedSemaphorePermit> {
        take(&self.transactions, gate, "too many transactions are under way").await
    }
}

impl Lanes {
    /// Keeps an eighth of the connections for sends and as many for sessions. Of few connections all have all.
    pub(super) fn of(connections: u32) -> Self {
        let all = connections as usize;
        let own = all / 8;
        let most_of = |connections: usize| connections.saturating_sub((connections / 4).max(1)).max(1);
        let others = all - 2 * own;
        let lane = |own| match own {
            0 => Lane::new(all, all),
            own => Lane::new(own, most_of(own)),
        };
        // Few send at a time, since what waits shares a transaction: they may also have what nobody else uses.
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
