//! Housekeeping: retention deletes what has had its day, and what earlier versions have left undone is done: in small steps, beside
//! everything else.

use std::time::Duration;

use chrono::{DateTime, TimeDelta};
use futures_util::future::BoxFuture;
use storage::{Storage, Timestamp};

use super::{Chat, Result, uploads::object_of};
use crate::{blobs::Blobs, clock, lifecycle::Lifecycle, telemetry};

/// How long things are kept of which nobody says when they are to go.
#[derive(Clone, Copy, Debug)]
pub struct Retention {
    /// Events of the log. Whoever comes back later with an older position gets what is left.
    pub log: Duration,
    /// Files that were uploaded and never sent.
    pub unsent_attachments: Duration,
    /// Uploads that no message names, after the time for them is over.
    pub unnamed_uploads: Duration,
    /// Sessions, after their last use.
    pub sessions: Duration,
    /// Entries of the audit trail.
    pub audit: Duration,
    /// How often it is looked for what is old enough.
    pub every: Duration,
    /// Objects that nothing in the store names, after they were written.
    pub orphans: Duration,
    /// The period of the sweep that deletes these; `None` where nothing outlives the program.
    pub sweep_every: Option<Duration>,
}

/// How many things of a kind one step takes away.
const STEP: usize = 1_000;

/// A kind of things that go away.
struct Job {
    what: &'static str,
    /// How long such things are kept.
    kept: fn(&Retention) -> Duration,
    /// Takes away at most that many things from before that time, and says how many they were. One node does so at a time;
    /// another that is about it finds nothing to do.
    step: for<'a> fn(&'a dyn Storage, &'a Blobs, Timestamp, usize) -> BoxFuture<'a, storage::Result<u64>>,
}

/// In this order: what is kept for the sake of something goes after it.
const JOBS: &[Job] = &[
    Job {
        what: "forget_events",
        kept: |retention| retention.log,
        step: |storage, _, before, most| storage.forget_events(before, most),
    },
    Job {
        what: "forget_memberships",
        // They go with the events that they are kept for.
        kept: |_| Duration::ZERO,
        step: |storage, _, _, most| storage.forget_memberships(most),
    },
    Job {
        what: "expire_sessions",
        kept: |retention| retention.sessions,
        step: |storage, _, before, most| storage.expire_sessions(before, most),
    },
    Job {
        what: "forget_unsent",
        kept: |retention| retention.unsent_attachments,
        step: |storage, blobs, before, most| {
            Box::pin(async move {
                let objects = storage.forget_unsent(before, most).await?;
                let gone = objects.len() as u64;
                // The rows are gone first: bytes without a row cost room, a row without its bytes is a file that is broken.
                objects.into_iter().for_each(|object| blobs.delete_later(object));
                Ok(gone)
            })
        },
    },
    Job {
        what: "expire_uploads",
        kept: |retention| retention.unnamed_uploads,
        step: |storage, blobs, before, most| {
            Box::pin(async move {
                let uploads = storage.expire_uploads(before, most).await?;
                let gone = uploads.len() as u64;
                for upload in uploads {
                    blobs.delete(&object_of(upload)).await;
                }
                Ok(gone)
            })
        },
    },
    Job {
        what: "forget_nodes",
        // A node that is only cut off for a while should not have to tell everything again.
        kept: |_| Duration::from_secs(86_400),
        step: |storage, _, before, most| storage.forget_nodes(before, most),
    },
    Job {
        what: "forget_audit",
        kept: |retention| retention.audit,
        step: |storage, _, before, most| storage.forget_audit(before, most),
    },
    Job {
        what: "expire_refresh_tokens",
        // They say by themselves until when they are good.
        kept: |_| Duration::ZERO,
        step: |storage, _, before, most| storage.expire_refresh_tokens(before, most),
    },
    Job { what: "fold_people", kept: |_| Duration::ZERO, step: |storage, _, _, most| storage.fold_people(most) },
    Job {
        what: "forget_devices",
        // The store learns a little late how long those last that are in use.
        kept: |_| Duration::from_secs(86_400),
        step: |storage, _, before, most| storage.forget_devices(before, most),
    },
];

impl Chat {
    /// Starts the task that takes away what has had its day: once at the start, and then again and again.
    pub(super) fn keep_house(&self, lifecycle: &Lifecycle) {
        let (chat, stop) = (self.clone(), lifecycle.clone());
        lifecycle.spawn(async move {
            let mut rounds = tokio::time::interval(chat.0.rules.retention.every);
            rounds.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
            loop {
                tokio::select! {
                    _ = rounds.tick() => {}
                    () = stop.stopping() => return,
                }
                for job in JOBS {
                    if let Err(error) = chat.clear(job, &stop).await {
                        let what = format!("what is old could not be cleared away: {}", job.what);
                        telemetry::put_off(&what, &error, error.is_unavailable());
                    }
                }
            }
        });
    }

    /// Takes steps as long as they find enough to do.
    async fn clear(&self, job: &Job, stop: &Lifecycle) -> Result<()> {
        let kept = TimeDelta::from_std((job.kept)(&self.0.rules.retention)).unwrap_or(TimeDelta::MAX);
        // Not by the own clock: were that wrong, what others are using would be gone.
        let now = self.0.storage.now(clock::now()).await?;
        let before = now.checked_sub_signed(kept).unwrap_or(DateTime::UNIX_EPOCH);
        while !stop.is_stopping() {
            let step = (job.step)(self.0.storage.as_ref(), &self.0.blobs, before, STEP);
            if step.await? < STEP as u64 {
                break;
            }
        }
        Ok(())
    }
}
