//! In-memory read positions, which are fields of a conversation's row.

use async_trait::async_trait;

use crate::{ConversationId, PartnerId, ReadAdvance, Result, WriteReadPositions, memory::MemoryTx};

#[async_trait]
impl WriteReadPositions for MemoryTx {
    async fn advance_reads(&mut self, to: &[(ConversationId, PartnerId, i64)]) -> Result<Vec<Option<ReadAdvance>>> {
        let advance = |(of, partner, seq): &_| self.draft.conversations.get_mut(*of)?.advance(*partner, *seq);
        Ok(to.iter().map(advance).collect())
    }

    async fn advance_read_everywhere(&mut self, partner: PartnerId) -> Result<Vec<(ConversationId, i64, i64)>> {
        let table = &mut self.draft.conversations;
        let behind: Vec<_> = table
            .rows_of(partner)
            .filter(|row| row.read_seq(partner).is_some_and(|read_seq| read_seq < row.conversation.last_seq))
            .map(|row| (row.conversation.id, row.conversation.last_seq))
            .collect();
        let advance = |(id, seq)| Some((id, table.get_mut(id)?.advance(partner, seq)?.newly_read, seq));
        Ok(behind.into_iter().filter_map(advance).collect())
    }
}
