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
/// Counters that are kept: of addresses, and of names and accounts from an address.
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

/// Key of a counter of failed logins: an address, and what it tries there.
type Key = (IpAddr, Tried);

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Tried {
    Anything,
    /// A login or a uid, whether or not anybody has it, as a keyed hash, because strangers choose how long it is.
    Name(u64),
    /// An account, whatever it is called, by whichever route.
    Account(UserId),
}

/// Counts failed logins per address, and from an address per name and per account. An account alone is never counted: a stranger
/// could lock anybody out.
///
/// Only an address and a name are refused in so many words. The counter of an account that was filled under another name would tell
/// that the two are one account, and that it exists.
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
    places: Vec<Place>,
    /// As many have failed at this account as may: whatever the password, the answer is that it is wrong.
    pub(super) is_in_vain: bool,
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
        Ok(Arrival { address, place: self.count((address, Tried::Anything)).enter(self.limits.per_address).await? })
    }

    /// Lets an attempt under a name begin, which is that of `user` if anybody's, in the same way.
    ///
    /// # Errors
    /// As [`Attempts::arrive`], of the name.
    ///
    /// # Cancel safety
    /// As [`Attempts::arrive`].
    pub(super) async fn begin(
        &self,
        Arrival { address, place }: Arrival,
        name: &str,
        user: Option<UserId>,
    ) -> Result<Attempt, LockedOut> {
        let of_name = self.count((address, Tried::Name(self.hasher.hash_one(name)))).enter(self.limits.per_login).await?;
        let of_account = match user {
            Some(user) => Some(self.count((address, Tried::Account(user))).enter(self.limits.per_login).await),
            None => None,
        };
        let is_in_vain = matches!(of_account, Some(Err(_)));
        Ok(Attempt { places: [place, of_name].into_iter().chain(of_account.and_then(Result::ok)).collect(), is_in_vain })
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
