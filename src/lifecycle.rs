//! Starting and stopping: every task is owned, and the program stops softly, then hard.

use std::{future::Future, time::Duration};

use tokio_util::{future::FutureExt, sync::CancellationToken, task::TaskTracker};

/// The tasks of one server, and the two reasons for them to stop. Clones share both.
#[derive(Clone, Default)]
pub struct Lifecycle {
    soft: CancellationToken,
    hard: CancellationToken,
    tasks: TaskTracker,
}

impl Lifecycle {
    /// Runs a task that is waited for at the stop, and dropped where it stands if it outlives the limit.
    pub fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        // Not an async block around both, which would keep room for the task twice: where it came from, and where it runs.
        self.tasks.spawn(task.with_cancellation_token_owned(self.hard.clone()));
    }

    /// Resolves when no new work is to be begun, and whoever waits is to be answered with what there is.
    pub async fn stopping(&self) {
        self.soft.cancelled().await;
    }

    pub fn is_stopping(&self) -> bool {
        self.soft.is_cancelled()
    }

    /// Asks all tasks to stop.
    pub fn stop(&self) {
        self.soft.cancel();
    }

    /// Waits for all tasks; after `limit` drops those that remain, and says how many they were.
    pub async fn finished(&self, limit: Duration) -> usize {
        self.tasks.close();
        if tokio::time::timeout(limit, self.tasks.wait()).await.is_ok() {
            return 0;
        }
        let left = self.tasks.len();
        self.hard.cancel();
        self.tasks.wait().await;
        left
    }
}

/// Resolves at the first SIGTERM or SIGINT after this call, whenever it is waited for.
pub fn stop_signal() -> impl Future<Output = ()> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate()).expect("the runtime has its signal driver");
    let mut interrupt = signal(SignalKind::interrupt()).expect("the runtime has its signal driver");
    async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    }
}
