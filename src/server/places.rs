//! Places for connections: bounded for all, and for each address, with some that strangers cannot take.

use std::{net::IpAddr, sync::Arc};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::{
    metrics::Metrics,
    shares::share_of,
    tally::{Taken, Tally},
};

/// One place of so many is reserved: for proxies, and for others to ask whether the server is well.
const RESERVED: usize = 20;

/// The places of a server. Clones are handles to the same.
#[derive(Clone)]
pub(super) struct Places {
    all: Arc<Semaphore>,
    /// Those that are not reserved.
    open: Arc<Semaphore>,
    addresses: Tally<IpAddr>,
    /// Most connections of one address; 0 for no limit.
    per_address: usize,
    metrics: Metrics,
}

/// One place, until it is dropped.
pub(super) struct Place {
    _any: OwnedSemaphorePermit,
    open: Option<OwnedSemaphorePermit>,
    _address: Option<Taken<IpAddr>>,
    is_proxy: bool,
}

impl Place {
    /// True for a reserved place that a stranger has.
    pub(super) fn is_limited(&self) -> bool {
        self.open.is_none() && !self.is_proxy
    }
}

impl Places {
    /// So many places, and so many for each address; 0 for no limit of these.
    pub(super) fn new(places: usize, per_address: usize, metrics: &Metrics) -> Self {
        Self {
            all: Arc::new(Semaphore::new(places)),
            open: Arc::new(Semaphore::new(places - places / RESERVED)),
            addresses: Tally::default(),
            per_address,
            metrics: metrics.clone(),
        }
    }

    /// Waits until there is any place.
    pub(super) async fn any(&self) -> OwnedSemaphorePermit {
        Arc::clone(&self.all).acquire_owned().await.expect("the semaphore is never closed")
    }

    /// Any place, if there is one now.
    pub(super) fn any_now(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.all).try_acquire_owned().ok()
    }

    /// Makes `any` the place of a peer; `None` if its address has too many.
    pub(super) fn of(&self, any: OwnedSemaphorePermit, peer: IpAddr, is_proxy: bool) -> Option<Place> {
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
        Some(Place { _any: any, open, _address: address, is_proxy })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn enter(places: &Places, peer: &str, is_proxy: bool) -> Option<Place> {
        places.of(places.any_now().expect("there is a place"), peer.parse().expect("it is an address"), is_proxy)
    }

    #[test]
    fn an_address_has_so_many_and_gets_them_back() {
        let places = Places::new(40, 2, &Metrics::default());
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
        let places = Places::new(20, 0, &Metrics::default());
        let mut open: Vec<_> = (0..19).map(|_| enter(&places, "192.0.2.1", false).expect("there is a place")).collect();
        assert!(!open.iter().any(Place::is_limited));
        let last = enter(&places, "192.0.2.1", false).expect("there is a place");
        assert!(last.is_limited() && places.any_now().is_none());
        drop(last);
        assert!(!enter(&places, "192.0.2.9", true).expect("there is a place").is_limited());
        open.pop();
        assert!(!enter(&places, "192.0.2.1", false).expect("there is a place").is_limited());
    }
}
