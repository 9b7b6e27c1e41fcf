//! What a message is called in this dialect, and what it holds.

use serde_json::json;
use storage::{Message, MessageType};

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

/// The text of a message. Files that came by another dialect are named as JSON, beside the text that came with them.
pub(super) fn text(message: &Message) -> String {
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
            "access_token": file.access_token,
        })
    });
    json!({"message": message.body, "attachments": files.collect::<Vec<_>>()}).to_string()
}
