//! The corridor of the Odoo-like rooms: a JSON-RPC call as it comes in, and the reply as it goes out (spec
//! `10-odoo-session.md`, "Envelope").

use std::{
    borrow::Cow,
    fmt,
    future::Future,
    marker::PhantomData,
    sync::{Arc, OnceLock},
    time::Duration,
};

use poem::{
    Body, IntoResponse, Request, RequestBody, Response,
    http::{HeaderValue, StatusCode, header},
};
use poem_openapi::{
    ApiExtractor, ApiExtractorType, ApiResponse, ExtractParamOptions, Object, Union,
    registry::{MetaMediaType, MetaRequest, MetaResponse, MetaResponses, Registry},
    types::{Any, Example, ParseFromJSON, ToJSON, Type},
};
use serde::{
    Deserialize, Deserializer, Serialize,
    de::{MapAccess, Visitor},
};
use serde_json::{Value, value::RawValue};

use super::session::Session;
use crate::{auth::Login, telemetry};

/// What every JSON answer says it is.
pub const JSON: HeaderValue = HeaderValue::from_static("application/json; charset=utf-8");
/// What every page says it is.
pub const HTML: HeaderValue = HeaderValue::from_static("text/html; charset=utf-8");

/// The `id` of a call, to be sent back byte for byte.
pub type Id = Option<Box<RawValue>>;

/// Where the extractor leaves the call's id for whoever answers when the handler cannot.
#[derive(Clone, Default)]
pub struct IdSlot(Arc<OnceLock<Id>>);

impl IdSlot {
    /// The id of the call, if it was read so far.
    pub fn get(&self) -> Option<&RawValue> {
        self.0.get().and_then(Option::as_deref)
    }

    /// Takes the id from a body that nobody has read; one that is no call has none.
    pub fn read(&self, body: &[u8]) {
        if let Ok(envelope) = Envelope::parse(body) {
            self.keep(envelope.id);
        }
    }

    fn keep(&self, id: Id) {
        // A request has one body, and so one id.
        let _ = self.0.set(id);
    }
}

/// How an answer turned out, for the metrics: a JSON-RPC error travels with HTTP status 200.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    Ok,
    /// The caller asked for what it cannot have.
    Refused,
    /// We failed.
    Failed,
}

/// An error of the envelope: what went wrong in Python's words, which clients compare.
#[derive(Debug)]
pub struct Fault {
    code: u16,
    title: &'static str,
    name: &'static str,
    message: Cow<'static, str>,
    /// Mostly the message again; some of Odoo's exceptions have none.
    arguments: bool,
    /// Only ever set beside a status of its own.
    status: StatusCode,
    retry_after_seconds: Option<u64>,
    outcome: Outcome,
    /// For the log, never for the client.
    correlation: Option<String>,
}

impl Fault {
    /// An "Odoo Server Error" with the name of a Python exception.
    pub fn new(name: &'static str, message: impl Into<Cow<'static, str>>) -> Self {
        Self {
            code: 200,
            title: "Odoo Server Error",
            name,
            message: message.into(),
            arguments: true,
            status: StatusCode::OK,
            retry_after_seconds: None,
            outcome: Outcome::Refused,
            correlation: None,
        }
    }

    /// Wrong or missing arguments, in Python's words.
    pub fn type_error(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new("builtins.TypeError", message)
    }

    /// What Python says of required arguments that are not there.
    pub fn missing_arguments(function: &str, names: &[&str]) -> Self {
        let count = names.len();
        let plural = if count == 1 { "" } else { "s" };
        let names: Vec<_> = names.iter().map(|name| format!("'{name}'")).collect();
        let names = match names.as_slice() {
            [] | [_] => names.concat(),
            [first, second] => format!("{first} and {second}"),
            [others @ .., last] => format!("{}, and {last}", others.join(", ")),
        };
        Self::type_error(format!("{function} missing {count} required positional argument{plural}: {names}"))
    }

    /// A login that is refused, whatever the reason.
    pub fn access_denied() -> Self {
        Self::new("odoo.exceptions.AccessDenied", "Access Denied")
    }

    /// No session, or none that is alive.
    pub fn session_expired() -> Self {
        Self { code: 100, title: "Odoo Session Expired", ..Self::new("odoo.http.SessionExpiredException", "Session expired") }
    }

    /// No such route.
    pub fn not_found() -> Self {
        Self {
            code: 404,
            title: "404: Not Found",
            arguments: false,
            status: StatusCode::NOT_FOUND,
            ..Self::new(
                "werkzeug.exceptions.NotFound",
                "404 Not Found: The requested URL was not found on the server. If you entered the URL manually please check \
                 your spelling and try again.",
            )
        }
    }

    /// The body is larger than this server takes.
    pub fn too_large() -> Self {
        Self {
            status: StatusCode::PAYLOAD_TOO_LARGE,
            ..Self::new("werkzeug.exceptions.RequestEntityTooLarge", "The request is too large.")
        }
    }

    /// The store cannot be reached, or the server is stopping. The cause goes to the log, once, with the id that the
    /// client gets.
    pub fn unavailable(cause: &dyn std::error::Error) -> Self {
        Self {
            outcome: Outcome::Failed,
            correlation: Some(telemetry::unavailable("not available", cause)),
            ..Self::new("psycopg2.OperationalError", "The server cannot reach its database. Please try again shortly.")
        }
    }

    /// A defect of ours. The cause goes to the log, once, with the id that the client gets.
    pub fn internal(cause: &dyn std::error::Error) -> Self {
        Self::internal_logged(telemetry::failed("internal error", cause))
    }

    /// The same where the log has the cause already, under `correlation`.
    pub fn internal_logged(correlation: String) -> Self {
        Self {
            outcome: Outcome::Failed,
            correlation: Some(correlation),
            ..Self::new("builtins.Exception", "Something went wrong on our side.")
        }
    }

    /// Something that the caller has done too much of late, and may do again in so many seconds.
    pub fn too_fast(message: impl Into<Cow<'static, str>>, seconds: Option<u64>) -> Self {
        Self { retry_after_seconds: seconds, ..Self::new("odoo.exceptions.UserError", message) }
    }

    /// Sends the fault with an HTTP status of its own and a time after which to try again.
    pub fn retry_after(self, status: StatusCode, seconds: u64) -> Self {
        Self { status, retry_after_seconds: Some(seconds), ..self }
    }

    /// The whole answer to the call with this id.
    pub fn response(self, id: Option<&RawValue>) -> Response {
        #[derive(Serialize)]
        struct Wire<'a> {
            jsonrpc: &'static str,
            id: Option<&'a RawValue>,
            error: Error<'a>,
        }
        #[derive(Serialize)]
        struct Error<'a> {
            code: u16,
            message: &'a str,
            data: Data<'a>,
        }
        #[derive(Serialize)]
        struct Data<'a> {
            name: &'a str,
            debug: &'a str,
            message: &'a str,
            arguments: &'a [&'a str],
            context: Context,
        }
        #[derive(Serialize)]
        struct Context {}

        let correlation = self.correlation.unwrap_or_else(telemetry::correlation);
        let debug = format!("correlation id {correlation}");
        let message = self.message.as_ref();
        let data = Data {
            name: self.name,
            debug: &debug,
            message,
            arguments: if self.arguments { &[message] } else { &[] },
            context: Context {},
        };
        let wire = Wire { jsonrpc: "2.0", id, error: Error { code: self.code, message: self.title, data } };
        let body = serde_json::to_vec(&wire).expect("texts and numbers can be written as JSON");
        let mut response = json(body, self.outcome);
        response.set_status(self.status);
        if let Some(seconds) = self.retry_after_seconds {
            response.headers_mut().insert(header::RETRY_AFTER, seconds.into());
        }
        response
    }
}

fn json(body: Vec<u8>, outcome: Outcome) -> Response {
    let mut response = Response::builder().header(header::CONTENT_TYPE, JSON).body(body);
    response.extensions_mut().insert(outcome);
    response
}

/// A small page, as Odoo answers whatever is not a proper call.
pub fn page(status: StatusCode, text: &str) -> Response {
    let title = status.canonical_reason().unwrap_or("Error");
    let number = status.as_u16();
    let page = format!("<!doctype html>\n<html lang=en>\n<title>{number} {title}</title>\n<h1>{title}</h1>\n<p>{text}</p>\n");
    Response::builder().status(status).header(header::CONTENT_TYPE, HTML).body(page)
}

/// A call whose `params` are a `P`. Extracting it never needs more of the request than its announced length.
pub struct Call<P> {
    id: Id,
    params: Result<P, Fault>,
}

/// How large a body is taken, and how long it may take to arrive; put into every request's extensions.
#[derive(Clone, Copy)]
pub struct BodyLimit {
    pub bytes: usize,
    pub time: Duration,
}

/// Where a dialect's refusals travel as a successful result, they have this shape there.
#[derive(Debug, Clone, Object, Serialize)]
pub struct Refusal {
    /// One clear sentence.
    pub error: String,
}

/// The result, or, where something was asked for wrongly, a refusal in its place.
#[derive(Union)]
#[oai(one_of)]
#[allow(dead_code, reason = "only its schema is used; replies are written by `Reply`")]
pub enum OrRefusal<R: ParseFromJSON + ToJSON> {
    Result(R),
    Refusal(Refusal),
}

/// What a handler comes back with if it has no result.
#[derive(Debug)]
pub enum Failure {
    /// `{"error": "..."}` as a successful result.
    Refusal(Cow<'static, str>),
    /// The same with `Retry-After`: in so many seconds it may be different.
    Later(Cow<'static, str>, u64),
    /// An error of the envelope.
    Fault(Fault),
}

impl Failure {
    /// A refusal that travels as a successful result.
    pub fn refusal(text: impl Into<Cow<'static, str>>) -> Self {
        Self::Refusal(text.into())
    }
}

impl From<Fault> for Failure {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

impl<P> Call<P> {
    /// Answers as whoever is logged in; without a session the call gets "Session expired".
    pub async fn logged_in<R, D, F>(self, session: Session, answer: impl FnOnce(Arc<Login>, P) -> F) -> Reply<R, D>
    where
        F: Future<Output = Result<R, Failure>>,
    {
        let login = match session.login() {
            Ok(login) => login,
            Err(fault) => return Reply::fault(self.id, fault),
        };
        self.anybody(|params| answer(login, params)).await
    }

    /// Answers whoever calls.
    pub async fn anybody<R, D, F>(self, answer: impl FnOnce(P) -> F) -> Reply<R, D>
    where
        F: Future<Output = Result<R, Failure>>,
    {
        let outcome = match self.params {
            Ok(params) => answer(params).await,
            Err(fault) => Err(Failure::Fault(fault)),
        };
        Reply { id: self.id, outcome: outcome.map(Some), cookies: Vec::new(), documented: PhantomData }
    }
}

/// The answer to a call. Its result is an `R`, which the documentation describes as a `D`.
pub struct Reply<R, D = R> {
    id: Id,
    /// `None` where Odoo's method returns nothing: then there is no `result` at all.
    outcome: Result<Option<R>, Failure>,
    cookies: Vec<String>,
    documented: PhantomData<fn() -> D>,
}

impl<R, D> Reply<R, D> {
    fn fault(id: Id, fault: Fault) -> Self {
        Self { id, outcome: Err(Failure::Fault(fault)), cookies: Vec::new(), documented: PhantomData }
    }

    /// Sends a `Set-Cookie` along, if the call has succeeded.
    #[must_use]
    pub fn with_cookie(mut self, cookie: Option<String>) -> Self {
        if self.outcome.is_ok() {
            self.cookies.extend(cookie);
        }
        self
    }

    /// Leaves the `result` out.
    #[must_use]
    pub fn without_result(self) -> Self {
        Reply { outcome: self.outcome.map(|_| None), ..self }
    }
}

impl<R: Serialize + Send, D> IntoResponse for Reply<R, D> {
    fn into_response(self) -> Response {
        #[derive(Serialize)]
        struct Wire<'a, T> {
            jsonrpc: &'static str,
            id: Option<&'a RawValue>,
            #[serde(skip_serializing_if = "Option::is_none")]
            result: Option<T>,
        }
        fn refused(error: Cow<'static, str>, id: Option<&RawValue>) -> serde_json::Result<Vec<u8>> {
            serde_json::to_vec(&Wire { jsonrpc: "2.0", id, result: Some(Refusal { error: error.into_owned() }) })
        }
        let (id, mut retry_after) = (self.id.as_deref(), None);
        let (body, outcome) = match self.outcome {
            Ok(result) => (serde_json::to_vec(&Wire { jsonrpc: "2.0", id, result }), Outcome::Ok),
            Err(Failure::Refusal(error)) => (refused(error, id), Outcome::Refused),
            Err(Failure::Later(error, seconds)) => {
                retry_after = Some(seconds);
                (refused(error, id), Outcome::Refused)
            }
            Err(Failure::Fault(fault)) => return fault.response(id),
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
        let limit = *request.data::<BodyLimit>().expect("the server puts it into every request");
        if announced(request).is_some_and(|bytes| bytes > limit.bytes as u64) {
            return Err(poem::Error::from_response(Fault::too_large().response(None)));
        }
        let body = read(body.take()?, limit).await?;
        let Envelope { id, params } = match Envelope::parse(&body) {
            Ok(envelope) => envelope,
            Err(text) => return Err(poem::Error::from_response(invalid(text))),
        };
        if let Some(slot) = request.data::<IdSlot>() {
            slot.keep(id.clone());
        }
        let params = params_of(params.as_deref());
        Ok(Self {
            id,
            // poem-openapi's own words name types of ours and repeat what was sent.
            params: params.and_then(|params| {
                P::parse_from_json(Some(params)).map_err(|_| Fault::type_error("an argument is not of the expected type"))
            }),
        })
    }
}

/// Reads a body; one that is too large, or does not come, is refused as soon as that is known.
async fn read(body: Body, limit: BodyLimit) -> poem::Result<Vec<u8>> {
    // Boxed, since it is large, and would keep its place in the request's future for as long as that waits.
    let reading = Box::pin(body.into_bytes_limit(limit.bytes));
    let refused = match tokio::time::timeout(limit.time, reading).await {
        Ok(Ok(bytes)) => return Ok(bytes.into()),
        Ok(Err(poem::error::ReadBodyError::PayloadTooLarge)) => Fault::too_large().response(None),
        Ok(Err(_)) => invalid("Invalid JSON data"),
        Err(_) => page(StatusCode::REQUEST_TIMEOUT, "The request did not arrive in time."),
    };
    Err(poem::Error::from_response(refused))
}

/// How long the body is said to be.
fn announced(request: &Request) -> Option<u64> {
    request.headers().get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// Whether a request says that its body is a call.
pub fn is_json(request: &Request) -> bool {
    let kind = request.content_type().unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default().trim();
    kind.eq_ignore_ascii_case("application/json") || kind.eq_ignore_ascii_case("application/json-rpc")
}

fn wrong_type(request: &Request) -> Response {
    let path = request.original_uri().path().replace('&', "&amp;").replace('<', "&lt;");
    let text = format!("Request inferred type is compatible with [&#39;http&#39;] but &#39;{path}&#39; is type=&#39;json&#39;.");
    page(StatusCode::BAD_REQUEST, &text)
}

fn invalid(text: &'static str) -> Response {
    Response::builder().status(StatusCode::BAD_REQUEST).header(header::CONTENT_TYPE, HTML).body(text)
}

/// The members of a call that count. Of duplicate keys the last wins.
#[derive(Default)]
struct Envelope {
    id: Id,
    params: Option<Box<RawValue>>,
}

impl Envelope {
    fn parse(body: &[u8]) -> Result<Self, &'static str> {
        // As Odoo does, with a replacement character for what is not UTF-8.
        let text = String::from_utf8_lossy(body);
        match serde_json::from_str::<Self>(&text) {
            Ok(envelope) => Ok(envelope),
            Err(_) if serde_json::from_str::<&RawValue>(&text).is_ok() => Err("Invalid JSON-RPC data"),
            Err(_) => Err("Invalid JSON data"),
        }
    }
}

impl<'de> Deserialize<'de> for Envelope {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members;

        impl<'de> Visitor<'de> for Members {
            type Value = Envelope;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Envelope, A::Error> {
                let mut envelope = Envelope::default();
                while let Some(key) = map.next_key::<Cow<'de, str>>()? {
                    match key.as_ref() {
                        "id" => envelope.id = Some(map.next_value()?),
                        "params" => envelope.params = Some(map.next_value()?),
                        _ => drop(map.next_value::<serde::de::IgnoredAny>()?),
                    }
                }
                Ok(envelope)
            }
        }

        deserializer.deserialize_map(Members)
    }
}

/// `params` as an object: missing and `[]` are `{}`; anything else fails in Python's words.
fn params_of(raw: Option<&RawValue>) -> Result<Value, Fault> {
    let value = match raw {
        None => return Ok(Value::Object(serde_json::Map::new())),
        Some(raw) => serde_json::from_str(raw.get()),
    };
    match value {
        Ok(params @ Value::Object(_)) => Ok(params),
        Ok(Value::Array(items)) if items.is_empty() => Ok(Value::Object(serde_json::Map::new())),
        Ok(Value::Array(_)) => Err(Fault::type_error("cannot convert dictionary update sequence element #0 to a sequence")),
        Ok(Value::Null) => Err(Fault::type_error("'NoneType' object is not iterable")),
        Ok(Value::Bool(_)) => Err(Fault::type_error("'bool' object is not iterable")),
        Ok(Value::String(_)) => Err(Fault::type_error("'str' object cannot be converted to a dictionary")),
        Ok(Value::Number(number)) if number.is_f64() => Err(Fault::type_error("'float' object is not iterable")),
        Ok(Value::Number(_)) => Err(Fault::type_error("'int' object is not iterable")),
        // A lone surrogate, or nesting beyond any use: well-formed, and yet no text or value that can be kept.
        Err(_) => Err(Fault::new("builtins.ValueError", "params hold what cannot be read")),
    }
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
            ],
        }
    }

    fn register(registry: &mut Registry) {
        JsonRpcReply::<D>::register(registry);
    }
}

/// A JSON-RPC call, as Odoo's clients make it.
#[derive(Object)]
#[oai(example)]
#[allow(dead_code, reason = "only its schema is used; calls are read by `Envelope`")]
struct JsonRpcCall<P: ParseFromJSON + ToJSON + Example> {
    jsonrpc: Option<String>,
    method: Option<String>,
    params: P,
    /// Any JSON value.
    id: Any<Value>,
}

impl<P: ParseFromJSON + ToJSON + Example> Example for JsonRpcCall<P> {
    fn example() -> Self {
        Self { jsonrpc: Some("2.0".into()), method: Some("call".into()), params: P::example(), id: Any(Value::from(1)) }
    }
}

/// The answer to a JSON-RPC call: with a result, or with an error.
#[derive(Object)]
#[allow(dead_code, reason = "only its schema is used; replies are written by `Reply`")]
struct JsonRpcReply<R: ParseFromJSON + ToJSON> {
    jsonrpc: String,
    /// As it was in the call; null if it was missing.
    id: Any<Value>,
    result: Option<R>,
    error: Option<JsonRpcError>,
}

/// An error of the envelope.
#[derive(Object)]
#[allow(dead_code, reason = "only its schema is used; errors are written by `Fault`")]
struct JsonRpcError {
    /// 200 for any failure, 100 for a session that has expired, 404 for an unknown route.
    code: u16,
    message: String,
    data: JsonRpcErrorData,
}

/// What went wrong.
#[derive(Object)]
#[allow(dead_code, reason = "only its schema is used; errors are written by `Fault`")]
struct JsonRpcErrorData {
    /// A Python exception's name, for example `odoo.exceptions.AccessDenied`.
    name: String,
    /// An id that is also in the server's log.
    debug: String,
    message: String,
    arguments: Vec<Any<Value>>,
    context: Any<Value>,
}

/// `params` that are not looked at.
#[derive(Object, Debug)]
#[oai(example)]
pub struct Nothing {
    #[oai(skip)]
    nothing: PhantomData<()>,
}

impl Example for Nothing {
    fn example() -> Self {
        Self { nothing: PhantomData }
    }
}
