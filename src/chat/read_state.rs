//! Read state of conversations: read marks, ranges that others have read, conversations that others have not read to the end, and
//! the cache of unread counts per partner, which every event that concerns the partner invalidates.
//!
//! # Errors
//! All async methods: `Unavailable` if the store cannot be reached.
//!
//! # Cancel safety
//! Methods that read leave nothing behind when dropped; [`Chat::mark_read_in`] differs.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
};

use parking_lot::Mutex;
use storage::{ConversationId, Fact, MessageId, PartnerId, ReadRange, UnreadByOthers, UnreadTotals};

use super::{Chat, Error, ResourceKind, Result, messages::IDS_PER_READ_MARK, rates::Act};
use crate::{
    auth::Caller,
    events::{DeliveredEvent, Encoding, Observer},
};

/// Name of the memoised `seq` up to which messages were hidden from the reader of a `ReadUpTo` event.
const HIDDEN: &str = "hidden from the reader";

#[derive(Clone, Copy)]
struct HiddenUpTo(i64);

impl Encoding for HiddenUpTo {
    fn bytes(&self) -> usize {
        size_of::<Self>()
    }
}

impl Chat {
    /// The ranges of a conversation that others than the caller have read. Access is not checked.
    pub async fn read_by_others(&self, caller: &Caller, of: ConversationId) -> Result<Vec<ReadRange>> {
        Ok(self.0.storage.read_by_others(of, caller.partner).await?)
    }

    /// The caller's conversations whose newest message of the caller's is unread by some other participant: the `most` newest.
    pub async fn unread_by_others(&self, caller: &Caller, most: usize) -> Result<Vec<UnreadByOthers>> {
        Ok(self.0.storage.unread_by_others(caller.partner, most).await?)
    }

    /// The `seq` up to which messages were hidden from a reader at the time of its `ReadUpTo` event, and so were not read; 0 if
    /// none were. All listeners of the event share one query.
    pub async fn hidden_from(&self, partner: PartnerId, of: ConversationId, told: &DeliveredEvent) -> Result<i64> {
        let members = self.0.members.of(of).await?;
        if members.partners.binary_search(&partner).is_ok() && members.hidden_from(partner) == 0 {
            return Ok(0);
        }
        // A new participant; it may have left since, or have joined again.
        let read = async {
            let members = self.0.storage.members_at(of, told.event.position).await?;
            let member = members.iter().find(|member| member.partner == partner);
            Ok::<_, Error>(HiddenUpTo(member.map_or(0, |member| member.visible_from_seq)))
        };
        told.memoised_query(HIDDEN, read).await.map(|HiddenUpTo(seq)| seq)
    }

    /// Marks messages of one conversation, and all before them, as read. Messages of other conversations are ignored. Gives the
    /// newest marked ids, by rising id, and true if the caller had unread messages of others among them. Only then an event is
    /// published.
    ///
    /// # Errors
    /// `NotFound` if none of the messages is visible to the caller in the conversation, `Forbidden` for a conversation of
    /// others, `TooFast` beyond the rate limit.
    ///
    /// # Cancel safety
    /// A future dropped after the job was submitted to group commit may have stored the mark. The retry is idempotent.
    pub async fn mark_read_in(
        &self,
        caller: &Caller,
        of: ConversationId,
        messages: &[MessageId],
    ) -> Result<(Vec<MessageId>, bool)> {
        self.charge(caller, Act::Write)?;
        let (_, participant) = self.conversation(caller, of).await?;
        let named: BTreeSet<_> = messages.iter().copied().collect();
        let newest: Vec<_> = named.into_iter().rev().take(IDS_PER_READ_MARK).collect();
        let mut there = self.locate(&newest).await?;
        there.retain(|(conversation, seq, _)| *conversation == of && *seq > participant.status.visible_from_seq);
        if there.is_empty() {
            return Err(Error::NotFound(ResourceKind::Message));
        }
        let advanced = self.mark_located(caller, &there).await?;
        Ok((there.into_iter().map(|(.., id)| id).collect(), advanced.has_seen))
    }
}

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
