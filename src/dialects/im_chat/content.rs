//! Message types and contents of this dialect, and attachments named in a message's text.

use serde_json::{Value, json};
use storage::{AttachmentId, Message, MessageType, PartnerId};

use crate::{
    chat::{attachment_token, text_for},
    web::{body, files},
};

/// Type of a message, as clients post it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum MessageKind {
    Message,
    Meta,
    /// Its content is JSON that names an attachment, and is stored as sent.
    Attachment,
    /// Typing indicator; not stored.
    Typing,
}

impl MessageKind {
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

    /// Stored type; `None` for types that are not stored.
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

/// Most attachments that one text may name.
const MAX_NAMED: usize = 20;

/// Attachment ids in a text that is JSON: as a number, or in an attachment URL of this server. Mere names yield no id. `None` if
/// the text names nothing. The structure differs between clients, so that any `id`, `attachment_id`, `name` or `url` in it
/// counts.
pub(super) fn named_attachments(text: &str) -> Option<Vec<AttachmentId>> {
    let value = body::parse_lossless(text).filter(names_something)?;
    let mut ids = Vec::new();
    collect_ids(&value, &mut ids);
    Some(ids)
}

fn collect_ids(value: &Value, ids: &mut Vec<AttachmentId>) {
    match value {
        Value::Object(fields) => {
            for (key, value) in fields {
                let id = match (key.as_str(), value) {
                    ("id" | "attachment_id", Value::Number(number)) => number.as_i64(),
                    ("id" | "attachment_id", Value::String(text)) => text.trim().parse().ok(),
                    ("url", Value::String(address)) => id_in(address),
                    _ => None,
                };
                match id.map(AttachmentId) {
                    Some(id) if ids.len() < MAX_NAMED && !ids.contains(&id) => ids.push(id),
                    Some(_) => {}
                    None => collect_ids(value, ids),
                }
            }
        }
        Value::Array(values) => values.iter().for_each(|value| collect_ids(value, ids)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// Id in the URL of an attachment.
fn id_in(address: &str) -> Option<i64> {
    let (_, rest) = address.split_once("/attachment/")?;
    rest.split(|character: char| !character.is_ascii_digit()).next()?.parse().ok()
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

/// Text of a message as shown to `reader`. Attachments of another dialect's message are added as JSON beside its text, unless the
/// text names them all itself.
pub(super) fn text(message: &Message, reader: PartnerId) -> String {
    let names_all = || {
        let named = named_attachments(&message.body).unwrap_or_default();
        message.attachments.iter().all(|file| named.contains(&file.id))
    };
    let text = text_for(message, reader);
    if message.attachments.is_empty() || names_all() {
        return text.into_owned();
    }
    let files = message.attachments.iter().take(files::MAX_NAMED_FILES).map(|file| {
        json!({
            "id": file.id,
            "name": file.name,
            "mimetype": file.mimetype,
            "file_size": file.size_bytes,
            "url": files::address(file, reader, ""),
            "access_token": attachment_token(file, reader),
        })
    });
    let mut named = json!({"message": text, "attachments": files.collect::<Vec<_>>()});
    if let Some(more) = files::unlisted_count(&message.attachments) {
        named["more"] = more.into();
    }
    named.to_string()
}
