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
    /// Until when its signs of life last, wherever they were given; `None` if there were none.
    pub there_until: Option<Timestamp>,
    /// From when on it has been doing nothing for so long that it is away; `None` if nobody can tell.
    pub idle_from: Option<Timestamp>,
}

/// What one node knows of a partner's signs of life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sign {
    pub partner: PartnerId,
    pub last_seen: Timestamp,
    pub there_until: Timestamp,
    pub idle_from: Option<Timestamp>,
}

/// The end of a partner's signs of life, brought forward.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shortened {
    pub partner: PartnerId,
    /// The end as the store was last told; another one, which somebody else has told, stays. `None`: whatever it is.
    pub known: Option<Timestamp>,
    pub there_until: Timestamp,
}

/// Presence is written outside transactions: what is lost with a node is a few seconds of "last seen".
#[async_trait]
pub trait Presences {
    /// Those of the partners that were ever seen, in no particular order.
    async fn presences(&self, partners: &[PartnerId]) -> Result<Vec<Presence>>;
    /// Whose signs of life ended after the first and until the second time, and when, by rising time, then partner id; of
    /// those whose ended at the first time only partners with larger ids than the one given. Left out is who has set
    /// something, which does not end.
    async fn ended_presences(
        &self,
        after: (Timestamp, PartnerId),
        until: Timestamp,
        most: usize,
    ) -> Result<Vec<(PartnerId, Timestamp)>>;
    /// Notes signs of life of partners, who must exist; no time goes back, and what they set stays.
    async fn touch_presences(&self, signs: &[Sign]) -> Result<()>;
    /// Brings the end of signs of life forward; one that is earlier stays.
    async fn shorten_presences(&self, ends: &[Shortened]) -> Result<()>;
    /// Notes what a partner, who must exist, has set, and that it was seen at that time, which never goes back.
    async fn set_presence(&self, partner: PartnerId, set: Option<SetStatus>, seen: Timestamp) -> Result<()>;
}
