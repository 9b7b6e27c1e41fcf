//! Removal of the bytes of deleted files. It waits while a backup runs: the rows that the backup has copied still name them.

use std::time::Duration;

use futures_util::{StreamExt, stream};
use tokio::sync::mpsc;

use crate::{
    chat::{Chat, Result},
    lifecycle::Lifecycle,
    telemetry,
};

/// Capacity of the queue, in objects. The orphan sweep deletes those for which there is no room.
const CAPACITY: usize = 10_000;
/// Objects for which one look at the backups suffices.
const BATCH: usize = 100;
/// Objects that are deleted at once.
const AT_ONCE: usize = 4;
/// Pause between two looks at the backups.
const PAUSE: Duration = Duration::from_secs(1);

/// Queue of objects whose rows are gone.
pub(in crate::chat) struct ObjectRemoval(mpsc::Sender<String>);

impl ObjectRemoval {
    pub(in crate::chat) fn new() -> (Self, mpsc::Receiver<String>) {
        let (sender, receiver) = mpsc::channel(CAPACITY);
        (Self(sender), receiver)
    }

    /// Schedules the removal of an object. The transaction that has deleted its rows is committed: a backup that began before has
    /// its lease in the store, and one that begins later does not copy them.
    pub(in crate::chat) fn remove(&self, object: String) {
        if let Err(error) = self.0.try_send(object) {
            tracing::debug!(%error, "object left to the orphan sweep");
        }
    }
}

impl Chat {
    /// Starts the task that removes the objects of the queue. At the stop it removes what is left, unless a backup runs.
    pub(in crate::chat) fn remove_objects(&self, mut queue: mpsc::Receiver<String>, lifecycle: &Lifecycle) {
        let (chat, stop) = (self.clone(), lifecycle.clone());
        lifecycle.spawn(async move {
            let mut objects = Vec::new();
            loop {
                tokio::select! {
                    biased;
                    received = queue.recv_many(&mut objects, BATCH) => if received == 0 { return },
                    () = stop.stopping() => return,
                }
                while !chat.may_remove_objects().await {
                    tokio::select! {
                        () = tokio::time::sleep(PAUSE) => {}
                        () = stop.stopping() => return,
                    }
                }
                let blobs = &chat.0.blobs;
                let removals = stream::iter(objects.drain(..));
                removals.for_each_concurrent(AT_ONCE, |object| async move { blobs.delete(&object).await }).await;
            }
        });
    }

    /// False while a backup runs, and while that is unknown.
    async fn may_remove_objects(&self) -> bool {
        match self.running_backups().await {
            Ok(backups) => backups == 0,
            Err(error) => {
                telemetry::deferred("files of deleted messages not deleted yet", &error, error.is_unavailable());
                false
            }
        }
    }

    /// Number of running backups.
    ///
    /// # Errors
    /// Those of the store.
    ///
    /// # Cancel safety
    /// A dropped call leaves nothing behind.
    pub async fn running_backups(&self) -> Result<usize> {
        Ok(self.0.storage.workspace().await?.running_backups(self.store_time()))
    }
}
