use std::collections::BTreeSet;

use storage::{ConversationId, MessageId, PartnerId, ReadRange, UnreadByOthers};

use super::{Chat, Error, Result, Thing, Told, messages::MOST_NAMED, rates::Act, told::Encoding};
use crate::auth::Caller;

/// The memo of an event by which a newcomer has read: the `seq` up to which messages were hidden from it.
const HIDDEN: &str = "hidden from the reader";

#[derive(Clone, Copy)]
struct Hidden(i64);

impl Encoding for Hidden {
    fn bytes(&self) -> usize {
        size_of::<Self>()
    }
}

impl Chat {
    /// The parts of a conversation of the caller's that anybody else has read.
    pub async fn read_by_others(&self, caller: &Caller, of: ConversationId) -> Result<Vec<ReadRange>> {
        Ok(self.0.storage.read_by_others(of, caller.partner).await?)
    }

    /// The caller's conversations in which its newest message is not read by all others; at most so many, the newest.
    pub async fn unread_by_others(&self, caller: &Caller, most: usize) -> Result<Vec<UnreadByOthers>> {
        Ok(self.0.storage.unread_by_others(caller.partner, most).await?)
    }

    /// The `seq` up to which messages of a conversation were hidden from a reader when an event told that it has read, and so
    /// were read by it neither; 0 if none were. All who are told of the event find it out together.
    pub async fn hidden_from(&self, partner: PartnerId, of: ConversationId, told: &Told) -> Result<i64> {
        let members = self.0.audiences.of(of).await?;
        if members.partners.binary_search(&partner).is_ok() && members.hidden_from(partner) == 0 {
            return Ok(0);
        }
        // A newcomer, who may have gone since, or have come back.
        let read = async {
            let members = self.0.storage.members_at(of, told.event.position).await?;
            let member = members.iter().find(|member| member.partner == partner);
            Ok::<_, Error>(Hidden(member.map_or(0, |member| member.visible_from_seq)))
        };
        told.shared_read(HIDDEN, read).await.map(|Hidden(seq)| seq)
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
