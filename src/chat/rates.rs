//! Rate limits of one user, over HTTP and sockets together, as token buckets on this node. A request beyond the rate is
//! refused. A socket's action is executed, and the server reads no further from the socket until the debt is paid:
//! back-pressure, which loses nothing.

use std::time::Duration;

use parking_lot::Mutex;
use storage::UserId;
use tokio::time::Instant;

use super::{Chat, Error, Result};
use crate::{
    auth::{self, Caller},
    pruning_map::PruningMap,
    token_bucket::{Rate, TokenBucket},
};

/// The rate limits of one user; `None` for no limit.
#[derive(Clone, Copy, Debug)]
pub struct RateRules {
    /// Sends, edits, read marks, typing, and all other changes.
    pub writes: Option<Rate>,
    pub conversations: Option<Rate>,
    pub searches: Option<Rate>,
}

/// An action with a rate limit of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Act {
    Write,
    Conversation,
    Search,
    /// Opening of a socket; unlimited if writes are.
    Opening,
}

/// Rate limit of socket openings.
const OPENINGS: Rate = Rate { burst: 60.0, per_second: 20.0 };

/// Longest delay of a socket opening.
const LONGEST_OPENING_DELAY: Duration = Duration::from_secs(3);

impl Act {
    /// Actions whose debt holds a user's sockets back.
    const HELD_BACK: [Self; 3] = [Self::Write, Self::Conversation, Self::Search];

    /// The setting, as the label of the metric, and the noun for the error message.
    fn names(self) -> (&'static str, &'static str) {
        match self {
            Self::Write => ("user.writes_per_second", "changes"),
            Self::Conversation => ("user.conversations_per_second", "new conversations"),
            Self::Search => ("user.searches_per_second", "searches"),
            Self::Opening => ("user.writes_per_second", "sockets opened"),
        }
    }
}

/// The token buckets of recently active users. Full buckets are evicted, since a new one is equal; so the activity within the
/// time that a bucket takes to refill bounds their number.
pub(super) struct RateLimits {
    rules: RateRules,
    buckets: Mutex<PruningMap<(UserId, Act), TokenBucket>>,
}

impl RateLimits {
    pub(super) fn new(rules: RateRules) -> Self {
        Self { rules, buckets: Mutex::default() }
    }

    fn rate(&self, act: Act) -> Option<Rate> {
        match act {
            Act::Write => self.rules.writes,
            Act::Conversation => self.rules.conversations,
            Act::Search => self.rules.searches,
            Act::Opening => self.rules.writes.map(|_| OPENINGS),
        }
    }

    /// Takes a token; the error is the time until there is one.
    fn take(&self, user: UserId, act: Act, now: Instant) -> Result<(), Duration> {
        self.with(user, act, now, |bucket, rate| bucket.take(rate, now)).unwrap_or(Ok(()))
    }

    /// Takes a token, into debt if there is none.
    fn charge(&self, user: UserId, act: Act, now: Instant) {
        self.with(user, act, now, |bucket, rate| bucket.charge(rate, 1.0, now));
    }

    /// Takes a token, into debt if there is none, and gives the time until the debt is paid.
    fn pace(&self, user: UserId, act: Act, now: Instant) -> Duration {
        self.with(user, act, now, |bucket, rate| bucket.take_delayed(rate, LONGEST_OPENING_DELAY, now)).unwrap_or_default()
    }

    fn debt(&self, user: UserId, now: Instant) -> Duration {
        let mut buckets = self.buckets.lock();
        let debt = |act| Some(buckets.get_mut(&(user, act))?.debt(self.rate(act)?, now));
        Act::HELD_BACK.into_iter().filter_map(debt).max().unwrap_or_default()
    }

    fn with<T>(&self, user: UserId, act: Act, now: Instant, change: impl FnOnce(&mut TokenBucket, Rate) -> T) -> Option<T> {
        let rate = self.rate(act)?;
        let mut buckets = self.buckets.lock();
        let is_full =
            |(_, act): &(UserId, Act), bucket: &mut TokenBucket| self.rate(*act).is_none_or(|rate| bucket.is_full(rate, now));
        Some(change(buckets.entry((user, act), is_full).or_insert_with(|| TokenBucket::full(rate, now)), rate))
    }
}

impl Chat {
    /// Charges an action to the caller's rate limit.
    ///
    /// # Errors
    /// [`Error::TooFast`] beyond the rate. A caller on a socket goes into debt instead.
    pub(super) fn charge(&self, caller: &Caller, act: Act) -> Result<()> {
        if caller.has_back_pressure {
            self.0.rates.charge(caller.user, act, Instant::now());
            return Ok(());
        }
        self.take(caller.user, act).map_err(|retry_after| Error::TooFast { what: act.names().1, retry_after })
    }

    /// Charges the issue of tokens or a session without a password to the user's rate limit of writes.
    ///
    /// # Errors
    /// [`auth::Error::TooFast`] beyond the rate.
    pub fn charge_issuing(&self, user: UserId) -> auth::Result<()> {
        self.take(user, Act::Write).map_err(|retry_after| auth::Error::TooFast { retry_after })
    }

    fn take(&self, user: UserId, act: Act) -> Result<(), Duration> {
        let taken = self.0.rates.take(user, act, Instant::now());
        if taken.is_err() {
            self.0.metrics.refused(act.names().0);
        }
        taken
    }

    /// Waits for the caller's rate limit of socket openings, for 3 s at most.
    ///
    /// # Cancel safety
    /// A dropped future has taken its token.
    pub async fn wait_for_opening(&self, caller: &Caller) {
        tokio::time::sleep(self.0.rates.pace(caller.user, Act::Opening, Instant::now())).await;
    }

    /// The time for which the caller's sockets are held back, until the debt is paid.
    pub fn debt(&self, caller: &Caller) -> Duration {
        self.0.rates.debt(caller.user, Instant::now())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATE: Rate = Rate { burst: 2.0, per_second: 1.0 };

    fn rates() -> RateLimits {
        RateLimits::new(RateRules { writes: Some(RATE), conversations: Some(RATE), searches: None })
    }

    #[test]
    fn each_user_has_a_bucket_for_each_kind() {
        let (rates, now) = (rates(), Instant::now());
        for user in [UserId(1), UserId(2)] {
            for charge in [Act::Write, Act::Conversation] {
                assert_eq!([(); 3].map(|()| rates.take(user, charge, now).is_ok()), [true, true, false], "{user} {charge:?}");
            }
            assert_eq!([(); 100].map(|()| rates.take(user, Act::Search, now)), [Ok(()); 100], "there is no limit");
        }
        assert_eq!(rates.debt(UserId(1), now), Duration::ZERO, "whoever is refused owes nothing");
    }

    #[test]
    fn a_debt_is_the_users_whoever_makes_it() {
        let (rates, now) = (rates(), Instant::now());
        for _ in 0..5 {
            rates.charge(UserId(1), Act::Write, now);
        }
        rates.charge(UserId(1), Act::Search, now);
        assert_eq!([1, 2].map(|user| rates.debt(UserId(user), now).as_secs()), [3, 0]);
        assert_eq!(rates.take(UserId(1), Act::Write, now), Err(Duration::from_secs(4)));
        assert_eq!(rates.take(UserId(1), Act::Conversation, now), Ok(()));
    }

    #[test]
    fn openings_wait_for_each_other_up_to_a_limit() {
        let (rates, now) = (rates(), Instant::now());
        let waits = [(); 200].map(|()| rates.pace(UserId(1), Act::Opening, now));
        assert_eq!([0, 60, 61, 81, 121, 199].map(|nth| waits[nth].as_secs_f64()), [0.0, 0.05, 0.1, 1.1, 3.0, 3.0]);
        assert_eq!(rates.debt(UserId(1), now), Duration::ZERO, "open sockets are not held back for it");
        assert_eq!(rates.pace(UserId(1), Act::Opening, now + Duration::from_secs(4)), Duration::ZERO);
    }

    #[test]
    fn nothing_is_kept_of_those_who_do_nothing() {
        let (rates, now) = (rates(), Instant::now());
        for user in 0..10_000 {
            rates.charge(UserId(user), Act::Write, now);
        }
        assert_eq!(rates.buckets.lock().len(), 10_000, "all of them count");
        for user in 10_000..100_000 {
            let later = now + Duration::from_secs(user as u64 / 1_000);
            rates.charge(UserId(user), Act::Write, later);
        }
        // A bucket refills within two seconds.
        assert!(rates.buckets.lock().len() <= 20_000);
    }
}
