//! The interface of a dialect's client: memberships, receiver and sender.

use std::sync::{
    Arc,
    atomic::{AtomicI64, Ordering},
};

use async_trait::async_trait;

use crate::{
    recorder::Conversation,
    target::{Credentials, Http, RequestError, Target},
};

/// Membership of a virtual user in a conversation.
pub(crate) struct Membership {
    pub(crate) conversation: Arc<Conversation>,
    /// The dialect's address of the conversation: its number, its uuid, or the uuid of the other member.
    pub(crate) address: String,
    /// Largest id of a message received from others; negative before the first connect.
    pub(crate) last_id: AtomicI64,
}

impl Membership {
    pub(crate) fn new(conversation: &Arc<Conversation>, address: &str) -> Self {
        Self { conversation: Arc::clone(conversation), address: address.to_owned(), last_id: AtomicI64::new(-1) }
    }

    /// Largest id received; 0 if none.
    pub(crate) fn last(&self) -> i64 {
        self.last_id.load(Ordering::Relaxed).max(0)
    }

    /// Sets the position on the first connect: only later messages count.
    pub(crate) fn start_after(&self, id: i64) {
        // After the first connect the position is known, even if no message was received.
        let _ = self.last_id.compare_exchange(-1, id, Ordering::Relaxed, Ordering::Relaxed);
    }

    pub(crate) fn is_new(&self) -> bool {
        self.last_id.load(Ordering::Relaxed) < 0
    }
}

/// Parameters of a connect.
pub(crate) struct ConnectContext {
    pub(crate) target: Arc<Target>,
    pub(crate) http: Http,
    pub(crate) credentials: Credentials,
    pub(crate) is_agent: bool,
    /// Device id.
    pub(crate) device_id: String,
    pub(crate) memberships: Arc<[Membership]>,
    /// Last position of the bus of `im_chat`.
    pub(crate) bus_position: Arc<AtomicI64>,
    /// True for every second virtual user: it polls for updates of all threads instead of messages of one thread, if
    /// its dialect offers both.
    pub(crate) polls_all_threads: bool,
}

/// A connected virtual user.
pub(crate) struct ConnectedClient {
    pub(crate) receiver: Box<dyn Receiver>,
    pub(crate) sender: Box<dyn Sender>,
    /// Messages since the last connect.
    pub(crate) missed: Vec<ReceivedEvent>,
}

/// A received event.
#[derive(Debug)]
pub(crate) enum ReceivedEvent {
    Message {
        text: String,
        id: i64,
    },
    /// Acknowledgement of an own message, in a dialect whose answers have no defined order with other events.
    Acknowledged {
        text: String,
    },
    /// Refusal of an own message; without a key it is the oldest unanswered one.
    Refused {
        key: Option<String>,
        why: String,
    },
    Failure(String),
}

#[async_trait]
pub(crate) trait Receiver: Send {
    /// Waits for the next events.
    async fn receive(&mut self) -> Result<Vec<ReceivedEvent>, RequestError>;
}

#[async_trait]
pub(crate) trait Sender: Send + Sync {
    /// Sends a message. True if the answer acknowledges it; otherwise the receiver gets the acknowledgement.
    async fn send(&self, seat: &Membership, text: &str, key: &str) -> Result<bool, RequestError>;

    async fn send_typing(&self, seat: &Membership) -> Result<(), RequestError>;

    async fn mark_read(&self, seat: &Membership, id: i64) -> Result<(), RequestError>;

    /// Sends a heartbeat, every 30 seconds.
    async fn send_heartbeat(&self) -> Result<(), RequestError> {
        Ok(())
    }

    /// Disconnects.
    async fn disconnect(&self) {}

    /// True if retries with the same idempotency key are deduplicated by the server.
    fn is_idempotent(&self) -> bool {
        false
    }
}
