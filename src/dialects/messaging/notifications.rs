//! Unread counts, and marking everything as read.

use poem::Request;
use poem_openapi::{Object, OpenApi, types::Example};
use serde::Serialize;
use storage::{ConversationId, InboxEntry, InboxFilter, UnreadTotals};

use super::{MessagingReply, Tag, failure, messages::MarkReadResult};
use crate::{
    chat::ListContent,
    web::{
        AppContext, body,
        jsonrpc::{Call, Fault, NoJsonRpcParams},
        lenient::Int,
        session::Session,
    },
};

pub(super) struct NotificationsApi(pub(super) AppContext);

#[OpenApi(prefix_path = "/api/messaging", tag = "Tag::Messaging")]
impl NotificationsApi {
    /// Counts unread messages
    ///
    /// In all threads of the caller, by thread type.
    #[oai(path = "/notifications/count", method = "post", operation_id = "messaging_notifications_count")]
    async fn count(&self, call: Call<NoJsonRpcParams>, session: Session) -> MessagingReply<NotificationCounts> {
        call.logged_in(session, |login, _| async move {
            let totals = self.0.chat.unread_totals(&login).await.map_err(failure)?;
            Ok(NotificationCounts::from(totals))
        })
        .await
    }

    /// Marks everything as read
    ///
    /// In one thread of the caller, or, without `thread_id`, in all. `marked_count` is the number of messages of others that
    /// became read.
    #[oai(path = "/notifications/mark_all_read", method = "post", operation_id = "messaging_mark_all_read")]
    async fn mark_all_read(&self, call: Call<MarkAllParams>, session: Session) -> MessagingReply<MarkReadResult> {
        call.logged_in(session, |login, params| async move {
            let thread = params.thread_id.optional("thread_id")?.map(ConversationId);
            let marked_count = self.0.chat.mark_all_read(&login, thread).await.map_err(failure)?;
            Ok(MarkReadResult { success: true, marked_count })
        })
        .await
    }

    /// Counts unread messages by thread
    ///
    /// Only threads of the caller that hold unread messages, most recent first; at most 10,000.
    #[oai(path = "/unread/count", method = "post", operation_id = "messaging_unread_count")]
    async fn unread(&self, request: &Request, call: Call<NoJsonRpcParams>, session: Session) -> MessagingReply<UnreadCounts> {
        let account = body::account(request);
        call.logged_in(session, |login, _| async move {
            let bytes = self.0.chat.list_bytes(&login, ListContent::Entries).await.map_err(failure)?;
            account.reserve(bytes).await.map_err(Fault::refused)?;
            let filter = InboxFilter { unread: true, ..InboxFilter::default() };
            let threads = self.0.chat.inbox_entries(&login, filter).await.map_err(failure)?;
            let unread_count = threads.iter().map(|thread| thread.unread).sum();
            Ok(UnreadCounts { unread_count, unread_by_thread: threads.into_iter().map(UnreadThread::from).collect() })
        })
        .await
    }
}

#[derive(Debug, Object, Serialize)]
#[oai(rename = "MessagingCounts")]
struct NotificationCounts {
    total_count: i64,
    by_type: CountsByType,
}

/// Unread messages by the type of their thread.
#[derive(Debug, Object, Serialize)]
#[oai(rename = "MessagingCountsByType")]
struct CountsByType {
    chat: i64,
    group: i64,
    sms: i64,
}

impl From<UnreadTotals> for NotificationCounts {
    fn from(UnreadTotals { chat, group, sms }: UnreadTotals) -> Self {
        Self { total_count: chat + group + sms, by_type: CountsByType { chat, group, sms } }
    }
}

/// The thread to mark as read.
#[derive(Debug, Object)]
#[oai(rename = "MessagingMarkAllParams", example)]
struct MarkAllParams {
    /// All threads if missing.
    thread_id: Int,
}

impl Example for MarkAllParams {
    fn example() -> Self {
        Self { thread_id: Int::Present(1) }
    }
}

#[derive(Debug, Object, Serialize)]
#[oai(rename = "MessagingUnread")]
struct UnreadCounts {
    unread_count: i64,
    unread_by_thread: Vec<UnreadThread>,
}

/// A thread that holds unread messages.
#[derive(Debug, Object, Serialize)]
#[oai(rename = "MessagingUnreadThread")]
struct UnreadThread {
    thread_id: i64,
    thread_name: String,
    unread_count: i64,
}

impl From<InboxEntry> for UnreadThread {
    fn from(entry: InboxEntry) -> Self {
        Self { thread_id: entry.conversation.id.0, thread_name: entry.conversation.name, unread_count: entry.unread }
    }
}
