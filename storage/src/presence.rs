use async_trait::async_trait;

use crate::{PartnerId, Result, Timestamp};

/// What a partner has set itself to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SetStatus {
    Away,
    Offline,
}

impl SetStatus {
    /// The word in the database.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Away => "away",
            Self::Offline => "offline",
        }
    }

    /// The reverse of [`SetStatus::as_str`].
    pub fn parse(word: &str) -> Option<Self> {
        [Self::Away, Self::Offline].into_iter().find(|status| status.as_str() == word)
    }
}

/// What is known of a partner's presence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Presence {
    pub partner: PartnerId,
    /// `None`: as its activity says.
    pub set: Option<SetStatus>,
    pub last_seen: Timestamp,
}

/// Presence is written outside transactions: what is lost with a node is a few seconds of "last seen".
#[async_trait]
pub trait Presences {
    /// Those of the partners that were ever seen, in no particular order.
    async fn presences(&self, partners: &[PartnerId]) -> Result<Vec<Presence>>;
    /// Notes that partners, who must exist, were seen; the time never goes back, what they set stays.
    async fn touch_presences(&self, seen: &[(PartnerId, Timestamp)]) -> Result<()>;
    /// Notes what a partner, who must exist, has set, and that it was seen; the time never goes back.
    async fn set_presence(&self, presence: Presence) -> Result<()>;
}
