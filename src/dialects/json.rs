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
    body::{self, NoTree, Unread, Whole},
    jsonrpc::{JSON, is_json},
};
use crate::shares::NoShare;

/// Error message of a request that failed.
#[derive(Debug, Clone, Object, Serialize)]
pub struct Said {
    /// One clear sentence.
    pub message: String,
}

impl Said {
    pub fn new(message: impl Into<String>) -> Self {
        Self { message: message.into() }
    }

    /// Error response to a caller whose quota is used up.
    pub fn refused(why: NoShare) -> Response {
        let Unusable { status, message } = why.into();
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
pub struct Unusable {
    pub status: StatusCode,
    /// One clear sentence.
    pub message: &'static str,
}

impl Unusable {
    pub(super) fn new(status: StatusCode, message: &'static str) -> Self {
        Self { status, message }
    }
}

impl From<NoShare> for Unusable {
    fn from(why: NoShare) -> Self {
        match why {
            NoShare::Requests => Self::new(StatusCode::TOO_MANY_REQUESTS, "Too many requests at once."),
            NoShare::Memory => {
                Self::new(StatusCode::SERVICE_UNAVAILABLE, "The server has no memory to spare. Please try again shortly.")
            }
        }
    }
}

impl From<Unusable> for poem::Error {
    fn from(Unusable { status, message }: Unusable) -> Self {
        Self::from_response(Said::response(message, status))
    }
}

/// Request body of content type JSON, which a form of a foreign page cannot declare (CSRF protection). Any other body is refused
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
            return Err(no_json().into());
        }
        Ok(Self(parsed(read(request, body).await?)?))
    }
}

/// Like [`Posted`], but an empty body is allowed.
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

fn no_json() -> Unusable {
    Unusable::new(StatusCode::BAD_REQUEST, "The body must be JSON, and its Content-Type application/json.")
}

/// Reads the body, then waits for a turn.
pub(super) async fn read(request: &Request, body: &mut RequestBody) -> Result<Whole, Unusable> {
    let whole = body::whole(request, body).await.map_err(|why| match why {
        Unread::TooLarge => Unusable::new(StatusCode::PAYLOAD_TOO_LARGE, "The request is too large."),
        Unread::Broken => Unusable::new(StatusCode::BAD_REQUEST, "The body cannot be read."),
        Unread::Late => Unusable::new(StatusCode::REQUEST_TIMEOUT, "The request did not arrive in time."),
        Unread::NoShare(why) => why.into(),
    })?;
    body::account(request).take_turn().await?;
    Ok(whole)
}

pub(super) fn parsed<P: ParseFromJSON>(Whole { bytes, mut charge }: Whole) -> Result<P, Unusable> {
    let bad = |message| Unusable::new(StatusCode::BAD_REQUEST, message);
    let text = String::from_utf8(bytes).map_err(|_| bad("The body is not JSON."))?;
    let value = body::tree(&text, &mut charge).map_err(|why| match why {
        NoTree::NotJson => bad("The body is not JSON."),
        NoTree::TooLarge => bad("The body holds too many values."),
        NoTree::NoShare(why) => why.into(),
    })?;
    // The error texts of poem-openapi name our types and repeat the input.
    P::parse_from_json(Some(value)).map_err(|_| bad("The body lacks a member, or has one of the wrong type."))
}
