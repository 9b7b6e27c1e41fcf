//! Read state of conversations: ranges that others have read, conversations that others have not read to the end, and read
//! marks.
//!
//! # Errors
//! All async methods: `Unavailable` if the store cannot be reached.
//!
//! # Cancel safety
//! Methods that read leave nothing behind when dropped; [`Chat::mark_read_in`] differs.

use std::collections::BTreeSet;

use storage::{ConversationId, MessageId, PartnerId, ReadRange, UnreadByOthers};

use super::{Chat, Error, ResourceKind, Result, messages::IDS_PER_READ_MARK, rates::Act};
use crate::{
    auth::Caller,
    events::{DeliveredEvent, Encoding},
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
