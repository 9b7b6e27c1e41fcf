//! Connection permits: a limit for all, and one per address, with a reserve that strangers cannot exhaust.

use std::{net::IpAddr, sync::Arc};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::{
    keyed_semaphore::{KeyedPermit, KeyedSemaphore},
    metrics::Metrics,
    shares::share_of,
};

/// Divisor of the reserve: a twentieth of the permits is for proxies, and for health checks of others.
const RESERVED: usize = 20;

/// Permits of a server. Clones are handles to the same.
#[derive(Clone)]
pub(super) struct ConnectionPermits {
    all: Arc<Semaphore>,
    /// Permits outside the reserve.
    open: Arc<Semaphore>,
    addresses: KeyedSemaphore<IpAddr>,
    /// Connection limit of one address; 0 for no limit.
    per_address: usize,
    metrics: Metrics,
}

/// A permit for one connection, released when it is dropped.
pub(super) struct ConnectionPermit {
    _any: OwnedSemaphorePermit,
    open: Option<OwnedSemaphorePermit>,
    _address: Option<KeyedPermit<IpAddr>>,
    is_proxy: bool,
}

impl ConnectionPermit {
    /// True for a permit from the reserve whose peer is no proxy.
    pub(super) fn is_limited(&self) -> bool {
        self.open.is_none() && !self.is_proxy
    }
}

impl ConnectionPermits {
    /// `places`: limit for all; `per_address`: limit of one address, 0 for no limit.
    pub(super) fn new(places: usize, per_address: usize, metrics: &Metrics) -> Self {
        Self {
            all: Arc::new(Semaphore::new(places)),
            open: Arc::new(Semaphore::new(places - places / RESERVED)),
            addresses: KeyedSemaphore::default(),
            per_address,
            metrics: metrics.clone(),
        }
    }

    /// Waits for a permit.
    pub(super) async fn any(&self) -> OwnedSemaphorePermit {
        Arc::clone(&self.all).acquire_owned().await.expect("the semaphore is never closed")
    }

    /// Takes a permit if one is free.
    pub(super) fn any_now(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.all).try_acquire_owned().ok()
    }

    /// Assigns the permit `any` to a peer; `None` if its address has reached the limit.
    pub(super) fn assign(&self, any: OwnedSemaphorePermit, peer: IpAddr, is_proxy: bool) -> Option<ConnectionPermit> {
        let address = if is_proxy || self.per_address == 0 {
            None
        } else {
            let Some(address) = self.addresses.take(share_of(peer), self.per_address) else {
                self.metrics.refused("connections_per_address");
                return None;
            };
            Some(address)
        };
        let open = Arc::clone(&self.open).try_acquire_owned().ok();
        Some(ConnectionPermit { _any: any, open, _address: address, is_proxy })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn enter(places: &ConnectionPermits, peer: &str, is_proxy: bool) -> Option<ConnectionPermit> {
        places.assign(places.any_now().expect("there is a place"), peer.parse().expect("it is an address"), is_proxy)
    }

    #[test]
    fn an_address_has_so_many_and_gets_them_back() {
        let places = ConnectionPermits::new(40, 2, &Metrics::default());
        let one = enter(&places, "2001:db8::1", false).expect("it is the first");
        let two = enter(&places, "2001:db8::2", false).expect("it is the second");
        assert!(enter(&places, "2001:db8::3", false).is_none(), "all of them are one subscriber's");
        let _other = enter(&places, "2001:db8:0:1::1", false).expect("it is another subscriber");
        let _proxy = enter(&places, "2001:db8::4", true).expect("proxies are not counted");
        drop(one);
        let one = enter(&places, "2001:db8::1", false).expect("it came back");
        drop((one, two));
        assert_eq!(places.addresses.owners(), 1, "only who is there is remembered");
    }

    #[test]
    fn strangers_are_limited_in_what_is_reserved() {
        let places = ConnectionPermits::new(20, 0, &Metrics::default());
        let mut open: Vec<_> = (0..19).map(|_| enter(&places, "192.0.2.1", false).expect("there is a place")).collect();
        assert!(!open.iter().any(ConnectionPermit::is_limited));
        let last = enter(&places, "192.0.2.1", false).expect("there is a place");
        assert!(last.is_limited() && places.any_now().is_none());
        drop(last);
        assert!(!enter(&places, "192.0.2.9", true).expect("there is a place").is_limited());
        open.pop();
        assert!(!enter(&places, "192.0.2.1", false).expect("there is a place").is_limited());
    }
}
