//! Lease of a running backup: while it lasts, servers keep the bytes of files that are deleted.

use std::time::Duration;

use chrono::TimeDelta;
use storage::{Storage, Timestamp, Workspace};
use tokio::time::{Instant, sleep};
use uuid::Uuid;

use crate::{clock, transaction::change_workspace};

/// Length of a lease: a killed backup delays deletions for so long.
const LENGTH: TimeDelta = TimeDelta::seconds(60);
/// Interval of renewals: one may fail.
const RENEW_EVERY: Duration = Duration::from_secs(20);
/// Time after which a lease is not renewed any more: files are deleted then, whatever the backup misses.
const LONGEST: Duration = Duration::from_secs(3600);

/// Lease of this backup.
pub(super) struct BackupLease<'a> {
    storage: &'a dyn Storage,
    id: Uuid,
    begun: Instant,
}

impl<'a> BackupLease<'a> {
    /// Takes a lease. Rows that are read from now on name files that stay.
    pub(super) async fn acquire(storage: &'a dyn Storage) -> storage::Result<Self> {
        let lease = Self { storage, id: Uuid::new_v4(), begun: Instant::now() };
        lease.renew().await?;
        Ok(lease)
    }

    /// Renews the lease during some work, up to [`LONGEST`].
    pub(super) async fn keep_during<T>(&self, work: impl Future<Output = T>) -> T {
        let mut work = std::pin::pin!(work);
        loop {
            tokio::select! {
                done = &mut work => return done,
                () = sleep(RENEW_EVERY) => {}
            }
            if self.begun.elapsed() < LONGEST {
                tokio::select! {
                    done = &mut work => return done,
                    // After a failure there is another time.
                    _ = self.renew() => {}
                }
            }
        }
    }

    async fn renew(&self) -> storage::Result<()> {
        let now = self.storage.now(clock::now()).await?;
        self.change(now, |workspace| {
            workspace.backups.insert(self.id, now + LENGTH);
        })
        .await
    }

    /// Ends the lease.
    pub(super) async fn end(&self) -> storage::Result<()> {
        let now = self.storage.now(clock::now()).await?;
        self.change(now, |workspace| {
            workspace.backups.remove(&self.id);
        })
        .await
    }

    async fn change(&self, now: Timestamp, change: impl Fn(&mut Workspace)) -> storage::Result<()> {
        change_workspace(self.storage, |workspace| {
            // Those of killed backups.
            workspace.backups.retain(|_, until| *until > now);
            change(workspace);
        })
        .await
    }
}

/// Ends all leases in a restored store: they are those of its source.
pub(super) async fn end_all(storage: &dyn Storage) -> storage::Result<()> {
    change_workspace(storage, |workspace| workspace.backups.clear()).await
}

#[cfg(test)]
mod tests {
    use storage::{Workspaces, memory::Memory};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_lease_is_renewed_for_an_hour() {
        let storage = Memory::new();
        let begun = Instant::now();
        let lease = BackupLease::acquire(&storage).await.unwrap();
        let leases = async || storage.workspace().await.unwrap().backups;
        assert!(leases().await.into_values().all(|until| until <= clock::now() + LENGTH));
        let work = async {
            for minute in 1..60 {
                end_all(&storage).await.unwrap();
                tokio::time::sleep_until(begun + Duration::from_secs(60 * minute)).await;
                assert_eq!(leases().await.len(), 1, "{minute} minutes");
            }
            tokio::time::sleep_until(begun + LONGEST).await;
            end_all(&storage).await.unwrap();
            sleep(2 * LONGEST).await;
            assert_eq!(leases().await.len(), 0);
        };
        lease.keep_during(work).await;
    }
}
