//! File downloads: complete, as a byte range, or as 304 by a conditional request (RFC 9110, sections 13 and 14).

use std::{
    fmt::Write,
    num::NonZeroUsize,
    ops::Range,
    time::{Duration, UNIX_EPOCH},
};

use chrono::{DateTime, Datelike, Utc};
use http_range_header::{RangeUnsatisfiableError, parse_range_header_with_max_ranges};
use poem::{
    Body, FromRequest, IntoResponse, Request, RequestBody, Response,
    http::{HeaderMap, HeaderValue, StatusCode, header},
    web::headers::{self, ETag, HeaderMapExt, IfModifiedSince, IfNoneMatch, IfRange, LastModified},
};
use poem_openapi::{
    ApiResponse,
    payload::{Binary, Payload},
    registry::{MetaHeader, MetaMediaType, MetaResponse, MetaResponses, Registry},
    types::Type,
};
use sha2::{Digest, Sha256};

use crate::characters::is_bidi_control;

/// Audience of a file. It determines caching (`Cache-Control`) and embedding by other origins (`Cross-Origin-Resource-Policy`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileAudience {
    /// Every client that knows the address, which cannot be guessed and never gets other content. Caches keep a deleted file for
    /// up to a day.
    Everybody,
    /// Every client with a valid signed address.
    SignedUrl,
    /// Logged-in users with the right to read the file.
    Reader,
}

impl FileAudience {
    fn cache_control(self) -> HeaderValue {
        HeaderValue::from_static(match self {
            Self::Everybody => "public, max-age=86400, immutable",
            Self::SignedUrl | Self::Reader => "private, no-cache",
        })
    }

    /// `Cross-Origin-Resource-Policy` (Fetch standard).
    fn resource_policy(self) -> HeaderValue {
        HeaderValue::from_static(match self {
            Self::Everybody | Self::SignedUrl => "cross-origin",
            Self::Reader => "same-site",
        })
    }
}

/// Metadata of a file, from which its response headers are built.
#[derive(Clone, Debug)]
pub struct DownloadMetadata {
    /// Strong entity tag.
    etag: ETag,
    /// `None` if unknown.
    modified: Option<LastModified>,
    size_bytes: u64,
    mimetype: String,
    /// `None` for a file that a browser may display; `Some` for a download, with its file name if it has one.
    attachment_name: Option<Option<String>>,
    audience: FileAudience,
}

impl DownloadMetadata {
    /// A file that a browser may display. `content` identifies the content uniquely: its hash, or an id that is never reused.
    pub fn inline(content: impl AsRef<[u8]>, size_bytes: u64, mimetype: impl Into<String>, audience: FileAudience) -> Self {
        let etag = format!("\"{}\"", hex::encode(&Sha256::digest(content)[..16]));
        Self {
            etag: etag.parse().expect("hexadecimal digits in quotes are an entity tag"),
            modified: None,
            size_bytes,
            mimetype: mimetype.into(),
            attachment_name: None,
            audience,
        }
    }

    /// Makes the file a download, which browsers never display.
    #[must_use]
    pub fn as_attachment(self, name: Option<String>) -> Self {
        Self { attachment_name: Some(name), ..self }
    }

    /// Sets the time of the last modification.
    #[must_use]
    pub fn modified_at(self, modified: DateTime<Utc>) -> Self {
        // HTTP dates cover the years 1970 to 9999.
        let seconds = u64::try_from(modified.timestamp()).ok().filter(|_| modified.year() < 10_000);
        Self { modified: seconds.map(|seconds| (UNIX_EPOCH + Duration::from_secs(seconds)).into()), ..self }
    }

    /// Sets the headers for validation, caching and embedding. A 304 response has them too: its headers replace the cached ones
    /// (RFC 9111, section 3.2).
    fn set_headers(&self, headers: &mut HeaderMap) {
        headers.typed_insert(self.etag.clone());
        if let Some(modified) = self.modified {
            headers.typed_insert(modified);
        }
        headers.insert(header::CACHE_CONTROL, self.audience.cache_control());
        headers.insert("cross-origin-resource-policy", self.audience.resource_policy());
        // No browser must render a file as a page of our origin. The PDF viewers of Chrome and Safari do not run in a sandbox;
        // they run no script of a document with the rights of our origin.
        let is_shown_pdf = self.attachment_name.is_none() && self.mimetype == "application/pdf";
        let policy = if is_shown_pdf { "frame-ancestors *" } else { "sandbox" };
        headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(policy));
    }
}

/// Byte range and conditions of a request for a file.
pub struct RangeRequest {
    range: Option<String>,
    /// An error for an unreadable condition, which fails.
    if_range: Result<Option<IfRange>, headers::Error>,
    if_none_match: Option<IfNoneMatch>,
    if_modified_since: Option<IfModifiedSince>,
}

impl<'a> FromRequest<'a> for RangeRequest {
    async fn from_request(request: &'a Request, _: &mut RequestBody) -> poem::Result<Self> {
        let headers = request.headers();
        Ok(Self {
            range: headers.get(header::RANGE).and_then(|range| Some(range.to_str().ok()?.to_owned())),
            if_range: headers.typed_try_get(),
            if_none_match: headers.typed_get(),
            if_modified_since: headers.typed_get(),
        })
    }
}

/// Kind of response to a request for a file.
#[derive(Debug, PartialEq, Eq)]
pub enum DownloadPart {
    Whole,
    /// A byte range, never empty.
    Part(Range<u64>),
    /// No content: the client has the current version.
    NotModified,
    /// No content: the range begins beyond the end of the file.
    NotSatisfiable,
}

impl RangeRequest {
    /// Evaluates the conditions and the range against a file.
    pub fn evaluate(&self, file: &DownloadMetadata) -> DownloadPart {
        if self.is_not_modified(file) {
            return DownloadPart::NotModified;
        }
        match &self.range {
            Some(range) if self.range_applies(file) => select_part(range, file.size_bytes),
            _ => DownloadPart::Whole,
        }
    }

    /// True if the client's cached version is current. `If-None-Match` takes precedence over `If-Modified-Since` (RFC 9110,
    /// section 13.2.2).
    fn is_not_modified(&self, file: &DownloadMetadata) -> bool {
        match (&self.if_none_match, &self.if_modified_since, file.modified) {
            (Some(tags), ..) => !tags.precondition_passes(&file.etag),
            (None, Some(since), Some(modified)) => !since.is_modified(modified.into()),
            (None, ..) => false,
        }
    }

    /// True if the range applies: there is no `If-Range`, or its condition holds.
    fn range_applies(&self, file: &DownloadMetadata) -> bool {
        match &self.if_range {
            Ok(None) => true,
            Ok(Some(condition)) => !condition.is_modified(Some(&file.etag), file.modified.as_ref()),
            Err(_) => false,
        }
    }
}

/// Selects the part of a file of `size` bytes that a `Range` header names. Several ranges, and invalid ones, select the whole
/// file, as RFC 9110 allows.
fn select_part(range: &str, size: u64) -> DownloadPart {
    let only = parse_range_header_with_max_ranges(range, NonZeroUsize::MIN);
    match only.and_then(|range| range.validate(size)).as_deref() {
        Ok([part]) => DownloadPart::Part(*part.start()..part.end() + 1),
        Err(RangeUnsatisfiableError::Unsatisfiable) => DownloadPart::NotSatisfiable,
        Ok(_) | Err(_) => DownloadPart::Whole,
    }
}

/// Error for a range beyond the end of a file (416).
#[derive(Clone, Copy, Debug)]
pub struct RangeNotSatisfiable {
    pub size_bytes: u64,
}

impl RangeNotSatisfiable {
    /// Value of `Content-Range` for the 416 response.
    pub fn content_range(self) -> String {
        format!("bytes */{}", self.size_bytes)
    }
}

/// Response to a download.
pub struct FileReply {
    file: DownloadMetadata,
    /// `None` for the whole file.
    part: Option<Range<u64>>,
    /// `None` for a 304 response.
    bytes: Option<Body>,
}

impl FileReply {
    /// Evaluates the request and calls `read` for the bytes that are due, if any.
    ///
    /// # Errors
    ///
    /// [`RangeNotSatisfiable`], and the errors of `read`.
    pub async fn read<E: From<RangeNotSatisfiable>>(
        file: DownloadMetadata,
        wish: &RangeRequest,
        read: impl AsyncFnOnce(Option<Range<u64>>) -> Result<Body, E>,
    ) -> Result<Self, E> {
        let part = match wish.evaluate(&file) {
            DownloadPart::Whole => None,
            DownloadPart::Part(part) => Some(part),
            DownloadPart::NotModified => return Ok(Self { file, part: None, bytes: None }),
            DownloadPart::NotSatisfiable => return Err(RangeNotSatisfiable { size_bytes: file.size_bytes }.into()),
        };
        let bytes = Some(read(part.clone()).await?);
        Ok(Self { file, part, bytes })
    }
}

impl IntoResponse for FileReply {
    fn into_response(self) -> Response {
        let Self { file, part, bytes } = self;
        let Some(bytes) = bytes else {
            let mut response = StatusCode::NOT_MODIFIED.into_response();
            file.set_headers(response.headers_mut());
            return response;
        };
        let mut response = Response::builder();
        response = match &part {
            Some(Range { start, end }) => response
                .status(StatusCode::PARTIAL_CONTENT)
                .header(header::CONTENT_RANGE, format!("bytes {start}-{}/{}", end - 1, file.size_bytes))
                .header(header::CONTENT_LENGTH, end - start),
            None => response.header(header::CONTENT_LENGTH, file.size_bytes),
        };
        let mut response = response.header(header::ACCEPT_RANGES, "bytes").body(bytes);
        let headers = response.headers_mut();
        file.set_headers(headers);
        let octets = HeaderValue::from_static("application/octet-stream");
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_str(&file.mimetype).unwrap_or(octets));
        if let Some(name) = file.attachment_name {
            let disposition = HeaderValue::try_from(disposition(name.as_deref())).expect("it is in ASCII");
            headers.insert(header::CONTENT_DISPOSITION, disposition);
        }
        response
    }
}

impl ApiResponse for FileReply {
    fn meta() -> MetaResponses {
        let header = |name: &str, description: &str, required| MetaHeader {
            name: name.to_owned(),
            description: Some(description.to_owned()),
            required,
            deprecated: false,
            schema: String::schema_ref(),
        };
        let validators = || {
            [
                header("ETag", "For `If-None-Match` and `If-Range`.", true),
                header("Last-Modified", "For `If-Modified-Since` and `If-Range`, where it is known.", false),
                header("Cache-Control", "Whether the file may be kept, and by whom.", true),
            ]
        };
        let answer = |status, description, more: Vec<MetaHeader>| MetaResponse {
            description,
            status: Some(status),
            status_range: None,
            content: vec![MetaMediaType { content_type: "*/*", schema: Binary::<Body>::schema_ref() }],
            headers: more
                .into_iter()
                .chain([
                    header("Accept-Ranges", "`bytes`", true),
                    header("Content-Length", "How many bytes they are.", true),
                    header(
                        "Content-Disposition",
                        "`attachment`, with the name if there is one, for what is not to be shown.",
                        false,
                    ),
                ])
                .chain(validators())
                .collect(),
        };
        let place = header("Content-Range", "Which bytes they are, and of how many: `bytes 0-3/1000`.", true);
        let known =
            MetaResponse { content: Vec::new(), headers: validators().into(), ..answer(304, "The client has it.", Vec::new()) };
        MetaResponses {
            responses: vec![
                answer(200, "The bytes; `Content-Type` says what they are.", Vec::new()),
                answer(206, "The part that was asked for.", vec![place]),
                known,
            ],
        }
    }

    fn register(_: &mut Registry) {}
}

/// `Content-Disposition` as RFC 6266 defines it: the name in ASCII, and also in UTF-8 (`filename*`) if they differ.
fn disposition(name: Option<&str>) -> String {
    let Some(name) = name else { return "attachment".into() };
    let is_plain = |c: char| (c.is_ascii_graphic() || c == ' ') && !['"', '\\', '%'].contains(&c);
    // Names stored before uploads stripped these characters.
    let name: String = name.chars().filter(|c| !is_bidi_control(*c)).collect();
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
    use chrono::TimeDelta;
    use poem::http::HeaderName;

    use super::*;

    const MODIFIED: &str = "Sun, 09 Sep 2001 01:46:40 GMT";

    fn file() -> DownloadMetadata {
        let modified = DateTime::from_timestamp(1_000_000_000, 500_000_000).expect("it is a time");
        DownloadMetadata::inline("content", 10, "text/plain", FileAudience::Reader).modified_at(modified)
    }

    /// A header of the response.
    fn sent(name: HeaderName) -> String {
        let mut headers = HeaderMap::new();
        file().set_headers(&mut headers);
        headers[name].to_str().expect("it is ASCII").to_owned()
    }

    async fn due(headers: &[(HeaderName, &str)]) -> DownloadPart {
        let request = headers.iter().fold(Request::builder(), |request, (name, value)| request.header(name, *value));
        RangeRequest::from_request(&request.finish(), &mut RequestBody::default())
            .await
            .expect("it never fails")
            .evaluate(&file())
    }

    #[test]
    fn a_range_is_one_part_of_what_there_is() {
        for (range, due) in [
            ("bytes=0-3", DownloadPart::Part(0..4)),
            ("bytes=0-0", DownloadPart::Part(0..1)),
            ("Bytes = 2 - 3", DownloadPart::Whole),
            ("bytes=2 - 3", DownloadPart::Whole),
            ("Bytes=2-3", DownloadPart::Part(2..4)),
            ("bytes=4-", DownloadPart::Part(4..10)),
            ("bytes=4-1000", DownloadPart::Part(4..10)),
            ("bytes=4-99999999999999999999999", DownloadPart::Part(4..10)),
            ("bytes=-3", DownloadPart::Part(7..10)),
            ("bytes=-30", DownloadPart::Part(0..10)),
            ("bytes=10-", DownloadPart::NotSatisfiable),
            ("bytes=99999999999999999999999-", DownloadPart::NotSatisfiable),
            ("bytes=-0", DownloadPart::NotSatisfiable),
            ("bytes=3-2", DownloadPart::Whole),
            ("bytes=0-1,3-4", DownloadPart::Whole),
            ("bytes=0-1,10-", DownloadPart::Whole),
            ("bytes=-", DownloadPart::Whole),
            ("bytes=+1-2", DownloadPart::Whole),
            ("bytes=a-b", DownloadPart::Whole),
            ("lines=0-3", DownloadPart::Whole),
            ("", DownloadPart::Whole),
        ] {
            assert_eq!(select_part(range, 10), due, "{range}");
        }
        assert_eq!(select_part("bytes=0-", 0), DownloadPart::NotSatisfiable);
        assert_eq!(select_part("bytes=-1", 0), DownloadPart::Whole, "the last bytes of nothing are nothing");
    }

    #[tokio::test]
    async fn what_a_client_has_is_not_sent_again() {
        let tag = sent(header::ETAG);
        for (headers, expected) in [
            (vec![(header::IF_NONE_MATCH, tag.as_str())], DownloadPart::NotModified),
            (vec![(header::IF_NONE_MATCH, format!("\"a\", W/{tag}").as_str())], DownloadPart::NotModified),
            (vec![(header::IF_NONE_MATCH, "*")], DownloadPart::NotModified),
            (vec![(header::IF_NONE_MATCH, "\"a\"")], DownloadPart::Whole),
            (vec![(header::IF_NONE_MATCH, "\"a\""), (header::IF_MODIFIED_SINCE, MODIFIED)], DownloadPart::Whole),
            (vec![(header::IF_MODIFIED_SINCE, MODIFIED)], DownloadPart::NotModified),
            (vec![(header::IF_MODIFIED_SINCE, "Sunday, 09-Sep-01 01:46:41 GMT")], DownloadPart::NotModified),
            (vec![(header::IF_MODIFIED_SINCE, "Sun, 09 Sep 2001 01:46:39 GMT")], DownloadPart::Whole),
            (vec![(header::IF_MODIFIED_SINCE, "yesterday")], DownloadPart::Whole),
            (vec![(header::IF_NONE_MATCH, tag.as_str()), (header::RANGE, "bytes=0-1")], DownloadPart::NotModified),
        ] {
            assert_eq!(due(&headers).await, expected, "{headers:?}");
        }
    }

    #[tokio::test]
    async fn a_part_is_of_the_file_that_the_client_knows() {
        let tag = sent(header::ETAG);
        for (condition, expected) in [
            (tag.as_str(), DownloadPart::Part(0..2)),
            (MODIFIED, DownloadPart::Part(0..2)),
            (format!("W/{tag}").as_str(), DownloadPart::Whole),
            ("\"a\"", DownloadPart::Whole),
            ("Sun, 09 Sep 2001 01:46:39 GMT", DownloadPart::Whole),
            ("", DownloadPart::Whole),
        ] {
            assert_eq!(due(&[(header::RANGE, "bytes=0-1"), (header::IF_RANGE, condition)]).await, expected, "{condition}");
        }
        assert_eq!(due(&[(header::IF_RANGE, &tag)]).await, DownloadPart::Whole);
    }

    #[test]
    fn times_are_written_as_http_has_them() {
        assert_eq!(sent(header::LAST_MODIFIED), MODIFIED);
        for time in [DateTime::UNIX_EPOCH - TimeDelta::seconds(1), DateTime::UNIX_EPOCH + TimeDelta::days(366 * 8_030)] {
            assert_eq!(file().modified_at(time).modified, None, "HTTP has no dates of {time}");
        }
    }

    #[test]
    fn a_plain_name_is_quoted_as_it_is() {
        assert_eq!(disposition(Some("my file.txt")), "attachment; filename=\"my file.txt\"");
        assert_eq!(disposition(None), "attachment");
    }

    #[test]
    fn any_other_name_comes_in_both_forms() {
        assert_eq!(disposition(Some("é\".txt")), "attachment; filename=\"__.txt\"; filename*=UTF-8''%C3%A9%22.txt");
        assert_eq!(disposition(Some("a\u{202e}gpj.exe")), "attachment; filename=\"agpj.exe\"");
    }
}
