//! Request body of an upload, streamed.

use bytes::Bytes;
use futures_util::{Stream, StreamExt, stream};
use poem::{Body, Request, RequestBody, http::header};
use poem_openapi::{
    ApiExtractor, ApiExtractorType, ExtractParamOptions,
    payload::{Binary, Payload},
    registry::{MetaMediaType, MetaRequest},
};

use crate::{
    shares::Charge,
    web::body::{BodyLimit, account},
};

/// An incoming file of which nothing is read yet.
pub(super) struct UploadBody {
    body: Body,
    limit: BodyLimit,
    /// Memory charge for the buffered part.
    charge: Charge,
    /// Value of `Content-Type`; empty if missing.
    pub(super) mimetype: String,
    /// Value of `Content-Length`, if given.
    pub(super) size_bytes: Option<u64>,
}

impl UploadBody {
    /// Streams the file piece by piece, with the memory charge of its buffered part. Fails with `TimedOut` if the next piece is
    /// late.
    pub(super) fn pieces(self) -> (impl Stream<Item = std::io::Result<Bytes>> + Send + Unpin, Charge) {
        let patience = self.limit.time;
        let pieces = stream::unfold(Box::pin(self.body.into_bytes_stream()), move |mut pieces| async move {
            let piece = match tokio::time::timeout(patience, pieces.next()).await {
                Ok(piece) => piece?,
                Err(_) => Err(std::io::ErrorKind::TimedOut.into()),
            };
            Some((piece, pieces))
        });
        (Box::pin(pieces), self.charge)
    }
}

impl<'a> ApiExtractor<'a> for UploadBody {
    const TYPES: &'static [ApiExtractorType] = &[ApiExtractorType::RequestObject];

    type ParamRawType = ();
    type ParamType = ();

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
            charge: account(request).body(),
            mimetype: text(header::CONTENT_TYPE).unwrap_or_default().to_owned(),
            size_bytes: text(header::CONTENT_LENGTH).and_then(|length| length.parse().ok()),
        })
    }
}
