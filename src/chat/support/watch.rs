//! Watchdog of support sessions: closes those whose initiator is silent, and returns those whose agent is absent to the queue.

use std::time::Duration;

use chrono::TimeDelta;
use storage::{Conversation, Locked, Timestamp, Tx, UserId};
use tokio::time::Instant;

use super::{AGENT_ROLES, close, requeue};
use crate::{
    chat::{Chat, Error, ResourceKind, Result},
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
        let (rules, lag) = (self.0.rules.support, self.0.rules.presence.longest_delay());
        let pause = LOOK.min(rules.initiator_timeout).min(rules.agent_timeout);
        lifecycle.spawn(async move {
            // No node ran before the start, so agents could not send heartbeats.
            let mut doubt = (Instant::now(), rules.agent_timeout);
            loop {
                tokio::select! {
                    () = tokio::time::sleep(pause) => {}
                    () = chat.0.support.accounts_changed.notified() => {}
                    () = stop.stopping() => return,
                }
                let left = doubt.1.saturating_sub(doubt.0.elapsed());
                if let Err(error) = chat.close_and_requeue(left.is_zero()).await {
                    telemetry::deferred("support sessions could not be looked after", &error, error.is_unavailable());
                    // Heartbeats did not reach the store during the outage.
                    doubt = (Instant::now(), left.max(lag));
                }
            }
        });
    }

    /// Closes and returns the sessions that are due. `trusted`: true if the heartbeats in the store are current.
    async fn close_and_requeue(&self, trusted: bool) -> Result<()> {
        // After a failure the accounts are not looked at again: the next look at all sessions finds them.
        let changed: Vec<_> = self.0.support.changed_accounts.lock().drain().collect();
        if !changed.is_empty() {
            self.requeue_of(&changed).await?;
        }
        while self.close_silent_support().await? == STEP {}
        while self.requeue_absent(trusted).await? == STEP {}
        Ok(())
    }

    /// Returns the sessions of these users to the queue, if they may no longer answer.
    async fn requeue_of(&self, users: &[UserId]) -> Result<()> {
        for user in self.0.storage.users_by_id(users).await? {
            if user.active && AGENT_ROLES.contains(&user.role) {
                continue;
            }
            self.transaction(|mut tx| async {
                let joined = tx.lock_joined_support(user.partner.id).await?;
                self.requeue_all(tx, &joined).await
            })
            .await?;
        }
        Ok(())
    }

    /// Returns at most [`STEP`] sessions to the queue whose agents may no longer answer or, with `trusted`, are absent. Gives
    /// the count.
    async fn requeue_absent(&self, trusted: bool) -> Result<usize> {
        let absence = self.0.rules.support.agent_timeout.saturating_add(self.0.rules.presence.longest_delay());
        let before = if trusted { self.ago(absence).await? } else { Timestamp::UNIX_EPOCH };
        self.transaction(|mut tx| async {
            let absent = tx.lock_absent_support(before, &AGENT_ROLES, STEP).await?;
            self.requeue_all(tx, &absent).await?;
            Ok(absent.len())
        })
        .await
    }

    async fn requeue_all(&self, mut tx: Box<dyn Tx>, joined: &[Locked<Conversation>]) -> Result<()> {
        if joined.is_empty() {
            return Ok(());
        }
        let now = clock::now();
        for of in joined {
            let session = tx.support_session_of(of).await?.ok_or(Error::NotFound(ResourceKind::Conversation))?;
            requeue(tx.as_mut(), of, session, None, now).await?;
        }
        self.0.publisher.commit(tx).await?;
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
        let before = self.ago(self.0.rules.support.initiator_timeout).await?;
        let now = clock::now();
        self.transaction(|mut tx| async {
            let silent = tx.lock_silent_support(before, STEP).await?;
            for of in &silent {
                let session = tx.support_session_of(of).await?.ok_or(Error::NotFound(ResourceKind::Conversation))?;
                close(tx.as_mut(), of, session, None, now).await?;
            }
            if !silent.is_empty() {
                self.0.publisher.commit(tx).await?;
            }
            Ok(silent.len())
        })
        .await
    }
}
