//! Substring search of messages, with keyset pagination (`before_id`).

use poem_openapi::{Object, OpenApi, types::Example};
use serde::Serialize;
use storage::{ConversationId, MessageId};

use super::{MessagingReply, Tag, failure, page_size, wire::Message};
use crate::{
    chat::MessageQuery,
    web::{
        AppContext,
        jsonrpc::Call,
        lenient::{Int, Text},
        page::truncated_to_page,
        session::Session,
    },
};

/// Most messages per response.
const MAX_RESULTS: usize = 100;

pub(super) struct MessageSearchApi(pub(super) AppContext);

#[OpenApi(prefix_path = "/api/messaging", tag = "Tag::Messaging")]
impl MessageSearchApi {
    /// Searches messages
    ///
    /// Finds messages that contain `query` (case-insensitive) in the caller's threads, or in one of them, newest first. An answer
    /// holds at most 1 MiB, so it may be shorter than `limit`: continue with its last id as `before_id` until an answer is empty.
    /// A search scans at most 50,000 messages, or 64 MiB of text, from the newest or from `before_id` on; `is_complete` is false if
    /// it stopped there.
    #[oai(path = "/messages/search", method = "post", operation_id = "messaging_messages_search")]
    async fn search(&self, call: Call<MessageSearchParams>, session: Session) -> MessagingReply<MessageSearchResult> {
        call.logged_in(session, |login, params| async move {
            let query = MessageQuery {
                text: params.query.required("query", "query parameter is required")?,
                of: params.thread_id.optional("thread_id")?.map(ConversationId),
                before: params.before_id.optional("before_id")?.map(MessageId),
                limit: page_size(params.limit, 20)?.min(MAX_RESULTS),
            };
            let found = self.0.chat.search_messages(&login, query).await.map_err(failure)?;
            Ok(MessageSearchResult {
                messages: truncated_to_page(Message::all(found.messages, login.partner, &self.0), 1),
                complete: found.is_complete,
            })
        })
        .await
    }
}

/// A search for messages.
#[derive(Debug, Object)]
#[oai(rename = "MessagingMessagesSearchParams", example)]
struct MessageSearchParams {
    /// From 3 characters to 256 bytes.
    query: Text,
    /// A thread of the caller; all of them if missing.
    thread_id: Int,
    /// Only messages with a smaller id.
    before_id: Int,
    /// 20 by default, at most 100.
    limit: Int,
}

impl Example for MessageSearchParams {
    fn example() -> Self {
        Self { query: Text::Present("hello".into()), thread_id: Int::Missing, before_id: Int::Missing, limit: Int::Present(20) }
    }
}

#[derive(Debug, Object, Serialize)]
#[oai(rename = "MessagingMessagesFound")]
struct MessageSearchResult {
    /// Newest first.
    messages: Vec<Message>,
    /// False if the scan ended at its limit, so that older messages were not searched.
    complete: bool,
}
