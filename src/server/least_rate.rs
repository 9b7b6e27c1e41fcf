//! Least rate of peers: what a client asks for and does not take, or announces and does not bring, is memory that it holds.

use std::{
    future::Future,
    io,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use tokio::time::{Instant, Sleep, sleep};

/// Least rate in bytes per second.
const LEAST: f64 = 10_000.0;
/// Time of waiting over which the rate is averaged.
const WINDOW: Duration = Duration::from_secs(30);

/// Watches one direction of a connection. Only the time counts in which its peer is waited for: who has little to take or to
/// bring is not too slow. A slow peer is judged when it moves something, since kernels let bytes pass in large steps.
pub(super) struct LeastRate {
    /// Longest time without a byte.
    patience: Duration,
    /// Time of waiting, and bytes, since the rate was last judged.
    waited: Duration,
    bytes: usize,
    /// While the peer is waited for. Most never need it.
    wait: Option<Box<Wait>>,
}

struct Wait {
    since: Instant,
    end: Pin<Box<Sleep>>,
}

impl LeastRate {
    /// A peer that may also be silent for `patience` at most.
    pub(super) fn new(patience: Duration) -> Self {
        Self { patience, waited: Duration::ZERO, bytes: 0, wait: None }
    }

    /// Notes bytes that the peer has taken or brought.
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::TimedOut`] if these are too few for the time in which it was waited for.
    pub(super) fn moved(&mut self, bytes: usize) -> io::Result<()> {
        if let Some(wait) = self.wait.take() {
            self.waited += wait.since.elapsed();
        }
        self.bytes = self.bytes.saturating_add(bytes);
        if self.waited < WINDOW {
            return Ok(());
        }
        let is_too_slow = (self.bytes as f64) < LEAST * self.waited.as_secs_f64();
        (self.waited, self.bytes) = (Duration::ZERO, 0);
        if is_too_slow { Err(io::ErrorKind::TimedOut.into()) } else { Ok(()) }
    }

    /// Resolves once the peer, which has to be waited for now, was silent for too long.
    pub(super) fn poll_silent(&mut self, context: &mut Context<'_>) -> Poll<io::Error> {
        let patience = self.patience;
        let wait = self.wait.get_or_insert_with(|| Box::new(Wait { since: Instant::now(), end: Box::pin(sleep(patience)) }));
        wait.end.as_mut().poll(context).map(|()| io::ErrorKind::TimedOut.into())
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use tokio::time::{Instant, advance, timeout};

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(20);

    /// Lets a peer move so many bytes whenever it was waited for so long; gives for how long that went well.
    async fn lasts(bytes: usize, every: Duration) -> Option<Duration> {
        let mut rate = LeastRate::new(PATIENCE);
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

    /// Only a peer that is waited for is watched.
    #[tokio::test(start_paused = true)]
    async fn who_has_little_to_move_is_not_too_slow() {
        let mut rate = LeastRate::new(PATIENCE);
        for _ in 0..1_000 {
            rate.moved(10).expect("it was not waited for");
            advance(Duration::from_secs(60)).await;
        }
        let mut waiting = Box::pin(poll_fn(|context| rate.poll_silent(context)));
        assert!(timeout(PATIENCE / 2, &mut waiting).await.is_err());
    }
}
