//! Presence expiry. The node of a partner publishes its presence changes. Heartbeats that end with a dead node are detected by
//! every other node: each scans the store for expired presences, and publishes them to its own subscribers.

use std::{
    collections::{BTreeSet, HashMap},
    time::Duration,
};

use chrono::TimeDelta;
use parking_lot::Mutex;
use storage::{PartnerId, Timestamp};

use super::TICK;
use crate::{
    chat::{Chat, Result},
    clock,
    error::chain,
    events::{PresenceAudience, PresenceState, Signal, SignalAudience},
    lifecycle::Lifecycle,
};

/// Grace period after the end of a partner's heartbeats, until the partner counts as vanished. Within it, a node where the
/// partner is present stores a new heartbeat or publishes the change.
pub(in crate::chat) const GRACE: Duration = Duration::from_secs(7);
/// Page size of scans for expired presences and of lookups of their audiences, in partners.
pub(in crate::chat) const PAGE: usize = 100;
/// Pause between two pages, which bounds the load of the store when thousands vanish together.
const PAUSE: Duration = Duration::from_millis(100);
/// Retention time of presence news: longer than the scans for expired presences may lag behind.
const NEWS_RETENTION: TimeDelta = TimeDelta::seconds(60);

/// Deduplication of presence changes: the time at which each partner was last published on this node.
#[derive(Default)]
pub(in crate::chat) struct PresenceNews(Mutex<HashMap<PartnerId, Timestamp>>);

impl PresenceNews {
    /// True if the presence of the partner was published since its heartbeats ended.
    fn has_since(&self, partner: PartnerId, end: Timestamp) -> bool {
        self.0.lock().get(&partner).is_some_and(|told| *told >= end)
    }

    fn forget(&self, now: Timestamp) {
        self.0.lock().retain(|_, told| now - *told <= NEWS_RETENTION);
    }
}

/// Progress of the scan for expired presences.
struct ExpiryScan {
    after: (Timestamp, PartnerId),
    /// Time from which the store is trusted: after an outage, heartbeats of present partners may be missing in it.
    trusted: Option<Timestamp>,
}

impl Chat {
    /// Starts the task that scans for expired presences.
    pub(in crate::chat) fn watch_presence_expiry(&self, lifecycle: &Lifecycle) {
        let (chat, stop) = (self.clone(), lifecycle.clone());
        lifecycle.spawn(async move {
            let mut look = ExpiryScan { after: (clock::now(), PartnerId(0)), trusted: None };
            let mut pause = TICK;
            loop {
                tokio::select! {
                    () = tokio::time::sleep(pause) => {}
                    () = stop.stopping() => return,
                }
                pause = match chat.publish_expired_presences(&mut look).await {
                    Ok(true) => PAUSE,
                    Ok(false) => TICK,
                    Err(error) => {
                        tracing::debug!(error = %chain(&error), "presence expiry scan failed");
                        look.trusted = None;
                        TICK
                    }
                };
            }
        });
    }

    /// Publishes a page of expired presences; returns true if there may be more.
    async fn publish_expired_presences(&self, look: &mut ExpiryScan) -> Result<bool> {
        let now = clock::now();
        let until = now - GRACE;
        let ended = self.0.storage.expired_leases(look.after, until, PAGE).await?;
        if now < *look.trusted.get_or_insert(now + GRACE) {
            return Ok(false);
        }
        // Partners at this node, and those with newer presence news, are not published.
        let is_absent = |partner, end| {
            !self.0.presence_news.has_since(partner, end) && !self.on_remote_presence(partner, PresenceState::Online)
        };
        let absent: HashMap<_, _> = ended.iter().filter(|(partner, end)| is_absent(*partner, *end)).copied().collect();
        let partners: Vec<_> = absent.keys().copied().collect();
        let mut gone = self.presence_audiences(&partners).await?;
        gone.retain(|(partner, _)| is_absent(*partner, absent[partner]));
        self.publish_presences(
            gone.into_iter().map(|(partner, acquainted)| (partner, PresenceState::Offline, acquainted)).collect(),
        );
        self.0.presence_news.forget(now);
        let is_whole = ended.len() == PAGE;
        look.after = match ended.last() {
            Some((partner, end)) if is_whole => (*end, *partner),
            _ => look.after.max((until, PartnerId(i64::MAX))),
        };
        Ok(is_whole)
    }

    /// Publishes presences to the subscribers of this node, all at once, so that a poll receives them together.
    pub(in crate::chat) fn publish_presences(&self, of: Vec<(PartnerId, PresenceState, PresenceAudience)>) {
        let now = clock::now();
        self.0.presence_news.0.lock().extend(of.iter().map(|(partner, ..)| (*partner, now)));
        let signal =
            |(partner, status, acquainted)| (Signal::Presence { partner, status }, SignalAudience::of_presence(acquainted));
        self.0.hub.publish_signals(of.into_iter().map(signal));
    }

    /// The audience of presence changes of these partners, by rising partner: each partner itself, everybody who shares a
    /// conversation with it, and everybody with it in their address book.
    pub(in crate::chat) async fn presence_audiences(&self, partners: &[PartnerId]) -> Result<Vec<(PartnerId, PresenceAudience)>> {
        if partners.is_empty() {
            return Ok(Vec::new());
        }
        let storage = &self.0.storage;
        let contacts = storage.contacts(partners).await?;
        let owners = storage.address_book_owners(partners).await?;
        let mut company: HashMap<_, _> = partners.iter().map(|partner| (*partner, BTreeSet::from([*partner]))).collect();
        for (partner, others) in contacts {
            company.entry(partner).or_default().extend(others);
        }
        let mut owners: HashMap<_, _> = owners.into_iter().collect();
        let acquainted = |(partner, mut company): (_, BTreeSet<_>)| {
            let mut strangers: Vec<_> = owners.remove(&partner).unwrap_or_default();
            strangers.retain(|owner| company.insert(*owner));
            strangers.sort_unstable();
            (partner, PresenceAudience { partners: company.into_iter().collect(), strangers: strangers.into() })
        };
        Ok(company.into_iter().map(acquainted).collect())
    }
}
