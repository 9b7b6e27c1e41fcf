//! Addresses of attachments, and how files are shown by dialects whose messages have no other place for them.

use std::borrow::Cow;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use storage::{Attachment, PartnerId};

use crate::chat::attachment_token;

/// Where the attachments are.
const PLACE: &str = "/api/messaging/attachment/";
/// Characters that are written otherwise in a part of a path: all but the unreserved ones of RFC 3986, section 2.3.
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// The address of a file's bytes, as it is given to `reader`, with the file's name at its end: programs tell by that what a file
/// is, and call it so when they save it. Without a `base_url`, the path on this server.
pub fn address(file: &Attachment, reader: PartnerId, base_url: &str) -> String {
    let name = match file.name.as_str() {
        // A browser would take these for steps in the path.
        "" | "." | ".." => "file",
        name => name,
    };
    let name = utf8_percent_encode(name, RESERVED);
    format!("{base_url}{PLACE}{}/{}/{name}", file.id, attachment_token(file, reader))
}

/// A path as it may be logged: of the address of a file, what lets in is left out.
pub fn without_token(path: &str) -> Cow<'_, str> {
    let rest = path.strip_prefix(PLACE).and_then(|rest| rest.split_once('/'));
    match rest {
        Some((id, _)) if id.parse::<i64>().is_ok() => format!("{PLACE}{id}/...").into(),
        _ => path.into(),
    }
}

/// The text if there is any, and each file in a line of its own with its address.
pub fn listed(text: &str, files: &[Attachment], reader: PartnerId, base_url: &str) -> String {
    let text = Some(text.to_owned()).filter(|text| !text.is_empty());
    let named = files.iter().map(|file| format!("{} {}", file.name, address(file, reader, base_url)));
    text.into_iter().chain(named).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::without_token;

    #[test]
    fn no_token_is_logged() {
        for (path, logged) in [
            ("/api/messaging/attachment/26/5-abc/bill.pdf", "/api/messaging/attachment/26/..."),
            ("/api/messaging/attachment/26/5-abc", "/api/messaging/attachment/26/..."),
            ("/api/messaging/attachment/26", "/api/messaging/attachment/26"),
            ("/api/messaging/attachment/info/26", "/api/messaging/attachment/info/26"),
            ("/healthz", "/healthz"),
        ] {
            assert_eq!(without_token(path), logged);
        }
    }
}
