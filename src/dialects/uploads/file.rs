//! Request body of an upload, streamed.

use bytes::Bytes;
use futures_util::Stream;
use poem::{Body, Request, RequestBody, http::header};
use poem_openapi::{
    ApiExtractor, ApiExtractorType, ExtractParamOptions,
    payload::{Binary, Payload},
    registry::{MetaMediaType, MetaRequest},
};

use crate::{shares::Account, web::body::account};

/// An incoming file of which nothing is read yet.
pub(super) struct UploadBody {
    body: Body,
    /// Account of the request, which the file's buffered part is charged to.
    account: Account,
    /// Value of `Content-Type`; empty if missing.
    pub(super) mimetype: String,
    /// Value of `Content-Length`, if given.
    pub(super) size_bytes: Option<u64>,
}

impl UploadBody {
    /// Streams the file piece by piece, with the account of the request. The connection's read time-out holds for
    /// each piece.
    pub(super) fn pieces(self) -> (impl Stream<Item = std::io::Result<Bytes>> + Send + Unpin, Account) {
        (Box::pin(self.body.into_bytes_stream()), self.account)
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
            account: account(request).clone(),
            mimetype: text(header::CONTENT_TYPE).unwrap_or_default().to_owned(),
            size_bytes: text(header::CONTENT_LENGTH).and_then(|length| length.parse().ok()),
        })
    }
}
