use std::collections::BTreeSet;

use storage::{ConversationId, MessageId};

use super::{Chat, Error, Result, Thing, messages::MOST_NAMED, rates::Act};
use crate::auth::Caller;

impl Chat {
    /// Up to which `seq` anybody but the caller has read a conversation of the caller's.
    pub async fn read_by_others(&self, caller: &Caller, of: ConversationId) -> Result<i64> {
        Ok(self.0.storage.read_by_others(of, caller.partner).await?)
    }

    /// The caller's conversations in which nobody else has read its newest message: up to which `seq` anybody else has read,
    /// and the `seq` of that message; at most so many, the newest.
    pub async fn unread_by_others(&self, caller: &Caller, most: usize) -> Result<Vec<(ConversationId, i64, i64)>> {
        Ok(self.0.storage.unread_by_others(caller.partner, most).await?)
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
