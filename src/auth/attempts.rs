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

/// For how long failures count.
const WINDOW: Duration = Duration::from_secs(60);
/// Counters that are kept, of addresses, and of logins from an address.
const REMEMBERED: usize = 50_000;

/// Limits of failed logins within a minute, and of log-ins that wait.
#[derive(Clone, Copy, Debug)]
pub struct AttemptLimits {
    /// With one login from one address.
    pub per_login: u32,
    /// With any login from one address.
    pub per_address: u32,
    /// Log-ins that wait for their password to be checked; half of them from one network.
    pub waiting: usize,
}

/// Key of a counter of failed logins: an address, and an account at which it tries, or all of them.
type Key = (IpAddr, Option<Account>);

/// The account at which somebody tries to log in: the same one whatever it is called, by whichever route.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Account {
    User(UserId),
    /// A uid or a login that nobody has, as a keyed hash, because strangers choose how long it is.
    Nobody(u64),
}

/// Counts failed logins per address, and per account from an address. An account alone is never counted: a stranger could
/// lock anybody out.
pub(super) struct Attempts {
    limits: AttemptLimits,
    hasher: RandomState,
    counts: Cache<Key, Arc<Count>>,
}

struct Count {
    state: Mutex<State>,
    /// Rung whenever an attempt ends.
    ended: Notify,
}

struct State {
    since: Instant,
    failures: u32,
    /// Set by the first refusal since then.
    is_locked: bool,
    /// Attempts of which nobody knows yet how they end.
    under_way: u32,
}

/// Refusal of an attempt, because as many have failed as may.
#[derive(Clone, Copy, Debug)]
pub(super) struct LockedOut {
    pub(super) retry_after: Duration,
    /// The first refusal by this counter within its minute.
    pub(super) is_first: bool,
}

/// An attempt of an address, which has named no account yet.
pub(super) struct Arrival {
    address: IpAddr,
    place: Place,
}

/// A login under way. What is dropped without having failed, for want of the store or of the client, does not count:
/// nobody has learnt anything from it.
pub(super) struct Attempt {
    places: [Place; 2],
}

/// The part of an attempt that counts against one key.
struct Place {
    count: Arc<Count>,
    failed: bool,
}

impl Attempts {
    pub(super) fn new(limits: AttemptLimits) -> Self {
        Self { limits, hasher: RandomState::new(), counts: Cache::new(REMEMBERED) }
    }

    /// Lets an address try. As many attempts may be under way as may still fail, so that many at once cannot slip through; the
    /// others wait, so that nobody is refused who knows the password. The address is judged first: of an attempt that it is
    /// refused nothing is remembered, or refused attempts would drive out the counters.
    ///
    /// # Errors
    /// [`LockedOut`] if as many have failed within a minute as may.
    ///
    /// # Cancel safety
    /// An attempt that is cancelled counts for nothing.
    pub(super) async fn arrive(&self, from: IpAddr) -> Result<Arrival, LockedOut> {
        let address = share_of(from);
        Ok(Arrival { address, place: self.count((address, None)).enter(self.limits.per_address).await? })
    }

    /// Lets an attempt at an account begin, in the same way.
    ///
    /// # Errors
    /// As [`Attempts::arrive`].
    ///
    /// # Cancel safety
    /// As [`Attempts::arrive`].
    pub(super) async fn begin(&self, Arrival { address, place }: Arrival, account: Account) -> Result<Attempt, LockedOut> {
        let of_account = self.count((address, Some(account))).enter(self.limits.per_login).await?;
        Ok(Attempt { places: [place, of_account] })
    }

    /// Nobody's account of this name.
    pub(super) fn nobody(&self, name: &str) -> Account {
        Account::Nobody(self.hasher.hash_one(name))
    }

    fn count(&self, key: Key) -> Arc<Count> {
        let fresh = || Ok::<_, std::convert::Infallible>(Arc::new(Count::default()));
        match self.counts.get_or_insert_with(&key, fresh) {
            Ok(count) => count,
            Err(never) => match never {},
        }
    }
}

impl Default for Count {
    fn default() -> Self {
        Self {
            state: Mutex::new(State { since: Instant::now(), failures: 0, is_locked: false, under_way: 0 }),
            ended: Notify::new(),
        }
    }
}

impl Count {
    async fn enter(self: Arc<Self>, limit: u32) -> Result<Place, LockedOut> {
        loop {
            let ended = self.ended.notified();
            if self.try_enter(limit)? {
                return Ok(Place { count: Arc::clone(&self), failed: false });
            }
            ended.await;
        }
    }

    /// Takes a place if there is one; fails if there will be none for a while.
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

impl Attempt {
    pub(super) fn failed(mut self) {
        self.places.iter_mut().for_each(|place| place.failed = true);
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut state = self.count.state.lock();
        state.under_way -= 1;
        state.failures += u32::from(self.failed);
        drop(state);
        self.count.ended.notify_waiters();
    }
}
