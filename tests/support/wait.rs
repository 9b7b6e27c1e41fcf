//! Polling of a condition, with a time limit.

use std::time::{Duration, Instant};

use super::Server;

/// Time limit of a wait, far beyond the expected one; only a missing event reaches it.
const PATIENCE: Duration = Duration::from_secs(60);
/// Interval between two checks.
const PAUSE: Duration = Duration::from_millis(10);

/// Polls `look` until it returns a value.
pub async fn until<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(seen) = look().await {
            return seen;
        }
        assert!(begun.elapsed() < PATIENCE, "{what} does not come");
        tokio::time::sleep(PAUSE).await;
    }
}

impl Server {
    /// Waits until this number of polls wait.
    pub async fn polls_waiting(&self, polls: usize) {
        let line = format!("dragoman_polls_waiting {polls}");
        until(&line, async || {
            let metrics = self.get("/metrics").await.text().await.expect("the answer is whole");
            metrics.lines().any(|found| found == line).then_some(())
        })
        .await;
    }
}
