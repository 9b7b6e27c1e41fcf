//! How files are shown by dialects whose messages have no other place for them.

use storage::{Attachment, PartnerId};

use crate::chat::attachment_token;

/// The address of a file's bytes, as it is given to `reader`; without a `base_url`, the path on this server.
pub fn address(file: &Attachment, reader: PartnerId, base_url: &str) -> String {
    format!("{base_url}/api/messaging/attachment/{}?access_token={}", file.id, attachment_token(file, reader))
}

/// The text if there is any, and each file in a line of its own with its address.
pub fn listed(text: &str, files: &[Attachment], reader: PartnerId, base_url: &str) -> String {
    let text = Some(text.to_owned()).filter(|text| !text.is_empty());
    let named = files.iter().map(|file| format!("{} {}", file.name, address(file, reader, base_url)));
    text.into_iter().chain(named).collect::<Vec<_>>().join("\n")
}
