//! Dependencies of the dialects.

use std::{future::Future, sync::Arc};

use storage::{FILE_BYTES, PAGE_BYTES};

use super::websocket::SocketServer;
use crate::{
    auth::Auth,
    chat::{self, ATTACHMENTS, Chat, PageRead},
    config::Config,
    shares::{Account, NoShare, Shares},
};

/// Dependencies that every dialect works with. Clones share them.
#[derive(Clone)]
pub struct AppContext {
    pub auth: Auth,
    pub chat: Chat,
    pub config: Arc<Config>,
    pub sockets: SocketServer,
    pub shares: Shares,
    /// Public URL of this server, without a slash at the end.
    pub base_url: Arc<str>,
}

impl AppContext {
    /// Reads a page of at most `limit` messages with memory reserved for it: first for one that ends at [`PAGE_BYTES`], and again
    /// for one that is larger, which is not known before. `read` gets the size of a page that the reservation is for.
    ///
    /// # Errors
    ///
    /// [`NoShare::Memory`] as [`Account::reserve`] has it; within, the error of `read`.
    pub async fn reserved_page<T, R>(
        &self,
        account: &Account,
        limit: usize,
        read: impl Fn(usize) -> R,
    ) -> Result<chat::Result<T>, NoShare>
    where
        R: Future<Output = chat::Result<PageRead<T>>>,
    {
        let largest = self.config.limits.message_bytes.saturating_add(ATTACHMENTS * FILE_BYTES);
        // The last message may go beyond the limit.
        let mut bytes = PAGE_BYTES.saturating_add(largest).min(limit.saturating_mul(largest));
        loop {
            account.reserve(page_memory(bytes, limit)).await?;
            match read(bytes).await {
                Ok(PageRead::Read(page)) => return Ok(Ok(page)),
                Ok(PageRead::Larger(more)) => bytes = more,
                Err(error) => return Ok(Err(error)),
            }
        }
    }

    /// True if cookies need the `Secure` attribute.
    pub fn is_secure(&self) -> bool {
        self.base_url.starts_with("https:")
    }
}

/// Memory of a page of messages while it is built: of its bytes the row, the message, and the response, in which a control
/// character is escaped as six bytes; besides, of each message as much as of a file in the row and the response.
fn page_memory(bytes: usize, messages: usize) -> usize {
    bytes.saturating_mul(8).saturating_add(messages.saturating_mul(2 * FILE_BYTES))
}
