//! Errors of this dialect: a status, and `{"message": "..."}`.

use std::borrow::Cow;

use poem_openapi::{ApiResponse, Object, payload::Json};

use crate::{
    auth,
    chat::{Error, ResourceKind},
    dialects::{NO_MEMORY, UNAVAILABLE},
    shares::NoShare,
    telemetry,
    web::{bearer, download::RangeNotSatisfiable},
};

/// The reason of a refusal.
#[derive(Debug, Object)]
#[oai(rename = "UploadRefusal")]
pub(super) struct UploadRefusal {
    /// One sentence for people.
    message: String,
}

#[derive(Debug, ApiResponse)]
pub(super) enum UploadFailure {
    /// The request is invalid; `message` says how.
    #[oai(status = 400, content_type = "application/json")]
    BadRequest(Json<UploadRefusal>),
    /// No valid credentials.
    #[oai(status = 401, content_type = "application/json")]
    Unauthorized(Json<UploadRefusal>, #[oai(header = "WWW-Authenticate")] String),
    /// The signature of the address is invalid, or the address has expired.
    #[oai(status = 403, content_type = "application/json")]
    Forbidden(Json<UploadRefusal>),
    /// The file does not exist.
    #[oai(status = 404, content_type = "application/json")]
    NotFound(Json<UploadRefusal>),
    /// The request body did not arrive in time.
    #[oai(status = 408, content_type = "application/json")]
    TimedOut(Json<UploadRefusal>),
    /// A file was already uploaded to this address.
    #[oai(status = 409, content_type = "application/json")]
    Conflict(Json<UploadRefusal>),
    /// The file exceeds the size limit.
    #[oai(status = 413, content_type = "application/json")]
    TooLarge(Json<UploadRefusal>),
    /// The media type is not the announced one.
    #[oai(status = 415, content_type = "application/json")]
    WrongType(Json<UploadRefusal>),
    /// The file does not have the requested range; `Content-Range` gives its size.
    #[oai(status = 416, content_type = "application/json")]
    Beyond(Json<UploadRefusal>, #[oai(header = "Content-Range")] String),
    /// Too many concurrent requests of the caller, or its rate limit is exceeded; then `Retry-After` gives the seconds to wait.
    #[oai(status = 429, content_type = "application/json")]
    TooMany(Json<UploadRefusal>, #[oai(header = "Retry-After")] Option<u64>),
    /// Internal error; `message` ends with an id that is also in the server's log.
    #[oai(status = 500, content_type = "application/json")]
    Internal(Json<UploadRefusal>),
    /// The server cannot reach its store, has no memory to spare, is shutting down, or is not configured for tokens.
    #[oai(status = 503, content_type = "application/json")]
    Unavailable(Json<UploadRefusal>),
}

impl UploadFailure {
    pub(super) fn bad_request(text: impl Into<String>) -> Self {
        Self::BadRequest(refusal(text))
    }

    pub(super) fn too_large(limit_bytes: u64) -> Self {
        Error::TooLarge { limit_bytes }.into()
    }

    pub(super) fn timed_out() -> Self {
        Self::TimedOut(refusal("The request did not arrive in time"))
    }

    /// Failure of a request refused for lack of its share of the server (concurrency quota or memory).
    pub(super) fn refused(why: NoShare) -> Self {
        match why {
            NoShare::Requests => Error::TooMany("requests at once").into(),
            NoShare::Memory => Self::Unavailable(refusal(NO_MEMORY)),
        }
    }

    fn unauthorized() -> Self {
        Self::Unauthorized(refusal("Unauthorized"), bearer::CHALLENGE.into())
    }
}

fn error_text(error: &Error) -> Cow<'static, str> {
    match error {
        Error::NotFound(ResourceKind::Attachment) => "File not found".into(),
        Error::NotFound(ResourceKind::Conversation | ResourceKind::Partner | ResourceKind::Group | ResourceKind::Message) => {
            "Not found".into()
        }
        Error::Ended => "Unauthorized".into(),
        Error::Forbidden => "This upload URL is not valid".into(),
        Error::Invalid { field, reason } => format!("{field} {reason}").into(),
        Error::TooLarge { limit_bytes } => format!("Larger than {limit_bytes} bytes").into(),
        Error::TooLong { field, limit_bytes } => format!("{field} is longer than {limit_bytes} bytes").into(),
        Error::WrongType { expected } => format!("Content-Type must be {expected}").into(),
        Error::TooLate(_) => "This upload URL has expired".into(),
        Error::Conflict(_) => "A file was uploaded with this URL already".into(),
        Error::TooMany(what) => format!("Too many {what}").into(),
        Error::TooFast { what, .. } => format!("Too many {what}, please wait").into(),
        Error::Unavailable(_) => UNAVAILABLE.into(),
        Error::Internal(_) => "Something went wrong on our side".into(),
    }
}

impl From<RangeNotSatisfiable> for UploadFailure {
    fn from(beyond: RangeNotSatisfiable) -> Self {
        Self::Beyond(refusal(format!("The file has {} bytes", beyond.size_bytes)), beyond.content_range())
    }
}

impl From<Error> for UploadFailure {
    fn from(error: Error) -> Self {
        let text = error_text(&error);
        let traced = |correlation: String| refusal(format!("{text} ({correlation})"));
        match &error {
            Error::NotFound(_) => Self::NotFound(refusal(text)),
            Error::Ended => Self::unauthorized(),
            Error::Forbidden | Error::TooLate(_) => Self::Forbidden(refusal(text)),
            Error::Invalid { .. } => Self::BadRequest(refusal(text)),
            Error::TooLarge { .. } | Error::TooLong { .. } => Self::TooLarge(refusal(text)),
            Error::WrongType { .. } => Self::WrongType(refusal(text)),
            Error::Conflict(_) => Self::Conflict(refusal(text)),
            Error::TooMany(_) | Error::TooFast { .. } => Self::TooMany(refusal(text), error.retry_after_seconds()),
            Error::Internal(cause) => Self::Internal(traced(telemetry::failed("an upload failed", cause))),
            Error::Unavailable(cause) => Self::Unavailable(traced(telemetry::unavailable("an upload failed", cause))),
        }
    }
}

impl From<&auth::Error> for UploadFailure {
    fn from(error: &auth::Error) -> Self {
        match error {
            auth::Error::Expired
            | auth::Error::Denied
            | auth::Error::InvalidToken(_)
            | auth::Error::TooManyAttempts { .. }
            | auth::Error::TooFast { .. }
            | auth::Error::TooManyWaiting { .. } => Self::unauthorized(),
            auth::Error::NoShare(why) => Self::refused(*why),
            auth::Error::NotConfigured(_) => Self::Unavailable(refusal(bearer::status_and_message(error).1)),
            auth::Error::Unavailable(cause) => Error::Unavailable(cause.clone()).into(),
            auth::Error::Internal(cause) => Error::Internal(cause.clone()).into(),
        }
    }
}

fn refusal(text: impl Into<String>) -> Json<UploadRefusal> {
    Json(UploadRefusal { message: text.into() })
}
