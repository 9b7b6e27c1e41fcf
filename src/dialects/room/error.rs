//! Error messages, codes and responses of the dialect.

use poem::http::StatusCode;
use poem_openapi::{ApiResponse, Object, payload::Json};
use serde_json::Value;

use crate::{
    auth,
    chat::{self, Error, ResourceKind},
    dialects::{NO_MEMORY, UNAVAILABLE},
    shares::NoShare,
    telemetry,
    web::{bearer, multipart::FormError, websocket::Close},
};

/// Message for an unknown user, spelled as clients know it.
pub(super) const NO_SUCH_USER: &str = "Invalid receipient";

/// Message and error code for an error of the chat.
pub(super) fn message_and_code(error: &Error) -> (String, &'static str) {
    match error {
        Error::NotFound(ResourceKind::Conversation) => ("Thread not found".into(), "not_found"),
        Error::NotFound(ResourceKind::Partner) => (NO_SUCH_USER.into(), "not_found"),
        Error::NotFound(ResourceKind::Attachment) => ("File not found".into(), "not_found"),
        Error::NotFound(ResourceKind::Group) => ("Group not found".into(), "not_found"),
        Error::NotFound(ResourceKind::Message) => ("Message not found".into(), "not_found"),
        Error::Ended => ("Not logged in, or no longer.".into(), "not_logged_in"),
        Error::Forbidden => ("Access denied".into(), "forbidden"),
        // The field's name differs between the dialect's requests.
        Error::Invalid { field: "body", reason } => (format!("The message {reason}"), "invalid"),
        Error::Invalid { field, reason } => (format!("{field} {reason}"), "invalid"),
        Error::Conflict(state) => (format!("This is not possible: {state}"), "conflict"),
        Error::WrongType { expected } => (format!("The file is not of the type {expected}"), "invalid"),
        Error::TooLate(what) => (format!("Too late: {what} is over"), "conflict"),
        Error::TooLarge { limit_bytes } => (format!("The file is larger than {limit_bytes} bytes"), "too_large"),
        Error::TooLong { field: "body", limit_bytes } => (format!("The message is longer than {limit_bytes} bytes"), "too_large"),
        Error::TooLong { field, limit_bytes } => (format!("{field} is longer than {limit_bytes} bytes"), "too_large"),
        Error::TooMany(what) => (format!("Too many {what}"), "too_many"),
        Error::TooFast { what, .. } => (format!("Too many {what}, please wait"), "too_many"),
        Error::Unavailable(cause) => {
            (format!("{UNAVAILABLE} ({})", telemetry::unavailable("not available", cause)), "unavailable")
        }
        Error::Internal(cause) => {
            (format!("Something went wrong on our side ({})", telemetry::failed("internal error", cause)), "internal")
        }
    }
}

/// Message and error code for a caller whose quota is used up.
pub(super) fn quota_message_and_code(why: NoShare) -> (String, &'static str) {
    match why {
        NoShare::Requests => message_and_code(&Error::TooMany("requests at once")),
        NoShare::Memory => (NO_MEMORY.into(), "unavailable"),
    }
}

/// Close code if a socket cannot be opened.
pub(super) fn auth_close(error: &auth::Error) -> Close {
    match error {
        auth::Error::Denied | auth::Error::Expired | auth::Error::InvalidToken(_) => Close::NOT_LOGGED_IN,
        auth::Error::TooManyAttempts { .. }
        | auth::Error::TooManyWaiting { .. }
        | auth::Error::TooFast { .. }
        | auth::Error::NoShare(_) => Close::UNAVAILABLE,
        auth::Error::NotConfigured(_) => Close::NO_TOKENS,
        auth::Error::Unavailable(cause) => {
            telemetry::unavailable("a socket was not opened", cause);
            Close::UNAVAILABLE
        }
        auth::Error::Internal(cause) => {
            telemetry::failed("a socket was not opened", cause);
            Close::INTERNAL
        }
    }
}

/// Close code if an event cannot be delivered. No event is skipped: the client reconnects and reads the history.
pub(super) fn delivery_close(error: &chat::Error) -> Close {
    error.log("message not delivered");
    Close::UNAVAILABLE
}

/// Body of every error response.
#[derive(Debug, Object)]
#[oai(rename = "RoomFailureBody")]
pub(super) struct RoomErrorBody {
    /// `failure`.
    status: String,
    /// Null.
    #[oai(nullable)]
    entity: Option<Value>,
    /// One clear sentence.
    message: String,
    success: bool,
}

/// Error responses of the routes.
#[derive(Debug, ApiResponse)]
pub(super) enum RoomFailure {
    /// The request is invalid; `message` says why.
    #[oai(status = 400, content_type = "application/json")]
    BadRequest(Json<RoomErrorBody>),
    /// No token, or an invalid one.
    #[oai(status = 401, content_type = "application/json")]
    NotLoggedIn(Json<RoomErrorBody>, #[oai(header = "WWW-Authenticate")] String),
    /// The caller has no access.
    #[oai(status = 403, content_type = "application/json")]
    Forbidden(Json<RoomErrorBody>),
    /// Not found.
    #[oai(status = 404, content_type = "application/json")]
    NotFound(Json<RoomErrorBody>),
    /// The current state does not allow the operation.
    #[oai(status = 409, content_type = "application/json")]
    Conflict(Json<RoomErrorBody>),
    /// The file or a text exceeds the limits of this server.
    #[oai(status = 413, content_type = "application/json")]
    TooLarge(Json<RoomErrorBody>),
    /// The caller has too many requests under way, or exceeds a rate limit; in the latter case `Retry-After` gives the seconds to
    /// wait.
    #[oai(status = 429, content_type = "application/json")]
    TooMany(Json<RoomErrorBody>, #[oai(header = "Retry-After")] Option<u64>),
    /// The server failed; `message` ends with an id that is also in its log.
    #[oai(status = 500, content_type = "application/json")]
    Internal(Json<RoomErrorBody>),
    /// The server cannot reach its database, is stopping, or has no key to verify tokens.
    #[oai(status = 503, content_type = "application/json")]
    Unavailable(Json<RoomErrorBody>),
}

impl RoomFailure {
    pub(super) fn bad_request(message: impl Into<String>) -> Self {
        Self::BadRequest(body(message))
    }

    pub(super) fn not_found(message: impl Into<String>) -> Self {
        Self::NotFound(body(message))
    }

    /// Response to a caller whose quota is used up.
    pub(super) fn refused(why: NoShare) -> Self {
        match why {
            NoShare::Requests => Error::TooMany("requests at once").into(),
            NoShare::Memory => Self::Unavailable(body(NO_MEMORY)),
        }
    }
}

fn body(message: impl Into<String>) -> Json<RoomErrorBody> {
    Json(RoomErrorBody { status: "failure".into(), entity: None, message: message.into(), success: false })
}

impl From<Error> for RoomFailure {
    fn from(error: Error) -> Self {
        let (body, retry_after) = (body(message_and_code(&error).0), error.retry_after_seconds());
        match error {
            Error::NotFound(_) => Self::NotFound(body),
            Error::Ended => Self::NotLoggedIn(body, bearer::CHALLENGE.into()),
            Error::Forbidden => Self::Forbidden(body),
            Error::Invalid { .. } | Error::WrongType { .. } => Self::BadRequest(body),
            Error::Conflict(_) | Error::TooLate(_) => Self::Conflict(body),
            Error::TooLarge { .. } | Error::TooLong { .. } => Self::TooLarge(body),
            Error::TooMany(_) | Error::TooFast { .. } => Self::TooMany(body, retry_after),
            Error::Internal(_) => Self::Internal(body),
            Error::Unavailable(_) => Self::Unavailable(body),
        }
    }
}

impl From<auth::Error> for RoomFailure {
    fn from(error: auth::Error) -> Self {
        let (status, words) = bearer::status_and_message(&error);
        let body = body(words);
        match status {
            StatusCode::UNAUTHORIZED => Self::NotLoggedIn(body, bearer::CHALLENGE.into()),
            StatusCode::TOO_MANY_REQUESTS => Self::TooMany(body, None),
            StatusCode::SERVICE_UNAVAILABLE => Self::Unavailable(body),
            _ => Self::Internal(body),
        }
    }
}

impl From<FormError> for RoomFailure {
    fn from(broken: FormError) -> Self {
        match broken {
            FormError::Malformed => Self::bad_request(FormError::MALFORMED_MESSAGE),
            FormError::Repeated(name) => Self::bad_request(FormError::repeated_message(name)),
            FormError::NoShare(why) => Self::refused(why),
        }
    }
}
