//! Request bodies that may be a form or JSON, for routes without cookie authentication: these need no CSRF check of the content
//! type.

use std::marker::PhantomData;

use poem::{Request, RequestBody, Response, http::StatusCode};
use poem_openapi::{
    ApiExtractor, ApiExtractorType, ExtractParamOptions,
    registry::{MetaMediaType, MetaRequest, Registry},
    types::{ParseFromJSON, Type},
};
use serde_json::{Map, Value};
use url::form_urlencoded;

use super::{
    json::{UnusableBody, parsed, read},
    jsonrpc::is_json,
};

const FORM: &str = "application/x-www-form-urlencoded";
/// Maximum number of form fields that are read. Each takes more memory than its text.
const FIELDS: usize = 32;

/// A dialect's error response for an unusable body.
pub trait BodyErrorResponse {
    fn unusable(why: UnusableBody) -> Response;
}

/// Request body of content type JSON or form. The last value of a repeated form field counts, as in JSON. Unusable bodies are
/// refused with the dialect's error response `W`.
pub struct JsonOrForm<P, W>(pub P, PhantomData<fn() -> W>);

impl<'a, P: ParseFromJSON + Type, W: BodyErrorResponse> ApiExtractor<'a> for JsonOrForm<P, W> {
    const TYPES: &'static [ApiExtractorType] = &[ApiExtractorType::RequestObject];

    type ParamRawType = ();
    type ParamType = ();

    fn register(registry: &mut Registry) {
        P::register(registry);
    }

    fn request_meta() -> Option<MetaRequest> {
        let content = |content_type| MetaMediaType { content_type, schema: P::schema_ref() };
        Some(MetaRequest { description: None, content: vec![content("application/json"), content(FORM)], required: true })
    }

    async fn from_request(request: &'a Request, body: &mut RequestBody, _: ExtractParamOptions<()>) -> poem::Result<Self> {
        let posted = posted(request, body).await;
        posted.map(|posted| Self(posted, PhantomData)).map_err(|why| poem::Error::from_response(W::unusable(why)))
    }
}

async fn posted<P: ParseFromJSON>(request: &Request, body: &mut RequestBody) -> Result<P, UnusableBody> {
    let is_form = request
        .content_type()
        .is_some_and(|kind| kind.split(';').next().is_some_and(|kind| kind.trim().eq_ignore_ascii_case(FORM)));
    if !is_form && !is_json(request) {
        let message = "The body must be JSON or a form, and its Content-Type must say so.";
        return Err(UnusableBody::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, message));
    }
    let whole = read(request, body).await?;
    if !is_form {
        return parsed(whole);
    }
    let pairs = form_urlencoded::parse(&whole.bytes).take(FIELDS);
    let members: Map<_, _> = pairs.map(|(name, value)| (name.into_owned(), Value::from(value.into_owned()))).collect();
    let parsed = P::parse_from_json(Some(Value::Object(members)));
    parsed.map_err(|_| UnusableBody::new(StatusCode::BAD_REQUEST, "The form lacks a field."))
}
