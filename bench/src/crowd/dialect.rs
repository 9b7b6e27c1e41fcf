//! The interface of a dialect's client: memberships, receiver and sender.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
};

use async_trait::async_trait;

use super::{
    concierge, conversations, im_chat,
    ledger::Conversation,
    messaging, room,
    site::{Http, Pass, Site, Trouble},
};

/// Dialect of a virtual user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dialect {
    Messaging,
    ImChat,
    Room,
    Conversations,
    Concierge,
}

impl Dialect {
    pub(crate) const ALL: [Self; 5] = [Self::Messaging, Self::ImChat, Self::Room, Self::Conversations, Self::Concierge];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Messaging => "messaging",
            Self::ImChat => "im_chat",
            Self::Room => "room",
            Self::Conversations => "conversations",
            Self::Concierge => "concierge",
        }
    }

    /// True for clients with a socket. Others use long polling, and send requests beside it.
    pub(crate) fn has_socket(self) -> bool {
        match self {
            Self::Messaging | Self::ImChat => false,
            Self::Room | Self::Conversations | Self::Concierge => true,
        }
    }
}

impl fmt::Display for Dialect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Membership of a virtual user in a conversation.
pub(crate) struct Seat {
    pub(crate) conversation: Arc<Conversation>,
    /// The dialect's address of the conversation: its number, its uuid, or the uuid of the other member.
    pub(crate) address: String,
    /// Largest id of a message received from others; negative before the first connect.
    pub(crate) last: AtomicI64,
}

impl Seat {
    pub(crate) fn new(conversation: &Arc<Conversation>, address: &str) -> Self {
        Self { conversation: Arc::clone(conversation), address: address.to_owned(), last: AtomicI64::new(-1) }
    }

    /// Largest id received; 0 if none.
    pub(crate) fn last(&self) -> i64 {
        self.last.load(Ordering::Relaxed).max(0)
    }

    /// Sets the position on the first connect: only later messages count.
    pub(crate) fn begins_after(&self, id: i64) {
        // After the first connect the position is known, even if no message was received.
        let _ = self.last.compare_exchange(-1, id, Ordering::Relaxed, Ordering::Relaxed);
    }

    pub(crate) fn is_new(&self) -> bool {
        self.last.load(Ordering::Relaxed) < 0
    }
}

/// Parameters of a connect.
pub(crate) struct Visit {
    pub(crate) site: Arc<Site>,
    pub(crate) http: Http,
    pub(crate) pass: Pass,
    pub(crate) is_agent: bool,
    /// Device id.
    pub(crate) device: String,
    pub(crate) seats: Arc<[Seat]>,
    /// Last position of the bus of `im_chat`.
    pub(crate) position: Arc<AtomicI64>,
    /// True for every second virtual user: it polls for updates of all threads instead of messages of one thread, if
    /// its dialect offers both.
    pub(crate) waits_for_all: bool,
}

/// A connected virtual user.
pub(crate) struct Entered {
    pub(crate) ears: Box<dyn Ears>,
    pub(crate) mouth: Box<dyn Mouth>,
    /// Messages since the last connect.
    pub(crate) missed: Vec<Told>,
}

/// A received event.
#[derive(Debug)]
pub(crate) enum Told {
    Message {
        text: String,
        id: i64,
    },
    /// Acknowledgement of an own message, in a dialect whose answers have no defined order with other events.
    Confirmed {
        text: String,
    },
    /// Refusal of an own message; without a key it is the oldest unanswered one.
    Refused {
        key: Option<String>,
        why: String,
    },
    Trouble(String),
}

#[async_trait]
pub(crate) trait Ears: Send {
    /// Waits for the next events.
    async fn listen(&mut self) -> Result<Vec<Told>, Trouble>;
}

#[async_trait]
pub(crate) trait Mouth: Send + Sync {
    /// Sends a message. True if the answer acknowledges it; otherwise the receiver gets the acknowledgement.
    async fn say(&self, seat: &Seat, text: &str, key: &str) -> Result<bool, Trouble>;

    async fn types(&self, seat: &Seat) -> Result<(), Trouble>;

    async fn has_read(&self, seat: &Seat, id: i64) -> Result<(), Trouble>;

    /// Sends a heartbeat, every 30 seconds.
    async fn lives(&self) -> Result<(), Trouble> {
        Ok(())
    }

    /// Disconnects.
    async fn leaves(&self) {}

    /// True if retries with the same idempotency key are deduplicated by the server.
    fn may_repeat(&self) -> bool {
        false
    }
}

/// Connects or reconnects.
pub(crate) async fn enter(dialect: Dialect, visit: &Visit) -> Result<Entered, Trouble> {
    match dialect {
        Dialect::Messaging => messaging::enter(visit).await,
        Dialect::ImChat => im_chat::enter(visit).await,
        Dialect::Room => room::enter(visit).await,
        Dialect::Conversations => conversations::enter(visit).await,
        Dialect::Concierge => concierge::enter(visit).await,
    }
}
