//! What a message is called in this dialect, and what it holds.

use serde_json::{Value, json};
use storage::{Message, MessageType, PartnerId};

use crate::chat::attachment_token;

/// A message as clients post it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Message,
    Meta,
    /// Its content is JSON that names an attachment; it is kept as it was sent.
    Attachment,
    /// Says only that its author is typing.
    Typing,
}

impl Kind {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Message => "message",
            Self::Meta => "meta",
            Self::Attachment => "money4_chat_attach_msg",
            Self::Typing => "typing",
        }
    }

    pub(super) fn parse(word: &str) -> Option<Self> {
        [Self::Message, Self::Meta, Self::Attachment, Self::Typing].into_iter().find(|kind| kind.as_str() == word)
    }

    /// What is stored; `None` for what is not.
    pub(super) fn stored(self) -> Option<MessageType> {
        match self {
            Self::Message => Some(MessageType::Text),
            Self::Meta => Some(MessageType::Notice),
            Self::Attachment => Some(MessageType::File),
            Self::Typing => None,
        }
    }

    pub(super) fn of(message: &Message) -> Self {
        match message.message_type {
            _ if !message.attachments.is_empty() => Self::Attachment,
            MessageType::File => Self::Attachment,
            MessageType::Notice => Self::Meta,
            MessageType::Text | MessageType::Image | MessageType::Video | MessageType::Profile => Self::Message,
        }
    }
}

/// Whether a text is JSON that names an attachment. How is the clients' own business, and clients differ: something in it
/// must have a number or a name.
pub(super) fn names_attachment(text: &str) -> bool {
    serde_json::from_str(text).is_ok_and(|value| names_something(&value))
}

fn names_something(value: &Value) -> bool {
    const NAMES: [&str; 4] = ["id", "attachment_id", "name", "url"];
    match value {
        Value::Object(fields) => fields.iter().any(|(key, value)| {
            let is_name = match value {
                Value::Number(number) => number.as_i64().is_some_and(|number| number > 0),
                Value::String(text) => !text.trim().is_empty(),
                Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => false,
            };
            (is_name && NAMES.contains(&key.as_str())) || names_something(value)
        }),
        Value::Array(values) => values.iter().any(names_something),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
    }
}

/// The text of a message, as it is shown to `reader`. Files that came by another dialect are named as JSON, beside the text
/// that came with them.
pub(super) fn text(message: &Message, reader: PartnerId) -> String {
    if message.attachments.is_empty() {
        return message.body.clone();
    }
    let files = message.attachments.iter().map(|file| {
        json!({
            "id": file.id,
            "name": file.name,
            "mimetype": file.mimetype,
            "file_size": file.size_bytes,
            "url": format!("/api/messaging/attachment/{}", file.id),
            "access_token": attachment_token(file, reader),
        })
    });
    json!({"message": message.body, "attachments": files.collect::<Vec<_>>()}).to_string()
}
