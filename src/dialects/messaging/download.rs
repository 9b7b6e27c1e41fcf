//! A file on its way out.

use std::fmt::Write;

use poem::{
    Body, IntoResponse, Response,
    http::{HeaderValue, header},
};
use poem_openapi::{
    ApiResponse,
    payload::{Binary, Payload},
    registry::{MetaHeader, MetaMediaType, MetaResponse, MetaResponses, Registry},
    types::Type,
};

use crate::chat::Download;

/// The bytes of a file, as they are read. No browser is to show it as a page of ours, whatever it holds.
pub(super) struct FileReply(pub(super) Download);

impl IntoResponse for FileReply {
    fn into_response(self) -> Response {
        let Download { attachment, bytes } = self.0;
        let mut response = Response::builder()
            .header(header::CONTENT_DISPOSITION, disposition(&attachment.name))
            .header(header::CONTENT_LENGTH, attachment.size_bytes)
            .header(header::X_CONTENT_TYPE_OPTIONS, "nosniff")
            .header(header::CONTENT_SECURITY_POLICY, "sandbox")
            .body(Body::from_bytes_stream(bytes));
        let octets = HeaderValue::from_static("application/octet-stream");
        let mimetype = HeaderValue::from_str(&attachment.mimetype).unwrap_or(octets);
        response.headers_mut().insert(header::CONTENT_TYPE, mimetype);
        response
    }
}

impl ApiResponse for FileReply {
    fn meta() -> MetaResponses {
        let header = |name: &str, description: &str| MetaHeader {
            name: name.to_owned(),
            description: Some(description.to_owned()),
            required: true,
            deprecated: false,
            schema: String::schema_ref(),
        };
        MetaResponses {
            responses: vec![MetaResponse {
                description: "The bytes; `Content-Type` says what they are.",
                status: Some(200),
                status_range: None,
                content: vec![MetaMediaType { content_type: "*/*", schema: Binary::<Body>::schema_ref() }],
                headers: vec![
                    header("Content-Disposition", "`attachment`, with the file's name."),
                    header("Content-Length", "How many bytes they are."),
                ],
            }],
        }
    }

    fn register(_: &mut Registry) {}
}

/// As RFC 6266 has it: the name in ASCII, and, where that is not the whole truth, in UTF-8 for those who know better.
fn disposition(name: &str) -> String {
    let is_plain = |c: char| (c.is_ascii_graphic() || c == ' ') && !['"', '\\', '%'].contains(&c);
    let plain: String = name.chars().map(|c| if is_plain(c) { c } else { '_' }).collect();
    let mut disposition = format!("attachment; filename=\"{plain}\"");
    if plain != name {
        disposition.push_str("; filename*=UTF-8''");
        for byte in name.bytes() {
            if byte.is_ascii_alphanumeric() || b"!#$&+-.^_`|~".contains(&byte) {
                disposition.push(char::from(byte));
            } else {
                write!(disposition, "%{byte:02X}").expect("a String takes everything");
            }
        }
    }
    disposition
}

#[cfg(test)]
mod tests {
    use super::disposition;

    #[test]
    fn a_plain_name_is_quoted_as_it_is() {
        assert_eq!(disposition("my file.txt"), "attachment; filename=\"my file.txt\"");
    }

    #[test]
    fn any_other_name_comes_in_both_forms() {
        assert_eq!(disposition("é\".txt"), "attachment; filename=\"__.txt\"; filename*=UTF-8''%C3%A9%22.txt");
    }
}
