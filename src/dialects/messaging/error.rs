//! Errors of the chat in this dialect: refusals as results, and statuses for the file routes.

use std::borrow::{Borrow, Cow};

use poem_openapi::{ApiResponse, payload::Json};

use crate::{
    auth,
    chat::{Error, ResourceKind},
    dialects::{NO_MEMORY, UNAVAILABLE},
    shares::NoShare,
    telemetry,
    web::{
        capitalized,
        download::RangeNotSatisfiable,
        jsonrpc::{CallFailure, ErrorResult, Fault},
    },
};

/// Maps a chat error to the answer of a call.
pub fn failure(error: impl Borrow<Error>) -> CallFailure {
    match error.borrow() {
        Error::Unavailable(cause) => Fault::unavailable(cause).into(),
        Error::Internal(cause) => Fault::internal(cause).into(),
        Error::Ended => Fault::session_expired().into(),
        error @ Error::TooFast { .. } => {
            CallFailure::RefusalWithRetry(error_text(error), error.retry_after_seconds().unwrap_or(1))
        }
        error @ (Error::NotFound(_)
        | Error::Forbidden
        | Error::Invalid { .. }
        | Error::TooLarge { .. }
        | Error::TooLong { .. }
        | Error::WrongType { .. }
        | Error::TooLate(_)
        | Error::Conflict(_)
        | Error::TooMany(_)) => CallFailure::Refusal(error_text(error)),
    }
}

fn error_text(error: &Error) -> Cow<'static, str> {
    match error {
        Error::NotFound(ResourceKind::Conversation) => "Thread not found".into(),
        Error::NotFound(ResourceKind::Partner) => "Participant not found".into(),
        Error::NotFound(ResourceKind::Attachment) => "Attachment not found".into(),
        Error::NotFound(ResourceKind::Group) => "Group not found".into(),
        Error::NotFound(ResourceKind::Message) => "Message not found".into(),
        Error::Ended => "Session expired".into(),
        Error::Forbidden => "Access denied".into(),
        Error::Invalid { field, reason } => format!("{field} {reason}").into(),
        Error::Conflict(state) => capitalized(state).into(),
        Error::TooLarge { limit_bytes } => format!("The file is larger than {limit_bytes} bytes").into(),
        Error::TooLong { field, limit_bytes } => format!("{field} is longer than {limit_bytes} bytes").into(),
        Error::WrongType { expected } => format!("The file is not of the type {expected}").into(),
        Error::TooLate(what) => format!("Too late: {what} is over").into(),
        Error::TooMany(what) => format!("Too many {what}").into(),
        Error::TooFast { what, .. } => format!("Too many {what}, please wait").into(),
        Error::Unavailable(_) => UNAVAILABLE.into(),
        Error::Internal(_) => "Something went wrong on our side".into(),
    }
}

/// Failure of a file route: a status, and `{"error": "..."}` without an envelope.
#[derive(Debug, ApiResponse)]
pub(super) enum HttpFailure {
    /// The request is invalid; `error` says how.
    #[oai(status = 400, content_type = "application/json")]
    BadRequest(Json<ErrorResult>),
    /// "Session expired" if a login is needed, else "Access denied".
    #[oai(status = 403, content_type = "application/json")]
    Forbidden(Json<ErrorResult>),
    /// The file or thread does not exist.
    #[oai(status = 404, content_type = "application/json")]
    NotFound(Json<ErrorResult>),
    /// The resource's state does not allow the operation.
    #[oai(status = 409, content_type = "application/json")]
    Conflict(Json<ErrorResult>),
    /// The file or a text exceeds the size limit.
    #[oai(status = 413, content_type = "application/json")]
    TooLarge(Json<ErrorResult>),
    /// The file does not have the requested range; `Content-Range` gives its size.
    #[oai(status = 416, content_type = "application/json")]
    Beyond(Json<ErrorResult>, #[oai(header = "Content-Range")] String),
    /// Too many concurrent requests of the caller, or its rate limit is exceeded; then `Retry-After` gives the seconds to wait.
    #[oai(status = 429, content_type = "application/json")]
    TooMany(Json<ErrorResult>, #[oai(header = "Retry-After")] Option<u64>),
    /// Internal error; `error` ends with an id that is also in the server's log.
    #[oai(status = 500, content_type = "application/json")]
    Internal(Json<ErrorResult>),
    /// The server cannot reach its store, has no memory to spare, or is shutting down.
    #[oai(status = 503, content_type = "application/json")]
    Unavailable(Json<ErrorResult>),
}

impl HttpFailure {
    pub(super) fn bad_request(text: impl Into<String>) -> Self {
        Self::BadRequest(refusal(text))
    }

    /// Failure of a request refused for lack of its share of the server (concurrency quota or memory).
    pub(super) fn refused(why: NoShare) -> Self {
        match why {
            NoShare::Requests => Error::TooMany("requests at once").into(),
            NoShare::Memory => Self::Unavailable(refusal(NO_MEMORY)),
        }
    }

    pub(super) fn forbidden(text: impl Into<String>) -> Self {
        Self::Forbidden(refusal(text))
    }
}

impl From<RangeNotSatisfiable> for HttpFailure {
    fn from(beyond: RangeNotSatisfiable) -> Self {
        Self::Beyond(refusal(format!("The file has {} bytes", beyond.size_bytes)), beyond.content_range())
    }
}

impl From<Error> for HttpFailure {
    fn from(error: Error) -> Self {
        let text = error_text(&error);
        let traced = |correlation: String| refusal(format!("{text} ({correlation})"));
        match &error {
            Error::NotFound(_) => Self::NotFound(refusal(text)),
            Error::Ended | Error::Forbidden => Self::Forbidden(refusal(text)),
            Error::Invalid { .. } | Error::WrongType { .. } | Error::TooLate(_) => Self::BadRequest(refusal(text)),
            Error::Conflict(_) => Self::Conflict(refusal(text)),
            Error::TooLarge { .. } | Error::TooLong { .. } => Self::TooLarge(refusal(text)),
            Error::TooMany(_) | Error::TooFast { .. } => Self::TooMany(refusal(text), error.retry_after_seconds()),
            Error::Internal(cause) => Self::Internal(traced(telemetry::failed("a file could not be served", cause))),
            Error::Unavailable(cause) => Self::Unavailable(traced(telemetry::unavailable("a file could not be served", cause))),
        }
    }
}

impl From<&auth::Error> for HttpFailure {
    fn from(error: &auth::Error) -> Self {
        match error {
            auth::Error::Expired
            | auth::Error::Denied
            | auth::Error::InvalidToken(_)
            | auth::Error::NotConfigured(_)
            | auth::Error::TooManyAttempts { .. }
            | auth::Error::TooFast { .. }
            | auth::Error::TooManyWaiting { .. } => Self::forbidden("Session expired"),
            auth::Error::NoShare(why) => Self::refused(*why),
            auth::Error::Unavailable(cause) => Error::Unavailable(cause.clone()).into(),
            auth::Error::Internal(cause) => Error::Internal(cause.clone()).into(),
        }
    }
}

fn refusal(text: impl Into<String>) -> Json<ErrorResult> {
    Json(ErrorResult { error: text.into() })
}
