//! Watchdog of support sessions: closes those whose initiator is silent, and returns those whose agent is absent to the queue.

use std::time::Duration;

use chrono::TimeDelta;
use storage::{Conversation, Locked, Timestamp, Tx, UserId};
use tokio::time::Instant;

use super::{ANSWERING, close, give_back};
use crate::{
    chat::{Chat, Error, Result, Thing},
    clock,
    lifecycle::Lifecycle,
    telemetry,
};

/// Longest interval between two looks at the sessions.
const LOOK: Duration = Duration::from_secs(15);
/// Batch size: sessions per transaction.
const STEP: usize = 100;

impl Chat {
    /// Starts the watchdog of support sessions.
    pub(in crate::chat) fn watch_support(&self, lifecycle: &Lifecycle) {
        let (chat, stop) = (self.clone(), lifecycle.clone());
        let (rules, lag) = (self.0.rules.support, self.0.rules.presence.lag());
        let pause = LOOK.min(rules.silence).min(rules.absence);
        lifecycle.spawn(async move {
            // No node ran before the start, so agents could not send heartbeats.
            let mut doubt = (Instant::now(), rules.absence);
            loop {
                tokio::select! {
                    () = tokio::time::sleep(pause) => {}
                    () = chat.0.desk.news.notified() => {}
                    () = stop.stopping() => return,
                }
                let left = doubt.1.saturating_sub(doubt.0.elapsed());
                if let Err(error) = chat.look_after_support(left.is_zero()).await {
                    telemetry::put_off("support sessions could not be looked after", &error, error.is_unavailable());
                    // Heartbeats did not reach the store during the outage.
                    doubt = (Instant::now(), left.max(lag));
                }
            }
        });
    }

    /// Closes and returns the sessions that are due. `trusted`: true if the heartbeats in the store are current.
    async fn look_after_support(&self, trusted: bool) -> Result<()> {
        // After a failure the accounts are not looked at again: the next look at all sessions finds them.
        let changed: Vec<_> = self.0.desk.changed.lock().drain().collect();
        if !changed.is_empty() {
            self.dismiss(&changed).await?;
        }
        while self.close_silent_support().await? == STEP {}
        while self.give_back_support(trusted).await? == STEP {}
        Ok(())
    }

    /// Returns the sessions of these users to the queue, if they may no longer answer.
    async fn dismiss(&self, users: &[UserId]) -> Result<()> {
        for user in self.0.storage.users_by_id(users).await? {
            if user.active && ANSWERING.contains(&user.role) {
                continue;
            }
            self.transaction(|mut tx| async {
                let joined = tx.lock_joined_support(user.partner.id).await?;
                self.give_back_all(tx, &joined).await
            })
            .await?;
        }
        Ok(())
    }

    /// Returns at most [`STEP`] sessions to the queue whose agents may no longer answer or, with `trusted`, are absent. Gives
    /// the count.
    async fn give_back_support(&self, trusted: bool) -> Result<usize> {
        let absence = self.0.rules.support.absence.saturating_add(self.0.rules.presence.lag());
        let before = if trusted { self.ago(absence).await? } else { Timestamp::UNIX_EPOCH };
        self.transaction(|mut tx| async {
            let absent = tx.lock_absent_support(before, &ANSWERING, STEP).await?;
            self.give_back_all(tx, &absent).await?;
            Ok(absent.len())
        })
        .await
    }

    async fn give_back_all(&self, mut tx: Box<dyn Tx>, joined: &[Locked<Conversation>]) -> Result<()> {
        if joined.is_empty() {
            return Ok(());
        }
        let now = clock::now();
        for of in joined {
            let session = tx.support_session_of(of).await?.ok_or(Error::NotFound(Thing::Conversation))?;
            give_back(tx.as_mut(), of, session, None, now).await?;
        }
        self.0.announce.committed(tx.commit().await?).await;
        Ok(())
    }

    /// The time `duration` ago, by the store's clock.
    async fn ago(&self, duration: Duration) -> Result<Timestamp> {
        let now = self.0.storage.now(clock::now()).await?;
        let duration = TimeDelta::from_std(duration).unwrap_or(TimeDelta::MAX);
        Ok(now.checked_sub_signed(duration).unwrap_or(Timestamp::UNIX_EPOCH))
    }

    /// Closes at most [`STEP`] sessions, and gives the count.
    async fn close_silent_support(&self) -> Result<usize> {
        let before = self.ago(self.0.rules.support.silence).await?;
        let now = clock::now();
        self.transaction(|mut tx| async {
            let silent = tx.lock_silent_support(before, STEP).await?;
            for of in &silent {
                let session = tx.support_session_of(of).await?.ok_or(Error::NotFound(Thing::Conversation))?;
                close(tx.as_mut(), of, session, None, now).await?;
            }
            if !silent.is_empty() {
                self.0.announce.committed(tx.commit().await?).await;
            }
            Ok(silent.len())
        })
        .await
    }
}
