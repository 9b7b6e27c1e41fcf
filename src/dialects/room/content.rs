//! What a message is in this dialect.

use std::borrow::Cow;

use storage::{Attachment, Message, MessageType, Metadata, PartnerId};
use uuid::Uuid;

use crate::{
    chat::text_for,
    dialects::{House, files},
};

/// In the metadata of a message: the uuid of the user whose profile it shows.
const PROFILE: &str = "attached_profile";

/// The three types of messages. What has come by another dialect and is none of them is a text.
#[derive(Clone, Copy, Debug)]
pub(super) enum Content<'a> {
    Text,
    /// Of several files the first; the text names the others.
    File(&'a Attachment),
    /// The profile of the user with this uuid.
    Profile(Uuid),
}

impl<'a> Content<'a> {
    pub(super) fn of(message: &'a Message) -> Self {
        match (message.attachments.first(), message.message_type) {
            (Some(file), _) => Self::File(file),
            (None, MessageType::Profile) => shown(message).map_or(Self::Text, Self::Profile),
            (None, MessageType::Text | MessageType::File | MessageType::Image | MessageType::Video | MessageType::Notice) => {
                Self::Text
            }
        }
    }

    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::File(_) => "file",
            Self::Profile(_) => "user_profile",
        }
    }

    pub(super) fn file(self) -> Option<&'a Attachment> {
        match self {
            Self::File(file) => Some(file),
            Self::Text | Self::Profile(_) => None,
        }
    }
}

/// The metadata of a message that shows the profile of the user with this uuid.
pub(super) fn showing(user: Uuid) -> Metadata {
    serde_json::json!({ PROFILE: user }).into()
}

fn shown(message: &Message) -> Option<Uuid> {
    serde_json::from_str(message.metadata.as_ref()?.member(PROFILE)?.get()).ok()
}

/// What is said beside a file, if there is one. Of several files all but the first have no other place than this: they follow, as
/// [`files::listed`] has it.
pub(super) fn text(message: &Message, reader: PartnerId) -> Cow<'_, str> {
    let text = text_for(message, reader);
    match message.attachments.as_slice() {
        [] | [_] => text,
        [_, further @ ..] => {
            let said = if text.trim().is_empty() { "" } else { &text };
            files::listed(said, further, reader, "").into()
        }
    }
}

/// The size of a file as it is shown to people.
pub(super) fn size(file: Option<&Attachment>) -> String {
    file.map_or_else(|| "0kb".to_owned(), |file| format!("{:.2}KB", file.size_bytes as f64 / 1024.0))
}

/// The path of a file's bytes on this server, as it is given to `reader`.
pub(super) fn address(file: &Attachment, reader: PartnerId) -> String {
    files::address(file, reader, "")
}

/// The same with the server.
pub(super) fn url(file: &Attachment, reader: PartnerId, house: &House) -> String {
    files::address(file, reader, &house.base_url)
}
