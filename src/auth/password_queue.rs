//! Fair queue of password checks: networks take turns, so that a flood of log-ins from one does not delay the others.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    sync::Arc,
    time::Duration,
};

use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::{Error, Result};

/// Retry delay for a refused client: within a second, dozens of places become free.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// Fair queue. Runs at most one check per core; on several cores, one network leaves a core to the others. First come, first
/// served, within a network and between networks. Clones share the queue.
#[derive(Clone)]
pub(super) struct PasswordQueue(Arc<QueueParts>);

struct QueueParts {
    cores: Arc<Semaphore>,
    /// Checks of one network at a time. No more of its requests wait for `cores`, so that networks get these in turn.
    of_network: usize,
    most_places: usize,
    places: Mutex<QueuePlaces>,
}

#[derive(Default)]
struct QueuePlaces {
    taken: usize,
    networks: HashMap<IpAddr, Network>,
}

struct Network {
    taken: usize,
    turns: Arc<Semaphore>,
}

/// A place in the queue, kept during the check. Dropping it frees the place.
pub(super) struct QueuePlace {
    parts: Arc<QueueParts>,
    network: IpAddr,
    turns: Arc<Semaphore>,
}

/// A turn: the right to run checks one after the other. Clones share the turn, which ends with the last of them.
#[derive(Clone)]
pub(super) struct PasswordTurn(#[expect(dead_code, reason = "held for their Drop")] Arc<(QueuePlace, [OwnedSemaphorePermit; 2])>);

impl PasswordQueue {
    pub(super) fn new(most_places: usize) -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Self::with_cores(cores, most_places)
    }

    fn with_cores(cores: usize, most_places: usize) -> Self {
        let of_network = (cores - 1).max(1);
        Self(Arc::new(QueueParts { cores: Arc::new(Semaphore::new(cores)), of_network, most_places, places: Mutex::default() }))
    }

    /// Joins the queue.
    ///
    /// # Errors
    /// [`Error::TooManyWaiting`] if the queue is full, or half of what others leave belongs to the network of this address.
    pub(super) fn place(&self, from: IpAddr) -> Result<QueuePlace> {
        let (parts, network) = (&self.0, network(from));
        let mut places = parts.places.lock();
        let own = places.networks.get(&network).map_or(0, |own| own.taken);
        // Half of what others leave: however many networks fill the queue, the next one finds a place.
        let most = (parts.most_places - (places.taken - own)).div_ceil(2);
        if places.taken >= parts.most_places || own >= most {
            return Err(Error::TooManyWaiting { retry_after: RETRY_AFTER });
        }
        places.taken += 1;
        let fresh = || Network { taken: 0, turns: Arc::new(Semaphore::new(parts.of_network)) };
        let own = places.networks.entry(network).or_insert_with(fresh);
        own.taken += 1;
        Ok(QueuePlace { parts: Arc::clone(parts), network, turns: Arc::clone(&own.turns) })
    }
}

impl QueuePlace {
    /// Waits for a turn.
    ///
    /// # Cancel safety
    /// Cancelling frees the place.
    pub(super) async fn turn(self) -> PasswordTurn {
        const OPEN: &str = "the semaphore is never closed";
        let own = Arc::clone(&self.turns).acquire_owned().await.expect(OPEN);
        let core = Arc::clone(&self.parts.cores).acquire_owned().await.expect(OPEN);
        PasswordTurn(Arc::new((self, [own, core])))
    }
}

impl Drop for QueuePlace {
    fn drop(&mut self) {
        let mut places = self.parts.places.lock();
        places.taken -= 1;
        let own = places.networks.get_mut(&self.network).expect("a network has an entry while it holds a permit");
        own.taken -= 1;
        if own.taken == 0 {
            places.networks.remove(&self.network);
        }
    }
}

/// Network of an address as providers assign it: /24 of IPv4, /48 of IPv6.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => Ipv4Addr::from_bits(address.to_bits() >> 8 << 8).into(),
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() >> 80 << 80).into(),
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    fn from(address: &str) -> IpAddr {
        address.parse().expect("it is an address")
    }

    fn place(turns: &PasswordQueue, address: &str) -> QueuePlace {
        turns.place(from(address)).expect("there is a place")
    }

    /// Takes a turn that is free.
    fn turn(turns: &PasswordQueue, address: &str) -> PasswordTurn {
        place(turns, address).turn().now_or_never().expect("it is free")
    }

    #[test]
    fn one_network_has_half_of_what_others_leave_and_all_together_no_more_than_there_are() {
        let turns = PasswordQueue::with_cores(2, 8);
        let mut held: Vec<_> = (1..5).map(|host| place(&turns, &format!("192.0.2.{host}"))).collect();
        assert!(turns.place(from("::ffff:192.0.2.5")).is_err(), "the same network, mapped");
        held.push(place(&turns, "2001:db8:1:2::1"));
        held.push(place(&turns, "2001:db8:1:ffff::1"));
        assert!(turns.place(from("2001:db8:1::9")).is_err(), "the same /48");
        held.push(place(&turns, "198.51.100.1"));
        assert!(turns.place(from("198.51.100.2")).is_err(), "half of two places");
        held.push(place(&turns, "203.0.113.1"));
        assert!(turns.place(from("198.18.0.1")).is_err(), "no place is left");
        held.remove(0);
        held.push(place(&turns, "198.18.0.1"));
        held.clear();
        assert!(turns.0.places.lock().networks.is_empty(), "nothing is remembered of who waits no more");
    }

    #[test]
    fn one_network_leaves_a_core_to_others() {
        let turns = PasswordQueue::with_cores(2, 50);
        let first = turn(&turns, "192.0.2.1");
        let mut second = Box::pin(place(&turns, "192.0.2.2").turn());
        assert!(second.as_mut().now_or_never().is_none());
        let _other = turn(&turns, "198.51.100.1");
        drop(first);
        assert!(second.now_or_never().is_some());
    }

    #[test]
    fn networks_take_turns() {
        let turns = PasswordQueue::with_cores(1, 50);
        let first = turn(&turns, "192.0.2.1");
        let addresses = ["192.0.2.2", "192.0.2.3", "192.0.2.4", "198.51.100.1", "203.0.113.1"];
        let mut waiting: Vec<_> =
            addresses.into_iter().map(|address| (address, Box::pin(place(&turns, address).turn()))).collect();
        let mut running = Some(first);
        let mut order = Vec::new();
        while !waiting.is_empty() {
            for (_, wait) in &mut waiting {
                assert!(wait.as_mut().now_or_never().is_none());
            }
            drop(running.take());
            let mut next = None;
            waiting.retain_mut(|(address, wait)| match wait.as_mut().now_or_never() {
                Some(turn) => {
                    assert!(next.replace((*address, turn)).is_none(), "there is one core");
                    false
                }
                None => true,
            });
            let (address, turn) = next.expect("somebody has the turn");
            order.push(address);
            running = Some(turn);
        }
        assert_eq!(order, ["198.51.100.1", "203.0.113.1", "192.0.2.2", "192.0.2.3", "192.0.2.4"]);
    }
}
