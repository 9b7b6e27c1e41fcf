//! Least rate of a peer: slow readers and slow senders (slowloris) hold memory, and are cut off.

use std::{
    future::Future,
    io,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use tokio::time::{Instant, Sleep, sleep};

use crate::metrics::Metrics;

/// Least rate in bytes per second.
const LEAST: f64 = 10_000.0;
/// Longest time in seconds that a peer may take for what is held for it: more bytes have to move faster.
const LONGEST: f64 = 120.0;
/// Waiting time over which the rate is averaged.
const WINDOW: Duration = Duration::from_secs(30);

/// Rate watch for one direction of a connection. Counts only the time in which the server waits for the peer: little traffic is
/// not slow. Judges at each movement of bytes, since kernels pass bytes in large steps.
pub(super) struct LeastRate {
    /// Longest silence.
    patience: Duration,
    /// The setting of that time and the metrics, until the peer is given up: this counts once.
    counts: Option<(&'static str, Metrics)>,
    /// Waiting time and bytes since the last judgement.
    waited: Duration,
    bytes: usize,
    /// Bytes held in memory until the peer has accepted all of them.
    held: usize,
    /// Current wait; allocated only if there is one, which is rare.
    wait: Option<Box<Wait>>,
}

struct Wait {
    since: Instant,
    end: Pin<Box<Sleep>>,
}

impl LeastRate {
    /// `patience`: longest silence of the peer, which `limit` sets. A peer that is given up counts as refused by it.
    pub(super) fn new(patience: Duration, limit: &'static str, metrics: &Metrics) -> Self {
        Self { patience, counts: Some((limit, metrics.clone())), waited: Duration::ZERO, bytes: 0, held: 0, wait: None }
    }

    /// Notes that `bytes` wait in memory for the peer. All of them stay there until the last one has moved. If they demand a higher
    /// rate than before, a judgement begins anew: the peer did not know of it.
    pub(super) fn holds(&mut self, bytes: usize) {
        let least = self.least();
        self.held = self.held.max(bytes);
        if self.least() > least {
            (self.waited, self.bytes) = (Duration::ZERO, 0);
        }
    }

    /// Least rate, in bytes per second, for what is held.
    fn least(&self) -> f64 {
        LEAST.max(self.held as f64 / LONGEST)
    }

    /// Notes that the peer has accepted everything.
    pub(super) fn holds_nothing(&mut self) {
        self.held = 0;
    }

    /// Notes bytes that the peer has accepted or sent.
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::TimedOut`] if the rate falls below the least rate.
    pub(super) fn moved(&mut self, bytes: usize) -> io::Result<()> {
        if let Some(wait) = self.wait.take() {
            self.waited += wait.since.elapsed();
        }
        self.bytes = self.bytes.saturating_add(bytes);
        if self.waited < WINDOW {
            return Ok(());
        }
        let is_too_slow = (self.bytes as f64) < self.least() * self.waited.as_secs_f64();
        (self.waited, self.bytes) = (Duration::ZERO, 0);
        if is_too_slow { Err(self.give_up()) } else { Ok(()) }
    }

    /// Resolves when the peer has been silent for too long; call it while waiting for the peer.
    pub(super) fn poll_silent(&mut self, context: &mut Context<'_>) -> Poll<io::Error> {
        let patience = self.patience;
        let wait = self.wait.get_or_insert_with(|| Box::new(Wait { since: Instant::now(), end: Box::pin(sleep(patience)) }));
        wait.end.as_mut().poll(context).map(|()| self.give_up())
    }

    fn give_up(&mut self) -> io::Error {
        self.count();
        io::ErrorKind::TimedOut.into()
    }

    /// Counts the peer as given up, once.
    pub(super) fn count(&mut self) {
        if let Some((limit, metrics)) = self.counts.take() {
            metrics.refused(limit);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use tokio::time::{Instant, advance, timeout};

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(20);

    /// Moves so many bytes after each wait; returns the time until the failure.
    async fn lasts(bytes: usize, every: Duration) -> Option<Duration> {
        let mut rate = LeastRate::new(PATIENCE, "write_seconds", &Metrics::default());
        let begun = Instant::now();
        for _ in 0..1_000 {
            let waited = match timeout(every, poll_fn(|context| rate.poll_silent(context))).await {
                Ok(error) => Err(error),
                Err(_) => rate.moved(bytes),
            };
            if let Err(error) = waited {
                assert_eq!(error.kind(), io::ErrorKind::TimedOut);
                return Some(begun.elapsed());
            }
        }
        None
    }

    #[tokio::test(start_paused = true)]
    async fn who_moves_enough_is_waited_for_without_end() {
        assert_eq!(lasts(12_000, Duration::from_secs(1)).await, None);
        assert_eq!(lasts(120_000, Duration::from_secs(10)).await, None);
    }

    #[tokio::test(start_paused = true)]
    async fn who_moves_too_little_is_given_up() {
        let lasted = lasts(5_000, Duration::from_secs(1)).await.expect("it is too slow");
        assert_eq!(lasted, WINDOW);
        assert_eq!(lasts(1 << 30, Duration::from_secs(25)).await, Some(PATIENCE), "it is silent for too long");
    }

    /// Counts only waiting time.
    #[tokio::test(start_paused = true)]
    async fn who_has_little_to_move_is_not_too_slow() {
        let mut rate = LeastRate::new(PATIENCE, "write_seconds", &Metrics::default());
        for _ in 0..1_000 {
            rate.moved(10).expect("it was not waited for");
            advance(Duration::from_secs(60)).await;
        }
        let mut waiting = Box::pin(poll_fn(|context| rate.poll_silent(context)));
        assert!(timeout(PATIENCE / 2, &mut waiting).await.is_err());
    }
}
