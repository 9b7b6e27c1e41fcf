//! How files are shown by dialects whose messages have no other place for them.

use storage::Attachment;

/// Where the bytes of a file are, for whoever knows this; without a `base_url`, on this server.
pub fn address(file: &Attachment, base_url: &str) -> String {
    format!("{base_url}/api/messaging/attachment/{}?access_token={}", file.id, file.access_token)
}

/// The text if there is any, and each file in a line of its own with where it can be had.
pub fn listed(text: &str, files: &[Attachment], base_url: &str) -> String {
    let text = Some(text.to_owned()).filter(|text| !text.is_empty());
    let named = files.iter().map(|file| format!("{} {}", file.name, address(file, base_url)));
    text.into_iter().chain(named).collect::<Vec<_>>().join("\n")
}
