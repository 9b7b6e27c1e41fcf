//! Held messages: stored at once, shown to others when their sender says so.
//! A lease of the sender holds them: it has a socket on a node whose own lease is valid. Without one, a background task shows
//! them.

use std::collections::{HashMap, HashSet};

use parking_lot::Mutex;
use storage::{Fact, Message, MessageId, PartnerId, Topic};
use tokio::sync::Notify;

use super::{Chat, Error, Result, Thing};
use crate::{auth::Caller, clock, lifecycle::Lifecycle, telemetry};

/// Limit of held messages per sender. Any further one is shown at once.
const MOST_HELD: usize = 100;
/// Batch size of the search for held messages without a lease.
const STEP: usize = 100;

/// The held-message leases of this node.
#[derive(Default)]
pub(super) struct Attendances {
    here: Mutex<Here>,
    /// Serialises writes of leases to the store.
    saying: tokio::sync::Mutex<()>,
    /// Notified when leases have to be stored.
    news: Notify,
}

#[derive(Default)]
struct Here {
    /// Number of sockets of each partner that hold its lease.
    sockets: HashMap<PartnerId, usize>,
    /// Partners whose leases began or ended since the last write to the store.
    unsaid: HashSet<PartnerId>,
    /// Number of attempts to write to the store.
    attempts: u64,
}

impl Attendances {
    /// Stores all leases of this node again, since the store may have lost them.
    pub(super) fn doubt_store(&self) {
        let Here { sockets, unsaid, .. } = &mut *self.here.lock();
        unsaid.extend(sockets.keys());
        self.news.notify_one();
    }
}

/// Held-message lease of a socket, until it is dropped.
pub struct Attending {
    chat: Chat,
    partner: PartnerId,
}

impl Drop for Attending {
    fn drop(&mut self) {
        let attendances = &self.chat.0.attendances;
        {
            let mut here = attendances.here.lock();
            let sockets = here.sockets.get_mut(&self.partner).expect("it was counted when it came");
            *sockets -= 1;
            if *sockets > 0 {
                return;
            }
            here.sockets.remove(&self.partner);
            here.unsaid.insert(self.partner);
        }
        attendances.news.notify_one();
    }
}

impl Chat {
    /// Takes a held-message lease for a socket of the caller, until the result is dropped. Once the last one is dropped, the held
    /// messages are shown. Failures of the store are logged, and the next renewal tries again.
    ///
    /// # Cancel safety
    /// The lease ends again.
    pub async fn attends(&self, caller: &Caller) -> Attending {
        let said_before = {
            let mut here = self.0.attendances.here.lock();
            let sockets = here.sockets.entry(caller.partner).or_insert(0);
            *sockets += 1;
            let comes = *sockets == 1;
            if comes {
                here.unsaid.insert(caller.partner);
            }
            comes.then_some(here.attempts)
        };
        let attending = Attending { chat: self.clone(), partner: caller.partner };
        if let Some(attempts) = said_before {
            self.say_attendances(attempts).await;
        }
        attending
    }

    /// True if a message of the caller may be held: the caller has a lease, and fewer held messages than the limit.
    pub(super) async fn may_hold(&self, caller: &Caller) -> Result<bool> {
        let held = self.0.storage.held_by(caller.partner, MOST_HELD).await?;
        Ok(held.len() < MOST_HELD && self.is_attending(caller.partner).await?)
    }

    /// Checks a held message that was just stored: shows it if the lease of its sender has ended meanwhile.
    pub(super) async fn held_or_shown(&self, message: Message) -> Message {
        let shown =
            async { if self.is_attending(message.author.partner).await? { Ok(None) } else { self.show_held(message.id).await } };
        match shown.await {
            Ok(shown) => shown.unwrap_or(message),
            // The message is stored, must not be sent again, and is shown by the background task.
            Err(error) => {
                unshown(&error);
                message
            }
        }
    }

    async fn is_attending(&self, partner: PartnerId) -> Result<bool> {
        if self.0.attendances.here.lock().sockets.contains_key(&partner) {
            return Ok(true);
        }
        Ok(self.0.storage.is_attending(partner, self.store_time()).await?)
    }

    /// Shows a held message, unless it was shown or deleted meanwhile.
    async fn show_held(&self, id: MessageId) -> Result<Option<Message>> {
        let found = self.0.storage.locate_messages(&[id]).await?;
        let of = found.first().ok_or(Error::NotFound(Thing::Message))?.conversation;
        self.transaction(|mut tx| async {
            let conversation = tx.lock_conversations(&[of]).await?.pop().ok_or(Error::NotFound(Thing::Conversation))?;
            let message = tx.message_of(&conversation, id).await?;
            if message.is_none_or(|message| !message.held || message.deleted_at.is_some()) {
                return Ok(None);
            }
            let Some(shown) = tx.show_message(&conversation, id).await? else { return Ok(None) };
            tx.record(Topic::Conversation(of), Fact::MessageShown(shown.clone()), clock::now());
            self.0.announce.committed(tx.commit().await?).await;
            Ok(Some(shown))
        })
        .await
    }

    /// Starts the task that renews this node's lease, stores its held-message leases, and shows held messages without a lease:
    /// their sender is gone, or its node is dead.
    pub(super) fn watch_attendances(&self, lifecycle: &Lifecycle) {
        let (chat, stop) = (self.clone(), lifecycle.clone());
        lifecycle.spawn(async move {
            let mut rounds = tokio::time::interval(chat.lease_round());
            rounds.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
            loop {
                let stopping = tokio::select! {
                    _ = rounds.tick() => {
                        chat.keep_lease().await;
                        false
                    }
                    () = chat.0.attendances.news.notified() => false,
                    () = stop.stopping() => true,
                };
                let attempts = chat.0.attendances.here.lock().attempts;
                chat.say_attendances(attempts).await;
                if let Err(error) = chat.show_what_nobody_can().await {
                    unshown(&error);
                }
                if stopping {
                    return chat.end_lease().await;
                }
            }
        });
    }

    async fn keep_lease(&self) {
        let kept = async {
            self.renew_lease().await?;
            let Attendances { here, saying, .. } = &self.0.attendances;
            let _saying = saying.lock().await;
            let is_empty = here.lock().sockets.is_empty();
            // The store may have lost the leases of this node.
            if is_empty { Ok(()) } else { self.attend(&[]).await }
        };
        if let Err(error) = kept.await {
            telemetry::put_off("the lease of this node could not be renewed", &error, error.is_unavailable());
        }
    }

    async fn show_what_nobody_can(&self) -> Result<()> {
        loop {
            let held = self.0.storage.held_by_nobody(self.store_time(), STEP).await?;
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
    async fn say_attendances(&self, attempts: u64) {
        let Attendances { here, saying, .. } = &self.0.attendances;
        let _saying = saying.lock().await;
        let (come, gone): (Vec<_>, Vec<_>) = {
            let mut here = here.lock();
            if here.attempts > attempts {
                return;
            }
            here.attempts += 1;
            let unsaid = std::mem::take(&mut here.unsaid);
            unsaid.into_iter().partition(|partner| here.sockets.contains_key(partner))
        };
        let said = async {
            if !gone.is_empty() {
                self.0.storage.depart(self.0.lease.node, &gone).await?;
            }
            if come.is_empty() { Ok(()) } else { self.attend(&come).await }
        };
        if let Err(error) = said.await {
            tracing::warn!(error = %telemetry::chain(&error), "who is here could not be stored");
            // The next renewal tries again.
            here.lock().unsaid.extend(come.into_iter().chain(gone));
        }
    }

    async fn attend(&self, come: &[PartnerId]) -> Result<()> {
        let (node, until) = (self.0.lease.node, self.lease_end());
        if !self.0.storage.attend(node, until, come).await? {
            let all: Vec<_> = self.0.attendances.here.lock().sockets.keys().copied().collect();
            self.0.storage.attend(node, until, &all).await?;
        }
        Ok(())
    }
}

/// Logs that a message stays held; a later round shows it.
fn unshown(error: &Error) {
    telemetry::put_off("what was held back could not be shown", error, error.is_unavailable());
}
