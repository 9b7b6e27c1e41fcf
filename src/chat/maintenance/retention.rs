//! Retention: deletes expired data, and completes data of earlier versions.
//! Each job runs in small batches beside all other work; where several nodes run it, one works at a time.

use std::time::Duration;

use chrono::{DateTime, TimeDelta};
use futures_util::future::BoxFuture;
use storage::{Storage, Timestamp};

use crate::{
    chat::{Chat, Result, uploads::object_of},
    clock,
    lifecycle::Lifecycle,
    telemetry,
};

use super::removal::ObjectRemoval;

/// Retention times of data without an expiry of its own.
#[derive(Clone, Copy, Debug)]
pub struct RetentionRules {
    /// Events of the event log. A client that reconnects later with an older position receives the remaining ones.
    pub log: Duration,
    /// Attachments that were never sent.
    pub unsent_attachments: Duration,
    /// Uploads that no message mentions, after their deadline.
    pub unnamed_uploads: Duration,
    /// Sessions, after their last use.
    pub sessions: Duration,
    /// Entries of the audit trail.
    pub audit: Duration,
    /// Period of the retention jobs.
    pub every: Duration,
    /// Objects that no row refers to, after they were written.
    pub orphans: Duration,
    /// Period of the orphan sweep, which deletes these; `None` where objects do not outlive the program.
    pub sweep_every: Option<Duration>,
}

/// Batch size of one step.
const STEP_ROWS: usize = 1_000;

/// A retention job.
struct RetentionJob {
    name: &'static str,
    /// Retention time.
    retention: fn(&RetentionRules) -> Duration,
    /// Deletes at most that many entries from before that time, and returns how many. A second node that runs it meanwhile finds
    /// nothing to do.
    step: for<'a> fn(&'a dyn Storage, &'a ObjectRemoval, Timestamp, usize) -> BoxFuture<'a, storage::Result<u64>>,
}

/// The jobs, in this order: dependent data follows what it depends on.
const RETENTION_JOBS: &[RetentionJob] = &[
    RetentionJob {
        name: "forget_events",
        retention: |retention| retention.log,
        step: |storage, _, before, most| storage.forget_events(before, most),
    },
    RetentionJob {
        name: "forget_memberships",
        // They expire with their events.
        retention: |_| Duration::ZERO,
        step: |storage, _, _, most| storage.forget_memberships(most),
    },
    RetentionJob {
        name: "expire_sessions",
        retention: |retention| retention.sessions,
        step: |storage, _, before, most| storage.expire_sessions(before, most),
    },
    RetentionJob {
        name: "forget_unsent",
        retention: |retention| retention.unsent_attachments,
        step: |storage, removal, before, most| {
            Box::pin(async move {
                let objects = storage.forget_unsent(before, most).await?;
                let gone = objects.len() as u64;
                // Rows go first: bytes without a row cost only space, a row without its bytes is a broken file.
                objects.into_iter().for_each(|object| removal.remove(object));
                Ok(gone)
            })
        },
    },
    RetentionJob {
        name: "expire_uploads",
        retention: |retention| retention.unnamed_uploads,
        step: |storage, removal, before, most| {
            Box::pin(async move {
                let uploads = storage.expire_uploads(before, most).await?;
                let gone = uploads.len() as u64;
                uploads.into_iter().for_each(|upload| removal.remove(object_of(upload)));
                Ok(gone)
            })
        },
    },
    RetentionJob {
        name: "forget_nodes",
        // A node that is disconnected for a while keeps its state in the store.
        retention: |_| Duration::from_secs(86_400),
        step: |storage, _, before, most| storage.forget_nodes(before, most),
    },
    RetentionJob {
        name: "forget_audit",
        retention: |retention| retention.audit,
        step: |storage, _, before, most| storage.forget_audit(before, most),
    },
    RetentionJob {
        name: "expire_refresh_tokens",
        // They carry their own expiry.
        retention: |_| Duration::ZERO,
        step: |storage, _, before, most| storage.expire_refresh_tokens(before, most),
    },
    RetentionJob { name: "fold_people", retention: |_| Duration::ZERO, step: |storage, _, _, most| storage.fold_people(most) },
    RetentionJob {
        name: "forget_devices",
        // The store learns of uses of a device with a delay.
        retention: |_| Duration::from_secs(86_400),
        step: |storage, _, before, most| storage.forget_devices(before, most),
    },
    RetentionJob {
        // Afterwards no file of the store holds what was deleted before.
        name: "checkpoint",
        retention: |_| Duration::ZERO,
        step: |storage, _, _, _| Box::pin(async move { storage.checkpoint().await.map(|()| 0) }),
    },
];

impl Chat {
    /// Starts the task that runs the retention jobs, at the start and then periodically.
    pub(in crate::chat) fn watch_retention(&self, lifecycle: &Lifecycle) {
        let (chat, stop) = (self.clone(), lifecycle.clone());
        lifecycle.spawn(async move {
            let mut rounds = tokio::time::interval(chat.0.rules.retention.every);
            rounds.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
            loop {
                tokio::select! {
                    _ = rounds.tick() => {}
                    () = stop.stopping() => return,
                }
                for job in RETENTION_JOBS {
                    if let Err(error) = chat.run_retention_job(job, &stop).await {
                        let what = format!("retention job failed: {}", job.name);
                        telemetry::deferred(&what, &error, error.is_unavailable());
                    }
                }
            }
        });
    }

    /// Runs a job until a step finds less than a full batch.
    async fn run_retention_job(&self, job: &RetentionJob, stop: &Lifecycle) -> Result<()> {
        let kept = TimeDelta::from_std((job.retention)(&self.0.rules.retention)).unwrap_or(TimeDelta::MAX);
        // By the store's clock: a wrong local clock would delete data in use.
        let now = self.0.storage.now(clock::now()).await?;
        let before = now.checked_sub_signed(kept).unwrap_or(DateTime::UNIX_EPOCH);
        while !stop.is_stopping() {
            let step = (job.step)(self.0.storage.as_ref(), &self.0.removal, before, STEP_ROWS);
            if step.await? < STEP_ROWS as u64 {
                break;
            }
        }
        Ok(())
    }
}
