//! Starting and stopping: every task is owned, and the program stops softly, then hard.

use std::{future::Future, time::Duration};

use tokio::signal::unix::{Signal, SignalKind, signal};
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

/// Takes its default effect from SIGHUP, which is to end the process, for the rest of the process's life: a closed terminal or a
/// log rotation that knows no better must not end a server, nor a command under way. Needs the runtime.
pub fn survive_hangup() {
    // The handler stays when this is dropped.
    drop(listen(SignalKind::hangup()));
}

/// Resolves at the first SIGTERM or SIGINT after this call, whenever it is waited for. Says of each SIGHUP that it does nothing.
pub fn stop_signal() -> impl Future<Output = ()> {
    let (mut terminate, mut interrupt) = (listen(SignalKind::terminate()), listen(SignalKind::interrupt()));
    let mut hangup = listen(SignalKind::hangup());
    async move {
        loop {
            tokio::select! {
                _ = terminate.recv() => return,
                _ = interrupt.recv() => return,
                _ = hangup.recv() => tracing::warn!("SIGHUP is ignored: settings are read at the start only, so restart to change them"),
            }
        }
    }
}

fn listen(kind: SignalKind) -> Signal {
    signal(kind).expect("the runtime has its signal driver")
}
