//! Orphan sweep: deletes objects, and parts of multipart uploads, that no row of the store names. They are left by killed
//! processes, and by commits with an unknown outcome. A lease in the store lets one node sweep at a time; the sweep refuses to
//! delete when there are too many orphans.

use std::{collections::HashSet, time::Duration};

use chrono::{DateTime, TimeDelta, Utc};
use futures_util::StreamExt;
use storage::Timestamp;
use tokio::time::{Instant, MissedTickBehavior, interval_at};
use uuid::Uuid;

use crate::{
    blobs::Folders,
    chat::{Chat, Result, uploads},
    clock,
    lifecycle::Lifecycle,
    telemetry,
    transaction::transaction,
};

/// Limit of orphans per sweep. More of them indicate a mismatch of store and files, or lost rows.
const MAX_ORPHANS: usize = 1_000;
/// Limit of orphans without regard to the number of objects. From here on, at most one in [`RARE`] objects may be an orphan.
const FEW: usize = 50;
const RARE: usize = 20;

/// The outcome of a sweep.
enum SweepOutcome {
    /// Not due, or another node has the lease, or a backup runs.
    NotNow,
    Done,
    Refused,
}

impl Chat {
    /// Starts the sweep task, if there is an interval. The first sweep waits for one interval, so that an operator can notice
    /// wrong settings.
    pub(in crate::chat) fn sweep_files(&self, lifecycle: &Lifecycle) {
        let retention = self.0.rules.retention;
        let Some(every) = retention.sweep_every else { return };
        let (chat, stop) = (self.clone(), lifecycle.clone());
        lifecycle.spawn(async move {
            // Rounds are more frequent than sweeps: the first node with a round after the due time takes the lease.
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
                    Ok(SweepOutcome::NotNow) => {}
                    Ok(SweepOutcome::Done) => chat.0.metrics.orphan_sweep("done"),
                    Ok(SweepOutcome::Refused) => chat.0.metrics.orphan_sweep("refused"),
                    Err(error) => {
                        chat.0.metrics.orphan_sweep("failed");
                        telemetry::deferred("orphan sweep failed", &error, error.is_unavailable());
                    }
                }
            }
        });
    }

    async fn sweep(&self, every: Duration, kept: Duration) -> Result<SweepOutcome> {
        let storage = &self.0.storage;
        // The store's clock, as for all retention.
        let now = storage.now(clock::now()).await?;
        // The lease of this sweep ends when the next one is due, on any node.
        let next = now.checked_add_signed(delta(every)).unwrap_or(DateTime::<Utc>::MAX_UTC);
        let Some(workspace) = self.begin_sweep(now, next).await? else { return Ok(SweepOutcome::NotNow) };
        let owner = self.0.blobs.claim(workspace).await?;
        if owner != Some(workspace) {
            tracing::error!(%workspace, ?owner, "orphan sweep refused: the files belong to another workspace");
            return Ok(SweepOutcome::Refused);
        }
        let before = now.checked_sub_signed(delta(kept)).unwrap_or(DateTime::UNIX_EPOCH);
        let folders = Folders { names: self.0.rules.uploads.kinds.clone(), is_file: uploads::is_generated_name };
        let (mut objects, mut orphans) = (0, Vec::new());
        let mut chunks = self.0.blobs.list(folders, before);
        while let Some(chunk) = chunks.next().await {
            let chunk = chunk?;
            objects += chunk.all;
            orphans.extend(self.unused(chunk.old).await?);
            if orphans.len() > MAX_ORPHANS {
                break;
            }
        }
        if are_too_many(orphans.len(), objects) {
            tracing::warn!(
                orphans = orphans.len(),
                objects,
                "orphan sweep refused: too many unreferenced objects, none is deleted; check that the settings storage and \
                 files belong together"
            );
            return Ok(SweepOutcome::Refused);
        }
        // A listing takes long: repeat the query right before the deletion, and check that the lease is still the same. A backup
        // that has copied rows of such an object began before their deletion.
        let orphans = self.unused(orphans).await?;
        let workspace = storage.workspace().await?;
        if workspace.sweep_not_before != Some(next) || workspace.running_backups(self.store_time()) > 0 {
            return Ok(SweepOutcome::NotNow);
        }
        let found = orphans.len();
        let deleted = self.0.blobs.delete_listed(orphans).await;
        self.0.metrics.orphans_deleted(deleted);
        if found > 0 {
            tracing::info!(deleted, objects, "orphan sweep: unreferenced objects deleted");
        }
        Ok(SweepOutcome::Done)
    }

    /// Acquires the lease of a sweep until `next`, and gives the workspace's uuid; `None` if no sweep is due. One of several
    /// concurrent nodes gets it.
    async fn begin_sweep(&self, now: Timestamp, next: Timestamp) -> storage::Result<Option<Uuid>> {
        transaction(self.0.storage.as_ref(), |mut tx| async {
            let mut workspace = tx.lock_workspace().await?;
            if workspace.sweep_not_before.is_some_and(|time| now < time) || workspace.running_backups(now) > 0 {
                return Ok(None);
            }
            workspace.sweep_not_before = Some(next);
            tx.set_workspace(&workspace).await?;
            tx.commit().await?;
            Ok(workspace.uuid)
        })
        .await
    }

    /// Filters names: keeps those that no row of the store has.
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

/// True if there are more orphans than killed processes leave.
fn are_too_many(orphans: usize, objects: usize) -> bool {
    orphans > MAX_ORPHANS || (orphans >= FEW && orphans * RARE > objects)
}
