//! JSON-RPC error replies, and HTML error pages for requests that are no calls.

use std::{borrow::Cow, sync::Arc};

use poem::{
    Response,
    http::{HeaderValue, StatusCode, header},
};
use serde::Serialize;
use serde_json::value::RawValue;

use super::super::session::Session;
use crate::{
    auth::{self, Login},
    shares::{NoShare, RETRY_AFTER_SECONDS},
    telemetry,
};

/// `Content-Type` of JSON responses.
pub const JSON: HeaderValue = HeaderValue::from_static("application/json; charset=utf-8");
/// `Content-Type` of HTML error pages.
pub const HTML: HeaderValue = HeaderValue::from_static("text/html; charset=utf-8");

/// Maximum unused capacity of a response buffer, in bytes.
const SPARE_BYTES: usize = 4096;
/// Message for a caller with too many requests under way.
pub(super) const TOO_MANY_REQUESTS: &str = "Too many requests at once, please try again shortly";
const NO_MEMORY: &str = "The server has no memory to spare. Please try again shortly.";

/// Outcome of a request, for the metrics. The HTTP status does not show it: JSON-RPC errors have status 200.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CallOutcome {
    Ok,
    /// Error of the caller.
    Refused,
    /// Error of the server.
    Failed,
}

/// An error of the envelope, with the names and texts of Odoo's Python exceptions, which clients compare.
#[derive(Debug)]
pub struct Fault {
    code: u16,
    title: &'static str,
    name: &'static str,
    message: Cow<'static, str>,
    /// True if `arguments` repeats the message. Some of Odoo's exceptions have no arguments.
    arguments: bool,
    /// HTTP status; 200 for most errors, as in Odoo.
    status: StatusCode,
    retry_after_seconds: Option<u64>,
    outcome: CallOutcome,
    /// Correlation id under which the cause was logged.
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
            outcome: CallOutcome::Refused,
            correlation: None,
        }
    }

    /// Wrong or missing arguments, with Python's message.
    pub fn type_error(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new("builtins.TypeError", message)
    }

    /// Missing required arguments, with Python's message.
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

    /// A refused log-in, whatever the reason.
    pub fn access_denied() -> Self {
        Self::new("odoo.exceptions.AccessDenied", "Access Denied")
    }

    /// No valid session.
    pub fn session_expired() -> Self {
        Self { code: 100, title: "Odoo Session Expired", ..Self::new("odoo.http.SessionExpiredException", "Session expired") }
    }

    /// Unknown route.
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

    /// The body exceeds the server's limit.
    pub fn too_large() -> Self {
        Self {
            status: StatusCode::PAYLOAD_TOO_LARGE,
            ..Self::new("werkzeug.exceptions.RequestEntityTooLarge", "The request is too large.")
        }
    }

    /// The caller's quota is used up.
    pub fn refused(why: NoShare) -> Self {
        match why {
            NoShare::Requests => {
                Self::new("odoo.exceptions.UserError", TOO_MANY_REQUESTS).retry_after(StatusCode::OK, RETRY_AFTER_SECONDS)
            }
            NoShare::Memory => Self::new("werkzeug.exceptions.ServiceUnavailable", NO_MEMORY)
                .retry_after(StatusCode::SERVICE_UNAVAILABLE, RETRY_AFTER_SECONDS),
        }
    }

    /// The database is unreachable, or the server is stopping. Logs the cause once, under the correlation id that the client
    /// gets.
    pub fn unavailable(cause: &dyn std::error::Error) -> Self {
        Self {
            outcome: CallOutcome::Failed,
            correlation: Some(telemetry::unavailable("not available", cause)),
            ..Self::new("psycopg2.OperationalError", "The server cannot reach its database. Please try again shortly.")
        }
    }

    /// Internal error. Logs the cause once, under the correlation id that the client gets.
    pub fn internal(cause: &dyn std::error::Error) -> Self {
        Self::internal_logged(telemetry::failed("internal error", cause))
    }

    /// Internal error whose cause is already logged under `correlation`.
    pub fn internal_logged(correlation: String) -> Self {
        Self {
            outcome: CallOutcome::Failed,
            correlation: Some(correlation),
            ..Self::new("builtins.Exception", "Something went wrong on our side.")
        }
    }

    /// Rate limit exceeded, with the seconds after which a retry can succeed.
    pub fn too_fast(message: impl Into<Cow<'static, str>>, seconds: Option<u64>) -> Self {
        Self { retry_after_seconds: seconds, ..Self::new("odoo.exceptions.UserError", message) }
    }

    /// Sets the HTTP status and `Retry-After`.
    pub fn retry_after(self, status: StatusCode, seconds: u64) -> Self {
        Self { status, retry_after_seconds: Some(seconds), ..self }
    }

    /// Response to the call with this id.
    pub fn response(self, id: Option<&RawValue>) -> Response {
        #[derive(Serialize)]
        struct FaultBody<'a> {
            jsonrpc: &'static str,
            id: Option<&'a RawValue>,
            error: FaultError<'a>,
        }
        #[derive(Serialize)]
        struct FaultError<'a> {
            code: u16,
            message: &'a str,
            data: FaultData<'a>,
        }
        #[derive(Serialize)]
        struct FaultData<'a> {
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
        let data = FaultData {
            name: self.name,
            debug: &debug,
            message,
            arguments: if self.arguments { &[message] } else { &[] },
            context: Context {},
        };
        let wire = FaultBody { jsonrpc: "2.0", id, error: FaultError { code: self.code, message: self.title, data } };
        let body = serde_json::to_vec(&wire).expect("texts and numbers can be written as JSON");
        let mut response = json(body, self.outcome);
        response.set_status(self.status);
        if let Some(seconds) = self.retry_after_seconds {
            response.headers_mut().insert(header::RETRY_AFTER, seconds.into());
        }
        response
    }
}

pub(super) fn json(mut body: Vec<u8>, outcome: CallOutcome) -> Response {
    // The response is charged by its length, not its capacity.
    if body.capacity() - body.len() > SPARE_BYTES {
        body.shrink_to_fit();
    }
    let mut response = Response::builder().header(header::CONTENT_TYPE, JSON).body(body);
    response.extensions_mut().insert(outcome);
    response
}

/// A small HTML page, Odoo's answer to anything that is no valid call.
pub fn error_page(status: StatusCode, text: &str) -> Response {
    let title = status.canonical_reason().unwrap_or("Error");
    let number = status.as_u16();
    let page = format!("<!doctype html>\n<html lang=en>\n<title>{number} {title}</title>\n<h1>{title}</h1>\n<p>{text}</p>\n");
    Response::builder().status(status).header(header::CONTENT_TYPE, HTML).body(page)
}

impl Session {
    /// The log-in, or the error for the JSON-RPC envelope.
    pub fn login(&self) -> Result<Arc<Login>, Fault> {
        self.login_result().cloned().map_err(fault)
    }
}

/// JSON-RPC fault for an authentication error.
pub fn fault(error: &auth::Error) -> Fault {
    use poem::http::StatusCode;
    match error {
        auth::Error::Denied => Fault::access_denied(),
        // Without verification keys, every token is invalid.
        auth::Error::Expired | auth::Error::InvalidToken(_) | auth::Error::NotConfigured(_) => Fault::session_expired(),
        // Status 200, as in Odoo: published clients cannot read the body of any other.
        auth::Error::TooManyAttempts { .. } | auth::Error::TooManyWaiting { .. } => {
            let text = "Too many login failures, please wait a bit before trying again.";
            let seconds = error.retry_after_seconds().unwrap_or(RETRY_AFTER_SECONDS);
            Fault::new("odoo.exceptions.AccessDenied", text).retry_after(StatusCode::OK, seconds)
        }
        auth::Error::TooFast { .. } => Fault::too_fast("Too many log-ins, please wait", error.retry_after_seconds()),
        auth::Error::NoShare(why) => Fault::refused(*why),
        auth::Error::Unavailable(cause) => Fault::unavailable(cause),
        auth::Error::Internal(cause) => Fault::internal(cause),
    }
}
