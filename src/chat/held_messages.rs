//! Held messages: stored at once, shown to others when their sender says so.
//! A lease of the sender holds them: it has a socket on a node whose own lease is valid. Without one, a background task shows
//! them.

use std::collections::{HashMap, HashSet};

use parking_lot::Mutex;
use storage::{Fact, Message, MessageId, PartnerId, Topic};
use tokio::sync::Notify;

use super::{Chat, Error, ResourceKind, Result};
use crate::{auth::Caller, clock, error::chain, lifecycle::Lifecycle, telemetry};

/// Limit of held messages per sender. Any further one is shown at once.
const HELD_PER_SENDER: usize = 100;
/// Batch size of the search for held messages without a lease.
const STEP: usize = 100;

/// The held-message leases of this node.
#[derive(Default)]
pub(super) struct HeldMessageLeases {
    state: Mutex<LeaseSockets>,
    /// Serialises writes of leases to the store.
    writing: tokio::sync::Mutex<()>,
    /// Notified when leases have to be stored.
    changed: Notify,
}

#[derive(Default)]
struct LeaseSockets {
    /// Number of sockets of each partner that hold its lease.
    sockets: HashMap<PartnerId, usize>,
    /// Partners whose leases began or ended since the last write to the store.
    unsynced: HashSet<PartnerId>,
    /// Number of attempts to write to the store.
    attempts: u64,
}

impl HeldMessageLeases {
    /// Stores all leases of this node again, since the store may have lost them.
    pub(super) fn resync(&self) {
        let LeaseSockets { sockets, unsynced: unsaid, .. } = &mut *self.state.lock();
        unsaid.extend(sockets.keys());
        self.changed.notify_one();
    }
}

/// Held-message lease of a socket, until it is dropped.
pub struct HeldMessageLease {
    chat: Chat,
    partner: PartnerId,
}

impl Drop for HeldMessageLease {
    fn drop(&mut self) {
        let attendances = &self.chat.0.held_messages;
        {
            let mut here = attendances.state.lock();
            let sockets = here.sockets.get_mut(&self.partner).expect("each registered socket is counted");
            *sockets -= 1;
            if *sockets > 0 {
                return;
            }
            here.sockets.remove(&self.partner);
            here.unsynced.insert(self.partner);
        }
        attendances.changed.notify_one();
    }
}

impl Chat {
    /// Takes a held-message lease for a socket of the caller, until the result is dropped. Once the last one is dropped, the held
    /// messages are shown. Failures of the store are logged, and the next renewal tries again.
    ///
    /// # Cancel safety
    /// The lease ends again.
    pub async fn lease_held_messages(&self, caller: &Caller) -> HeldMessageLease {
        let said_before = {
            let mut here = self.0.held_messages.state.lock();
            let sockets = here.sockets.entry(caller.partner).or_insert(0);
            *sockets += 1;
            let comes = *sockets == 1;
            if comes {
                here.unsynced.insert(caller.partner);
            }
            comes.then_some(here.attempts)
        };
        let attending = HeldMessageLease { chat: self.clone(), partner: caller.partner };
        if let Some(attempts) = said_before {
            self.sync_held_message_leases(attempts).await;
        }
        attending
    }

    /// True if a message of the caller may be held: the caller has a lease, and fewer held messages than the limit.
    pub(super) async fn may_hold(&self, caller: &Caller) -> Result<bool> {
        let held = self.0.storage.held_messages_of(caller.partner, HELD_PER_SENDER).await?;
        Ok(held.len() < HELD_PER_SENDER && self.has_held_message_lease(caller.partner).await?)
    }

    /// Checks a held message that was just stored: shows it if the lease of its sender has ended meanwhile.
    pub(super) async fn held_or_shown(&self, message: Message) -> Message {
        let shown = async {
            if self.has_held_message_lease(message.author.partner).await? { Ok(None) } else { self.show_held(message.id).await }
        };
        match shown.await {
            Ok(shown) => shown.unwrap_or(message),
            // The message is stored, must not be sent again, and is shown by the background task.
            Err(error) => {
                log_not_shown(&error);
                message
            }
        }
    }

    async fn has_held_message_lease(&self, partner: PartnerId) -> Result<bool> {
        if self.0.held_messages.state.lock().sockets.contains_key(&partner) {
            return Ok(true);
        }
        Ok(self.0.storage.has_held_lease(partner, self.store_time()).await?)
    }

    /// Shows a held message, unless it was shown or deleted meanwhile.
    async fn show_held(&self, id: MessageId) -> Result<Option<Message>> {
        let found = self.0.storage.locate_messages(&[id]).await?;
        let of = found.first().ok_or(Error::NotFound(ResourceKind::Message))?.conversation;
        self.transaction(|mut tx| async {
            let conversation = tx.lock_conversations(&[of]).await?.pop().ok_or(Error::NotFound(ResourceKind::Conversation))?;
            let message = tx.message_of(&conversation, id).await?;
            if message.is_none_or(|message| !message.held || message.deleted_at.is_some()) {
                return Ok(None);
            }
            let Some(shown) = tx.show_message(&conversation, id).await? else { return Ok(None) };
            tx.record(Topic::Conversation(of), Fact::MessageShown(shown.clone()), clock::now());
            self.0.publisher.commit(tx).await?;
            Ok(Some(shown))
        })
        .await
    }

    /// Starts the task that renews this node's lease, stores its held-message leases, and shows held messages without a lease:
    /// their sender is gone, or its node is dead.
    pub(super) fn watch_held_messages(&self, lifecycle: &Lifecycle) {
        let (chat, stop) = (self.clone(), lifecycle.clone());
        lifecycle.spawn(async move {
            let mut rounds = tokio::time::interval(chat.lease_renewal_interval());
            rounds.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
            loop {
                let stopping = tokio::select! {
                    _ = rounds.tick() => {
                        chat.renew_leases().await;
                        false
                    }
                    () = chat.0.held_messages.changed.notified() => false,
                    () = stop.stopping() => true,
                };
                let attempts = chat.0.held_messages.state.lock().attempts;
                chat.sync_held_message_leases(attempts).await;
                if let Err(error) = chat.show_without_lease().await {
                    log_not_shown(&error);
                }
                if stopping {
                    return chat.end_lease().await;
                }
            }
        });
    }

    async fn renew_leases(&self) {
        let kept = async {
            self.renew_lease().await?;
            let HeldMessageLeases { state: here, writing: saying, .. } = &self.0.held_messages;
            let _saying = saying.lock().await;
            let is_empty = here.lock().sockets.is_empty();
            // The store may have lost the leases of this node.
            if is_empty { Ok(()) } else { self.renew_held_message_leases(&[]).await }
        };
        if let Err(error) = kept.await {
            telemetry::deferred("node lease not renewed", &error, error.is_unavailable());
        }
    }

    async fn show_without_lease(&self) -> Result<()> {
        loop {
            let held = self.0.storage.held_without_lease(self.store_time(), STEP).await?;
            let is_all = held.len() < STEP;
            for message in held {
                self.show_held(message).await?;
            }
            if is_all {
                return Ok(());
            }
        }
    }

    /// Writes new and ended leases to the store, unless another call has tried so since the attempt of that number. Concurrent
    /// calls share one write, and while the store is unavailable, no call waits for the attempts of earlier ones.
    async fn sync_held_message_leases(&self, attempts: u64) {
        let HeldMessageLeases { state: here, writing: saying, .. } = &self.0.held_messages;
        let _saying = saying.lock().await;
        let (come, gone): (Vec<_>, Vec<_>) = {
            let mut here = here.lock();
            if here.attempts > attempts {
                return;
            }
            here.attempts += 1;
            let unsaid = std::mem::take(&mut here.unsynced);
            unsaid.into_iter().partition(|partner| here.sockets.contains_key(partner))
        };
        let said = async {
            if !gone.is_empty() {
                self.0.storage.end_held_lease(self.0.lease.node, &gone).await?;
            }
            if come.is_empty() { Ok(()) } else { self.renew_held_message_leases(&come).await }
        };
        if let Err(error) = said.await {
            tracing::warn!(error = %chain(&error), "held-message leases not stored");
            // The next renewal tries again.
            here.lock().unsynced.extend(come.into_iter().chain(gone));
        }
    }

    async fn renew_held_message_leases(&self, come: &[PartnerId]) -> Result<()> {
        let (node, until) = (self.0.lease.node, self.lease_end());
        if !self.0.storage.renew_held_lease(node, until, come).await? {
            let all: Vec<_> = self.0.held_messages.state.lock().sockets.keys().copied().collect();
            self.0.storage.renew_held_lease(node, until, &all).await?;
        }
        Ok(())
    }
}

/// Logs that a message stays held; a later round shows it.
fn log_not_shown(error: &Error) {
    telemetry::deferred("held messages not released", error, error.is_unavailable());
}
