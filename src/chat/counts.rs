//! Cache of unread counts per partner, invalidated by every event that concerns the partner.
//! Clients poll the counts, and the store computes them from all conversations of a partner.

use std::{collections::HashMap, sync::Arc};

use parking_lot::Mutex;
use storage::{Fact, PartnerId, UnreadTotals};

use super::{Chat, Result};
use crate::{auth::Caller, events::Observer};

/// Capacity, in partners. A full cache is cleared.
const UNREAD_CACHE: usize = 100_000;

#[derive(Default)]
pub(super) struct UnreadCache(Mutex<UnreadCacheState>);

#[derive(Default)]
struct UnreadCacheState {
    totals: HashMap<PartnerId, CachedTotals>,
    /// Number of reads begun so far.
    reads: u64,
}

enum CachedTotals {
    /// The read of this number is under way. Only the last read that began is cached: its result is at least as new as that of
    /// the others.
    BeingRead(u64),
    Known(UnreadTotals),
}

impl UnreadCache {
    /// Cache invalidation: removes the counts of everybody whom an event concerns, before the event is delivered.
    pub(super) fn observer(self: &Arc<Self>) -> Observer {
        let counts = Arc::clone(self);
        Box::new(move |event, audience| {
            let totals = &mut counts.0.lock().totals;
            // An erasure removes messages from others, too.
            if event.fact.is_about_the_store() || matches!(event.fact, Fact::UserErased { .. }) {
                return totals.clear();
            }
            for partner in audience {
                totals.remove(partner);
            }
        })
    }

    async fn get(&self, partner: PartnerId, read: impl Future<Output = Result<UnreadTotals>>) -> Result<UnreadTotals> {
        let number = {
            let UnreadCacheState { totals, reads } = &mut *self.0.lock();
            if let Some(CachedTotals::Known(known)) = totals.get(&partner) {
                return Ok(*known);
            }
            if totals.len() >= UNREAD_CACHE {
                totals.clear();
            }
            *reads += 1;
            totals.insert(partner, CachedTotals::BeingRead(*reads));
            *reads
        };
        let read = read.await?;
        // Not cached if an event came meanwhile, which the read may have missed.
        if let Some(totals) = self.0.lock().totals.get_mut(&partner)
            && matches!(totals, CachedTotals::BeingRead(last) if *last == number)
        {
            *totals = CachedTotals::Known(read);
        }
        Ok(read)
    }
}

impl Chat {
    /// Counts the unread messages of the caller, by thread type. Cached on a single node.
    pub async fn unread_totals(&self, caller: &Caller) -> Result<UnreadTotals> {
        let read = async { Ok(self.0.storage.unread_totals(caller.partner).await?) };
        // No cache here: another node may have answered a client before this node learns of the event. So may this node, while it
        // cannot read the event log.
        let may_have_missed = !self.0.link.is_single_node() || self.0.publisher.is_ahead_of(self.0.hub.head());
        if may_have_missed { read.await } else { self.0.unread.get(caller.partner, read).await }
    }
}

#[cfg(test)]
mod tests {
    use storage::Topic;

    use super::*;
    use crate::events::fixtures::{ANN, BEN, ROOM, erased, event, message, store_wide_events};

    #[tokio::test]
    async fn what_is_stale_is_forgotten() {
        let unread = |chat| UnreadTotals { chat, ..UnreadTotals::default() };
        let read_after = async |event: &storage::Event, audience: &[PartnerId]| {
            let counts = Arc::<UnreadCache>::default();
            for who in [ANN, BEN] {
                assert_eq!(counts.get(who.1, async { Ok(unread(1)) }).await.expect("it is read"), unread(1));
            }
            counts.observer()(event, audience);
            let mut read = Vec::new();
            for who in [ANN, BEN] {
                read.push(counts.get(who.1, async { Ok(unread(2)) }).await.expect("it is read") == unread(2));
            }
            read
        };
        let posted = event(1, Topic::Conversation(ROOM), Fact::MessagePosted(message(1, "hello", &[])));
        assert_eq!(read_after(&posted, &[ANN.1]).await, [true, false]);
        for event in store_wide_events().into_iter().chain([erased(ANN)]) {
            assert_eq!(read_after(&event, &[]).await, [true, true], "{event:?}");
        }
    }
}
