//! Media types, file extensions, and mentions of uploads in texts. Clients' claims are used only where browsers cannot turn
//! them into active content.

use storage::Metadata;
use uuid::Uuid;

/// Maximum length of a media type, in bytes.
const MIMETYPE_BYTES: usize = 127;
/// The media type of unknown bytes.
const UNKNOWN: &str = "application/octet-stream";
/// File extensions by media type. None of the types is active content: no page, SVG drawing or program.
const EXTENSIONS: &[(&str, &str)] = &[
    ("application/gzip", "gz"),
    ("application/json", "json"),
    ("application/msword", "doc"),
    ("application/pdf", "pdf"),
    ("application/vnd.ms-excel", "xls"),
    ("application/vnd.ms-powerpoint", "ppt"),
    ("application/vnd.openxmlformats-officedocument.presentationml.presentation", "pptx"),
    ("application/vnd.openxmlformats-officedocument.spreadsheetml.sheet", "xlsx"),
    ("application/vnd.openxmlformats-officedocument.wordprocessingml.document", "docx"),
    ("application/zip", "zip"),
    ("audio/aac", "aac"),
    ("audio/mp4", "m4a"),
    ("audio/mpeg", "mp3"),
    ("audio/ogg", "ogg"),
    ("audio/wav", "wav"),
    ("audio/webm", "weba"),
    ("image/avif", "avif"),
    ("image/bmp", "bmp"),
    ("image/gif", "gif"),
    ("image/heic", "heic"),
    ("image/heif", "heif"),
    ("image/jpeg", "jpg"),
    ("image/jpg", "jpg"),
    ("image/png", "png"),
    ("image/tiff", "tiff"),
    ("image/webp", "webp"),
    ("text/csv", "csv"),
    ("text/plain", "txt"),
    ("video/mp4", "mp4"),
    ("video/mpeg", "mpeg"),
    ("video/ogg", "ogv"),
    ("video/quicktime", "mov"),
    ("video/webm", "webm"),
];

/// Finds the uploads that a message mentions, in its body or its metadata.
pub(in crate::chat) fn mentioned_uploads(body: &str, metadata: Option<&Metadata>, kinds: &[String]) -> Vec<String> {
    let mut names = uploads_in_text(body, kinds);
    for text in metadata.into_iter().flat_map(Metadata::texts) {
        names.extend(uploads_in_text(&text, kinds));
    }
    names.sort_unstable();
    names.dedup();
    names
}

/// Finds the uploads whose path is in a text, within any URL.
fn uploads_in_text(text: &str, kinds: &[String]) -> Vec<String> {
    let mut names = Vec::new();
    for kind in kinds {
        let folder = format!("/{kind}/");
        for (at, _) in text.match_indices(&folder) {
            let rest = &text[at + folder.len()..];
            let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && !"-.".contains(c)).unwrap_or(rest.len());
            // A dot at the end belongs to the sentence.
            let file = rest[..end].trim_end_matches('.');
            if file.split('.').next().is_some_and(|stem| Uuid::try_parse(stem).is_ok()) {
                names.push(format!("{kind}/{file}"));
            }
        }
    }
    names
}

/// The media type for the extension of a file name.
pub(in crate::chat) fn mimetype_by_name(name: &str) -> &'static str {
    let extension = name.rsplit_once('.').map_or("", |(_, extension)| extension);
    let mut known = EXTENSIONS.iter().filter(|(_, known)| known.eq_ignore_ascii_case(extension));
    known.next().map_or(UNKNOWN, |(mimetype, _)| mimetype)
}

/// Normalises an announced media type: clients that cannot tell it send nothing, or `unknown`.
pub(super) fn normalised_media_type(mimetype: String) -> String {
    match essence(&mimetype) {
        "" => UNKNOWN.to_owned(),
        word if word.eq_ignore_ascii_case("unknown") => UNKNOWN.to_owned(),
        _ => mimetype,
    }
}

/// The media type without parameters.
pub(super) fn essence(mimetype: &str) -> &str {
    mimetype.split(';').next().unwrap_or_default().trim()
}

/// True for a media type that a header can carry, with or without parameters.
pub(super) fn is_mimetype(text: &str) -> bool {
    let is_token = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$&-^_.+".contains(&b));
    let printable = text.bytes().all(|b| b.is_ascii_graphic() || b == b' ') && text.trim() == text;
    printable && text.len() <= MIMETYPE_BYTES && essence(text).split_once('/').is_some_and(|(a, b)| is_token(a) && is_token(b))
}

/// The file extension of a media type; `None` for unknown and active types.
pub(super) fn extension(mimetype: &str) -> Option<&'static str> {
    let essence = essence(mimetype);
    EXTENSIONS.iter().find(|(known, _)| known.eq_ignore_ascii_case(essence)).map(|(_, extension)| *extension)
}

/// True for a file name that this server generates: a uuid, and perhaps an extension.
pub(in crate::chat) fn is_generated_name(name: &str) -> bool {
    let (stem, extension) = name.split_once('.').map_or((name, None), |(stem, extension)| (stem, Some(extension)));
    Uuid::try_parse(stem).is_ok_and(|uuid| uuid.hyphenated().to_string() == stem)
        && extension.is_none_or(|extension| EXTENSIONS.iter().any(|(_, known)| *known == extension))
}

/// True if browsers only display the type. SVG is active content.
pub(super) fn is_harmless(mimetype: &str) -> bool {
    let shown = ["image/", "audio/", "video/"].iter().any(|kind| mimetype.starts_with(kind));
    (shown && !mimetype.contains("svg")) || mimetype == "application/pdf"
}

/// True if browsers do not run the type as a page or a program; false for unknown types. A value that holds a second type is
/// not safe, because browsers may use the last one.
pub(super) fn is_safe(mimetype: &str) -> bool {
    let essence = essence(mimetype).to_ascii_lowercase();
    let is_known = extension(&essence).is_some() || is_harmless(&essence) || essence == UNKNOWN;
    is_known && mimetype.matches('/').count() == 1
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{extension, is_generated_name, is_harmless, is_mimetype, is_safe, mentioned_uploads, uploads_in_text};

    #[test]
    fn what_can_act_has_no_extension() {
        for (mimetype, expected) in [
            ("image/png", Some("png")),
            ("image/jpeg; x=y", Some("jpg")),
            ("Text/Plain", Some("txt")),
            ("image/svg+xml", None),
            ("text/html", None),
            ("application/javascript", None),
            ("application/x-msdownload", None),
            ("application/octet-stream", None),
        ] {
            assert_eq!(extension(mimetype), expected, "{mimetype}");
        }
    }

    #[test]
    fn a_file_is_called_by_a_uuid() {
        let uuid = "d9bcf98b-063f-4286-ae70-8862dc7ebc1d";
        for ours in [uuid.to_owned(), format!("{uuid}.png")] {
            assert!(is_generated_name(&ours), "{ours}");
        }
        let foreign = ["".to_owned(), "logo.png".to_owned(), uuid.to_uppercase(), uuid.replace('-', "")];
        for foreign in foreign.into_iter().chain([".html", ".", ".png.png", "#1", "/a.png"].map(|end| format!("{uuid}{end}"))) {
            assert!(!is_generated_name(&foreign), "{foreign}");
        }
    }

    #[test]
    fn a_type_has_two_parts() {
        for good in ["image/png", "text/plain; charset=utf-8", "image/svg+xml", "application/vnd.ms-excel"] {
            assert!(is_mimetype(good), "{good}");
        }
        for bad in ["", "png", "/", "image/", "/png", "a/b/c", " image/png", "image/png\r\nX: y", "ima ge/png", "bild/ö"] {
            assert!(!is_mimetype(bad), "{bad}");
        }
    }

    #[test]
    fn what_can_act_is_not_harmless() {
        for good in ["image/png", "audio/mpeg", "video/mp4", "application/pdf"] {
            assert!(is_harmless(good), "{good}");
        }
        for bad in ["image/svg+xml", "text/html", "text/xml", "text/plain", "application/zip", "application/octet-stream"] {
            assert!(!is_harmless(bad), "{bad}");
        }
    }

    #[test]
    fn what_a_browser_could_run_is_not_safe() {
        for good in [
            "image/png",
            "Image/PNG",
            "image/x-new",
            "video/webm;codecs=vp8,opus",
            "application/pdf",
            "text/plain; charset=utf-8",
            "application/zip",
            "application/octet-stream",
        ] {
            assert!(is_safe(good), "{good}");
        }
        for bad in [
            "text/html",
            "TEXT/HTML",
            "image/svg+xml",
            "image/SVG+XML; a=b",
            "text/xml",
            "application/xhtml+xml",
            "text/javascript",
            "application/x-unknown",
            "image/png;,text/html",
        ] {
            assert!(!is_safe(bad), "{bad}");
        }
    }

    #[test]
    fn a_text_names_uploads_by_their_addresses() {
        let kinds = ["chat-images".to_owned(), "files".to_owned()];
        let uuid = "d9bcf98b-063f-4286-ae70-8862dc7ebc1d";
        let text = format!(
            "See https://a.example/x/chat-images/{uuid}.png?w=1 and (/files/{uuid}). No: /other/{uuid}.png, \
             /chat-images/x.png, chat-images. At the end: b/chat-images/{uuid}.jpg."
        );
        let expected = [format!("chat-images/{uuid}.png"), format!("chat-images/{uuid}.jpg"), format!("files/{uuid}")];
        assert_eq!(uploads_in_text(&text, &kinds), expected);
        assert_eq!(uploads_in_text("/chat-images/", &kinds), [""; 0]);
    }

    #[test]
    fn a_message_names_what_any_of_its_texts_names() {
        let address = |number: u8| format!("https://a.example/files/d9bcf98b-063f-4286-ae70-8862dc7ebc1{number}.png");
        let name = |number: u8| format!("files/d9bcf98b-063f-4286-ae70-8862dc7ebc1{number}.png");
        let metadata = json!({"number": 1, "link": address(2), "list": [null, true, {"deep": [address(3), address(1)]}]}).into();
        let named = |metadata| mentioned_uploads(&address(1), metadata, &["files".to_owned()]);
        assert_eq!(named(Some(&metadata)), [name(1), name(2), name(3)]);
        assert_eq!(named(None), [name(1)]);
    }
}
