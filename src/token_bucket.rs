//! Token buckets: rate limits with a burst.

use std::time::Duration;

use tokio::time::Instant;

/// Rate limit: size and refill rate of a token bucket.
#[derive(Clone, Copy, Debug)]
pub struct Rate {
    pub burst: f64,
    pub per_second: f64,
}

/// A token bucket. It begins full, and may be overdrawn, for back-pressure: a client is served first and delayed afterwards.
#[derive(Clone, Debug)]
pub struct TokenBucket {
    balance: f64,
    at: Instant,
}

impl TokenBucket {
    pub fn full(rate: Rate, now: Instant) -> Self {
        Self { balance: rate.burst, at: now }
    }

    /// Takes tokens, even below zero.
    pub fn charge(&mut self, rate: Rate, tokens: f64, now: Instant) {
        self.refill(rate, now);
        self.balance -= tokens;
    }

    /// Takes one token; without one, returns the time until there is one.
    pub fn take(&mut self, rate: Rate, now: Instant) -> Result<(), Duration> {
        self.take_many(rate, 1.0, now)
    }

    /// Takes tokens, at most a whole burst; without enough of them, returns the time until there are.
    pub fn take_many(&mut self, rate: Rate, tokens: f64, now: Instant) -> Result<(), Duration> {
        let tokens = tokens.min(rate.burst);
        self.refill(rate, now);
        if self.balance < tokens {
            return Err(at_most_a_day((tokens - self.balance) / rate.per_second));
        }
        self.balance -= tokens;
        Ok(())
    }

    /// Time until the balance is no longer negative; zero if it is not.
    pub fn debt(&mut self, rate: Rate, now: Instant) -> Duration {
        self.refill(rate, now);
        at_most_a_day((-self.balance).max(0.0) / rate.per_second)
    }

    /// Takes one token, and returns the delay until the balance covers it. The delay is at most `longest`; a call that would
    /// exceed it takes no token.
    pub fn take_delayed(&mut self, rate: Rate, longest: Duration, now: Instant) -> Duration {
        if self.debt(rate, now) < longest {
            self.balance -= 1.0;
        }
        self.debt(rate, now).min(longest)
    }

    /// True if the bucket is full, as a new one.
    pub fn is_full(&mut self, rate: Rate, now: Instant) -> bool {
        self.refill(rate, now);
        self.balance >= rate.burst
    }

    fn refill(&mut self, rate: Rate, now: Instant) {
        let gained = now.saturating_duration_since(self.at).as_secs_f64() * rate.per_second;
        self.balance = (self.balance + gained).min(rate.burst);
        self.at = self.at.max(now);
    }
}

/// Converts seconds to a duration of at most a day.
fn at_most_a_day(seconds: f64) -> Duration {
    const DAY: Duration = Duration::from_secs(86_400);
    Duration::try_from_secs_f64(seconds).map_or(DAY, |time| time.min(DAY))
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATE: Rate = Rate { burst: 3.0, per_second: 2.0 };

    #[test]
    fn a_burst_is_there_at_once_and_the_rest_by_the_second() {
        let begun = Instant::now();
        let after = |milliseconds| begun + Duration::from_millis(milliseconds);
        let mut bucket = TokenBucket::full(RATE, begun);
        for _ in 0..3 {
            assert_eq!(bucket.take(RATE, begun), Ok(()));
        }
        assert_eq!(bucket.take(RATE, begun), Err(Duration::from_millis(500)));
        assert_eq!(bucket.take(RATE, after(250)), Err(Duration::from_millis(250)), "asking costs nothing");
        assert_eq!(bucket.take(RATE, after(500)), Ok(()));
        assert!(!bucket.is_full(RATE, after(1_500)));
        assert!(bucket.is_full(RATE, after(2_000)));
        for _ in 0..3 {
            assert_eq!(bucket.take(RATE, after(60_000)), Ok(()), "no more than a burst is saved");
        }
        assert!(bucket.take(RATE, after(60_000)).is_err());
    }

    #[test]
    fn what_costs_more_than_a_burst_takes_a_whole_one() {
        let begun = Instant::now();
        let mut bucket = TokenBucket::full(RATE, begun);
        assert_eq!(bucket.take_many(RATE, 2.0, begun), Ok(()));
        assert_eq!(bucket.take_many(RATE, 2.0, begun), Err(Duration::from_millis(500)));
        assert_eq!(bucket.take_many(RATE, 50.0, begun), Err(Duration::from_secs(1)), "asking costs nothing");
        assert_eq!(bucket.take_many(RATE, 50.0, begun + Duration::from_secs(1)), Ok(()));
        assert_eq!(bucket.take(RATE, begun + Duration::from_secs(1)), Err(Duration::from_millis(500)));
    }

    #[test]
    fn a_debt_is_paid_off_by_the_second() {
        let begun = Instant::now();
        let mut bucket = TokenBucket::full(RATE, begun);
        bucket.charge(RATE, 3.0, begun);
        assert_eq!(bucket.debt(RATE, begun), Duration::ZERO);
        bucket.charge(RATE, 4.0, begun);
        assert_eq!(bucket.debt(RATE, begun), Duration::from_secs(2));
        let later = begun + Duration::from_secs(1);
        assert_eq!(bucket.debt(RATE, later), Duration::from_secs(1));
        assert_eq!(bucket.debt(RATE, begun), Duration::from_secs(1), "time does not go back");
        assert_eq!(bucket.take(RATE, later), Err(Duration::from_millis(1_500)), "who is in debt gets nothing");
    }
}
