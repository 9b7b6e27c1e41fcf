use std::{
    net::{IpAddr, Ipv6Addr},
    sync::Arc,
    time::Duration,
};

use parking_lot::Mutex;
use quick_cache::sync::Cache;
use tokio::time::Instant;

use super::{Error, Result};

/// For how long failures count.
const WINDOW: Duration = Duration::from_secs(60);
/// How many pairs of address and login are remembered.
const REMEMBERED: usize = 50_000;

/// How many failed logins are let pass within a minute.
#[derive(Clone, Copy, Debug)]
pub struct AttemptLimits {
    /// With one login from one address.
    pub per_login: u32,
    /// With any login from one address.
    pub per_address: u32,
}

/// Counts failed logins per address, and per login from an address. A login alone is never counted: a stranger could
/// lock anybody out.
pub(super) struct Attempts {
    limits: AttemptLimits,
    counts: Cache<(IpAddr, Option<String>), Arc<Mutex<Count>>>,
}

struct Count {
    since: Instant,
    failures: u32,
}

/// A login under way. It counts as failed unless it succeeds.
pub(super) struct Attempt<'a> {
    attempts: &'a Attempts,
    keys: [(IpAddr, Option<String>); 2],
}

impl Attempts {
    pub(super) fn new(limits: AttemptLimits) -> Self {
        Self { limits, counts: Cache::new(REMEMBERED) }
    }

    /// Counts an attempt before it is known how it ends, so that many at once cannot slip through.
    pub(super) fn begin(&self, from: IpAddr, login: &str) -> Result<Attempt<'_>> {
        let from = network(from);
        let keys = [(from, Some(login.to_owned())), (from, None)];
        for (key, limit) in keys.iter().zip([self.limits.per_login, self.limits.per_address]) {
            let count = self.count(key);
            let mut count = count.lock();
            if count.since.elapsed() >= WINDOW {
                *count = Count { since: Instant::now(), failures: 0 };
            }
            if count.failures >= limit {
                return Err(Error::TooManyAttempts { retry_after: WINDOW.saturating_sub(count.since.elapsed()) });
            }
            count.failures += 1;
        }
        Ok(Attempt { attempts: self, keys })
    }

    fn count(&self, key: &(IpAddr, Option<String>)) -> Arc<Mutex<Count>> {
        let fresh = || Ok::<_, std::convert::Infallible>(Arc::new(Mutex::new(Count { since: Instant::now(), failures: 0 })));
        match self.counts.get_or_insert_with(key, fresh) {
            Ok(count) => count,
            Err(never) => match never {},
        }
    }
}

impl Attempt<'_> {
    pub(super) fn succeeded(self) {
        for key in &self.keys {
            let count = self.attempts.count(key);
            let mut count = count.lock();
            count.failures = count.failures.saturating_sub(1);
        }
    }
}

/// An IPv6 customer has a whole /64 to call from.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => address.into(),
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() >> 64 << 64).into(),
    }
}
