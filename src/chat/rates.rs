//! Rate limits of one user, over HTTP and sockets together. A request beyond the rate is refused. A socket's verb is done, and
//! the socket is read no further until the user has paid for it: back-pressure, which loses nothing.

use std::{collections::HashMap, time::Duration};

use parking_lot::Mutex;
use storage::UserId;
use tokio::time::Instant;

use super::{Chat, Error, Result};
use crate::{
    auth::Caller,
    token_bucket::{Rate, TokenBucket},
};

/// The rates of one user; `None` for no limit.
#[derive(Clone, Copy, Debug)]
pub struct RateRules {
    /// Sends, edits, marks, typing, and everything else that changes something.
    pub writes: Option<Rate>,
    /// New conversations.
    pub conversations: Option<Rate>,
    pub searches: Option<Rate>,
}

/// A kind of act that has a rate of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Charge {
    Write,
    Conversation,
    Search,
}

impl Charge {
    const ALL: [Self; 3] = [Self::Write, Self::Conversation, Self::Search];

    /// The setting, as metrics name it, and the words for refusals.
    fn names(self) -> (&'static str, &'static str) {
        match self {
            Self::Write => ("user.writes_per_second", "changes"),
            Self::Conversation => ("user.conversations_per_second", "new conversations"),
            Self::Search => ("user.searches_per_second", "searches"),
        }
    }
}

/// The token buckets of those who have done something of late.
pub(super) struct Rates {
    rules: RateRules,
    users: Mutex<Users>,
}

struct Users {
    /// Without those that are full, but for such as filled up since the last look.
    buckets: HashMap<(UserId, Charge), TokenBucket>,
    /// The number of buckets at which full ones are looked for.
    most: usize,
}

/// A number of buckets that is never looked through.
const FEW: usize = 1_024;

impl Rates {
    pub(super) fn new(rules: RateRules) -> Self {
        Self { rules, users: Mutex::new(Users { buckets: HashMap::new(), most: FEW }) }
    }

    fn rate(&self, charge: Charge) -> Option<Rate> {
        match charge {
            Charge::Write => self.rules.writes,
            Charge::Conversation => self.rules.conversations,
            Charge::Search => self.rules.searches,
        }
    }

    /// Takes a token, or says in what time there is one.
    fn take(&self, user: UserId, charge: Charge, now: Instant) -> Result<(), Duration> {
        self.with(user, charge, now, |bucket, rate| bucket.take(rate, now)).unwrap_or(Ok(()))
    }

    /// Takes a token that may not be there yet.
    fn owe(&self, user: UserId, charge: Charge, now: Instant) {
        self.with(user, charge, now, |bucket, rate| bucket.charge(rate, 1.0, now));
    }

    fn debt(&self, user: UserId, now: Instant) -> Duration {
        let mut users = self.users.lock();
        let debt = |charge| Some(users.buckets.get_mut(&(user, charge))?.debt(self.rate(charge)?, now));
        Charge::ALL.into_iter().filter_map(debt).max().unwrap_or_default()
    }

    fn with<T>(&self, user: UserId, charge: Charge, now: Instant, act: impl FnOnce(&mut TokenBucket, Rate) -> T) -> Option<T> {
        let rate = self.rate(charge)?;
        let mut users = self.users.lock();
        if users.buckets.len() >= users.most {
            // A full bucket is as good as a new one. The owners of all others have done something within the time that a bucket
            // takes to fill, so that they are bounded by what the server does in that time.
            users.buckets.retain(|(_, charge), bucket| self.rate(*charge).is_some_and(|rate| !bucket.is_full(rate, now)));
            users.most = FEW.max(2 * users.buckets.len());
        }
        Some(act(users.buckets.entry((user, charge)).or_insert_with(|| TokenBucket::full(rate, now)), rate))
    }
}

impl Chat {
    /// Counts something that the caller does.
    ///
    /// # Errors
    ///
    /// [`Error::TooFast`] beyond the caller's rate, unless it is one who is held back instead.
    pub(super) fn charge(&self, caller: &Caller, charge: Charge) -> Result<()> {
        let now = Instant::now();
        if caller.is_held_back {
            self.0.rates.owe(caller.user, charge, now);
            return Ok(());
        }
        self.0.rates.take(caller.user, charge, now).map_err(|retry_after| {
            let (limit, what) = charge.names();
            self.0.metrics.refused(limit);
            Error::TooFast { what, retry_after }
        })
    }

    /// The time for which a socket of the caller's is to be held back.
    pub fn owes(&self, caller: &Caller) -> Duration {
        self.0.rates.debt(caller.user, Instant::now())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATE: Rate = Rate { burst: 2.0, per_second: 1.0 };

    fn rates() -> Rates {
        Rates::new(RateRules { writes: Some(RATE), conversations: Some(RATE), searches: None })
    }

    #[test]
    fn each_user_has_a_bucket_for_each_kind() {
        let (rates, now) = (rates(), Instant::now());
        for user in [UserId(1), UserId(2)] {
            for charge in [Charge::Write, Charge::Conversation] {
                assert_eq!([(); 3].map(|()| rates.take(user, charge, now).is_ok()), [true, true, false], "{user} {charge:?}");
            }
            assert_eq!([(); 100].map(|()| rates.take(user, Charge::Search, now)), [Ok(()); 100], "there is no limit");
        }
        assert_eq!(rates.debt(UserId(1), now), Duration::ZERO, "whoever is refused owes nothing");
    }

    #[test]
    fn a_debt_is_the_users_whoever_makes_it() {
        let (rates, now) = (rates(), Instant::now());
        for _ in 0..5 {
            rates.owe(UserId(1), Charge::Write, now);
        }
        rates.owe(UserId(1), Charge::Search, now);
        assert_eq!([1, 2].map(|user| rates.debt(UserId(user), now).as_secs()), [3, 0]);
        assert_eq!(rates.take(UserId(1), Charge::Write, now), Err(Duration::from_secs(4)));
        assert_eq!(rates.take(UserId(1), Charge::Conversation, now), Ok(()));
    }

    #[test]
    fn nothing_is_kept_of_those_who_do_nothing() {
        let (rates, now) = (rates(), Instant::now());
        for user in 0..10_000 {
            rates.owe(UserId(user), Charge::Write, now);
        }
        assert_eq!(rates.users.lock().buckets.len(), 10_000, "all of them count");
        for user in 10_000..100_000 {
            let later = now + Duration::from_secs(user as u64 / 1_000);
            rates.owe(UserId(user), Charge::Write, later);
        }
        // In two seconds a bucket is full again.
        assert!(rates.users.lock().buckets.len() <= 20_000);
    }
}
