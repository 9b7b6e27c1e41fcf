//! Frames that the server sends on a socket.

use std::borrow::Cow;

use schemars::JsonSchema;
use serde::Serialize;
use storage::{Message, PartnerId};
use uuid::Uuid;

use super::{
    content::{self, Content},
    wire::phone_number,
};
use crate::{
    chat::{self, Error, Recipient},
    events::Encoding,
    web::{AppContext, websocket::Frame},
};

/// Revision of the dialect, recognised by the action names that a client uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Revision {
    Current,
    /// With `chat_message`, and frames that contain the fields of both revisions.
    Older,
}

impl Revision {
    /// Key of the memoised encoding of a message in this revision.
    pub(super) fn encoding(self) -> &'static str {
        match self {
            Self::Current => "room",
            Self::Older => "room, older revision",
        }
    }
}

/// Encoded frames of a message: for its receivers and for its author.
#[derive(Clone, Debug)]
pub(super) struct EncodedMessage {
    pub(super) received: Frame,
    pub(super) confirmed: Frame,
}

impl Encoding for EncodedMessage {
    fn bytes(&self) -> usize {
        self.received.bytes() + self.confirmed.bytes()
    }
}

/// A frame sent by the server.
#[derive(Serialize, JsonSchema)]
#[serde(tag = "action", rename_all = "snake_case")]
pub(super) enum RoomServerFrame<'a> {
    /// A new message, sent to its receivers.
    ReMessage(MessagePayload<'a>),
    /// A new message with a file, sent to receivers that use action names of the older revision.
    ReMessageFile(MessagePayload<'a>),
    /// A new message, sent to its author.
    ConfMessage(MessagePayload<'a>),
    /// Answer to `ping`.
    Pong,
    /// An action failed.
    Error {
        /// One clear sentence.
        message: &'a str,
        /// Error code for programs.
        code: &'static str,
        /// The action, if it could be read.
        request: Option<&'a str>,
    },
}

#[derive(Clone, Serialize, JsonSchema)]
#[schemars(inline)]
pub(super) struct MessagePayload<'a> {
    /// Null if the sender is no user.
    sender_id: Option<Uuid>,
    /// Null if the receiver is no user. In a group or support thread, the uuid of the conversation.
    receiver_id: Option<Uuid>,
    #[serde(flatten)]
    body: MessageBody<'a>,
    /// In UTC, with microseconds.
    timestamp: String,
    created_msg_id: i64,
    /// The thread; only for group and support threads.
    #[serde(skip_serializing_if = "Option::is_none")]
    thread: Option<i64>,
    #[serde(flatten)]
    older: OlderFields<'a>,
}

/// Additional fields for clients that use action names of the older revision.
#[derive(Clone, Default, Serialize, JsonSchema)]
struct OlderFields<'a> {
    /// The text of a text message, repeated.
    #[serde(rename = "message_body", skip_serializing_if = "Option::is_none")]
    text: Option<&'a str>,
    /// The text beside a file, repeated.
    #[serde(rename = "message", skip_serializing_if = "Option::is_none")]
    beside_file: Option<Cow<'a, str>>,
    /// The path of the file on this server.
    #[serde(skip_serializing_if = "Option::is_none")]
    attached_file: Option<String>,
    /// The absolute URL of the file.
    #[serde(skip_serializing_if = "Option::is_none")]
    attached_file_url: Option<String>,
}

impl<'a> OlderFields<'a> {
    fn of(message: &'a Message, reader: PartnerId, app: &AppContext) -> Self {
        match Content::of(message) {
            Content::Text => Self { text: Some(&message.body), ..Self::default() },
            Content::File(file) => Self {
                text: None,
                beside_file: Some(content::text(message, reader)),
                attached_file: Some(content::address(file, reader)),
                attached_file_url: Some(content::url(file, reader, app)),
            },
            Content::Profile(_) => Self::default(),
        }
    }
}

#[derive(Clone, Serialize, JsonSchema)]
#[serde(tag = "message_type", rename_all = "snake_case")]
enum MessageBody<'a> {
    Text {
        message: &'a str,
    },
    File {
        message_body: Cow<'a, str>,
        attached_file_name: &'a str,
        /// For example `194.75KB`.
        attached_file_size: String,
    },
    UserProfile {
        message: (),
        attached_profile: ProfileCard,
    },
}

/// Profile of a user.
#[derive(Clone, Serialize, JsonSchema)]
struct ProfileCard {
    id: Uuid,
    fullname: String,
    phone_number: String,
}

impl EncodedMessage {
    /// Encodes a message for clients of `reader` with this revision.
    pub(super) async fn of(message: &Message, reader: PartnerId, app: &AppContext, revision: Revision) -> chat::Result<Self> {
        let chat = &app.chat;
        let (receiver_id, thread) = match chat.recipient(message).await? {
            Recipient::User(uuid) => (uuid, None),
            Recipient::Conversation(uuid) => (Some(uuid), Some(message.conversation.0)),
        };
        let body = match Content::of(message) {
            Content::Text => MessageBody::Text { message: &message.body },
            Content::File(file) => MessageBody::File {
                message_body: content::text(message, reader),
                attached_file_name: &file.name,
                attached_file_size: content::size(Some(file)),
            },
            Content::Profile(uuid) => {
                let (fullname, phone_number) = match chat.user_by_uuid(uuid).await {
                    Ok(user) => (user.partner.name.clone(), phone_number(&user).to_owned()),
                    // Another dialect may have stored an unknown uuid.
                    Err(Error::NotFound(_)) => (message.body.clone(), String::new()),
                    Err(error) => return Err(error),
                };
                MessageBody::UserProfile { message: (), attached_profile: ProfileCard { id: uuid, fullname, phone_number } }
            }
        };
        let sender_id = chat.uuid_of(message.author.user).await?;
        let telling = MessagePayload {
            sender_id,
            receiver_id,
            body,
            timestamp: message.created_at.format("%Y-%m-%dT%H:%M:%S%.6f+00:00").to_string(),
            created_msg_id: message.id.0,
            thread,
            older: match revision {
                Revision::Current => OlderFields::default(),
                Revision::Older => OlderFields::of(message, reader, app),
            },
        };
        let is_older_file = revision == Revision::Older && matches!(telling.body, MessageBody::File { .. });
        let received = if is_older_file { RoomServerFrame::ReMessageFile } else { RoomServerFrame::ReMessage }(telling.clone());
        Ok(Self { received: received.frame(), confirmed: RoomServerFrame::ConfMessage(telling).frame() })
    }
}

impl RoomServerFrame<'_> {
    fn frame(&self) -> Frame {
        serde_json::to_string(self).expect("texts and numbers can be written as JSON").into()
    }
}

pub(super) fn pong() -> Frame {
    RoomServerFrame::Pong.frame()
}

pub(super) fn failure(request: Option<&str>, message: &str, code: &'static str) -> Frame {
    RoomServerFrame::Error { message, code, request }.frame()
}
