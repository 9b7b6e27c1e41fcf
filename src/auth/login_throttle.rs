//! Login throttle: counters of failed log-ins within a minute, per address, and per address and name or account.
//! An account alone has no counter, or a stranger could lock its user out. Counters live in a bounded cache.

use std::{
    hash::{BuildHasher, RandomState},
    net::IpAddr,
    sync::Arc,
    time::Duration,
};

use parking_lot::Mutex;
use quick_cache::sync::Cache;
use storage::UserId;
use tokio::{sync::Notify, time::Instant};

use crate::shares::share_of;

/// Period over which failed log-ins are counted.
const WINDOW: Duration = Duration::from_secs(60);
/// Capacity of the cache of counters.
const COUNTERS: usize = 50_000;

/// Limits of failed log-ins within a minute, and of log-ins in the queue for a password check.
#[derive(Clone, Copy, Debug)]
pub struct LoginLimits {
    /// Failed log-ins with one login from one address.
    pub per_login: u32,
    /// Failed log-ins with any login from one address.
    pub per_address: u32,
    /// Log-ins in the queue for a password check; one network may have half of them.
    pub waiting: usize,
}

/// Key of a counter: an address and the target of its log-ins.
type Key = (IpAddr, ThrottleTarget);

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum ThrottleTarget {
    Anything,
    /// A login or uid, known or not, as a keyed hash: a stranger chooses its length.
    Name(u64),
    /// An account, by whatever login or route.
    Account(UserId),
}

/// Login throttle: counts failed log-ins per address, and per address and name or account. An account alone is never counted: a
/// stranger could lock its user out.
///
/// Only the counters of an address and of a name refuse openly. A refusal by an account's counter that was filled under another
/// name would reveal that both names belong to one account, and that the account exists.
pub(super) struct LoginThrottle {
    limits: LoginLimits,
    hasher: RandomState,
    counts: Cache<Key, Arc<FailureCounter>>,
}

struct FailureCounter {
    state: Mutex<State>,
    /// Notified at the end of each attempt.
    ended: Notify,
}

struct State {
    since: Instant,
    failures: u32,
    /// True after the first refusal within the current period.
    is_locked: bool,
    /// Attempts whose outcome is still open.
    under_way: u32,
}

/// Refusal of an attempt: the limit of failed log-ins is reached.
#[derive(Clone, Copy, Debug)]
pub(super) struct LockedOut {
    pub(super) retry_after: Duration,
    /// True for the first refusal by this counter within its period.
    pub(super) is_first: bool,
}

/// An attempt that the counter of its address has admitted, before it names an account.
pub(super) struct AddressAttempt {
    address: IpAddr,
    place: ThrottlePermit,
}

/// An attempt under way. An attempt that is dropped before it has failed, because the store or the client went away, does not
/// count: it reveals nothing about the password.
pub(super) struct LoginAttempt {
    places: Vec<ThrottlePermit>,
    /// True if the account's counter has reached its limit: the answer is "wrong password" whatever the password.
    pub(super) is_account_locked: bool,
}

/// Permit of one counter for one attempt.
struct ThrottlePermit {
    count: Arc<FailureCounter>,
    failed: bool,
}

impl LoginThrottle {
    pub(super) fn new(limits: LoginLimits) -> Self {
        Self { limits, hasher: RandomState::new(), counts: Cache::new(COUNTERS) }
    }

    /// Admits an attempt by its address. Attempts under way are limited to the failures that remain, so that parallel attempts
    /// cannot exceed the limit; others wait, so that a right password is not refused. The address is checked first: a refused
    /// attempt creates no further counters, which would evict others from the cache.
    ///
    /// # Errors
    /// [`LockedOut`] if the address has reached its limit within the last minute.
    ///
    /// # Cancel safety
    /// A cancelled attempt does not count.
    pub(super) async fn admit_address(&self, from: IpAddr) -> Result<AddressAttempt, LockedOut> {
        let address = share_of(from);
        Ok(AddressAttempt {
            address,
            place: self.count((address, ThrottleTarget::Anything)).enter(self.limits.per_address).await?,
        })
    }

    /// Admits an attempt under `name`, which is the login of `user` if it is known.
    ///
    /// # Errors
    /// [`LockedOut`] if the name has reached its limit at this address. The counter of the account sets `is_account_locked` instead.
    ///
    /// # Cancel safety
    /// A cancelled attempt does not count.
    pub(super) async fn admit_login(
        &self,
        AddressAttempt { address, place }: AddressAttempt,
        name: &str,
        user: Option<UserId>,
    ) -> Result<LoginAttempt, LockedOut> {
        let of_name =
            self.count((address, ThrottleTarget::Name(self.hasher.hash_one(name)))).enter(self.limits.per_login).await?;
        let of_account = match user {
            Some(user) => Some(self.count((address, ThrottleTarget::Account(user))).enter(self.limits.per_login).await),
            None => None,
        };
        let is_in_vain = matches!(of_account, Some(Err(_)));
        Ok(LoginAttempt {
            places: [place, of_name].into_iter().chain(of_account.and_then(Result::ok)).collect(),
            is_account_locked: is_in_vain,
        })
    }

    fn count(&self, key: Key) -> Arc<FailureCounter> {
        let fresh = || Ok::<_, std::convert::Infallible>(Arc::new(FailureCounter::default()));
        match self.counts.get_or_insert_with(&key, fresh) {
            Ok(count) => count,
            Err(never) => match never {},
        }
    }
}

impl Default for FailureCounter {
    fn default() -> Self {
        Self {
            state: Mutex::new(State { since: Instant::now(), failures: 0, is_locked: false, under_way: 0 }),
            ended: Notify::new(),
        }
    }
}

impl FailureCounter {
    async fn enter(self: Arc<Self>, limit: u32) -> Result<ThrottlePermit, LockedOut> {
        loop {
            let ended = self.ended.notified();
            if self.try_enter(limit)? {
                return Ok(ThrottlePermit { count: Arc::clone(&self), failed: false });
            }
            ended.await;
        }
    }

    /// Takes a permit if one is free; fails if the limit is reached.
    fn try_enter(&self, limit: u32) -> Result<bool, LockedOut> {
        let mut state = self.state.lock();
        if state.since.elapsed() >= WINDOW {
            (state.since, state.failures, state.is_locked) = (Instant::now(), 0, false);
        }
        if state.failures >= limit {
            let is_first = !std::mem::replace(&mut state.is_locked, true);
            return Err(LockedOut { retry_after: WINDOW.saturating_sub(state.since.elapsed()), is_first });
        }
        let free = state.failures + state.under_way < limit;
        state.under_way += u32::from(free);
        Ok(free)
    }
}

impl LoginAttempt {
    pub(super) fn failed(mut self) {
        self.places.iter_mut().for_each(|place| place.failed = true);
    }
}

impl Drop for ThrottlePermit {
    fn drop(&mut self) {
        let mut state = self.count.state.lock();
        state.under_way -= 1;
        state.failures += u32::from(self.failed);
        drop(state);
        self.count.ended.notify_waiters();
    }
}
