//! What the server says, as it stands on the wire. Every id is a string.

use chrono::SecondsFormat;
use schemars::JsonSchema;
use serde::Serialize;
use storage::{Message, MessageId, Seen, Timestamp};

use crate::dialects::{files, socket::Frame};

/// One frame of the server.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(super) enum Word<'a> {
    /// A message, to everybody in the conversation, its author included.
    ChatMessage { message: Posted<'a> },
    /// A message could not be sent.
    #[serde(rename = "message.failed")]
    Failed { local_id: Option<&'a str>, error: &'a str },
    /// A message says something else now.
    #[serde(rename = "message.edited")]
    Edited { message_id: String, content: String, timestamp: String },
    /// A message was taken back.
    #[serde(rename = "message.deleted")]
    Deleted { message_id: String, timestamp: String },
    /// How far a message has come, to its author.
    #[serde(rename = "message.status")]
    MessageStatus { message_id: String, status: MessageStatus, timestamp: String },
    /// Somebody begins or ends typing.
    Typing { user_id: &'a str, username: &'a str, is_typing: bool },
    /// Somebody has read messages. If nobody named any, it is the newest, and all before it.
    Read { user_id: &'a str, message_ids: Vec<String> },
    /// A page of the history: newest first, or oldest first after `after_id`.
    MessagesFetched { conversation_id: String, messages: Vec<Fetched> },
    /// Somebody is there, or is not; also said of everybody at the beginning.
    UserStatus { user_id: &'a str, status: UserStatus, timestamp: String },
    /// The server is there.
    Heartbeat { timestamp: String },
    /// What was asked for could not be done.
    Error { action: Option<&'a str>, error: &'a str },
}

#[derive(Clone, Copy, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum MessageStatus {
    Sent,
    Delivered,
    Read,
}

#[derive(Clone, Copy, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum UserStatus {
    Online,
    Offline,
}

/// A message as it is told.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Posted<'a> {
    id: String,
    /// The author's client's own id of it.
    local_id: Option<&'a str>,
    sender_id: String,
    content: String,
    timestamp: String,
    status: MessageStatus,
}

/// A message of the history.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Fetched {
    id: String,
    sender_id: String,
    content: String,
    sent_at: String,
    is_edited: bool,
    is_deleted: bool,
}

impl Word<'_> {
    pub(super) fn frame(&self) -> Frame {
        serde_json::to_string(self).expect("texts and flags can be written").into()
    }
}

/// How a message is told to everybody. `base_url` is where its files can be had.
pub(super) fn posted(message: &Message, base_url: &str) -> Frame {
    let message = Posted {
        id: message.id.to_string(),
        local_id: message.client_key.as_deref(),
        sender_id: sender(message),
        content: content(message, base_url),
        timestamp: time(message.created_at),
        status: MessageStatus::Sent,
    };
    Word::ChatMessage { message }.frame()
}

pub(super) fn edited(message: &Message, base_url: &str) -> Frame {
    let timestamp = time(message.edited_at.unwrap_or(message.created_at));
    Word::Edited { message_id: message.id.to_string(), content: content(message, base_url), timestamp }.frame()
}

pub(super) fn deleted(message: &Message) -> Frame {
    let timestamp = time(message.deleted_at.unwrap_or(message.created_at));
    Word::Deleted { message_id: message.id.to_string(), timestamp }.frame()
}

pub(super) fn message_status(id: MessageId, status: MessageStatus, at: Timestamp) -> Frame {
    Word::MessageStatus { message_id: id.to_string(), status, timestamp: time(at) }.frame()
}

pub(super) fn fetched(Seen { message, .. }: &Seen, base_url: &str) -> Fetched {
    Fetched {
        id: message.id.to_string(),
        sender_id: sender(message),
        content: content(message, base_url),
        sent_at: time(message.created_at),
        is_edited: message.edited_at.is_some(),
        is_deleted: message.deleted_at.is_some(),
    }
}

/// RFC 3339 to the second, as not all clients' readers take more.
pub(super) fn time(time: Timestamp) -> String {
    time.to_rfc3339_opts(SecondsFormat::Secs, true)
}

fn sender(message: &Message) -> String {
    message.author.user.map_or(message.author.partner.0, |user| user.0).to_string()
}

/// The text. Files that came by another dialect follow it, each in a line of its own with where it can be had.
fn content(message: &Message, base_url: &str) -> String {
    files::listed(&message.body, &message.attachments, base_url)
}
