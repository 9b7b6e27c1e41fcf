//! Substring search in the messages of a partner's conversations, as bounded scans from newer to older messages.

use async_trait::async_trait;

use crate::{ConversationId, MessageForReader, MessageId, PartnerId, Result};

/// Cursor of a search: the message at which a scan begins. The greater cursor is the newer one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SearchStart {
    pub message: MessageId,
    pub conversation: ConversationId,
    pub seq: i64,
}

/// Bounds and query of a scan towards older messages of one conversation.
#[derive(Clone, Copy, Debug)]
pub struct SearchScan<'a> {
    /// Maximum number of messages to scan.
    pub messages: usize,
    /// Text that a match contains, compared without case. Not empty, so that tombstones match nothing.
    pub query: &'a str,
    /// Maximum number of matches.
    pub limit: usize,
    /// Byte budget of the matches, as [`crate::Message::bytes`] counts; the match that reaches it is the last.
    pub bytes: usize,
}

/// Result of a scan.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SearchScanResult {
    /// Matches, newest first, without a gap between them.
    pub matches: Vec<MessageForReader>,
    /// Number of scanned messages.
    pub messages: usize,
    /// Size of the scanned texts, in bytes.
    pub bytes: usize,
    /// Cursor of the next scan; `None` at the end of the conversation.
    pub next: Option<SearchStart>,
}

/// Search queries. [`Storage`](crate::Storage) states errors and cancel safety.
#[async_trait]
pub trait Search {
    /// Cursors at the newest message of each of the partner's conversations, or of `only` that one; with an id smaller than
    /// `before`, if given. Conversations without a message that the partner may see are absent. In no particular order.
    async fn newest_messages(
        &self,
        partner: PartnerId,
        only: Option<ConversationId>,
        before: Option<MessageId>,
    ) -> Result<Vec<SearchStart>>;
    /// Scans messages of a conversation, without messages hidden from `reader`. Finds nothing for a reader that is no
    /// participant.
    async fn search_messages(&self, from: SearchStart, reader: PartnerId, walk: SearchScan<'_>) -> Result<SearchScanResult>;
}
