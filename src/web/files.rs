//! Addresses of attachments, and the text form of attachments in dialects whose messages have no field for files.

use std::borrow::Cow;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use poem::{
    Request,
    http::{Uri, uri::PathAndQuery},
};
use storage::{Attachment, PartnerId};

use crate::chat::attachment_token;

/// Maximum number of files that a text names, each with its address. Further files are only counted.
pub const MAX_NAMED_FILES: usize = 10;
/// Maximum length of the percent-encoded name at the end of an address, and of the extension in it.
const NAME_BYTES: usize = 128;
const EXTENSION_BYTES: usize = 16;
/// Path prefix of attachments.
const PATH_PREFIX: &str = "/api/messaging/attachment/";
/// Characters percent-encoded in a path segment: all but the unreserved ones of RFC 3986, section 2.3.
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// Signed address of a file for `reader`, ending with the file's name, from which programs derive a file type and a name for
/// saving. The server ignores that name: the file is available under any other as well. Without a `base_url`, the address is the
/// path on this server.
pub fn address(file: &Attachment, reader: PartnerId, base_url: &str) -> String {
    format!("{base_url}{PATH_PREFIX}{}/{}/{}", file.id, attachment_token(file, reader), last_part(&file.name))
}

/// Percent-encodes a file name as the last path segment. A long name is cut before its extension.
fn last_part(name: &str) -> String {
    let name = match name {
        // Browsers resolve these as relative path segments.
        "" | "." | ".." => "file",
        name => name,
    };
    let whole = encoded(name);
    if whole.len() <= NAME_BYTES {
        return whole;
    }
    let (stem, extension) = match name.rsplit_once('.') {
        Some((stem, extension)) if !stem.is_empty() && encoded(extension).len() <= EXTENSION_BYTES => {
            (stem, format!(".{}", encoded(extension)))
        }
        Some(_) | None => (name, String::new()),
    };
    let mut short = String::new();
    for character in stem.chars() {
        let character = encoded(character.encode_utf8(&mut [0; 4]));
        if short.len() + character.len() + extension.len() > NAME_BYTES {
            break;
        }
        short.push_str(&character);
    }
    short + &extension
}

fn encoded(text: &str) -> String {
    utf8_percent_encode(text, RESERVED).to_string()
}

/// Removes a file name that is not valid UTF-8 from the request's path, which the router would reject.
pub fn strip_invalid_name(request: &mut Request) {
    let uri = request.uri();
    let Some((place, name)) = uri.path().strip_prefix(PATH_PREFIX).and_then(|rest| rest.rsplit_once('/')) else { return };
    if !place.contains('/') || percent_decode_str(name).decode_utf8().is_ok() {
        return;
    }
    let query = uri.query().map(|query| format!("?{query}")).unwrap_or_default();
    if let Ok(nameless) = PathAndQuery::try_from(format!("{PATH_PREFIX}{place}{query}")) {
        *request.uri_mut() = Uri::from(nameless);
    }
}

/// A path for the program's log, without the token in the address of an attachment.
pub fn without_token(path: &str) -> Cow<'_, str> {
    let rest = path.strip_prefix(PATH_PREFIX).and_then(|rest| rest.split_once('/'));
    match rest {
        Some((id, _)) if id.parse::<i64>().is_ok() => format!("{PATH_PREFIX}{id}/...").into(),
        _ => path.into(),
    }
}

/// The text, if any, followed by one line per file with its name and address, for the first [`MAX_NAMED_FILES`] files.
pub fn with_file_list(text: &str, files: &[Attachment], reader: PartnerId, base_url: &str) -> String {
    let text = Some(text.to_owned()).filter(|text| !text.is_empty());
    let named = files.iter().take(MAX_NAMED_FILES).map(|file| format!("{} {}", file.name, address(file, reader, base_url)));
    let more = unlisted_count(files).map(|more| format!("and {more} more"));
    text.into_iter().chain(named).chain(more).collect::<Vec<_>>().join("\n")
}

/// Number of files beyond [`MAX_NAMED_FILES`], if any.
pub fn unlisted_count(files: &[Attachment]) -> Option<usize> {
    files.len().checked_sub(MAX_NAMED_FILES).filter(|more| *more > 0)
}

#[cfg(test)]
mod tests {
    use super::{last_part, without_token};

    #[test]
    fn a_long_name_keeps_its_beginning_and_its_extension() {
        let of = |character: char, count| character.to_string().repeat(count);
        for (name, expected) in [
            ("bill.pdf".to_owned(), "bill.pdf".to_owned()),
            (of('x', 128), of('x', 128)),
            (of('x', 129), of('x', 128)),
            (format!("{}.pdf", of('x', 250)), format!("{}.pdf", of('x', 124))),
            (format!("{}.pdf", of('日', 200)), format!("{}.pdf", "%E6%97%A5".repeat(13))),
            (format!("{}.{}", of('a', 200), of('日', 2)), of('a', 128)),
            (format!(".{}", of('x', 200)), format!(".{}", of('x', 127))),
            ("..".to_owned(), "file".to_owned()),
        ] {
            assert_eq!(last_part(&name), expected, "{name}");
        }
    }

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
