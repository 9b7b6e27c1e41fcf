//! Plain JSON over HTTP, for routes without an envelope: a body as it comes in, and one sentence where it cannot be used.

use bytes::Bytes;
use poem::{
    Request, RequestBody, Response,
    error::ReadBodyError,
    http::{StatusCode, header},
};
use poem_openapi::{
    ApiExtractor, ApiExtractorType, ExtractParamOptions, Object,
    registry::{MetaMediaType, MetaRequest, Registry},
    types::{ParseFromJSON, Type},
};
use serde::Serialize;
use serde_json::Value;

use super::jsonrpc::{BodyLimit, JSON, is_json};

/// Why something was not done.
#[derive(Debug, Clone, Object, Serialize)]
pub struct Said {
    /// One clear sentence.
    pub message: String,
}

impl Said {
    pub fn new(message: impl Into<String>) -> Self {
        Self { message: message.into() }
    }

    /// The whole answer.
    fn response(message: &str, status: StatusCode) -> Response {
        let body = serde_json::to_vec(&Self::new(message)).expect("a text can be written as JSON");
        Response::builder().status(status).header(header::CONTENT_TYPE, JSON).body(body)
    }
}

/// The body of a request: JSON, and said to be, which no form of a foreign page can say. Whatever it is not is answered
/// with a status and [`Said`].
pub struct Posted<P>(pub P);

impl<'a, P: ParseFromJSON + Type> ApiExtractor<'a> for Posted<P> {
    const TYPES: &'static [ApiExtractorType] = &[ApiExtractorType::RequestObject];

    type ParamRawType = ();
    type ParamType = ();

    fn register(registry: &mut Registry) {
        P::register(registry);
    }

    fn request_meta() -> Option<MetaRequest> {
        Some(MetaRequest {
            description: None,
            content: vec![MetaMediaType { content_type: "application/json", schema: P::schema_ref() }],
            required: true,
        })
    }

    async fn from_request(request: &'a Request, body: &mut RequestBody, _: ExtractParamOptions<()>) -> poem::Result<Self> {
        if !is_json(request) {
            return Err(no_json());
        }
        parsed(&read(request, body).await?).map(Self)
    }
}

/// As [`Posted`], where the whole body may be missing.
pub struct PostedIfAny<P>(pub Option<P>);

impl<'a, P: ParseFromJSON + Type> ApiExtractor<'a> for PostedIfAny<P> {
    const TYPES: &'static [ApiExtractorType] = &[ApiExtractorType::RequestObject];

    type ParamRawType = ();
    type ParamType = ();

    fn register(registry: &mut Registry) {
        P::register(registry);
    }

    fn request_meta() -> Option<MetaRequest> {
        <Posted<P> as ApiExtractor>::request_meta().map(|meta| MetaRequest { required: false, ..meta })
    }

    async fn from_request(request: &'a Request, body: &mut RequestBody, _: ExtractParamOptions<()>) -> poem::Result<Self> {
        let bytes = read(request, body).await?;
        if bytes.is_empty() {
            return Ok(Self(None));
        }
        if !is_json(request) {
            return Err(no_json());
        }
        parsed(&bytes).map(Some).map(Self)
    }
}

fn refused(status: StatusCode, message: &str) -> poem::Error {
    poem::Error::from_response(Said::response(message, status))
}

fn no_json() -> poem::Error {
    refused(StatusCode::BAD_REQUEST, "The body must be JSON, and its Content-Type application/json.")
}

async fn read(request: &Request, body: &mut RequestBody) -> poem::Result<Bytes> {
    let limit = *request.data::<BodyLimit>().expect("the server puts it into every request");
    match tokio::time::timeout(limit.time, body.take()?.into_bytes_limit(limit.bytes)).await {
        Ok(Ok(bytes)) => Ok(bytes),
        Ok(Err(ReadBodyError::PayloadTooLarge)) => Err(refused(StatusCode::PAYLOAD_TOO_LARGE, "The request is too large.")),
        Ok(Err(_)) => Err(refused(StatusCode::BAD_REQUEST, "The body cannot be read.")),
        Err(_) => Err(refused(StatusCode::REQUEST_TIMEOUT, "The request did not arrive in time.")),
    }
}

fn parsed<P: ParseFromJSON>(bytes: &[u8]) -> poem::Result<P> {
    let value: Value = serde_json::from_slice(bytes).map_err(|_| refused(StatusCode::BAD_REQUEST, "The body is not JSON."))?;
    // poem-openapi's own words name types of ours and repeat what was sent.
    let parsed = P::parse_from_json(Some(value));
    parsed.map_err(|_| refused(StatusCode::BAD_REQUEST, "The body lacks a member, or has one of the wrong type."))
}
