//! The orphan sweep deletes objects, and parts of uploads, that no row of the store names. Processes that are killed leave them,
//! and so do those that never learn whether a commit succeeded.

use std::{collections::HashSet, time::Duration};

use chrono::{DateTime, TimeDelta, Utc};
use futures_util::StreamExt;
use storage::Timestamp;
use tokio::time::{Instant, MissedTickBehavior, interval_at};
use uuid::Uuid;

use super::{Chat, Result, uploads};
use crate::{blobs::Folders, clock, lifecycle::Lifecycle, telemetry, transaction::transaction};

/// The most orphans that a sweep deletes. More are a sign that the store and the files do not belong together, or that the
/// store has lost rows.
const MOST: usize = 1_000;
/// Killed processes leave fewer than these. If there are as many, one in [`RARE`] of all objects may be an orphan.
const FEW: usize = 50;
const RARE: usize = 20;

/// How a sweep ended.
enum Outcome {
    /// It is too early, or another node has begun one.
    NotNow,
    Done,
    Refused,
}

impl Chat {
    /// Starts the task that sweeps: never at the start, when a wrong setting may not have been noticed yet. Where nothing
    /// outlives the program there is nothing to sweep.
    pub(super) fn sweep_files(&self, lifecycle: &Lifecycle) {
        let retention = self.0.rules.retention;
        let Some(every) = retention.sweep_every else { return };
        let (chat, stop) = (self.clone(), lifecycle.clone());
        lifecycle.spawn(async move {
            // It asks more often than a sweep is due: the first node that asks after that time sweeps.
            let mut rounds = interval_at(Instant::now() + every, every.min(retention.every));
            rounds.set_missed_tick_behavior(MissedTickBehavior::Delay);
            loop {
                tokio::select! {
                    _ = rounds.tick() => {}
                    () = stop.stopping() => return,
                }
                let outcome = tokio::select! {
                    outcome = chat.sweep(every, retention.orphans) => outcome,
                    () = stop.stopping() => return,
                };
                match outcome {
                    Ok(Outcome::NotNow) => {}
                    Ok(Outcome::Done) => chat.0.metrics.orphan_sweep("done"),
                    Ok(Outcome::Refused) => chat.0.metrics.orphan_sweep("refused"),
                    Err(error) => {
                        chat.0.metrics.orphan_sweep("failed");
                        telemetry::put_off("orphan sweep failed", &error, error.is_unavailable());
                    }
                }
            }
        });
    }

    async fn sweep(&self, every: Duration, kept: Duration) -> Result<Outcome> {
        let storage = &self.0.storage;
        // By the store's clock, as everything that is cleared away.
        let now = storage.now(clock::now()).await?;
        // The lease of this sweep ends with the earliest time of the next one, at whichever node.
        let next = now.checked_add_signed(delta(every)).unwrap_or(DateTime::<Utc>::MAX_UTC);
        let Some(workspace) = self.begin_sweep(now, next).await? else { return Ok(Outcome::NotNow) };
        let owner = self.0.blobs.claim(workspace).await?;
        if owner != Some(workspace) {
            tracing::error!(%workspace, ?owner, "orphan sweep refused: the files belong to another workspace");
            return Ok(Outcome::Refused);
        }
        let before = now.checked_sub_signed(delta(kept)).unwrap_or(DateTime::UNIX_EPOCH);
        let folders = Folders { names: self.0.rules.uploads.kinds.clone(), is_file: uploads::is_file };
        let (mut objects, mut orphans) = (0, Vec::new());
        let mut chunks = self.0.blobs.list(folders, before);
        while let Some(chunk) = chunks.next().await {
            let chunk = chunk?;
            objects += chunk.all;
            orphans.extend(self.unused(chunk.old).await?);
            if orphans.len() > MOST {
                break;
            }
        }
        if are_too_many(orphans.len(), objects) {
            tracing::warn!(
                orphans = orphans.len(),
                objects,
                "orphan sweep refused: so many objects are named by nothing in the store that none of them is deleted; \
                 look whether the settings storage and files belong together"
            );
            return Ok(Outcome::Refused);
        }
        // A listing takes long: ask again right before the deletion, and check that nobody has put sweeps off meanwhile.
        let orphans = self.unused(orphans).await?;
        if storage.workspace().await?.sweep_not_before != Some(next) {
            return Ok(Outcome::NotNow);
        }
        let found = orphans.len();
        let deleted = self.0.blobs.delete_listed(orphans).await;
        self.0.metrics.orphans_deleted(deleted);
        if found > 0 {
            tracing::info!(deleted, objects, "orphan sweep: objects that nothing in the store names were deleted");
        }
        Ok(Outcome::Done)
    }

    /// Takes the lease of a sweep until `next`, and gives the workspace's uuid; `None` while it is too early. Of several nodes
    /// that ask at once one gets it.
    async fn begin_sweep(&self, now: Timestamp, next: Timestamp) -> storage::Result<Option<Uuid>> {
        transaction(self.0.storage.as_ref(), |mut tx| async {
            let mut workspace = tx.lock_workspace().await?;
            if workspace.sweep_not_before.is_some_and(|time| now < time) {
                return Ok(None);
            }
            workspace.sweep_not_before = Some(next);
            tx.set_workspace(&workspace).await?;
            tx.commit().await?;
            Ok(workspace.uuid)
        })
        .await
    }

    /// The names that no row of the store has.
    async fn unused(&self, mut names: Vec<String>) -> Result<Vec<String>> {
        if !names.is_empty() {
            let used = self.0.storage.objects_in_use(&names).await?;
            let used: HashSet<String> = used.into_iter().collect();
            names.retain(|name| !used.contains(name));
        }
        Ok(names)
    }
}

fn delta(duration: Duration) -> TimeDelta {
    TimeDelta::from_std(duration).unwrap_or(TimeDelta::MAX)
}

/// Whether so many orphans of so many objects are more than killed processes leave.
fn are_too_many(orphans: usize, objects: usize) -> bool {
    orphans > MOST || (orphans >= FEW && orphans * RARE > objects)
}
