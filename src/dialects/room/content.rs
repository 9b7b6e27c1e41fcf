//! Content types of messages in this dialect.

use std::borrow::Cow;

use storage::{Attachment, Message, MessageType, Metadata, PartnerId};
use uuid::Uuid;

use crate::{
    chat::text_for,
    web::{AppContext, files},
};

/// Metadata key for the uuid of the user whose profile a message shows.
const PROFILE: &str = "attached_profile";

/// Content of a message. Any other type, from another dialect, counts as text.
#[derive(Clone, Copy, Debug)]
pub(super) enum Content<'a> {
    Text,
    /// The first file. The text lists further ones.
    File(&'a Attachment),
    /// Profile of the user with this uuid.
    Profile(Uuid),
}

impl<'a> Content<'a> {
    pub(super) fn of(message: &'a Message) -> Self {
        match (message.attachments.first(), message.message_type) {
            (Some(file), _) => Self::File(file),
            (None, MessageType::Profile) => shown_profile(message).map_or(Self::Text, Self::Profile),
            (None, MessageType::Text | MessageType::File | MessageType::Image | MessageType::Video | MessageType::Notice) => {
                Self::Text
            }
        }
    }

    pub(super) fn name(self) -> &'static str {
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

/// Metadata of a message that shows the profile of the user with this uuid.
pub(super) fn profile_metadata(user: Uuid) -> Metadata {
    serde_json::json!({ PROFILE: user }).into()
}

fn shown_profile(message: &Message) -> Option<Uuid> {
    serde_json::from_str(message.metadata.as_ref()?.member(PROFILE)?.get()).ok()
}

/// Text of a message. Further files, which have no field of their own, are appended by [`files::with_file_list`].
pub(super) fn text(message: &Message, reader: PartnerId) -> Cow<'_, str> {
    let text = text_for(message, reader);
    match message.attachments.as_slice() {
        [] | [_] => text,
        [_, further @ ..] => {
            let said = if text.trim().is_empty() { "" } else { &text };
            files::with_file_list(said, further, reader, "").into()
        }
    }
}

/// Size of a file in its display form.
pub(super) fn size(file: Option<&Attachment>) -> String {
    file.map_or_else(|| "0kb".to_owned(), |file| format!("{:.2}KB", file.size_bytes as f64 / 1024.0))
}

/// Path of a file on this server, signed for `reader`.
pub(super) fn address(file: &Attachment, reader: PartnerId) -> String {
    files::address(file, reader, "")
}

/// Absolute URL of a file, signed for `reader`.
pub(super) fn url(file: &Attachment, reader: PartnerId, app: &AppContext) -> String {
    files::address(file, reader, &app.base_url)
}
