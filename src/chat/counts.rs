//! How much everybody has not read, remembered as long as nothing happens that concerns them. Clients ask for it all the
//! time, and to add it up costs the store a look at each of a partner's conversations.

use std::{collections::HashMap, sync::Arc};

use parking_lot::Mutex;
use storage::{Fact, PartnerId, UnreadTotals};

use super::{Chat, Result, tail::Observer};
use crate::auth::Caller;

/// Of how many partners it is remembered.
const REMEMBERED: usize = 100_000;

#[derive(Default)]
pub(super) struct Counts(Mutex<Remembered>);

#[derive(Default)]
struct Remembered {
    totals: HashMap<PartnerId, Totals>,
    /// How many reads were begun.
    reads: u64,
}

enum Totals {
    /// By the read of this number. Only the last one that was begun is remembered: what it reads is not older than what the
    /// others do.
    BeingRead(u64),
    Known(UnreadTotals),
}

impl Counts {
    /// Forgets, of everybody whom an event concerns, before anybody is told of it: also of who has just been answered.
    pub(super) fn observer(self: &Arc<Self>) -> Observer {
        let counts = Arc::clone(self);
        Box::new(move |event, audience| {
            let totals = &mut counts.0.lock().totals;
            // An erasure takes messages away from others, too.
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
            let Remembered { totals, reads } = &mut *self.0.lock();
            if let Some(Totals::Known(known)) = totals.get(&partner) {
                return Ok(*known);
            }
            if totals.len() >= REMEMBERED {
                totals.clear();
            }
            *reads += 1;
            totals.insert(partner, Totals::BeingRead(*reads));
            *reads
        };
        let read = read.await?;
        // Unless something has happened meanwhile that it may have missed.
        if let Some(totals) = self.0.lock().totals.get_mut(&partner)
            && matches!(totals, Totals::BeingRead(last) if *last == number)
        {
            *totals = Totals::Known(read);
        }
        Ok(read)
    }
}

impl Chat {
    /// How many messages the caller has not read, by thread type.
    pub async fn unread_totals(&self, caller: &Caller) -> Result<UnreadTotals> {
        let read = async { Ok(self.0.storage.unread_totals(caller.partner).await?) };
        // Another node may have answered somebody before this one hears of it; so may this one, while it cannot read the log.
        let may_have_missed = !self.0.link.is_alone() || self.0.announce.is_ahead_of(self.0.hub.head());
        if may_have_missed { read.await } else { self.0.counts.get(caller.partner, read).await }
    }
}

#[cfg(test)]
mod tests {
    use storage::Topic;

    use super::{
        super::fixtures::{ANN, BEN, ROOM, erased, event, message, of_the_store},
        *,
    };

    #[tokio::test]
    async fn what_is_stale_is_forgotten() {
        let unread = |chat| UnreadTotals { chat, ..UnreadTotals::default() };
        let read_after = async |event: &storage::Event, audience: &[PartnerId]| {
            let counts = Arc::<Counts>::default();
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
        for event in of_the_store().into_iter().chain([erased(ANN)]) {
            assert_eq!(read_after(&event, &[]).await, [true, true], "{event:?}");
        }
    }
}
