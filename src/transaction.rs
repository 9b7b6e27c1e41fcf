//! Transactions with retries after deadlocks and serialization failures.

use std::{future::Future, time::Duration};

use storage::{Storage, Tx, Workspace};
use uuid::Uuid;

/// Maximum number of attempts. The database takes a second to notice a deadlock.
const TRIES: u32 = 4;
/// Longest delay before the first retry; it doubles with each further one.
const PAUSE: Duration = Duration::from_millis(20);

/// An error that may report contention: the store has rolled back the transaction.
pub(crate) trait Retryable: From<storage::Error> {
    fn is_contention(&self) -> bool;
}

impl Retryable for storage::Error {
    fn is_contention(&self) -> bool {
        matches!(self, Self::Contention(_))
    }
}

/// True if the cause of an error is contention.
pub(crate) fn is_contention(cause: &(dyn std::error::Error + Send + Sync + 'static)) -> bool {
    cause.downcast_ref::<storage::Error>().is_some_and(Retryable::is_contention)
}

/// Runs `work` in a transaction, which it commits itself, and retries it a few times after a deadlock or a serialization failure
/// (SQLSTATE 40P01, 40001). Every transaction of the program runs here, or in the group commit of [`GroupCommit`](crate::chat), which
/// retries in the same way.
///
/// Retries are safe: the store reports contention only after a rollback, at any statement, the commit included; an unknown
/// outcome is another error. `work` starts from its caller's arguments and reads everything else in its transaction, so a retry
/// sees the changes of others. Its side effects outside the store before the commit must be idempotent.
///
/// # Cancel safety
/// Dropped before the commit, it leaves nothing behind.
pub(crate) async fn transaction<T, E: Retryable, F: Future<Output = Result<T, E>>>(
    storage: &dyn Storage,
    work: impl Fn(Box<dyn Tx>) -> F,
) -> Result<T, E> {
    retry_on_contention(|| async { work(storage.begin().await?).await }).await
}

/// Changes the properties of the workspace in a transaction of its own, as [`transaction`] does.
pub(crate) async fn change_workspace(storage: &dyn Storage, change: impl Fn(&mut Workspace)) -> storage::Result<()> {
    transaction(storage, |mut tx| async {
        let mut workspace = tx.lock_workspace().await?;
        change(&mut workspace);
        tx.set_workspace(&workspace).await?;
        tx.commit().await.map(drop)
    })
    .await
}

/// Retries `work`, which begins and commits a transaction, as [`transaction`] does.
pub(crate) async fn retry_on_contention<T, E: Retryable, F: Future<Output = Result<T, E>>>(work: impl Fn() -> F) -> Result<T, E> {
    for tries in 1..TRIES {
        match work().await {
            Err(error) if error.is_contention() => tokio::time::sleep(pause(tries)).await,
            done => return done,
        }
    }
    work().await
}

/// Random delay before a retry (jitter), so that two contending transactions do not collide again.
fn pause(tries: u32) -> Duration {
    let longest = PAUSE * 2_u32.pow(tries - 1);
    let part = u32::from(Uuid::new_v4().as_bytes()[0]) + 1;
    longest * part / 256
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use storage::Error;

    use super::*;

    async fn tried(fails: impl Fn(u32) -> Option<Error>) -> (Result<u32, Error>, u32) {
        let tries = AtomicU32::new(0);
        let done = retry_on_contention(|| {
            let tries = tries.fetch_add(1, Ordering::Relaxed) + 1;
            std::future::ready(fails(tries).map_or(Ok(tries), Err))
        });
        (done.await, tries.load(Ordering::Relaxed))
    }

    #[tokio::test(start_paused = true)]
    async fn only_contention_is_tried_again_and_not_for_ever() {
        let contention = || Error::Contention("a deadlock".into());
        assert!(matches!(tried(|tries| (tries < 3).then(contention)).await, (Ok(3), 3)));
        assert!(matches!(tried(|_| Some(contention())).await, (Err(Error::Contention(_)), TRIES)));
        assert!(matches!(tried(|_| Some(Error::Unavailable("away".into()))).await, (Err(Error::Unavailable(_)), 1)));
    }

    #[test]
    fn pauses_grow() {
        for tries in 1..TRIES {
            let pause = pause(tries);
            assert!(pause > Duration::ZERO && pause <= PAUSE * 2_u32.pow(tries - 1), "{pause:?}");
        }
    }
}
