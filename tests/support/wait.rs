use std::time::{Duration, Instant};

use super::Server;

/// How long something may take that a test waits for. Far beyond what it takes; only what never comes gets there.
const PATIENCE: Duration = Duration::from_secs(60);
/// Between two looks.
const PAUSE: Duration = Duration::from_millis(10);

/// Looks again and again until there is something to be seen.
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
    /// Waits until this many polls wait.
    pub async fn polls_waiting(&self, polls: usize) {
        let line = format!("dragoman_polls_waiting {polls}");
        until(&line, async || {
            let metrics = self.get("/metrics").await.text().await.expect("the answer is whole");
            metrics.lines().any(|found| found == line).then_some(())
        })
        .await;
    }
}
