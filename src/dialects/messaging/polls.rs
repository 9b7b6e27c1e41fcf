//! Long polls: new messages of a thread, and updates of all threads. A poll that waits gives its turn in the store back.

use std::time::Duration;

use chrono::{DateTime, Datelike, NaiveDate, NaiveDateTime, Utc};
use poem::Request;
use poem_openapi::{Object, OpenApi, types::Example};
use serde::Serialize;
use storage::{ConversationId, InboxEntry, InboxFilter, ListSize, MessageId, PartnerId};
use tokio::time::Instant;

use super::{MessagingReply, Tag, failure, wire::Message};
use crate::{
    chat::{ListContent, text_for},
    web::{
        AppContext, body,
        jsonrpc::{Call, CallFailure, Fault, fault},
        lenient::{Int, Text},
        odoo_time,
        page::truncated_to_page,
        session::Session,
    },
};

pub(super) struct PollsApi(pub(super) AppContext);

#[OpenApi(prefix_path = "/api/messaging", tag = "Tag::Messaging")]
impl PollsApi {
    /// Waits for messages of a thread
    ///
    /// Long polling. With `last_message_id` (0 included): returns the messages with a larger id, oldest first, at most 100 and 1
    /// MiB at a time; waits for one if there is none yet. Without it: waits for new messages only. After `timeout` seconds the
    /// answer is empty. An error response is delayed by one second.
    #[oai(path = "/poll/messages", method = "post", operation_id = "messaging_poll_messages")]
    async fn messages(
        &self,
        request: &Request,
        call: Call<MessagePollParams>,
        session: Session,
    ) -> MessagingReply<MessagePollResult> {
        let account = body::account(request);
        call.logged_in(session, |login, params| async move {
            let thread = ConversationId(params.thread_id.required("thread_id", "thread_id is required")?);
            let after = params.last_message_id.optional("last_message_id")?.map(MessageId);
            let deadline = deadline(params.timeout)?;
            let messages = self.0.chat.wait_for_messages(&login, thread, after, deadline, || account.give_turn_back());
            let messages = messages.await.map_err(failure)?;
            let messages = Message::all(messages, login.partner, &self.0);
            // A client without a cursor could not fetch the rest, so its page is not cut.
            let messages = if after.is_some() { truncated_to_page(messages, 1) } else { messages };
            Ok(MessagePollResult { has_new: !messages.is_empty(), count: messages.len(), messages })
        })
        .await
    }

    /// Waits for updates of all threads
    ///
    /// Long polling: returns as soon as other users have posted or the caller has read messages since the last update that this
    /// session received. The server keeps a cursor for each session; the first poll starts at the current position. With
    /// `last_check`, messages that others have posted after that time are the updates instead. After `timeout` seconds the answer
    /// is empty. An error response is delayed by one second.
    #[oai(path = "/poll/updates", method = "post", operation_id = "messaging_poll_updates")]
    async fn updates(
        &self,
        request: &Request,
        call: Call<UpdatePollParams>,
        session: Session,
    ) -> MessagingReply<UpdatePollResult> {
        let account = body::account(request);
        call.logged_in(session, |login, params| async move {
            let deadline = deadline(params.timeout)?;
            let since = match params.last_check.optional("last_check")? {
                Some(text) => Some(time(text.trim()).ok_or(CallFailure::refusal("last_check must be a time in ISO 8601"))?),
                None => None,
            };
            // The cursor is stored before waiting, so that a client that disconnects meanwhile misses nothing.
            let told = self.0.auth.cursor(&login, self.0.chat.position()).await.map_err(|error| fault(&error))?;
            let updates = self.0.chat.updates(&login, Some(told), since, deadline, || account.give_turn_back());
            let updates = updates.await.map_err(failure)?;
            let size = ListSize { conversations: updates.changed.len(), people: 0 };
            account.reserve(ListContent::Entries.bytes(size)).await.map_err(Fault::refused)?;
            let filter = InboxFilter { only: Some(&updates.changed), ..InboxFilter::default() };
            let changed = match updates.changed.is_empty() {
                true => Vec::new(),
                false => self.0.chat.inbox_entries(&login, filter).await.map_err(failure)?,
            };
            let unread = self.0.chat.unread_totals(&login).await.map_err(failure)?;
            self.0.auth.advance_cursor(&login, updates.position, !changed.is_empty()).await;
            Ok(UpdatePollResult {
                has_updates: !changed.is_empty(),
                unread_count: unread.chat + unread.group + unread.sms,
                threads_with_updates: changed.into_iter().map(|entry| ThreadUpdate::of(entry, login.partner)).collect(),
            })
        })
        .await
    }
}

/// Deadline of a poll: after 30 seconds by default, after 60 at most.
fn deadline(timeout: Int) -> Result<Instant, CallFailure> {
    let seconds = timeout.optional("timeout")?.unwrap_or(30).clamp(0, 60);
    Ok(Instant::now() + Duration::from_secs(seconds.unsigned_abs()))
}

/// Parses a time in ISO 8601 or in Odoo's format; UTC if it names no zone.
fn time(text: &str) -> Option<DateTime<Utc>> {
    let text = text.replacen(' ', "T", 1);
    let zoned = || DateTime::parse_from_str(&text, "%Y-%m-%dT%H:%M:%S%.f%#z").map(|time| time.to_utc());
    let plain = || NaiveDateTime::parse_from_str(&text, "%Y-%m-%dT%H:%M:%S%.f").map(|time| time.and_utc());
    let day = || NaiveDate::parse_from_str(&text, "%Y-%m-%d").map(|day| day.and_time(chrono::NaiveTime::MIN).and_utc());
    // Years outside 1 to 9999 are refused: not every store can compare them.
    zoned().or_else(|_| plain()).or_else(|_| day()).ok().filter(|time| (1..=9999).contains(&time.year()))
}

/// Thread, cursor and time-out of a poll for messages.
#[derive(Debug, Object)]
#[oai(rename = "MessagingPollMessagesParams", example)]
struct MessagePollParams {
    thread_id: Int,
    /// The newest message that the caller has; 0 for none.
    last_message_id: Int,
    /// Seconds, from 0 to 60; 30 by default.
    timeout: Int,
}

impl Example for MessagePollParams {
    fn example() -> Self {
        Self { thread_id: Int::Present(1), last_message_id: Int::Present(5), timeout: Int::Present(30) }
    }
}

#[derive(Debug, Object, Serialize)]
#[oai(rename = "MessagingNewMessages")]
struct MessagePollResult {
    has_new: bool,
    count: usize,
    messages: Vec<Message>,
}

/// Start and time-out of a poll for updates.
#[derive(Debug, Object)]
#[oai(rename = "MessagingPollUpdatesParams", example)]
struct UpdatePollParams {
    /// Seconds, from 0 to 60; 30 by default.
    timeout: Int,
    /// A time in ISO 8601; UTC if it names no zone.
    last_check: Text,
}

impl Example for UpdatePollParams {
    fn example() -> Self {
        Self { timeout: Int::Present(30), last_check: Text::Missing }
    }
}

#[derive(Debug, Object, Serialize)]
#[oai(rename = "MessagingUpdates")]
struct UpdatePollResult {
    has_updates: bool,
    /// Unread messages in all threads of the caller.
    unread_count: i64,
    /// The threads that have changed, most recent first; at most 10,000.
    threads_with_updates: Vec<ThreadUpdate>,
}

/// A thread in which something has changed.
#[derive(Debug, Object, Serialize)]
#[oai(rename = "MessagingThreadUpdate")]
struct ThreadUpdate {
    thread_id: i64,
    thread_name: String,
    unread_count: i64,
    /// The newest message's body, at most 1 KiB of it; empty if there is none.
    last_message: String,
    /// `YYYY-MM-DD HH:MM:SS`, UTC; empty if there is no message.
    last_message_date: String,
}

impl ThreadUpdate {
    /// Update as shown to `reader`.
    fn of(entry: InboxEntry, reader: PartnerId) -> Self {
        Self {
            thread_id: entry.conversation.id.0,
            last_message_date: entry.conversation.last_message_at.map(odoo_time).unwrap_or_default(),
            thread_name: entry.conversation.name,
            unread_count: entry.unread,
            last_message: entry.last_message.map(|message| text_for(&message, reader).into_owned()).unwrap_or_default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{odoo_time, time};

    #[test]
    fn times_are_understood_with_and_without_zone_and_fraction() {
        for text in [
            "2025-12-03T10:30:45",
            "2025-12-03 10:30:45",
            "2025-12-03T10:30:45.123456",
            "2025-12-03T10:30:45Z",
            "2025-12-03T10:30:45.5+00:00",
            "2025-12-03T17:30:45+0700",
            "2025-12-03 17:30:45+07",
        ] {
            assert_eq!(time(text).map(odoo_time).as_deref(), Some("2025-12-03 10:30:45"), "{text}");
        }
        assert_eq!(time("2025-12-03").map(odoo_time).as_deref(), Some("2025-12-03 00:00:00"));
    }

    #[test]
    fn what_is_no_time_is_not_guessed_at() {
        for text in ["", "yesterday", "1764757845", "2025-13-03T10:30:45", "+99999-01-01T00:00:00", "-0001-01-01T00:00:00Z"] {
            assert_eq!(time(text), None, "{text}");
        }
    }
}
