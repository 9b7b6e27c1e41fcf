//! Lifecycle of tasks: every task is tracked, and stops in two phases, first asked (soft), then cancelled (hard).

use std::{future::Future, time::Duration};

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::{future::FutureExt, sync::CancellationToken, task::TaskTracker};

/// The tasks of one server, and the tokens that stop them. Clones share both.
#[derive(Clone, Default)]
pub struct Lifecycle {
    soft: CancellationToken,
    hard: CancellationToken,
    tasks: TaskTracker,
}

impl Lifecycle {
    /// Spawns a tracked task: awaited at the stop, and cancelled if it outlives the limit.
    pub fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        // Not an async block around both, which would hold the task's future twice: as captured, and as polled.
        self.tasks.spawn(task.with_cancellation_token_owned(self.hard.clone()));
    }

    /// Resolves at the soft stop: no new work begins, and waiting requests get an answer with what there is.
    pub async fn stopping(&self) {
        self.soft.cancelled().await;
    }

    pub fn is_stopping(&self) -> bool {
        self.soft.is_cancelled()
    }

    /// Soft stop: asks all tasks to stop.
    pub fn stop(&self) {
        self.soft.cancel();
    }

    /// Waits for all tasks; after `limit`, cancels the rest, and returns their number.
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

/// Ignores SIGHUP, which ends a process by default, for the rest of the process: a closed terminal or a log rotation must not end
/// a server, or a running command. Needs the runtime.
pub fn survive_hangup() {
    // The handler stays installed when this is dropped.
    drop(listen(SignalKind::hangup()));
}

/// Resolves at the first SIGTERM or SIGINT after this call, even if it is awaited later. Warns at each SIGHUP that it has no
/// effect.
pub fn stop_signal() -> impl Future<Output = ()> {
    let (mut terminate, mut interrupt) = (listen(SignalKind::terminate()), listen(SignalKind::interrupt()));
    let mut hangup = listen(SignalKind::hangup());
    async move {
        loop {
            tokio::select! {
                _ = terminate.recv() => return,
                _ = interrupt.recv() => return,
                _ = hangup.recv() => tracing::warn!("SIGHUP ignored: settings are read at the start only; restart instead"),
            }
        }
    }
}

fn listen(kind: SignalKind) -> Signal {
    signal(kind).expect("the runtime has its signal driver")
}
