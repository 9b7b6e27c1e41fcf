use async_trait::async_trait;
use imbl::OrdMap;

use super::Memory;
use crate::{PartnerId, Presence, Presences, Result, Timestamp};

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

    async fn touch_presences(&self, seen: &[(PartnerId, Timestamp)]) -> Result<()> {
        let mut tx = self.draft().await?;
        for (partner, at) in seen {
            tx.draft.users.person(*partner)?;
            let new = Presence { partner: *partner, set: None, last_seen: *at };
            let presence = tx.draft.presences.entry(*partner).or_insert(new);
            presence.last_seen = presence.last_seen.max(*at);
        }
        tx.publish();
        Ok(())
    }

    async fn set_presence(&self, presence: Presence) -> Result<()> {
        let mut tx = self.draft().await?;
        tx.draft.users.person(presence.partner)?;
        let stored = tx.draft.presences.entry(presence.partner).or_insert(presence);
        *stored = Presence { last_seen: stored.last_seen.max(presence.last_seen), ..presence };
        tx.publish();
        Ok(())
    }
}
