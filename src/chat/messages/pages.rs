//! Pages of messages within the memory that is reserved for them.

use storage::{ConversationId, MessageForReader, PAGE_BYTES, Page, PartnerId};

use crate::chat::{Chat, Result};

/// Result of reading a page within a reservation.
#[derive(Debug)]
pub enum PageRead<T> {
    /// The page, as far as it goes: by offset as a whole, by id up to [`PAGE_BYTES`].
    Read(T),
    /// The page holds so many bytes, more than are reserved.
    Larger(usize),
}

impl<T> PageRead<T> {
    pub(in crate::chat) fn map<U>(self, map: impl FnOnce(T) -> U) -> PageRead<U> {
        match self {
            Self::Read(page) => PageRead::Read(map(page)),
            Self::Larger(bytes) => PageRead::Larger(bytes),
        }
    }
}

impl Chat {
    /// Reads a page of no more than `reserved` bytes. The store ends each read at [`PAGE_BYTES`], so a larger page by offset is
    /// measured before the rest of it is read, by id.
    pub(in crate::chat) async fn page(
        &self,
        of: ConversationId,
        reader: PartnerId,
        page: Page,
        reserved: usize,
    ) -> Result<PageRead<Vec<MessageForReader>>> {
        let storage = &self.0.storage;
        let mut messages = storage.messages(of, reader, page).await?;
        let Page::Newest { offset, limit } = page else { return Ok(PageRead::Read(messages)) };
        let mut is_cut = reaches_its_size(&messages);
        if is_cut && messages.len() < limit {
            let bytes = storage.newest_bytes(of, reader, offset, limit).await?;
            if bytes > reserved {
                return Ok(PageRead::Larger(bytes));
            }
        }
        while is_cut
            && messages.len() < limit
            && let Some(last) = messages.last()
        {
            let rest = Page::Before { id: last.message.id, limit: limit - messages.len() };
            let rest = storage.messages(of, reader, rest).await?;
            is_cut = reaches_its_size(&rest);
            messages.extend(rest);
        }
        Ok(PageRead::Read(messages))
    }
}

/// True if a read may have ended at [`PAGE_BYTES`].
fn reaches_its_size(messages: &[MessageForReader]) -> bool {
    messages.iter().map(|seen| seen.message.bytes()).sum::<usize>() >= PAGE_BYTES
}
