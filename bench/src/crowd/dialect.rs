//! What all dialects' clients have in common.

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

/// In which a visitor speaks.
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

    /// Whether its clients hold a socket; others poll, and ask meanwhile.
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

/// A visitor's place in a conversation.
pub(crate) struct Seat {
    pub(crate) conversation: Arc<Conversation>,
    /// What its dialect calls the conversation: its number, its uuid, or the uuid of the other one in it.
    pub(crate) address: String,
    /// The largest id of a message heard from others; negative before the first visit.
    pub(crate) last: AtomicI64,
}

impl Seat {
    pub(crate) fn new(conversation: &Arc<Conversation>, address: &str) -> Self {
        Self { conversation: Arc::clone(conversation), address: address.to_owned(), last: AtomicI64::new(-1) }
    }

    /// What was heard last; 0 if nothing was.
    pub(crate) fn last(&self) -> i64 {
        self.last.load(Ordering::Relaxed).max(0)
    }

    /// Begins after this message, if nobody has sat here yet.
    pub(crate) fn begins_after(&self, id: i64) {
        // Whoever has sat here goes on from what it has heard, be that nothing.
        let _ = self.last.compare_exchange(-1, id, Ordering::Relaxed, Ordering::Relaxed);
    }

    pub(crate) fn is_new(&self) -> bool {
        self.last.load(Ordering::Relaxed) < 0
    }
}

/// What it takes to come in.
pub(crate) struct Visit {
    pub(crate) site: Arc<Site>,
    pub(crate) http: Http,
    pub(crate) pass: Pass,
    pub(crate) is_agent: bool,
    /// The name of the machine from which it comes.
    pub(crate) device: String,
    pub(crate) seats: Arc<[Seat]>,
    /// How far the bus was heard, where it is.
    pub(crate) position: Arc<AtomicI64>,
    /// One visitor in two waits for news of all threads instead of for one's messages, where there is the choice.
    pub(crate) waits_for_all: bool,
}

/// A visitor who is there.
pub(crate) struct Entered {
    pub(crate) ears: Box<dyn Ears>,
    pub(crate) mouth: Box<dyn Mouth>,
    /// What was said since the last time.
    pub(crate) missed: Vec<Told>,
}

/// What a visitor is told.
#[derive(Debug)]
pub(crate) enum Told {
    Message {
        text: String,
        id: i64,
    },
    /// An own message was taken, in a dialect that answers beside what it tells, in no order with that.
    Confirmed {
        text: String,
    },
    /// An own message was not taken; the oldest one, if it is not said which.
    Refused {
        key: Option<String>,
        why: String,
    },
    Trouble(String),
}

#[async_trait]
pub(crate) trait Ears: Send {
    /// Waits until there is something.
    async fn listen(&mut self) -> Result<Vec<Told>, Trouble>;
}

#[async_trait]
pub(crate) trait Mouth: Send + Sync {
    /// Says something. Whether it was taken is told to the ears unless this says so.
    async fn say(&self, seat: &Seat, text: &str, key: &str) -> Result<bool, Trouble>;

    async fn types(&self, seat: &Seat) -> Result<(), Trouble>;

    async fn has_read(&self, seat: &Seat, id: i64) -> Result<(), Trouble>;

    /// What clients do all half minutes.
    async fn lives(&self) -> Result<(), Trouble> {
        Ok(())
    }

    /// Says goodbye.
    async fn leaves(&self) {}

    /// Whether what is said again under the same key is one message.
    fn may_repeat(&self) -> bool {
        false
    }
}

/// Comes in, for the first time or again.
pub(crate) async fn enter(dialect: Dialect, visit: &Visit) -> Result<Entered, Trouble> {
    match dialect {
        Dialect::Messaging => messaging::enter(visit).await,
        Dialect::ImChat => im_chat::enter(visit).await,
        Dialect::Room => room::enter(visit).await,
        Dialect::Conversations => conversations::enter(visit).await,
        Dialect::Concierge => concierge::enter(visit).await,
    }
}
