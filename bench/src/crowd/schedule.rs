//! When somebody means to do something, whatever the server does.

use std::time::Duration;

use rand::{RngExt, SeedableRng, rngs::StdRng};
use tokio::time::Instant;

/// Moments of a Poisson process: each as likely as any other, independent of those before. They are fixed before anything
/// is said, so nothing that takes long makes any of them later.
pub(crate) struct Schedule {
    rng: StdRng,
    /// Seconds between two of them, at the mean.
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

    /// The next moment, until it is taken.
    pub(crate) fn next(&self) -> Instant {
        self.next
    }

    pub(crate) fn take(&mut self) -> Instant {
        let next = self.next;
        self.advance();
        next
    }

    /// Passes over what lies before this, and says how much that was.
    pub(crate) fn skip_to(&mut self, moment: Instant) -> u64 {
        let mut skipped = 0;
        while self.next < moment {
            self.advance();
            skipped += 1;
        }
        skipped
    }
}

/// A random time, short ones more often than long ones.
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
