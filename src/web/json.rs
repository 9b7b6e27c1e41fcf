//! Plain JSON over HTTP, for routes without an envelope: the request body, and errors with one sentence.

use poem::{
    Request, RequestBody, Response,
    http::{StatusCode, header},
};
use poem_openapi::{
    ApiExtractor, ApiExtractorType, ExtractParamOptions, Object,
    registry::{MetaMediaType, MetaRequest, Registry},
    types::{ParseFromJSON, Type},
};
use serde::Serialize;

use super::{
    body::{self, BodyError, FullBody, JsonError},
    jsonrpc::{JSON, is_json},
};
use crate::shares::NoShare;

/// Error message of a request that failed.
#[derive(Debug, Clone, Object, Serialize)]
pub struct ErrorMessage {
    /// One clear sentence.
    pub message: String,
}

impl ErrorMessage {
    pub fn new(message: impl Into<String>) -> Self {
        Self { message: message.into() }
    }

    /// Error response to a caller whose quota is used up.
    pub fn quota_exceeded(why: NoShare) -> Response {
        let UnusableBody { status, message } = why.into();
        Self::response(message, status)
    }

    /// Error response.
    pub fn response(message: &str, status: StatusCode) -> Response {
        let body = serde_json::to_vec(&Self::new(message)).expect("a text can be written as JSON");
        Response::builder().status(status).header(header::CONTENT_TYPE, JSON).body(body)
    }
}

/// Reason for which a body cannot be used.
#[derive(Clone, Copy, Debug)]
pub struct UnusableBody {
    pub status: StatusCode,
    /// One clear sentence.
    pub message: &'static str,
}

impl UnusableBody {
    pub fn new(status: StatusCode, message: &'static str) -> Self {
        Self { status, message }
    }
}

impl From<NoShare> for UnusableBody {
    fn from(why: NoShare) -> Self {
        match why {
            NoShare::Requests => Self::new(StatusCode::TOO_MANY_REQUESTS, "Too many requests at once."),
            NoShare::Memory => {
                Self::new(StatusCode::SERVICE_UNAVAILABLE, "The server has no memory to spare. Please try again shortly.")
            }
        }
    }
}

impl From<UnusableBody> for poem::Error {
    fn from(UnusableBody { status, message }: UnusableBody) -> Self {
        Self::from_response(ErrorMessage::response(message, status))
    }
}

/// Request body of content type JSON, which a form of a foreign page cannot declare (CSRF protection). Any other body is refused
/// with a status and [`ErrorMessage`].
pub struct JsonBody<P>(pub P);

impl<'a, P: ParseFromJSON + Type> ApiExtractor<'a> for JsonBody<P> {
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
            return Err(no_json().into());
        }
        Ok(Self(parsed(read(request, body).await?)?))
    }
}

/// Like [`JsonBody`], but an empty body is allowed.
pub struct OptionalJsonBody<P>(pub Option<P>);

impl<'a, P: ParseFromJSON + Type> ApiExtractor<'a> for OptionalJsonBody<P> {
    const TYPES: &'static [ApiExtractorType] = &[ApiExtractorType::RequestObject];

    type ParamRawType = ();
    type ParamType = ();

    fn register(registry: &mut Registry) {
        P::register(registry);
    }

    fn request_meta() -> Option<MetaRequest> {
        <JsonBody<P> as ApiExtractor>::request_meta().map(|meta| MetaRequest { required: false, ..meta })
    }

    async fn from_request(request: &'a Request, body: &mut RequestBody, _: ExtractParamOptions<()>) -> poem::Result<Self> {
        let whole = read(request, body).await?;
        if whole.bytes.is_empty() {
            return Ok(Self(None));
        }
        if !is_json(request) {
            return Err(no_json().into());
        }
        Ok(Self(Some(parsed(whole)?)))
    }
}

fn no_json() -> UnusableBody {
    UnusableBody::new(StatusCode::BAD_REQUEST, "The body must be JSON, and its Content-Type application/json.")
}

/// Reads the body, then waits for a turn.
pub async fn read(request: &Request, body: &mut RequestBody) -> Result<FullBody, UnusableBody> {
    let whole = body::read_body(request, body).await.map_err(|why| match why {
        BodyError::TooLarge => UnusableBody::new(StatusCode::PAYLOAD_TOO_LARGE, "The request is too large."),
        BodyError::Truncated => UnusableBody::new(StatusCode::BAD_REQUEST, "The body cannot be read."),
        BodyError::TimedOut => UnusableBody::new(StatusCode::REQUEST_TIMEOUT, "The request did not arrive in time."),
        BodyError::NoShare(why) => why.into(),
    })?;
    body::account(request).take_turn().await?;
    Ok(whole)
}

pub fn parsed<P: ParseFromJSON>(FullBody { bytes, mut charge }: FullBody) -> Result<P, UnusableBody> {
    let bad = |message| UnusableBody::new(StatusCode::BAD_REQUEST, message);
    let text = String::from_utf8(bytes).map_err(|_| bad("The body is not JSON."))?;
    let value = body::parse_json(&text, &mut charge).map_err(|why| match why {
        JsonError::NotJson => bad("The body is not JSON."),
        JsonError::TooLarge => bad("The body holds too many values."),
        JsonError::NoShare(why) => why.into(),
    })?;
    // The error texts of poem-openapi name our types and repeat the input.
    P::parse_from_json(Some(value)).map_err(|_| bad("The body lacks a member, or has one of the wrong type."))
}
