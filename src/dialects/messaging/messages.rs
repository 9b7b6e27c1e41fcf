//! Messages of a thread: history pages, sending with an idempotency key, and read marks.

use poem::Request;
use poem_openapi::{Object, OpenApi, types::Example};
use serde::Serialize;
use storage::{AttachmentId, ConversationId, MessageId, MessageType, Page};

use super::{MessagingReply, Tag, failure, page_size, wire::Message};
use crate::{
    chat::{Draft, Error},
    web::{
        AppContext, body,
        jsonrpc::{Call, CallFailure, Fault},
        lenient::{Int, IntList, Ints, Text},
        odoo_time,
        page::truncated_to_page,
        session::Session,
    },
};

pub(super) struct MessagingMessagesApi(pub(super) AppContext);

#[OpenApi(prefix_path = "/api/messaging", tag = "Tag::Messaging")]
impl MessagingMessagesApi {
    /// Lists messages
    ///
    /// A page of a thread of the caller, newest first. `before_id` is a cursor (keyset pagination); with it, `offset` is ignored.
    /// A page with `before_id` ends at 1 MiB, so it may be shorter than `limit`: continue with its last id as `before_id` until a
    /// page is empty.
    #[oai(path = "/messages", method = "post", operation_id = "messaging_messages")]
    async fn list(&self, request: &Request, call: Call<MessageListParams>, session: Session) -> MessagingReply<MessageList> {
        let account = body::account(request);
        call.logged_in(session, |login, params| async move {
            let thread = ConversationId(params.thread_id.required("thread_id", "thread_id is required")?);
            let limit = page_size(params.limit, 50)?;
            let offset = params.offset.non_negative("offset", 0)?;
            let page = match params.before_id.optional("before_id")? {
                Some(id) => Page::Before { id: MessageId(id), limit },
                None => Page::Newest { offset, limit },
            };
            let read = |reserved| self.0.chat.history_within(&login, thread, page, reserved);
            let read = self.0.reserved_page(account, limit, read).await.map_err(Fault::refused)?;
            let (thread, messages) = read.map_err(failure)?;
            let messages = Message::all(messages, login.partner, &self.0);
            let messages = if let Page::Before { .. } = page { truncated_to_page(messages, 1) } else { messages };
            Ok(MessageList { messages, thread_id: thread.id.0, thread_name: thread.name })
        })
        .await
    }

    /// Sends a message
    ///
    /// To a thread of the caller. Success means that the message is stored durably. A body of white space counts as empty, which
    /// requires an attachment. Attachments must be the caller's own uploads.
    ///
    /// A `client_key` makes the call idempotent: a retry with the same key, body and attachments stores nothing new and gets the
    /// first answer, for a day by default. Other content under the same key is a new message.
    #[oai(path = "/message/send", method = "post", operation_id = "messaging_message_send")]
    async fn send(&self, call: Call<SendParams>, session: Session) -> MessagingReply<SentMessage> {
        call.logged_in(session, |login, params| async move {
            const MISSING: &str = "thread_id and body are required";
            let thread = ConversationId(params.thread_id.required("thread_id", MISSING)?);
            let body = params.body.optional("body")?.unwrap_or_default();
            let files = params.attachment_ids.optional("attachment_ids")?.unwrap_or_default().all("attachment_ids")?;
            let is_blank = body.trim().is_empty();
            let draft = Draft {
                attachments: files.into_iter().map(AttachmentId).collect(),
                client_key: params.client_key.optional("client_key")?,
                reply_to: params.reply_to.optional("reply_to")?.map(MessageId),
                ..Draft::new(MessageType::Text, body)
            };
            let sent = self.0.chat.send(&login, thread, draft).await.map_err(|error| match error {
                Error::Invalid { field: "body", .. } if is_blank => CallFailure::refusal(MISSING),
                error => failure(error),
            })?;
            Ok(SentMessage { success: true, message_id: sent.message.id.0, created_date: odoo_time(sent.message.created_at) })
        })
        .await
    }

    /// Marks messages as read
    ///
    /// Each message and all before it in its thread. `marked_count` is the number of messages of others that became read;
    /// messages in threads of others are not counted.
    #[oai(path = "/message/read", method = "post", operation_id = "messaging_message_read")]
    async fn read(&self, call: Call<ReadParams>, session: Session) -> MessagingReply<MarkReadResult> {
        call.logged_in(session, |login, params| async move {
            let mut ids = params.message_ids.optional("message_ids")?.unwrap_or_default().all("message_ids")?;
            ids.extend(params.message_id.optional("message_id")?);
            if ids.is_empty() {
                return Err(CallFailure::refusal("message_id or message_ids required"));
            }
            let messages: Vec<_> = ids.into_iter().map(MessageId).collect();
            let marked_count = self.0.chat.mark_read(&login, &messages).await.map_err(failure)?;
            Ok(MarkReadResult { success: true, marked_count })
        })
        .await
    }
}

/// A page of a thread's messages.
#[derive(Debug, Object)]
#[oai(rename = "MessagingMessagesParams", example)]
struct MessageListParams {
    thread_id: Int,
    /// 50 by default, at most 200.
    limit: Int,
    /// Number of the newest messages to skip.
    offset: Int,
    /// Only messages with a smaller id.
    before_id: Int,
}

impl Example for MessageListParams {
    fn example() -> Self {
        Self { thread_id: Int::Present(1), limit: Int::Present(50), offset: Int::Present(0), before_id: Int::Missing }
    }
}

#[derive(Debug, Object, Serialize)]
#[oai(rename = "MessagingMessages")]
struct MessageList {
    messages: Vec<Message>,
    thread_id: i64,
    thread_name: String,
}

/// A message to send.
#[derive(Debug, Object)]
#[oai(rename = "MessagingSendParams", example)]
struct SendParams {
    thread_id: Int,
    /// Kept exactly as sent.
    body: Text,
    /// The caller's own uploads.
    attachment_ids: Ints,
    /// An idempotency key, unique among the caller's messages in the thread; at most 256 bytes.
    client_key: Text,
    /// The message of the same thread that this one answers.
    reply_to: Int,
}

impl Example for SendParams {
    fn example() -> Self {
        Self {
            thread_id: Int::Present(1),
            body: Text::Present("Hello".into()),
            attachment_ids: Ints::Missing,
            client_key: Text::Missing,
            reply_to: Int::Missing,
        }
    }
}

#[derive(Debug, Object, Serialize)]
#[oai(rename = "MessagingSent")]
struct SentMessage {
    success: bool,
    message_id: i64,
    /// `YYYY-MM-DD HH:MM:SS`, UTC.
    created_date: String,
}

/// The messages to mark as read: one, or several.
#[derive(Debug, Object)]
#[oai(rename = "MessagingReadParams", example)]
struct ReadParams {
    message_id: Int,
    message_ids: Ints,
}

impl Example for ReadParams {
    fn example() -> Self {
        Self { message_id: Int::Missing, message_ids: Ints::Present(IntList { numbers: vec![14, 15], has_others: false }) }
    }
}

#[derive(Debug, Object, Serialize)]
#[oai(rename = "MessagingMarked")]
pub(super) struct MarkReadResult {
    pub(super) success: bool,
    /// Number of messages that became read.
    pub(super) marked_count: i64,
}
