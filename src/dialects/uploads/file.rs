//! The bytes of a file, on their way in and out.

use bytes::Bytes;
use futures_util::{Stream, StreamExt, stream};
use poem::{
    Body, IntoResponse, Request, RequestBody, Response,
    http::{HeaderValue, header},
};
use poem_openapi::{
    ApiExtractor, ApiExtractorType, ApiResponse, ExtractParamOptions,
    payload::{Binary, Payload},
    registry::{MetaHeader, MetaMediaType, MetaRequest, MetaResponse, MetaResponses, Registry},
    types::Type,
};

use crate::{chat::Shown, dialects::jsonrpc::BodyLimit};

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
            limit: *request.data::<BodyLimit>().expect("the server puts it into every request"),
            mimetype: text(header::CONTENT_TYPE).unwrap_or_default().to_owned(),
            size_bytes: text(header::CONTENT_LENGTH).and_then(|length| length.parse().ok()),
        })
    }
}

/// A file that is shown, or, if a browser might take it for a page of ours, given away to be saved.
pub(super) struct FileReply(pub(super) Shown);

impl IntoResponse for FileReply {
    fn into_response(self) -> Response {
        let Shown { mimetype, size_bytes, inline, bytes } = self.0;
        let mut response = Response::builder().header(header::CONTENT_LENGTH, size_bytes).body(Body::from_bytes_stream(bytes));
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
        MetaResponses {
            responses: vec![MetaResponse {
                description: "The bytes; `Content-Type` says what they are, by what they hold.",
                status: Some(200),
                status_range: None,
                content: vec![MetaMediaType { content_type: "*/*", schema: Binary::<Body>::schema_ref() }],
                headers: vec![
                    header("Content-Length", "How many bytes they are.", true),
                    header("Content-Disposition", "`attachment`, unless it is an image, audio, video or PDF.", false),
                ],
            }],
        }
    }

    fn register(_: &mut Registry) {}
}
