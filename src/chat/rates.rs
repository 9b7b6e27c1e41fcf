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

/// People that one token adds to a conversation or an address book.
const PEOPLE_PER_TOKEN: usize = 100;

/// People that one token looks up by id.
const LOOKED_UP_PER_TOKEN: usize = 1_000;

/// People in a look-up by id that costs nothing.
const FREE_LOOK_UP: usize = 100;

/// Work of a walk that one token covers: people times terms. A search for one term costs one token in a company of this size.
const WALK_PER_TOKEN: usize = 50_000;

/// Longest duration of a walk that waits for tokens.
const LONGEST_WALK: Duration = Duration::from_secs(30);

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

    /// Takes tokens, at most a whole burst; the error is the time until there are enough.
    fn take(&self, user: UserId, act: Act, tokens: f64, now: Instant) -> Result<(), Duration> {
        self.with(user, act, now, |bucket, rate| bucket.take_many(rate, tokens, now)).unwrap_or(Ok(()))
    }

    /// Takes tokens, at most a whole burst, into debt if there are too few.
    fn charge(&self, user: UserId, act: Act, tokens: f64, now: Instant) {
        self.with(user, act, now, |bucket, rate| bucket.charge(rate, tokens.min(rate.burst), now));
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

/// Pace of a walk over people. Its work is known only as it proceeds, so it takes one token after the other from the rate of
/// searches; [`Chat::begin_walk`] has taken the first.
pub(super) struct WalkPace<'a> {
    rates: &'a RateLimits,
    user: UserId,
    terms: usize,
    /// Work that is paid for.
    paid: usize,
    deadline: Instant,
}

impl<'a> WalkPace<'a> {
    fn begin(rates: &'a RateLimits, user: UserId, terms: usize) -> Self {
        let terms = terms.clamp(1, WALK_PER_TOKEN);
        Self { rates, user, terms, paid: WALK_PER_TOKEN, deadline: Instant::now() + LONGEST_WALK }
    }

    /// Counts one more person, and yields to other tasks now and then; the error is the time until a token that comes too late.
    async fn step(&mut self) -> Result<(), Duration> {
        while self.paid < self.terms {
            match self.rates.take(self.user, Act::Search, 1.0, Instant::now()) {
                Ok(()) => self.paid += WALK_PER_TOKEN,
                Err(wait) if Instant::now() + wait > self.deadline => return Err(wait),
                Err(wait) => tokio::time::sleep(wait).await,
            }
        }
        self.paid -= self.terms;
        tokio::task::consume_budget().await;
        Ok(())
    }
}

impl Chat {
    /// Charges an action to the caller's rate limit.
    ///
    /// # Errors
    /// [`Error::TooFast`] beyond the rate. A caller on a socket goes into debt instead.
    pub(super) fn charge(&self, caller: &Caller, act: Act) -> Result<()> {
        self.charge_tokens(caller, act, 1.0)
    }

    /// Charges an action on so many people: a token for each started [`PEOPLE_PER_TOKEN`] of them, or [`LOOKED_UP_PER_TOKEN`] if
    /// they are only looked up; at most a whole burst.
    ///
    /// # Errors
    /// As [`Chat::charge`].
    pub(super) fn charge_for_people(&self, caller: &Caller, act: Act, people: usize) -> Result<()> {
        let tokens = match act {
            Act::Search if people <= FREE_LOOK_UP => return Ok(()),
            Act::Search => people.div_ceil(LOOKED_UP_PER_TOKEN),
            Act::Write | Act::Conversation | Act::Opening => people.div_ceil(PEOPLE_PER_TOKEN).max(1),
        };
        self.charge_tokens(caller, act, tokens as f64)
    }

    fn charge_tokens(&self, caller: &Caller, act: Act, tokens: f64) -> Result<()> {
        if caller.has_back_pressure {
            self.0.rates.charge(caller.user, act, tokens, Instant::now());
            return Ok(());
        }
        self.take(caller.user, act, tokens).map_err(|retry_after| Error::TooFast { what: act.names().1, retry_after })
    }

    /// Begins a walk over people with this number of terms for each.
    ///
    /// # Errors
    /// As [`Chat::charge`].
    pub(super) fn begin_walk(&self, caller: &Caller, terms: usize) -> Result<WalkPace<'_>> {
        self.charge(caller, Act::Search)?;
        Ok(WalkPace::begin(&self.0.rates, caller.user, terms))
    }

    /// Counts one more person of a walk; waits for a token once the work has used up the last one.
    ///
    /// # Errors
    /// [`Error::TooFast`] if the walk would take longer than [`LONGEST_WALK`].
    ///
    /// # Cancel safety
    /// A dropped future has counted the person, or not.
    pub(super) async fn step(&self, walk: &mut WalkPace<'_>) -> Result<()> {
        walk.step().await.map_err(|retry_after| {
            let (limit, what) = Act::Search.names();
            self.0.metrics.refused(limit);
            Error::TooFast { what, retry_after }
        })
    }

    /// Charges the issue of tokens or a session without a password to the user's rate limit of writes.
    ///
    /// # Errors
    /// [`auth::Error::TooFast`] beyond the rate.
    pub fn charge_issuing(&self, user: UserId) -> auth::Result<()> {
        self.take(user, Act::Write, 1.0).map_err(|retry_after| auth::Error::TooFast { retry_after })
    }

    fn take(&self, user: UserId, act: Act, tokens: f64) -> Result<(), Duration> {
        let taken = self.0.rates.take(user, act, tokens, Instant::now());
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
                assert_eq!(
                    [(); 3].map(|()| rates.take(user, charge, 1.0, now).is_ok()),
                    [true, true, false],
                    "{user} {charge:?}"
                );
            }
            assert_eq!([(); 100].map(|()| rates.take(user, Act::Search, 1.0, now)), [Ok(()); 100], "there is no limit");
        }
        assert_eq!(rates.debt(UserId(1), now), Duration::ZERO, "whoever is refused owes nothing");
    }

    #[test]
    fn a_debt_is_the_users_whoever_makes_it() {
        let (rates, now) = (rates(), Instant::now());
        for _ in 0..5 {
            rates.charge(UserId(1), Act::Write, 1.0, now);
        }
        rates.charge(UserId(1), Act::Search, 1.0, now);
        assert_eq!([1, 2].map(|user| rates.debt(UserId(user), now).as_secs()), [3, 0]);
        assert_eq!(rates.take(UserId(1), Act::Write, 1.0, now), Err(Duration::from_secs(4)));
        assert_eq!(rates.take(UserId(1), Act::Conversation, 1.0, now), Ok(()));
        rates.charge(UserId(2), Act::Write, 50.0, now);
        rates.charge(UserId(2), Act::Write, 50.0, now);
        assert_eq!(rates.debt(UserId(2), now).as_secs(), 2, "an action costs at most a burst");
    }

    #[test]
    fn openings_wait_for_each_other_up_to_a_limit() {
        let (rates, now) = (rates(), Instant::now());
        let waits = [(); 200].map(|()| rates.pace(UserId(1), Act::Opening, now));
        assert_eq!([0, 60, 61, 81, 121, 199].map(|nth| waits[nth].as_secs_f64()), [0.0, 0.05, 0.1, 1.1, 3.0, 3.0]);
        assert_eq!(rates.debt(UserId(1), now), Duration::ZERO, "open sockets are not held back for it");
        assert_eq!(rates.pace(UserId(1), Act::Opening, now + Duration::from_secs(4)), Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn a_walk_pays_for_its_work() {
        let rates = RateLimits::new(RateRules { writes: None, conversations: None, searches: Some(RATE) });
        let seconds = async |terms: usize, people: usize| {
            let begun = Instant::now();
            // As `begin_walk` does.
            let taken = rates.take(UserId(1), Act::Search, 1.0, begun);
            let mut walk = WalkPace::begin(&rates, UserId(1), terms);
            for person in 0..people {
                if walk.step().await.is_err() {
                    return Err(person);
                }
            }
            assert_eq!(taken, Ok(()), "the burst is refilled");
            tokio::time::advance(Duration::from_secs(60)).await;
            Ok((Instant::now() - begun).as_secs() - 60)
        };
        assert_eq!(seconds(0, 50_000).await, Ok(0), "it costs one token");
        assert_eq!(seconds(1, 100_000).await, Ok(0), "it costs the burst of two");
        let people_per_token = WALK_PER_TOKEN / 256;
        assert_eq!(seconds(256, 5 * people_per_token).await, Ok(3));
        // It costs 52 tokens, and 30 seconds bring no more than 32.
        let person = seconds(256, 10_000).await.expect_err("it takes too long");
        assert!((31..=32).contains(&(person / people_per_token)), "{person}");
    }

    #[test]
    fn nothing_is_kept_of_those_who_do_nothing() {
        let (rates, now) = (rates(), Instant::now());
        for user in 0..10_000 {
            rates.charge(UserId(user), Act::Write, 1.0, now);
        }
        assert_eq!(rates.buckets.lock().len(), 10_000, "all of them count");
        for user in 10_000..100_000 {
            let later = now + Duration::from_secs(user as u64 / 1_000);
            rates.charge(UserId(user), Act::Write, 1.0, later);
        }
        // A bucket refills within two seconds.
        assert!(rates.buckets.lock().len() <= 20_000);
    }
}
