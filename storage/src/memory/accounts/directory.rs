//! In-memory lookups of conversations by uuid, participants, group, document and unique key.

use std::collections::BTreeSet;

use async_trait::async_trait;
use uuid::Uuid;

use crate::{
    ConversationId, ConversationKind, Directory, Document, Error, GroupId, PartnerId, Result, WriteDirectory,
    memory::{Memory, MemoryTx, conversations::Row, missing},
};

fn is_about(row: &Row, document: Option<&Document>) -> bool {
    match (&row.conversation.documents[..], document) {
        ([], None) => true,
        ([only], Some(document)) => only == document,
        _ => false,
    }
}

/// True if the conversation is a direct one between exactly `one` and `other`.
fn is_between(row: &Row, one: PartnerId, other: PartnerId) -> bool {
    let people = if one == other { 1 } else { 2 };
    row.conversation.kind == ConversationKind::Direct && row.participant_count() == people && row.has(other)
}

#[async_trait]
impl Directory for Memory {
    async fn conversations_by_uuid(&self, uuids: &[Uuid]) -> Result<Vec<(ConversationId, Uuid)>> {
        let table = &self.snapshot()?.conversations;
        let uuids: BTreeSet<_> = uuids.iter().copied().collect();
        Ok(uuids.into_iter().filter_map(|uuid| Some((*table.uuids.get(&uuid)?, uuid))).collect())
    }

    async fn conversation_uuids(&self, ids: &[ConversationId]) -> Result<Vec<(ConversationId, Uuid)>> {
        let table = &self.snapshot()?.conversations;
        let ids: BTreeSet<_> = ids.iter().copied().collect();
        Ok(ids.into_iter().filter_map(|id| Some((id, table.get(id)?.conversation.uuid))).collect())
    }

    async fn direct_conversation(
        &self,
        (one, other): (PartnerId, PartnerId),
        about: Option<&Document>,
    ) -> Result<Option<ConversationId>> {
        let table = &self.snapshot()?.conversations;
        let found = table.rows_of(one).find(|row| is_between(row, one, other) && is_about(row, about));
        Ok(found.map(|row| row.conversation.id))
    }

    async fn direct_conversations(&self, (one, other): (PartnerId, PartnerId)) -> Result<Vec<ConversationId>> {
        let table = &self.snapshot()?.conversations;
        Ok(table.rows_of(one).filter(|row| is_between(row, one, other)).map(|row| row.conversation.id).collect())
    }

    async fn group_conversation(&self, group: GroupId, about: Option<&Document>) -> Result<Option<ConversationId>> {
        let table = &self.snapshot()?.conversations;
        let of_group = table.of_group.get(&group).into_iter().flatten().copied();
        Ok(of_group.into_iter().find(|id| table.get(*id).is_some_and(|row| is_about(row, about))))
    }
}

#[async_trait]
impl WriteDirectory for MemoryTx {
    async fn set_key(&mut self, of: ConversationId, key: Option<&str>) -> Result<()> {
        let table = &mut self.draft.conversations;
        if key.and_then(|key| table.keys.get(key)).is_some_and(|holder| *holder != of) {
            return Err(Error::Conflict("conversations_key"));
        }
        let row = table.get_mut(of).ok_or_else(|| missing("conversation", of))?;
        if let Some(old) = std::mem::replace(&mut row.key, key.map(str::to_owned)) {
            table.keys.remove(&old);
        }
        table.keys.extend(key.map(|key| (key.to_owned(), of)));
        Ok(())
    }
}
