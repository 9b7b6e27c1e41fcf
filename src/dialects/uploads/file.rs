//! The bytes of a file, on their way in and out.

use std::ops::Range;

use bytes::Bytes;
use futures_util::{Stream, StreamExt, stream};
use poem::{
    Body, IntoResponse, Request, RequestBody, Response,
    http::{HeaderValue, StatusCode, header},
};
use poem_openapi::{
    ApiExtractor, ApiExtractorType, ApiResponse, ExtractParamOptions,
    payload::{Binary, Payload},
    registry::{MetaHeader, MetaMediaType, MetaRequest, MetaResponse, MetaResponses, Registry},
    types::Type,
};

use crate::{
    chat::{FileBytes, Shown},
    dialects::body::BodyLimit,
};

/// A file that is being put, of which nothing was read yet.
pub(super) struct Arriving {
    body: Body,
    limit: BodyLimit,
    /// What `Content-Type` says, if it says anything.
    pub(super) mimetype: String,
    /// What `Content-Length` says, if it says anything.
    pub(super) size_bytes: Option<u64>,
}

impl Arriving {
    /// Piece by piece; fails if the next one does not come in time.
    pub(super) fn pieces(self) -> impl Stream<Item = std::io::Result<Bytes>> + Send + Unpin {
        let patience = self.limit.time;
        let pieces = stream::unfold(Box::pin(self.body.into_bytes_stream()), move |mut pieces| async move {
            let piece = match tokio::time::timeout(patience, pieces.next()).await {
                Ok(piece) => piece?,
                Err(_) => Err(std::io::ErrorKind::TimedOut.into()),
            };
            Some((piece, pieces))
        });
        Box::pin(pieces)
    }
}

impl<'a> ApiExtractor<'a> for Arriving {
    const TYPES: &'static [ApiExtractorType] = &[ApiExtractorType::RequestObject];

    type ParamRawType = ();
    type ParamType = ();

    fn register(_: &mut Registry) {}

    fn request_meta() -> Option<MetaRequest> {
        Some(MetaRequest {
            description: Some("The file; `Content-Type` is as it was announced."),
            content: vec![MetaMediaType { content_type: "*/*", schema: Binary::<Body>::schema_ref() }],
            required: true,
        })
    }

    async fn from_request(request: &'a Request, body: &mut RequestBody, _: ExtractParamOptions<()>) -> poem::Result<Self> {
        let text = |name| request.headers().get(name).and_then(|value| value.to_str().ok());
        Ok(Self {
            body: body.take()?,
            limit: BodyLimit::of(request),
            mimetype: text(header::CONTENT_TYPE).unwrap_or_default().to_owned(),
            size_bytes: text(header::CONTENT_LENGTH).and_then(|length| length.parse().ok()),
        })
    }
}

/// A file that is shown, or, if a browser might take it for a page of ours, given away to be saved.
pub(super) struct FileReply {
    pub(super) shown: Shown,
    /// `None` for all of it.
    pub(super) part: Option<Range<u64>>,
    pub(super) bytes: FileBytes,
}

/// What a `Range` asks for.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Wanted {
    Whole,
    Part(Range<u64>),
    /// Nothing of what there is.
    Beyond,
}

impl Wanted {
    /// What of so many bytes is asked for. Whoever asks for several parts, or for something that is none, gets the whole,
    /// as RFC 9110 has it.
    pub(super) fn of(range: &str, size: u64) -> Self {
        match range.trim().split_once('=') {
            Some((unit, part)) if unit.eq_ignore_ascii_case("bytes") => match bounds(part, size) {
                None => Self::Whole,
                Some(part) if part.is_empty() => Self::Beyond,
                Some(part) => Self::Part(part),
            },
            _ => Self::Whole,
        }
    }
}

/// `first-last`, `first-`, or `-count` for the last ones.
fn bounds(part: &str, size: u64) -> Option<Range<u64>> {
    let number = |digits: &str| {
        let are_digits = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
        are_digits.then(|| digits.parse().unwrap_or(u64::MAX))
    };
    let (first, last) = part.split_once('-')?;
    let (first, last) = (first.trim(), last.trim());
    if first.is_empty() {
        return Some(size.saturating_sub(number(last)?)..size);
    }
    let first = number(first)?;
    let last = if last.is_empty() { u64::MAX } else { number(last)? };
    (first <= last).then(|| first..last.saturating_add(1).min(size))
}

impl IntoResponse for FileReply {
    fn into_response(self) -> Response {
        let Self { shown: Shown { mimetype, size_bytes, inline, .. }, part, bytes } = self;
        let mut response = Response::builder().header(header::ACCEPT_RANGES, "bytes");
        response = match &part {
            Some(Range { start, end }) => response
                .status(StatusCode::PARTIAL_CONTENT)
                .header(header::CONTENT_RANGE, format!("bytes {start}-{}/{size_bytes}", end - 1))
                .header(header::CONTENT_LENGTH, end - start),
            None => response.header(header::CONTENT_LENGTH, size_bytes),
        };
        let mut response = response.body(Body::from_bytes_stream(bytes));
        let octets = HeaderValue::from_static("application/octet-stream");
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_str(&mimetype).unwrap_or(octets));
        headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        if !inline {
            headers.insert(header::CONTENT_DISPOSITION, HeaderValue::from_static("attachment"));
            headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static("sandbox"));
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
                    header("Content-Disposition", "`attachment`, unless it is an image, audio, video or PDF.", false),
                ])
                .collect(),
        };
        let place = header("Content-Range", "Which bytes they are, and of how many: `bytes 0-3/1000`.", true);
        MetaResponses {
            responses: vec![
                answer(200, "The bytes; `Content-Type` says what they are, by what they hold.", Vec::new()),
                answer(206, "The part that was asked for.", vec![place]),
            ],
        }
    }

    fn register(_: &mut Registry) {}
}

#[cfg(test)]
mod tests {
    use super::Wanted;

    #[test]
    fn a_range_is_one_part_of_what_there_is() {
        for (range, wanted) in [
            ("bytes=0-3", Wanted::Part(0..4)),
            ("bytes=0-0", Wanted::Part(0..1)),
            ("Bytes = 2 - 3", Wanted::Whole),
            ("Bytes=2 - 3 ", Wanted::Part(2..4)),
            ("bytes=4-", Wanted::Part(4..10)),
            ("bytes=4-1000", Wanted::Part(4..10)),
            ("bytes=4-99999999999999999999999", Wanted::Part(4..10)),
            ("bytes=-3", Wanted::Part(7..10)),
            ("bytes=-30", Wanted::Part(0..10)),
            ("bytes=10-", Wanted::Beyond),
            ("bytes=99999999999999999999999-", Wanted::Beyond),
            ("bytes=-0", Wanted::Beyond),
            ("bytes=3-2", Wanted::Whole),
            ("bytes=0-1,3-4", Wanted::Whole),
            ("bytes=-", Wanted::Whole),
            ("bytes=+1-2", Wanted::Whole),
            ("bytes=a-b", Wanted::Whole),
            ("lines=0-3", Wanted::Whole),
            ("", Wanted::Whole),
        ] {
            assert_eq!(Wanted::of(range, 10), wanted, "{range}");
        }
        assert_eq!(Wanted::of("bytes=0-", 0), Wanted::Beyond);
    }
}
