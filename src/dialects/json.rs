//! Plain JSON over HTTP, for routes without an envelope: a body as it comes in, and one sentence where it cannot be used.

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
        let refused = |status, message| poem::Error::from_response(Said::response(message, status));
        if !is_json(request) {
            return Err(refused(StatusCode::BAD_REQUEST, "The body must be JSON, and its Content-Type application/json."));
        }
        let limit = *request.data::<BodyLimit>().expect("the server puts it into every request");
        let bytes = match tokio::time::timeout(limit.time, body.take()?.into_bytes_limit(limit.bytes)).await {
            Ok(Ok(bytes)) => bytes,
            Ok(Err(ReadBodyError::PayloadTooLarge)) => {
                return Err(refused(StatusCode::PAYLOAD_TOO_LARGE, "The request is too large."));
            }
            Ok(Err(_)) => return Err(refused(StatusCode::BAD_REQUEST, "The body cannot be read.")),
            Err(_) => return Err(refused(StatusCode::REQUEST_TIMEOUT, "The request did not arrive in time.")),
        };
        let value: Value =
            serde_json::from_slice(&bytes).map_err(|_| refused(StatusCode::BAD_REQUEST, "The body is not JSON."))?;
        // poem-openapi's own words name types of ours and repeat what was sent.
        let parsed = P::parse_from_json(Some(value));
        parsed.map(Self).map_err(|_| refused(StatusCode::BAD_REQUEST, "The body lacks a member, or has one of the wrong type."))
    }
}
