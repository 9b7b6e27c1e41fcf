//! What is said on a socket.

use serde::Serialize;
use storage::Message;
use uuid::Uuid;

use super::{
    content::{self, Content},
    wire::phone_number,
};
use crate::{
    chat::{self, Addressee, Chat, Error},
    dialects::socket::Frame,
};

/// A message, to those who get it and to whoever wrote it.
#[derive(Clone, Debug)]
pub(super) struct Words {
    pub(super) received: Frame,
    pub(super) confirmed: Frame,
}

#[derive(Serialize)]
struct Telling<'a> {
    sender_id: Option<Uuid>,
    receiver_id: Option<Uuid>,
    #[serde(flatten)]
    body: Body<'a>,
    timestamp: String,
    created_msg_id: i64,
    action: &'static str,
    /// Where the message is, unless that goes without saying.
    #[serde(skip_serializing_if = "Option::is_none")]
    thread: Option<i64>,
}

#[derive(Clone, Serialize)]
#[serde(tag = "message_type", rename_all = "snake_case")]
enum Body<'a> {
    Text { message: &'a str },
    File { message_body: &'a str, attached_file_name: &'a str, attached_file_size: String },
    UserProfile { message: (), attached_profile: Card },
}

/// A user as others show it.
#[derive(Clone, Serialize)]
struct Card {
    id: Uuid,
    fullname: String,
    phone_number: String,
}

impl Words {
    pub(super) async fn of(message: &Message, chat: &Chat) -> chat::Result<Self> {
        let (receiver_id, thread) = match chat.addressee(message).await? {
            Addressee::User(uuid) => (uuid, None),
            Addressee::Everybody(uuid) => (Some(uuid), Some(message.conversation.0)),
        };
        let body = match Content::of(message) {
            Content::Text => Body::Text { message: &message.body },
            Content::File(file) => Body::File {
                message_body: &message.body,
                attached_file_name: &file.name,
                attached_file_size: content::size(Some(file)),
            },
            Content::Profile(uuid) => {
                let (fullname, phone_number) = match chat.user_by_uuid(uuid).await {
                    Ok(user) => (user.partner.name.clone(), phone_number(&user).to_owned()),
                    // Another dialect may have stored anything.
                    Err(Error::NotFound(_)) => (message.body.clone(), String::new()),
                    Err(error) => return Err(error),
                };
                Body::UserProfile { message: (), attached_profile: Card { id: uuid, fullname, phone_number } }
            }
        };
        let sender_id = chat.uuid_of(message.author.user).await?;
        let words = |action| {
            frame(&Telling {
                sender_id,
                receiver_id,
                body: body.clone(),
                timestamp: message.created_at.format("%Y-%m-%dT%H:%M:%S%.6f+00:00").to_string(),
                created_msg_id: message.id.0,
                action,
                thread,
            })
        };
        Ok(Self { received: words("re_message"), confirmed: words("conf_message") })
    }
}

/// That what was asked for is not to be had.
#[derive(Serialize)]
struct Failure<'a> {
    action: &'static str,
    message: &'a str,
    code: &'static str,
    /// What was asked for, if that could be read.
    request: Option<&'a str>,
}

pub(super) fn failure(request: Option<&str>, message: &str, code: &'static str) -> Frame {
    frame(&Failure { action: "error", message, code, request })
}

fn frame(said: &impl Serialize) -> Frame {
    serde_json::to_string(said).expect("texts and numbers can be written as JSON").into()
}
