//! Plain JSON over HTTP, for routes without an envelope: a body as it comes in, and one sentence where it cannot be used.

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

    /// The whole answer to who has no share left.
    pub fn refused(why: NoShare) -> Response {
        match why {
            NoShare::Requests => Self::response("Too many requests at once.", StatusCode::TOO_MANY_REQUESTS),
            NoShare::Memory => {
                Self::response("The server has no memory to spare. Please try again shortly.", StatusCode::SERVICE_UNAVAILABLE)
            }
        }
    }

    /// The whole answer.
    pub fn response(message: &str, status: StatusCode) -> Response {
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
        parsed(read(request, body).await?).map(Self)
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
        let whole = read(request, body).await?;
        if whole.bytes.is_empty() {
            return Ok(Self(None));
        }
        if !is_json(request) {
            return Err(no_json());
        }
        parsed(whole).map(Some).map(Self)
    }
}

pub(super) fn refused(status: StatusCode, message: &str) -> poem::Error {
    poem::Error::from_response(Said::response(message, status))
}

fn no_json() -> poem::Error {
    refused(StatusCode::BAD_REQUEST, "The body must be JSON, and its Content-Type application/json.")
}

/// Reads the body, and waits for a turn to use it.
pub(super) async fn read(request: &Request, body: &mut RequestBody) -> poem::Result<Whole> {
    let whole = body::whole(request, body).await.map_err(|why| match why {
        Unread::TooLarge => refused(StatusCode::PAYLOAD_TOO_LARGE, "The request is too large."),
        Unread::Broken => refused(StatusCode::BAD_REQUEST, "The body cannot be read."),
        Unread::Late => refused(StatusCode::REQUEST_TIMEOUT, "The request did not arrive in time."),
        Unread::NoShare(why) => without_a_share(why),
    })?;
    body::account(request).take_turn().await.map_err(without_a_share)?;
    Ok(whole)
}

fn without_a_share(why: NoShare) -> poem::Error {
    poem::Error::from_response(Said::refused(why))
}

pub(super) fn parsed<P: ParseFromJSON>(Whole { bytes, mut charge }: Whole) -> poem::Result<P> {
    let text = String::from_utf8(bytes).map_err(|_| refused(StatusCode::BAD_REQUEST, "The body is not JSON."))?;
    let value = body::tree(&text, &mut charge).map_err(|why| match why {
        NoTree::NotJson => refused(StatusCode::BAD_REQUEST, "The body is not JSON."),
        NoTree::TooLarge => refused(StatusCode::BAD_REQUEST, "The body holds too many values."),
        NoTree::NoShare(why) => without_a_share(why),
    })?;
    // poem-openapi's own words name types of ours and repeat what was sent.
    let parsed = P::parse_from_json(Some(value));
    parsed.map_err(|_| refused(StatusCode::BAD_REQUEST, "The body lacks a member, or has one of the wrong type."))
}
