//! Addresses of attachments, and how files are shown by dialects whose messages have no other place for them.

use std::borrow::Cow;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use poem::{
    Request,
    http::{Uri, uri::PathAndQuery},
};
use storage::{Attachment, PartnerId};

use crate::chat::attachment_token;

/// The most files that a text names, each with its address: it says only how many more there are.
pub const NAMED: usize = 10;
/// Length of the name at the end of an address, as it is written there, and of an extension in it.
const NAME_BYTES: usize = 128;
const EXTENSION_BYTES: usize = 16;
/// Where the attachments are.
const PLACE: &str = "/api/messaging/attachment/";
/// Characters that are written otherwise in a part of a path: all but the unreserved ones of RFC 3986, section 2.3.
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// The address of a file's bytes, as it is given to `reader`, with the file's name at its end: programs tell by that what a file
/// is, and call it so when they save it. It does not count: the file is there by any other name as well. Without a `base_url`, the
/// path on this server.
pub fn address(file: &Attachment, reader: PartnerId, base_url: &str) -> String {
    format!("{base_url}{PLACE}{}/{}/{}", file.id, attachment_token(file, reader), last_part(&file.name))
}

/// A name as the end of an address: of a long one the beginning, and the extension.
fn last_part(name: &str) -> String {
    let name = match name {
        // A browser would take these for steps in the path.
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

/// Takes the name from the end of an address that is asked for, if it is no text: the router takes no such path.
pub fn pass_over_unreadable_name(request: &mut Request) {
    let uri = request.uri();
    let Some((place, name)) = uri.path().strip_prefix(PLACE).and_then(|rest| rest.rsplit_once('/')) else { return };
    if !place.contains('/') || percent_decode_str(name).decode_utf8().is_ok() {
        return;
    }
    let query = uri.query().map(|query| format!("?{query}")).unwrap_or_default();
    if let Ok(nameless) = PathAndQuery::try_from(format!("{PLACE}{place}{query}")) {
        *request.uri_mut() = Uri::from(nameless);
    }
}

/// A path as it may be logged: of the address of a file, what lets in is left out.
pub fn without_token(path: &str) -> Cow<'_, str> {
    let rest = path.strip_prefix(PLACE).and_then(|rest| rest.split_once('/'));
    match rest {
        Some((id, _)) if id.parse::<i64>().is_ok() => format!("{PLACE}{id}/...").into(),
        _ => path.into(),
    }
}

/// The text if there is any, and each file in a line of its own with its address; of many the first [`NAMED`].
pub fn listed(text: &str, files: &[Attachment], reader: PartnerId, base_url: &str) -> String {
    let text = Some(text.to_owned()).filter(|text| !text.is_empty());
    let named = files.iter().take(NAMED).map(|file| format!("{} {}", file.name, address(file, reader, base_url)));
    let more = more(files).map(|more| format!("and {more} more"));
    text.into_iter().chain(named).chain(more).collect::<Vec<_>>().join("\n")
}

/// How many of these files a text does not name, if there are any.
pub fn more(files: &[Attachment]) -> Option<usize> {
    files.len().checked_sub(NAMED).filter(|more| *more > 0)
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
