//! Presence of partners: heartbeats with a lease, idle times, and statuses set by users. Written outside transactions: the loss
//! of a node costs a few seconds of "last seen".

use async_trait::async_trait;

use crate::{PartnerId, Result, Timestamp};

/// Status that a user has chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ChosenStatus {
    Away,
    Offline,
}

impl ChosenStatus {
    /// Text form in the database.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Away => "away",
            Self::Offline => "offline",
        }
    }

    /// Parses the result of [`ChosenStatus::as_str`].
    pub fn parse(word: &str) -> Option<Self> {
        [Self::Away, Self::Offline].into_iter().find(|status| status.as_str() == word)
    }
}

/// Presence of a partner, as the store knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Presence {
    pub partner: PartnerId,
    /// Chosen status; `None`: activity decides.
    pub chosen: Option<ChosenStatus>,
    pub last_seen: Timestamp,
    /// Lease expiry: the end of the newest heartbeat on any node; `None` if there was none.
    pub lease_expires_at: Option<Timestamp>,
    /// Time from which the partner counts as idle (away), for lack of activity; `None` if unknown.
    pub idle_since: Option<Timestamp>,
}

/// Heartbeat of a partner, from one node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Heartbeat {
    pub partner: PartnerId,
    pub last_seen: Timestamp,
    pub there_until: Timestamp,
    pub idle_from: Option<Timestamp>,
}

/// Early end of a partner's heartbeat lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ShortenedLease {
    pub partner: PartnerId,
    /// Expected lease expiry (compare and set): a different one, written by another node, stays. `None` matches any.
    pub expected: Option<Timestamp>,
    pub there_until: Timestamp,
}

/// Queries and writes of presence. [`Storage`](crate::Storage) states errors and cancel safety.
#[async_trait]
pub trait Presences {
    /// Presences of those of the partners that were ever seen, in no particular order.
    async fn presences(&self, partners: &[PartnerId]) -> Result<Vec<Presence>>;
    /// Keyset page of expired heartbeat leases: partners whose lease ended after the first time and until `until`, with that
    /// time, by rising time, then partner id. At exactly the first time, only partners with larger ids than the given one.
    /// Partners with a chosen status are absent, since it does not expire.
    async fn expired_leases(
        &self,
        after: (Timestamp, PartnerId),
        until: Timestamp,
        most: usize,
    ) -> Result<Vec<(PartnerId, Timestamp)>>;
    /// Records heartbeats of existing partners. No time moves back, and chosen statuses stay.
    async fn record_heartbeats(&self, signs: &[Heartbeat]) -> Result<()>;
    /// Shortens heartbeat leases; earlier ends stay.
    async fn shorten_leases(&self, ends: &[ShortenedLease]) -> Result<()>;
    /// Sets or clears the chosen status of an existing partner, and records that it was seen at that time. The time of last seen
    /// never moves back.
    async fn set_presence(&self, partner: PartnerId, set: Option<ChosenStatus>, seen: Timestamp) -> Result<()>;
}
