//! In-memory presences.

use async_trait::async_trait;
use imbl::OrdMap;

use super::Memory;
use crate::{PartnerId, Presence, Presences, Result, SetStatus, Shortened, Sign, Timestamp};

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

    async fn ended_presences(
        &self,
        after: (Timestamp, PartnerId),
        until: Timestamp,
        most: usize,
    ) -> Result<Vec<(PartnerId, Timestamp)>> {
        let state = self.snapshot()?;
        let unset = state.presences.values().filter(|presence| presence.set.is_none());
        let ends = unset.filter_map(|presence| Some((presence.there_until?, presence.partner)));
        let mut ended: Vec<_> = ends.filter(|end| *end > after && end.0 <= until).collect();
        ended.sort_unstable();
        Ok(ended.into_iter().take(most).map(|(end, partner)| (partner, end)).collect())
    }

    async fn touch_presences(&self, signs: &[Sign]) -> Result<()> {
        let mut tx = self.draft().await?;
        for sign in signs {
            tx.draft.users.person(sign.partner)?;
            let presence = tx.draft.presences.entry(sign.partner).or_insert_with(|| never_seen(sign.partner, sign.last_seen));
            presence.last_seen = presence.last_seen.max(sign.last_seen);
            presence.there_until = presence.there_until.max(Some(sign.there_until));
            presence.idle_from = presence.idle_from.max(sign.idle_from);
        }
        tx.publish();
        Ok(())
    }

    async fn shorten_presences(&self, ends: &[Shortened]) -> Result<()> {
        let mut tx = self.draft().await?;
        for end in ends {
            let Some(presence) = tx.draft.presences.get_mut(&end.partner) else { continue };
            let is_known = end.known.is_none() || presence.there_until == end.known;
            if is_known && presence.there_until > Some(end.there_until) {
                presence.there_until = Some(end.there_until);
            }
        }
        tx.publish();
        Ok(())
    }

    async fn set_presence(&self, partner: PartnerId, set: Option<SetStatus>, seen: Timestamp) -> Result<()> {
        let mut tx = self.draft().await?;
        tx.draft.users.person(partner)?;
        let presence = tx.draft.presences.entry(partner).or_insert_with(|| never_seen(partner, seen));
        presence.set = set;
        presence.last_seen = presence.last_seen.max(seen);
        tx.publish();
        Ok(())
    }
}

fn never_seen(partner: PartnerId, before: Timestamp) -> Presence {
    Presence { partner, set: None, last_seen: before, there_until: None, idle_from: None }
}
