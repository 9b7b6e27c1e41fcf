//! Schedules of a virtual user: send times that do not depend on the server.

use std::time::Duration;

use rand::{RngExt, SeedableRng, rngs::StdRng};
use tokio::time::Instant;

/// A Poisson process: exponential intervals, independent of each other. Its times are fixed beforehand, so that slow
/// answers delay none of them.
pub(crate) struct Schedule {
    rng: StdRng,
    /// Mean interval, in seconds.
    mean: f64,
    next: Instant,
}

impl Schedule {
    pub(crate) fn new(seed: u64, per_second: f64, begin: Instant) -> Self {
        let mut schedule = Self { rng: StdRng::seed_from_u64(seed), mean: 1.0 / per_second, next: begin };
        schedule.advance();
        schedule
    }

    fn advance(&mut self) {
        self.next += exponential(&mut self.rng, self.mean);
    }

    /// The next time; `take` advances.
    pub(crate) fn next(&self) -> Instant {
        self.next
    }

    pub(crate) fn take(&mut self) -> Instant {
        let next = self.next;
        self.advance();
        next
    }

    /// Skips the times before this one, and returns their number.
    pub(crate) fn skip_to(&mut self, moment: Instant) -> u64 {
        let mut skipped = 0;
        while self.next < moment {
            self.advance();
            skipped += 1;
        }
        skipped
    }
}

/// A random duration with an exponential distribution.
pub(crate) fn exponential(rng: &mut StdRng, mean: f64) -> Duration {
    // A day stands for never.
    Duration::from_secs_f64((-(1.0 - rng.random::<f64>()).ln() * mean).clamp(0.0, 86_400.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn moments(seed: u64, pause: impl Fn()) -> Vec<Duration> {
        let begin = Instant::now();
        let mut schedule = Schedule::new(seed, 10.0, begin);
        let all = std::iter::from_fn(|| {
            pause();
            Some(schedule.take() - begin)
        });
        all.take_while(|moment| *moment < Duration::from_secs(100)).collect()
    }

    #[test]
    fn the_rate_is_what_it_was_asked_for() {
        let count = moments(1, || {}).len();
        // 1,000 are expected; six standard deviations are 190.
        assert!((810..1_190).contains(&count), "{count}");
    }

    #[test]
    fn a_seed_gives_the_same_moments_however_long_each_takes() {
        let slow = moments(7, || std::thread::sleep(Duration::from_micros(50)));
        assert_eq!(moments(7, || {}), slow);
        assert_ne!(moments(8, || {}), slow);
    }

    #[test]
    fn what_is_passed_over_is_counted() {
        let (begin, middle) = (Instant::now(), Instant::now() + Duration::from_secs(4));
        let (mut all, mut rest) = (Schedule::new(3, 10.0, begin), Schedule::new(3, 10.0, begin));
        let skipped = rest.skip_to(middle);
        let before = (0..skipped).map(|_| all.take()).max();
        assert!(before.is_some_and(|before| before < middle) && rest.next() >= middle);
        assert_eq!(all.take(), rest.take());
    }
}
