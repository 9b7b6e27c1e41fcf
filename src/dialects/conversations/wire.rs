//! Server frames in their JSON form. All ids are strings.

use chrono::SecondsFormat;
use schemars::JsonSchema;
use serde::Serialize;
use storage::{ConversationKind, Message, MessageForReader, MessageId, PartnerId, Timestamp};

use super::local_id::LocalId;
use crate::{
    chat::text_for,
    web::{files, websocket::Frame},
};

/// `conversation_id` of a frame. Only sockets of all conversations have it.
pub(super) type ConversationIdField = Option<String>;

/// A frame sent by the server.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(super) enum ServerFrame<'a> {
    /// A new message, sent to all participants, its author included.
    ChatMessage {
        #[serde(skip_serializing_if = "Option::is_none")]
        conversation_id: ConversationIdField,
        message: Posted<'a>,
    },
    /// A message was not sent.
    #[serde(rename = "message.failed")]
    Failed {
        #[serde(skip_serializing_if = "Option::is_none")]
        conversation_id: ConversationIdField,
        local_id: Option<LocalId<'a>>,
        error: &'a str,
    },
    /// The content of a message was changed.
    #[serde(rename = "message.edited")]
    Edited {
        #[serde(skip_serializing_if = "Option::is_none")]
        conversation_id: ConversationIdField,
        message_id: String,
        content: String,
        timestamp: String,
    },
    /// A message was deleted.
    #[serde(rename = "message.deleted")]
    Deleted {
        #[serde(skip_serializing_if = "Option::is_none")]
        conversation_id: ConversationIdField,
        message_id: String,
        timestamp: String,
    },
    /// Delivery status of a message, sent to its author.
    #[serde(rename = "message.status")]
    MessageStatus {
        #[serde(skip_serializing_if = "Option::is_none")]
        conversation_id: ConversationIdField,
        message_id: String,
        status: MessageStatus,
        timestamp: String,
    },
    /// A participant has added or removed a reaction.
    Reaction {
        #[serde(skip_serializing_if = "Option::is_none")]
        conversation_id: ConversationIdField,
        message_id: String,
        user_id: &'a str,
        content: &'a str,
        removed: bool,
    },
    /// A participant has started or stopped typing.
    Typing {
        #[serde(skip_serializing_if = "Option::is_none")]
        conversation_id: ConversationIdField,
        user_id: &'a str,
        username: &'a str,
        is_typing: bool,
    },
    /// A participant has read messages. If the reader named none, the newest one is given, which stands for all before it.
    Read {
        #[serde(skip_serializing_if = "Option::is_none")]
        conversation_id: ConversationIdField,
        user_id: &'a str,
        message_ids: Vec<String>,
    },
    /// A page of the history: newest first, or oldest first after `after_id`.
    MessagesFetched { conversation_id: String, messages: Vec<Fetched<'a>> },
    /// The user is in a new conversation, or was added to one. Sent on a socket of all conversations.
    #[serde(rename = "conversation.joined")]
    Joined {
        conversation_id: String,
        uuid: String,
        kind: Kind,
        name: String,
        /// In the order of joining, the user included; at most 100.
        participants: Vec<Member>,
        /// Total number of participants.
        participant_count: usize,
    },
    /// The user is no longer in a conversation. Sent on a socket of all conversations, which stays open.
    #[serde(rename = "conversation.left")]
    Left { conversation_id: String },
    /// Presence of a person: sent after connecting, then at each change. For an offline person, `timestamp` is the time of the
    /// last activity, or `null` if there was none.
    UserStatus { user_id: &'a str, status: UserStatus, timestamp: Option<String> },
    /// Heartbeat of the server.
    Heartbeat { timestamp: String },
    /// An action failed.
    Error {
        #[serde(skip_serializing_if = "Option::is_none")]
        conversation_id: ConversationIdField,
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

/// Kind of a conversation.
#[derive(Clone, Copy, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum Kind {
    /// Two people, or the user alone.
    Direct,
    Group,
    /// A support request, with the person who asks and the agents.
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

/// A new message.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Posted<'a> {
    id: String,
    /// The id given by the author's client, exactly as sent.
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
    /// The id given by the client, for the user's own messages.
    #[serde(skip_serializing_if = "Option::is_none")]
    local_id: Option<LocalId<'a>>,
    sender_id: String,
    content: String,
    sent_at: String,
    is_edited: bool,
    is_deleted: bool,
}

impl ServerFrame<'_> {
    pub(super) fn frame(&self) -> Frame {
        serde_json::to_string(self).expect("texts and flags can be written").into()
    }
}

/// Frame of a new message for `reader`. `base_url` is the origin in the addresses of its files.
pub(super) fn posted(message: &Message, conversation_id: ConversationIdField, reader: PartnerId, base_url: &str) -> Frame {
    let message = Posted {
        id: message.id.to_string(),
        local_id: message.client_key.as_deref().map(LocalId::of_key),
        sender_id: sender(message),
        content: content(message, reader, base_url),
        timestamp: time(message.created_at),
        status: MessageStatus::Sent,
    };
    ServerFrame::ChatMessage { conversation_id, message }.frame()
}

pub(super) fn edited(message: &Message, conversation_id: ConversationIdField, reader: PartnerId, base_url: &str) -> Frame {
    let timestamp = time(message.edited_at.unwrap_or(message.created_at));
    let (message_id, content) = (message.id.to_string(), content(message, reader, base_url));
    ServerFrame::Edited { conversation_id, message_id, content, timestamp }.frame()
}

pub(super) fn deleted(message: &Message, conversation_id: ConversationIdField) -> Frame {
    let timestamp = time(message.deleted_at.unwrap_or(message.created_at));
    ServerFrame::Deleted { conversation_id, message_id: message.id.to_string(), timestamp }.frame()
}

pub(super) fn message_status(id: MessageId, conversation_id: ConversationIdField, status: MessageStatus, at: Timestamp) -> Frame {
    ServerFrame::MessageStatus { conversation_id, message_id: id.to_string(), status, timestamp: time(at) }.frame()
}

pub(super) fn fetched<'a>(
    MessageForReader { message, .. }: &'a MessageForReader,
    reader: PartnerId,
    base_url: &str,
) -> Fetched<'a> {
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

/// RFC 3339 to the second: some clients cannot parse fractions.
pub(super) fn time(time: Timestamp) -> String {
    time.to_rfc3339_opts(SecondsFormat::Secs, true)
}

fn sender(message: &Message) -> String {
    message.author.user.map_or(message.author.partner.0, |user| user.0).to_string()
}

/// Text of a message. Files from other dialects follow, one line each, with their address for `reader`.
fn content(message: &Message, reader: PartnerId, base_url: &str) -> String {
    files::with_file_list(&text_for(message, reader), &message.attachments, reader, base_url)
}
