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
    chat::{self, Addressee, Encoding, Error},
    dialects::{House, socket::Frame},
};

/// Revision of the dialect, recognised by the action names that a client uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Revision {
    Today,
    /// With `chat_message`, and frames that contain the fields of both revisions.
    Older,
}

impl Revision {
    /// Key of the memoised encoding of a message in this revision.
    pub(super) fn encoding(self) -> &'static str {
        match self {
            Self::Today => "room",
            Self::Older => "room, older revision",
        }
    }
}

/// Encoded frames of a message: for its receivers and for its author.
#[derive(Clone, Debug)]
pub(super) struct Words {
    pub(super) received: Frame,
    pub(super) confirmed: Frame,
}

impl Encoding for Words {
    fn bytes(&self) -> usize {
        self.received.bytes() + self.confirmed.bytes()
    }
}

/// A frame sent by the server.
#[derive(Serialize, JsonSchema)]
#[serde(tag = "action", rename_all = "snake_case")]
pub(super) enum Word<'a> {
    /// A new message, sent to its receivers.
    ReMessage(Telling<'a>),
    /// A new message with a file, sent to receivers that use action names of the older revision.
    ReMessageFile(Telling<'a>),
    /// A new message, sent to its author.
    ConfMessage(Telling<'a>),
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
pub(super) struct Telling<'a> {
    /// Null if the sender is no user.
    sender_id: Option<Uuid>,
    /// Null if the receiver is no user. In a group or support thread, the uuid of the conversation.
    receiver_id: Option<Uuid>,
    #[serde(flatten)]
    body: Body<'a>,
    /// In UTC, with microseconds.
    timestamp: String,
    created_msg_id: i64,
    /// The thread; only for group and support threads.
    #[serde(skip_serializing_if = "Option::is_none")]
    thread: Option<i64>,
    #[serde(flatten)]
    older: Older<'a>,
}

/// Additional fields for clients that use action names of the older revision.
#[derive(Clone, Default, Serialize, JsonSchema)]
struct Older<'a> {
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

impl<'a> Older<'a> {
    fn of(message: &'a Message, reader: PartnerId, house: &House) -> Self {
        match Content::of(message) {
            Content::Text => Self { text: Some(&message.body), ..Self::default() },
            Content::File(file) => Self {
                text: None,
                beside_file: Some(content::text(message, reader)),
                attached_file: Some(content::address(file, reader)),
                attached_file_url: Some(content::url(file, reader, house)),
            },
            Content::Profile(_) => Self::default(),
        }
    }
}

#[derive(Clone, Serialize, JsonSchema)]
#[serde(tag = "message_type", rename_all = "snake_case")]
enum Body<'a> {
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
        attached_profile: Card,
    },
}

/// Profile of a user.
#[derive(Clone, Serialize, JsonSchema)]
struct Card {
    id: Uuid,
    fullname: String,
    phone_number: String,
}

impl Words {
    /// Encodes a message for clients of `reader` with this revision.
    pub(super) async fn of(message: &Message, reader: PartnerId, house: &House, revision: Revision) -> chat::Result<Self> {
        let chat = &house.chat;
        let (receiver_id, thread) = match chat.addressee(message).await? {
            Addressee::User(uuid) => (uuid, None),
            Addressee::Everybody(uuid) => (Some(uuid), Some(message.conversation.0)),
        };
        let body = match Content::of(message) {
            Content::Text => Body::Text { message: &message.body },
            Content::File(file) => Body::File {
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
                Body::UserProfile { message: (), attached_profile: Card { id: uuid, fullname, phone_number } }
            }
        };
        let sender_id = chat.uuid_of(message.author.user).await?;
        let telling = Telling {
            sender_id,
            receiver_id,
            body,
            timestamp: message.created_at.format("%Y-%m-%dT%H:%M:%S%.6f+00:00").to_string(),
            created_msg_id: message.id.0,
            thread,
            older: match revision {
                Revision::Today => Older::default(),
                Revision::Older => Older::of(message, reader, house),
            },
        };
        let is_older_file = revision == Revision::Older && matches!(telling.body, Body::File { .. });
        let received = if is_older_file { Word::ReMessageFile } else { Word::ReMessage }(telling.clone());
        Ok(Self { received: received.frame(), confirmed: Word::ConfMessage(telling).frame() })
    }
}

impl Word<'_> {
    fn frame(&self) -> Frame {
        serde_json::to_string(self).expect("texts and numbers can be written as JSON").into()
    }
}

pub(super) fn pong() -> Frame {
    Word::Pong.frame()
}

pub(super) fn failure(request: Option<&str>, message: &str, code: &'static str) -> Frame {
    Word::Error { message, code, request }.frame()
}
