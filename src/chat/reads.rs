use std::collections::BTreeSet;

use storage::{ConversationId, MessageId, PartnerId, ReadRange, UnreadByOthers};

use super::{Chat, Error, Result, Thing, messages::MOST_NAMED, rates::Act};
use crate::auth::Caller;

impl Chat {
    /// The parts of a conversation of the caller's that anybody else has read.
    pub async fn read_by_others(&self, caller: &Caller, of: ConversationId) -> Result<Vec<ReadRange>> {
        Ok(self.0.storage.read_by_others(of, caller.partner).await?)
    }

    /// The caller's conversations in which its newest message is not read by all others; at most so many, the newest.
    pub async fn unread_by_others(&self, caller: &Caller, most: usize) -> Result<Vec<UnreadByOthers>> {
        Ok(self.0.storage.unread_by_others(caller.partner, most).await?)
    }

    /// The `seq` up to which messages of a conversation are hidden from a participant, and so are read by it neither; 0 if none are.
    pub async fn hidden_from(&self, partner: PartnerId, of: ConversationId) -> Result<i64> {
        Ok(self.0.audiences.of(of).await?.hidden_from(partner))
    }

    /// Marks messages of one conversation of the caller, and all before them, as read; what is elsewhere is not there. Gives
    /// the newest of those that are, by rising id, and whether the caller had not read all of others' before: else nobody
    /// is told.
    pub async fn mark_read_in(
        &self,
        caller: &Caller,
        of: ConversationId,
        messages: &[MessageId],
    ) -> Result<(Vec<MessageId>, bool)> {
        self.charge(caller, Act::Write)?;
        let (_, participant) = self.conversation(caller, of).await?;
        let named: BTreeSet<_> = messages.iter().copied().collect();
        let newest: Vec<_> = named.into_iter().rev().take(MOST_NAMED).collect();
        let mut there = self.locate(&newest).await?;
        there.retain(|(conversation, seq, _)| *conversation == of && *seq > participant.standing.visible_from_seq);
        if there.is_empty() {
            return Err(Error::NotFound(Thing::Message));
        }
        let advanced = self.mark(caller, &there).await?;
        Ok((there.into_iter().map(|(.., id)| id).collect(), advanced.has_seen))
    }
}
