//! In-memory presences.

use async_trait::async_trait;
use imbl::OrdMap;

use super::Memory;
use crate::{ChosenStatus, Heartbeat, PartnerId, Presence, Presences, Result, ShortenedLease, Timestamp};

pub(super) type Table = OrdMap<PartnerId, Presence>;

#[async_trait]
impl Presences for Memory {
    async fn presences(&self, partners: &[PartnerId]) -> Result<Vec<Presence>> {
        let state = self.snapshot()?;
        let mut found: Vec<_> = partners.iter().filter_map(|id| state.presences.get(id).copied()).collect();
        found.sort_unstable_by_key(|presence| presence.partner);
        found.dedup_by_key(|presence| presence.partner);
        Ok(found)
    }

    async fn expired_leases(
        &self,
        after: (Timestamp, PartnerId),
        until: Timestamp,
        most: usize,
    ) -> Result<Vec<(PartnerId, Timestamp)>> {
        let state = self.snapshot()?;
        let unset = state.presences.values().filter(|presence| presence.chosen.is_none());
        let ends = unset.filter_map(|presence| Some((presence.lease_expires_at?, presence.partner)));
        let mut ended: Vec<_> = ends.filter(|end| *end > after && end.0 <= until).collect();
        ended.sort_unstable();
        Ok(ended.into_iter().take(most).map(|(end, partner)| (partner, end)).collect())
    }

    async fn record_heartbeats(&self, signs: &[Heartbeat]) -> Result<()> {
        let mut tx = self.draft().await?;
        for sign in signs {
            tx.draft.users.person(sign.partner)?;
            let presence = tx.draft.presences.entry(sign.partner).or_insert_with(|| never_seen(sign.partner, sign.last_seen));
            presence.last_seen = presence.last_seen.max(sign.last_seen);
            presence.lease_expires_at = presence.lease_expires_at.max(Some(sign.there_until));
            presence.idle_since = presence.idle_since.max(sign.idle_from);
        }
        tx.publish();
        Ok(())
    }

    async fn shorten_leases(&self, ends: &[ShortenedLease]) -> Result<()> {
        let mut tx = self.draft().await?;
        for end in ends {
            let Some(presence) = tx.draft.presences.get_mut(&end.partner) else { continue };
            let is_known = end.expected.is_none() || presence.lease_expires_at == end.expected;
            if is_known && presence.lease_expires_at > Some(end.there_until) {
                presence.lease_expires_at = Some(end.there_until);
            }
        }
        tx.publish();
        Ok(())
    }

    async fn set_presence(&self, partner: PartnerId, set: Option<ChosenStatus>, seen: Timestamp) -> Result<()> {
        let mut tx = self.draft().await?;
        tx.draft.users.person(partner)?;
        let presence = tx.draft.presences.entry(partner).or_insert_with(|| never_seen(partner, seen));
        presence.chosen = set;
        presence.last_seen = presence.last_seen.max(seen);
        tx.publish();
        Ok(())
    }
}

fn never_seen(partner: PartnerId, before: Timestamp) -> Presence {
    Presence { partner, chosen: None, last_seen: before, lease_expires_at: None, idle_since: None }
}
