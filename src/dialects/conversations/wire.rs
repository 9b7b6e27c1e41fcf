//! What the server says, as it stands on the wire. Every id is a string.

use chrono::SecondsFormat;
use schemars::JsonSchema;
use serde::Serialize;
use storage::{ConversationKind, Message, MessageId, PartnerId, Seen, Timestamp};

use super::local_id::LocalId;
use crate::{
    chat::text_for,
    dialects::{files, socket::Frame},
};

/// The conversation that a frame is about: on a socket of all conversations. On a socket of one it is left out.
pub(super) type Named = Option<String>;

/// One frame of the server.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(super) enum Word<'a> {
    /// A message, to everybody in the conversation, its author included.
    ChatMessage {
        #[serde(skip_serializing_if = "Option::is_none")]
        conversation_id: Named,
        message: Posted<'a>,
    },
    /// A message could not be sent.
    #[serde(rename = "message.failed")]
    Failed {
        #[serde(skip_serializing_if = "Option::is_none")]
        conversation_id: Named,
        local_id: Option<LocalId<'a>>,
        error: &'a str,
    },
    /// A message says something else now.
    #[serde(rename = "message.edited")]
    Edited {
        #[serde(skip_serializing_if = "Option::is_none")]
        conversation_id: Named,
        message_id: String,
        content: String,
        timestamp: String,
    },
    /// A message was taken back.
    #[serde(rename = "message.deleted")]
    Deleted {
        #[serde(skip_serializing_if = "Option::is_none")]
        conversation_id: Named,
        message_id: String,
        timestamp: String,
    },
    /// How far a message has come, to its author.
    #[serde(rename = "message.status")]
    MessageStatus {
        #[serde(skip_serializing_if = "Option::is_none")]
        conversation_id: Named,
        message_id: String,
        status: MessageStatus,
        timestamp: String,
    },
    /// Somebody reacts to a message, or removes the reaction.
    Reaction {
        #[serde(skip_serializing_if = "Option::is_none")]
        conversation_id: Named,
        message_id: String,
        user_id: &'a str,
        content: &'a str,
        removed: bool,
    },
    /// Somebody begins or ends typing.
    Typing {
        #[serde(skip_serializing_if = "Option::is_none")]
        conversation_id: Named,
        user_id: &'a str,
        username: &'a str,
        is_typing: bool,
    },
    /// Somebody has read messages. If nobody named any, it is the newest, and all before it.
    Read {
        #[serde(skip_serializing_if = "Option::is_none")]
        conversation_id: Named,
        user_id: &'a str,
        message_ids: Vec<String>,
    },
    /// A page of the history: newest first, or oldest first after `after_id`.
    MessagesFetched { conversation_id: String, messages: Vec<Fetched<'a>> },
    /// A conversation has begun, or the user was brought into it: on a socket of all conversations.
    #[serde(rename = "conversation.joined")]
    Joined {
        conversation_id: String,
        uuid: String,
        kind: Kind,
        name: String,
        /// In the order in which they joined, the user included; at most 100.
        participants: Vec<Member>,
        /// How many there are, listed or not.
        participant_count: usize,
    },
    /// The user is no longer in a conversation: on a socket of all conversations, which stays open.
    #[serde(rename = "conversation.left")]
    Left { conversation_id: String },
    /// Somebody is there, or is not; also said of everybody at the beginning. The time is when somebody who is not there was
    /// last seen, `null` for somebody who never was.
    UserStatus { user_id: &'a str, status: UserStatus, timestamp: Option<String> },
    /// The server is there.
    Heartbeat { timestamp: String },
    /// What was asked for could not be done.
    Error {
        #[serde(skip_serializing_if = "Option::is_none")]
        conversation_id: Named,
        action: Option<&'a str>,
        error: &'a str,
    },
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

/// Who is meant to be in a conversation.
#[derive(Clone, Copy, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum Kind {
    /// Two people, or one alone.
    Direct,
    Group,
    /// Somebody who asks for support, and those who answer.
    Support,
}

impl From<ConversationKind> for Kind {
    fn from(kind: ConversationKind) -> Self {
        match kind {
            ConversationKind::Direct => Self::Direct,
            ConversationKind::Group => Self::Group,
            ConversationKind::Support => Self::Support,
        }
    }
}

/// A participant of a conversation.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Member {
    pub(super) user_id: String,
    pub(super) username: String,
    pub(super) name: String,
    pub(super) status: UserStatus,
    /// As in `user_status`.
    pub(super) timestamp: Option<String>,
}

/// A message as it is told.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Posted<'a> {
    id: String,
    /// The author's client's own id of it, as the JSON that it was.
    local_id: Option<LocalId<'a>>,
    sender_id: String,
    content: String,
    timestamp: String,
    status: MessageStatus,
}

/// A message of the history.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Fetched<'a> {
    id: String,
    /// Of the user's own messages, if its client gave one.
    #[serde(skip_serializing_if = "Option::is_none")]
    local_id: Option<LocalId<'a>>,
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

/// How a message is told to `reader`. `base_url` is where its files can be had.
pub(super) fn posted(message: &Message, conversation_id: Named, reader: PartnerId, base_url: &str) -> Frame {
    let message = Posted {
        id: message.id.to_string(),
        local_id: message.client_key.as_deref().map(LocalId::of_key),
        sender_id: sender(message),
        content: content(message, reader, base_url),
        timestamp: time(message.created_at),
        status: MessageStatus::Sent,
    };
    Word::ChatMessage { conversation_id, message }.frame()
}

pub(super) fn edited(message: &Message, conversation_id: Named, reader: PartnerId, base_url: &str) -> Frame {
    let timestamp = time(message.edited_at.unwrap_or(message.created_at));
    let (message_id, content) = (message.id.to_string(), content(message, reader, base_url));
    Word::Edited { conversation_id, message_id, content, timestamp }.frame()
}

pub(super) fn deleted(message: &Message, conversation_id: Named) -> Frame {
    let timestamp = time(message.deleted_at.unwrap_or(message.created_at));
    Word::Deleted { conversation_id, message_id: message.id.to_string(), timestamp }.frame()
}

pub(super) fn message_status(id: MessageId, conversation_id: Named, status: MessageStatus, at: Timestamp) -> Frame {
    Word::MessageStatus { conversation_id, message_id: id.to_string(), status, timestamp: time(at) }.frame()
}

pub(super) fn fetched<'a>(Seen { message, .. }: &'a Seen, reader: PartnerId, base_url: &str) -> Fetched<'a> {
    let local_id = message.client_key.as_deref().filter(|_| message.author.partner == reader);
    Fetched {
        id: message.id.to_string(),
        local_id: local_id.map(LocalId::of_key),
        sender_id: sender(message),
        content: content(message, reader, base_url),
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

/// The text. Files that came by another dialect follow it, each in a line of its own with its address for `reader`.
fn content(message: &Message, reader: PartnerId, base_url: &str) -> String {
    files::listed(&text_for(message, reader), &message.attachments, reader, base_url)
}
