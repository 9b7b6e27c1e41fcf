use std::collections::BTreeSet;

use storage::{ConversationId, MessageId};

use super::{Chat, Error, Result, Thing, messages::NAMED};
use crate::auth::Caller;

impl Chat {
    /// Up to which `seq` anybody but the caller has read a conversation of the caller's.
    pub async fn read_by_others(&self, caller: &Caller, of: ConversationId) -> Result<i64> {
        self.visit("read_by_others", self.0.storage.read_by_others(of, caller.partner)).await
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
        self.conversation(caller, of).await?;
        let named: BTreeSet<_> = messages.iter().copied().collect();
        let newest: Vec<_> = named.into_iter().rev().take(NAMED).collect();
        let mut there = self.visit("messages_by_id", self.0.storage.messages_by_id(&newest)).await?;
        there.retain(|message| message.conversation == of);
        let mut there: Vec<_> = there.into_iter().map(|message| message.id).collect();
        if there.is_empty() {
            return Err(Error::NotFound(Thing::Message));
        }
        there.sort_unstable();
        let advanced = self.mark(caller, &there).await?;
        Ok((there, advanced.has_seen))
    }
}
