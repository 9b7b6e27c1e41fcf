//! Fair shares of the server: memory budgets for requests and responses, concurrency limits of the store, and delays of refusals,
//! for the process and for each party.

mod account;
mod budget;
mod refusals;
mod turns;

use std::net::{IpAddr, Ipv6Addr};

use storage::UserId;

pub use account::Account;
pub use budget::{Budget, Charge};
pub use refusals::Refusals;
pub use turns::{StoreTurn, StoreTurns};

use crate::metrics::Metrics;

/// `Retry-After` of a refusal for want of a share.
pub const RETRY_AFTER_SECONDS: u64 = 1;

/// Owner of a share: the user, or, before one is known, the network address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Party {
    User(UserId),
    Address(IpAddr),
}

impl Party {
    /// Party of an unauthenticated request.
    pub fn at(address: IpAddr) -> Self {
        Self::Address(share_of(address))
    }
}

/// Address by which shares are counted: an IPv6 address by its /64, which one subscriber has as a whole.
pub fn share_of(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() >> 64 << 64)),
        address @ IpAddr::V4(_) => address,
    }
}

/// Refusal for want of a share.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoShare {
    /// The party has too many concurrent requests.
    #[error("too many requests at once")]
    Requests,
    /// The memory budget for requests or responses is used up.
    #[error("no memory to spare")]
    Memory,
}

/// Sizes of the shares; 0 for no limit.
#[derive(Clone, Copy, Debug)]
pub struct Sizes {
    pub bodies_bytes: usize,
    pub answers_bytes: usize,
    pub requests_per_user: usize,
    pub requests_per_address: usize,
}

/// The shares of one server. Clones are handles to the same.
#[derive(Clone)]
pub struct Shares {
    pub bodies: Budget,
    pub answers: Budget,
    pub turns: StoreTurns,
    refusals: Refusals,
    metrics: Metrics,
}

impl Shares {
    pub fn new(sizes: Sizes, metrics: &Metrics) -> Self {
        Self {
            bodies: Budget::new("bodies_bytes", sizes.bodies_bytes, metrics),
            answers: Budget::new("answers_bytes", sizes.answers_bytes, metrics),
            turns: StoreTurns::new(sizes.requests_per_user, sizes.requests_per_address, metrics),
            refusals: Refusals::default(),
            metrics: metrics.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Party;

    #[test]
    fn a_subscriber_has_one_share() {
        let party = |address: &str| Party::at(address.parse().expect("it is an address"));
        assert_eq!(party("2001:db8:1:2::1"), party("2001:db8:1:2:ffff::9"));
        assert_ne!(party("2001:db8:1:2::1"), party("2001:db8:1:3::1"));
        assert_eq!(party("::ffff:192.0.2.1"), party("192.0.2.1"));
        assert_ne!(party("192.0.2.1"), party("192.0.2.2"));
    }
}
