//! Dependencies of the dialects.

use std::sync::Arc;

use storage::FILE_BYTES;

use super::websocket::SocketServer;
use crate::{
    auth::Auth,
    chat::{ATTACHMENTS, Chat},
    config::Config,
    shares::Shares,
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
    /// Maximum memory of a page of messages while it is built: of each text the row, the message, and the response, in which a
    /// control character is escaped as six bytes; of each file the row and the response.
    pub fn page_bytes(&self, messages: usize) -> usize {
        let message = self.config.limits.message_bytes.saturating_mul(8).saturating_add(2 * ATTACHMENTS * FILE_BYTES);
        messages.saturating_mul(message)
    }

    /// True if cookies need the `Secure` attribute.
    pub fn is_secure(&self) -> bool {
        self.base_url.starts_with("https:")
    }
}
