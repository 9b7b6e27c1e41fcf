//! Bodies that may be a form or JSON, of routes that no cookie opens: there it does not matter which page has sent them.

use poem::{Request, RequestBody, http::StatusCode};
use poem_openapi::{
    ApiExtractor, ApiExtractorType, ExtractParamOptions,
    registry::{MetaMediaType, MetaRequest, Registry},
    types::{ParseFromJSON, Type},
};
use serde_json::{Map, Value};
use url::form_urlencoded;

use super::{
    json::{parsed, read, refused},
    jsonrpc::is_json,
};

const FORM: &str = "application/x-www-form-urlencoded";
/// Most fields of a form that are read: each takes more memory than text.
const FIELDS: usize = 32;

/// The body of a request: JSON, or a form, and said to be. Of a name that a form has twice the last value counts, as in JSON. Whatever
/// it is not is answered with a status and [`super::json::Said`].
pub struct PostedOrForm<P>(pub P);

impl<'a, P: ParseFromJSON + Type> ApiExtractor<'a> for PostedOrForm<P> {
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
        let is_form = request
            .content_type()
            .is_some_and(|kind| kind.split(';').next().is_some_and(|kind| kind.trim().eq_ignore_ascii_case(FORM)));
        if !is_form && !is_json(request) {
            return Err(refused(StatusCode::BAD_REQUEST, "The body must be JSON or a form, and its Content-Type must say so."));
        }
        let whole = read(request, body).await?;
        if !is_form {
            return parsed(whole).map(Self);
        }
        let pairs = form_urlencoded::parse(&whole.bytes).take(FIELDS);
        let members: Map<_, _> = pairs.map(|(name, value)| (name.into_owned(), Value::from(value.into_owned()))).collect();
        let parsed = P::parse_from_json(Some(Value::Object(members)));
        parsed.map(Self).map_err(|_| refused(StatusCode::BAD_REQUEST, "The form lacks a field."))
    }
}
