//! JSON-RPC envelope of the Odoo-compatible dialects: extractor of calls and writer of replies. The ids of calls are returned byte
//! for byte.

pub mod arguments;
mod envelope;
mod fault;
pub mod model;
mod schema;

use std::{borrow::Cow, future::Future, marker::PhantomData, sync::Arc, time::Duration};

use poem::{
    IntoResponse, Request, RequestBody, Response,
    http::{HeaderValue, StatusCode, header},
};
use poem_openapi::{
    ApiExtractor, ApiExtractorType, ApiResponse, ExtractParamOptions, Object, Union,
    registry::{MetaMediaType, MetaRequest, MetaResponse, MetaResponses, Registry},
    types::{Example, ParseFromJSON, ToJSON, Type},
};
use serde::Serialize;
use serde_json::value::RawValue;

pub use envelope::{Id, IdSlot};
pub use fault::{CallOutcome, Fault, HTML, JSON, error_page, fault};
pub use schema::NoJsonRpcParams;

use super::{
    body::{self, BodyError, FullBody},
    session::Session,
};
use crate::{
    auth::Login,
    shares::{NoShare, RETRY_AFTER_SECONDS},
};
use envelope::{Envelope, Params};
use fault::{TOO_MANY_REQUESTS, json};
use schema::{JsonRpcCall, JsonRpcReply};

/// Path prefixes of JSON-RPC routes.
pub const PATHS: &[&str] = &["/api/messaging/", "/im_chat/", "/jsonrpc", "/longpolling/", "/web/"];
/// Polling routes, whose clients retry at once after any answer.
const POLLS: [&str; 3] = ["/api/messaging/poll/messages", "/api/messaging/poll/updates", "/longpolling/poll"];
/// Minimum duration of a failed poll.
pub const FAILED_POLL_PAUSE: Duration = Duration::from_secs(1);
/// Path prefix of the dialect whose refusals are results with an `error` member, as its clients expect.
const REFUSALS_AS_RESULTS: &str = "/api/messaging/";

/// A call with `params` of type `P`. They are parsed once the caller is known, since a JSON tree is much larger than its text.
/// The extractor charges no more than the announced length of the request.
pub struct Call<P> {
    id: Id,
    params: Params,
    /// Error if no turn was free.
    refused: Option<CallFailure>,
    parsed: PhantomData<fn() -> P>,
}

/// Refusal that travels as a successful result, in the dialects that do so.
#[derive(Debug, Clone, Object, Serialize)]
pub struct ErrorResult {
    /// One clear sentence.
    pub error: String,
}

/// The result, or a refusal in its place.
#[derive(Union)]
#[oai(one_of)]
#[allow(dead_code, reason = "only its schema is used; replies are written by `Reply`")]
pub enum OrRefusal<R: ParseFromJSON + ToJSON> {
    Result(R),
    Refusal(ErrorResult),
}

/// Error of a handler.
#[derive(Debug)]
pub enum CallFailure {
    /// `{"error": "..."}` as a successful result.
    Refusal(Cow<'static, str>),
    /// Like `ErrorResult`, with the seconds of `Retry-After`.
    RefusalWithRetry(Cow<'static, str>, u64),
    /// An error of the envelope.
    Fault(Fault),
}

impl CallFailure {
    /// Refusal of a call to the route at `path` because a quota is used up.
    pub fn refused(why: NoShare, path: &str) -> Self {
        match why {
            NoShare::Requests if path.starts_with(REFUSALS_AS_RESULTS) => {
                Self::RefusalWithRetry(TOO_MANY_REQUESTS.into(), RETRY_AFTER_SECONDS)
            }
            NoShare::Requests | NoShare::Memory => Fault::refused(why).into(),
        }
    }

    /// A refusal that travels as a successful result.
    pub fn refusal(text: impl Into<Cow<'static, str>>) -> Self {
        Self::Refusal(text.into())
    }
}

impl From<Fault> for CallFailure {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

impl<P: ParseFromJSON> Call<P> {
    /// Handles the call as the logged-in user. Without a session, the reply is "Session expired".
    pub async fn logged_in<R, D, F>(self, session: Session, answer: impl FnOnce(Arc<Login>, P) -> F) -> Reply<R, D>
    where
        F: Future<Output = Result<R, CallFailure>>,
    {
        let login = match session.login() {
            Ok(login) => login,
            Err(fault) => return Reply::fault(self.id, fault),
        };
        self.unauthenticated(|params| answer(login, params)).await
    }

    /// Handles the call without authentication.
    pub async fn unauthenticated<R, D, F>(self, answer: impl FnOnce(P) -> F) -> Reply<R, D>
    where
        F: Future<Output = Result<R, CallFailure>>,
    {
        let Self { id, params, refused, .. } = self;
        let outcome = match refused.map_or_else(|| params.read(), Err) {
            // The memory charge lasts as long as the parameters.
            Ok((params, _charge)) => answer(params).await,
            Err(failure) => Err(failure),
        };
        Reply { id, outcome: outcome.map(Some), cookies: Vec::new(), documented: PhantomData }
    }
}

/// Reply to a call. Its result is an `R`, described as a `D` in the OpenAPI document.
pub struct Reply<R, D = R> {
    id: Id,
    /// `None` if Odoo's method returns nothing: the reply has no `result`.
    outcome: Result<Option<R>, CallFailure>,
    cookies: Vec<String>,
    documented: PhantomData<fn() -> D>,
}

impl<R, D> Reply<R, D> {
    fn fault(id: Id, fault: Fault) -> Self {
        Self { id, outcome: Err(CallFailure::Fault(fault)), cookies: Vec::new(), documented: PhantomData }
    }

    /// Adds a `Set-Cookie` header to a successful reply.
    #[must_use]
    pub fn with_cookie(mut self, cookie: Option<String>) -> Self {
        if self.outcome.is_ok() {
            self.cookies.extend(cookie);
        }
        self
    }

    /// Omits the `result`.
    #[must_use]
    pub fn without_result(self) -> Self {
        Reply { outcome: self.outcome.map(|_| None), ..self }
    }
}

impl<R: Serialize + Send, D> IntoResponse for Reply<R, D> {
    fn into_response(self) -> Response {
        #[derive(Serialize)]
        struct ReplyBody<'a, T> {
            jsonrpc: &'static str,
            id: Option<&'a RawValue>,
            #[serde(skip_serializing_if = "Option::is_none")]
            result: Option<T>,
        }
        let id = self.id.as_deref();
        let refusal = |error: Cow<'static, str>| {
            let result = Some(ErrorResult { error: error.into_owned() });
            (serde_json::to_vec(&ReplyBody { jsonrpc: "2.0", id, result }), CallOutcome::Refused)
        };
        let mut retry_after = None;
        let (body, outcome) = match self.outcome {
            Ok(result) => (serde_json::to_vec(&ReplyBody { jsonrpc: "2.0", id, result }), CallOutcome::Ok),
            Err(CallFailure::Refusal(error)) => refusal(error),
            Err(CallFailure::RefusalWithRetry(error, seconds)) => {
                retry_after = Some(seconds);
                refusal(error)
            }
            Err(CallFailure::Fault(fault)) => return fault.response(id),
        };
        let mut response = json(body.expect("results have text keys only"), outcome);
        if let Some(seconds) = retry_after {
            response.headers_mut().insert(header::RETRY_AFTER, seconds.into());
        }
        for cookie in self.cookies {
            let cookie = HeaderValue::from_str(&cookie).expect("a cookie of ours is plain ASCII");
            response.headers_mut().append(header::SET_COOKIE, cookie);
        }
        response
    }
}

impl<'a, P: ParseFromJSON + ToJSON + Example> ApiExtractor<'a> for Call<P> {
    const TYPES: &'static [ApiExtractorType] = &[ApiExtractorType::RequestObject];

    type ParamRawType = ();
    type ParamType = ();

    fn register(registry: &mut Registry) {
        JsonRpcCall::<P>::register(registry);
    }

    fn request_meta() -> Option<MetaRequest> {
        let schema = JsonRpcCall::<P>::schema_ref();
        Some(MetaRequest {
            description: Some("`jsonrpc` and `method` are not looked at; `id` comes back as it was."),
            content: vec![MetaMediaType { content_type: "application/json", schema }],
            required: true,
        })
    }

    async fn from_request(request: &'a Request, body: &mut RequestBody, _: ExtractParamOptions<()>) -> poem::Result<Self> {
        if !is_json(request) {
            return Err(poem::Error::from_response(wrong_type(request)));
        }
        let refused = |response| Err(poem::Error::from_response(response));
        let FullBody { bytes, charge } = match body::read_body(request, body).await {
            Ok(whole) => whole,
            Err(BodyError::TooLarge) => return refused(Fault::too_large().response(None)),
            Err(BodyError::Truncated) => return refused(invalid("Invalid JSON data")),
            Err(BodyError::TimedOut) => {
                return refused(error_page(StatusCode::REQUEST_TIMEOUT, "The request did not arrive in time."));
            }
            Err(BodyError::NoShare(why)) => return refused(Fault::refused(why).response(None)),
        };
        let Envelope { id, params } = match Envelope::parse(bytes, charge) {
            Ok(envelope) => envelope,
            Err(text) => return refused(invalid(text)),
        };
        if let Some(slot) = request.data::<IdSlot>() {
            slot.keep(id.clone());
        }
        let turn = body::account(request).take_turn().await;
        let refused = turn.err().map(|why| CallFailure::refused(why, request.uri().path()));
        Ok(Self { id, params, refused, parsed: PhantomData })
    }
}

/// Reply to a call to the route at `path` whose caller's quota is used up.
pub fn refused(path: &str, why: NoShare, id: Option<&RawValue>) -> Response {
    let outcome = Err(CallFailure::refused(why, path));
    Reply::<()> { id: id.map(RawValue::to_owned), outcome, cookies: Vec::new(), documented: PhantomData }.into_response()
}

/// True for the path of a polling route.
pub fn is_poll(path: &str) -> bool {
    POLLS.contains(&path)
}

/// True if the content type of the request is JSON or JSON-RPC.
pub fn is_json(request: &Request) -> bool {
    let kind = request.content_type().unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default().trim();
    kind.eq_ignore_ascii_case("application/json") || kind.eq_ignore_ascii_case("application/json-rpc")
}

fn wrong_type(request: &Request) -> Response {
    let path = request.original_uri().path().replace('&', "&amp;").replace('<', "&lt;");
    let text = format!("Request inferred type is compatible with [&#39;http&#39;] but &#39;{path}&#39; is type=&#39;json&#39;.");
    error_page(StatusCode::BAD_REQUEST, &text)
}

fn invalid(text: &'static str) -> Response {
    Response::builder().status(StatusCode::BAD_REQUEST).header(header::CONTENT_TYPE, HTML).body(text)
}

impl<R: Serialize, D: ParseFromJSON + ToJSON> ApiResponse for Reply<R, D> {
    fn meta() -> MetaResponses {
        let schema = JsonRpcReply::<D>::schema_ref();
        let response = |status, description, content| MetaResponse {
            description,
            status: Some(status),
            status_range: None,
            content,
            headers: Vec::new(),
        };
        let json = vec![MetaMediaType { content_type: "application/json; charset=utf-8", schema }];
        MetaResponses {
            responses: vec![
                response(200, "The result, or the error: both travel with status 200.", json),
                response(400, "Not a JSON-RPC call: the wrong `Content-Type`, not JSON, or not an object.", Vec::new()),
                response(405, "Not a POST.", Vec::new()),
                response(413, "The body is too large.", Vec::new()),
                response(503, "No memory is left for the call or its answer; `Retry-After` says when to try again.", Vec::new()),
            ],
        }
    }

    fn register(registry: &mut Registry) {
        JsonRpcReply::<D>::register(registry);
    }
}
