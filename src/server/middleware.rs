//! Middleware around all routes: CORS, admission, panics, error responses, security headers and metrics.

use std::{
    collections::HashMap,
    panic::AssertUnwindSafe,
    sync::Arc,
    time::{Duration, Instant},
};

use futures_util::FutureExt;
use poem::{
    Endpoint, Error, IntoResponse, PathPattern, Request, Response,
    error::{MethodNotAllowedError, ParsePathError},
    http::{HeaderValue, Method, StatusCode, header},
};

use super::{admission, cors, malformed, security};
use crate::{
    dialects,
    metrics::Metrics,
    shares::{Account, NoShare, RETRY_AFTER_SECONDS},
    telemetry,
    web::{
        AppContext,
        accept::unread_body::UnreadBody,
        body::BodyLimit,
        files,
        jsonrpc::{self, CallOutcome, FAILED_POLL_PAUSE, Fault, IdSlot},
        session::CookieSlot,
    },
};

/// The middleware. Clones share it.
#[derive(Clone)]
pub(super) struct Middleware(Arc<MiddlewareParts>);

struct MiddlewareParts {
    app: AppContext,
    metrics: Metrics,
    body_limit: BodyLimit,
    /// Socket paths of the concierge in the settings.
    sockets: Arc<[String]>,
    /// `Allow` header of each path of the OpenAPI document, in the router's spelling.
    allowed: HashMap<String, HeaderValue>,
}

impl Middleware {
    pub(super) fn new(app: &AppContext, metrics: &Metrics, document: &str) -> Self {
        let limits = &app.config.limits;
        let body_limit = BodyLimit { bytes: limits.body_bytes, time: Duration::from_secs(limits.body_seconds) };
        let (app, metrics) = (app.clone(), metrics.clone());
        let sockets = app.config.concierge.paths.clone().into();
        Self(Arc::new(MiddlewareParts { app, metrics, body_limit, sockets, allowed: allowed(document) }))
    }

    /// Calls `endpoint`, and turns every outcome, a panic included, into one response.
    pub(super) async fn call(&self, endpoint: Arc<impl Endpoint<Output: IntoResponse>>, mut request: Request) -> Response {
        let begun = Instant::now();
        let parts = &self.0;
        let origin = cors::allowed(&parts.app.config.cors, request.headers());
        let is_preflight = origin.is_some() && cors::is_preflight(&request);
        let answered = malformed::refusal(&request).or_else(|| is_preflight.then(|| cors::preflight(request.headers())));
        if let Some(mut answered) = answered {
            self.add_headers(&mut answered, origin);
            parts.metrics.request("none", outcome(&answered), begun);
            return answered;
        }
        // A range is meaningful for GET only, and the router turns HEAD into GET.
        if request.method() == Method::HEAD {
            request.headers_mut().remove(header::RANGE);
        }
        let id = IdSlot::default();
        request.extensions_mut().insert(id.clone());
        request.extensions_mut().insert(parts.body_limit);
        request.extensions_mut().insert(parts.app.auth.clone());
        request.extensions_mut().insert(parts.app.chat.clone());
        request.extensions_mut().insert(Arc::clone(&parts.app.config));
        let cookie = CookieSlot::default();
        request.extensions_mut().insert(cookie.clone());
        let (method, path) = (request.method().clone(), files::without_token(request.uri().path()).into_owned());
        let rest = request.data::<UnreadBody>().cloned();
        let asked = ExpectedResponse { json: jsonrpc::is_json(&request), options: method == Method::OPTIONS };
        // Boxed with the request, which would otherwise occupy this future as well while it waits.
        let shares = parts.app.shares.clone();
        let sockets = Arc::clone(&parts.sockets);
        let answering = Box::pin(async move {
            let (account, admitted) = Box::pin(admission::admit(&shares, &mut request, &sockets)).await;
            let answered = match admitted {
                Ok(()) => Ok(endpoint.call(request).await.map(IntoResponse::into_response)),
                Err(why) => Err(why),
            };
            account.give_turn_back();
            (account, answered)
        });
        let answered = AssertUnwindSafe(answering).catch_unwind().await;
        let (mut response, route, account) = match answered {
            Ok((account, answered)) => {
                let (response, route) = Box::pin(self.charged(answered, &account, &path, &asked, rest.as_ref(), &id)).await;
                (response, route, Some(account))
            }
            Err(panic) => {
                parts.metrics.panic();
                let correlation = telemetry::correlation();
                tracing::error!(correlation, %method, path, panic = telemetry::panic_text(panic.as_ref()), "request handler panicked");
                (Fault::internal_logged(correlation).response(id.get()), None, None)
            }
        };
        cookie.renew(&mut response, &parts.app);
        let is_for_later = [StatusCode::TOO_MANY_REQUESTS, StatusCode::SERVICE_UNAVAILABLE].contains(&response.status());
        let headers = response.headers_mut();
        if is_for_later {
            headers.entry(header::RETRY_AFTER).or_insert(RETRY_AFTER_SECONDS.into());
        }
        let is_refused = headers.contains_key(header::RETRY_AFTER) && !admission::is_operator_route(&path);
        self.add_headers(&mut response, origin);
        if jsonrpc::is_poll(&path) && outcome(&response) != "ok" {
            tokio::time::sleep(FAILED_POLL_PAUSE).await;
        }
        if is_refused && let Some(account) = account {
            Box::pin(account.delay_refusal()).await;
        }
        // "none" for unknown paths: clients invent them, and each would add a time series.
        let route = route.as_ref().map_or("none", |pattern| pattern.0.as_ref());
        let outcome = outcome(&response);
        parts.metrics.request(route, outcome, begun);
        let status = response.status().as_u16();
        tracing::debug!(target: "dragoman::request", %method, path, status, outcome, micros = begun.elapsed().as_micros() as u64, "answered");
        response
    }

    /// Adds the headers of all responses.
    fn add_headers(&self, response: &mut Response, origin: Option<HeaderValue>) {
        let app = &self.0.app;
        security::protect(response, app.is_secure());
        cors::expose(&app.config.cors, origin, response.headers_mut());
    }

    /// Builds the response of a request, charges it to the account, and returns it with its route.
    async fn charged(
        &self,
        answered: Result<poem::Result<Response>, NoShare>,
        account: &Account,
        path: &str,
        asked: &ExpectedResponse,
        rest: Option<&UnreadBody>,
        id: &IdSlot,
    ) -> (Response, Option<PathPattern>) {
        // The response carries the id of the call even if no handler has read the body.
        let is_unread = match &answered {
            Ok(Ok(_)) => false,
            Ok(Err(error)) => is_unknown(error),
            Err(_) => true,
        };
        if asked.json && is_unread {
            self.read_id(rest, account, id).await;
        }
        let (response, route) = match answered {
            Ok(Ok(response)) => {
                let route = response.data::<PathPattern>().cloned();
                (Ok(response), route)
            }
            Ok(Err(error)) => {
                let route = error.data::<PathPattern>().cloned();
                (Ok(self.failed(error, route.as_ref(), asked, id)), route)
            }
            Err(why) => (Err(why), None),
        };
        let charged = match response {
            Ok(response) => admission::charge(account, path, response).await,
            Err(why) => Err(why),
        };
        (charged.unwrap_or_else(|why| dialects::refused(path, why, asked.json.then(|| id.get()))), route)
    }

    /// Reads the JSON-RPC id from a body that no handler has read.
    async fn read_id(&self, rest: Option<&UnreadBody>, account: &Account, id: &IdSlot) {
        let Some(rest) = rest else { return };
        if let Some(whole) = rest.bytes(self.0.body_limit, account.body()).await {
            id.read(&whole.bytes);
        }
    }

    /// Response to an error that no dialect has handled.
    fn failed(&self, error: Error, route: Option<&PathPattern>, asked: &ExpectedResponse, id: &IdSlot) -> Response {
        if error.is_from_response() {
            return error.into_response();
        }
        if error.is::<MethodNotAllowedError>() {
            let allow = route.and_then(|pattern| self.0.allowed.get(pattern.0.as_ref()));
            let mut page = if asked.options {
                StatusCode::OK.into_response()
            } else {
                jsonrpc::error_page(StatusCode::METHOD_NOT_ALLOWED, "The method is not allowed for the requested URL.")
            };
            let allow = allow.cloned().unwrap_or_else(|| HeaderValue::from_static("GET, HEAD, OPTIONS"));
            page.headers_mut().insert(header::ALLOW, allow);
            return page;
        }
        if is_unknown(&error) {
            return asked.not_found(id);
        }
        if error.status().is_server_error() {
            return Fault::internal_logged(telemetry::failed("internal error", &UnhandledError(error.to_string())))
                .response(id.get());
        }
        jsonrpc::error_page(error.status(), "The browser (or proxy) sent a request that this server could not understand.")
    }
}

/// True if no route matches. A path with an invalid parameter counts too, which poem-openapi reports as a bad request.
fn is_unknown(error: &Error) -> bool {
    error.is::<ParsePathError>()
        || error.is::<poem_openapi::error::ParsePathError>()
        || (error.status() == StatusCode::NOT_FOUND && !error.is_from_response())
}

/// Response format that the client expects.
struct ExpectedResponse {
    json: bool,
    /// An OPTIONS request, for the allowed methods.
    options: bool,
}

impl ExpectedResponse {
    fn not_found(&self, id: &IdSlot) -> Response {
        if self.json {
            return Fault::not_found().response(id.get());
        }
        jsonrpc::error_page(
            StatusCode::NOT_FOUND,
            "The requested URL was not found on the server. If you entered the URL manually please check your spelling and try again.",
        )
    }
}

#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct UnhandledError(String);

fn outcome(response: &Response) -> &'static str {
    match response.data::<CallOutcome>() {
        Some(CallOutcome::Ok) => "ok",
        Some(CallOutcome::Refused) => "refused",
        Some(CallOutcome::Failed) => "failed",
        None if response.status().is_server_error() => "failed",
        None if response.status().is_client_error() => "refused",
        None => "ok",
    }
}

/// `Allow` headers by path; a path outside the document has no methods.
fn allowed(document: &str) -> HashMap<String, HeaderValue> {
    let document: serde_json::Value = serde_json::from_str(document).expect("the generated document is JSON");
    let paths = document["paths"].as_object().into_iter().flatten();
    let allow = |methods: &serde_json::Value| {
        let mut words = vec!["OPTIONS".to_owned()];
        for method in methods.as_object().into_iter().flatten().map(|(method, _)| method.to_ascii_uppercase()) {
            if method == "GET" {
                words.push("HEAD".to_owned());
            }
            words.push(method);
        }
        words.sort();
        HeaderValue::from_str(&words.join(", ")).expect("HTTP methods are ASCII")
    };
    paths.map(|(path, methods)| (pattern(path), allow(methods))).collect()
}

/// Path of the document in the router's spelling, which numbers variables.
fn pattern(path: &str) -> String {
    let mut variables = 0;
    let mut part = |part: &str| {
        if !part.starts_with('{') {
            return part.to_owned();
        }
        variables += 1;
        format!(":param{}", variables - 1)
    };
    path.split('/').map(&mut part).collect::<Vec<_>>().join("/")
}
