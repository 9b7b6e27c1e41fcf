//! In-memory read receipts.

use std::cmp::Reverse;

use async_trait::async_trait;

use crate::{
    ConversationId, PartnerId, ReadRange, Reads, Result, UnreadByOthers,
    memory::{Memory, conversations::Row},
    messages::reads::merged,
};

/// Ranges that any partner but `reader` has read.
pub(crate) fn read_by_others(row: &Row, reader: PartnerId) -> Vec<ReadRange> {
    let first = ReadRange { after: 0, upto: row.reads.greatest_but(reader).unwrap_or(0) };
    let newcomers = row.reads_of_newcomers.iter().filter(|((partner, _), _)| *partner != reader);
    let newcomers = newcomers.map(|((_, after), upto)| ReadRange { after: *after, upto: *upto });
    merged([first].into_iter().chain(newcomers).collect())
}

#[async_trait]
impl Reads for Memory {
    async fn read_by_others(&self, of: ConversationId, reader: PartnerId) -> Result<Vec<ReadRange>> {
        let state = self.snapshot()?;
        Ok(state.conversations.get(of).map(|row| read_by_others(row, reader)).unwrap_or_default())
    }

    async fn unread_by_others(&self, author: PartnerId, limit: usize) -> Result<Vec<UnreadByOthers>> {
        let state = self.snapshot()?;
        let unread = |row: &Row| {
            let own = row.last_own(author)?;
            let is_unread = own.seq > row.reads.greatest_but(author).unwrap_or(0);
            let unread =
                || UnreadByOthers { conversation: own.conversation, read: read_by_others(row, author), own_seq: own.seq };
            is_unread.then(|| (own.id, unread()))
        };
        let mut unread: Vec<_> = state.conversations.rows_of(author).filter_map(unread).collect();
        unread.sort_unstable_by_key(|(id, _)| Reverse(*id));
        Ok(unread.into_iter().take(limit).map(|(_, unread)| unread).collect())
    }
}
