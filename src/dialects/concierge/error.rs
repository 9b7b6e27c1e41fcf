//! Error statuses and messages of the dialect.

use std::borrow::Cow;

use crate::{
    chat::{Error, ResourceKind},
    dialects::{NO_MEMORY, UNAVAILABLE},
    shares::NoShare,
    telemetry,
    web::{body::JsonError, capitalized},
};

/// Error answer to a request.
#[derive(Debug)]
pub(super) struct ConciergeError {
    /// HTTP status code.
    pub(super) status: u16,
    pub(super) message: Cow<'static, str>,
}

impl ConciergeError {
    /// Error for an invalid request.
    pub(super) fn bad(message: impl Into<Cow<'static, str>>) -> Self {
        Self { status: 400, message: message.into() }
    }
}

impl From<NoShare> for ConciergeError {
    fn from(why: NoShare) -> Self {
        match why {
            NoShare::Requests => Error::TooMany("requests at once").into(),
            NoShare::Memory => Self { status: 503, message: NO_MEMORY.into() },
        }
    }
}

impl From<JsonError> for ConciergeError {
    fn from(why: JsonError) -> Self {
        match why {
            JsonError::NotJson => Self::bad("A frame must be a JSON object with action and data"),
            JsonError::TooLarge => Self::bad("The frame holds too many values"),
            JsonError::NoShare(why) => why.into(),
        }
    }
}

impl From<Error> for ConciergeError {
    fn from(error: Error) -> Self {
        let (status, message) = match &error {
            Error::NotFound(ResourceKind::Conversation) => (404, "There is no such chat session".into()),
            Error::NotFound(ResourceKind::Message) => (404, "There is no such message in this chat session".into()),
            Error::NotFound(ResourceKind::Partner | ResourceKind::Attachment | ResourceKind::Group) => {
                (404, "There is no such thing".into())
            }
            Error::Ended => (401, "Not logged in, or no longer".into()),
            Error::Forbidden => (403, "Access denied".into()),
            Error::Invalid { field, reason } => (400, format!("{} {reason}", field_name(field)).into()),
            Error::Conflict(state) => (409, capitalized(state).into()),
            Error::WrongType { expected } => (400, format!("It is not of the type {expected}").into()),
            Error::TooLate(what) => (409, format!("Too late: {what} is over").into()),
            Error::TooLarge { limit_bytes } => (413, format!("Larger than {limit_bytes} bytes").into()),
            Error::TooLong { field, limit_bytes } => {
                (413, format!("{} is longer than {limit_bytes} bytes", field_name(field)).into())
            }
            Error::TooMany(what) => (429, format!("Too many {what}").into()),
            Error::TooFast { what, .. } => (429, format!("Too many {what}, please wait").into()),
            Error::Unavailable(_) => {
                telemetry::unavailable("not available", &error);
                (503, UNAVAILABLE.into())
            }
            Error::Internal(_) => {
                let correlation = telemetry::failed("internal error", &error);
                (500, format!("Something went wrong on our side ({correlation})").into())
            }
        };
        Self { status, message }
    }
}

/// Name of a field in this dialect.
fn field_name(field: &'static str) -> &'static str {
    match field {
        "body" => "messageContent",
        "client key" => "metadata.messageUid",
        "device" => "deviceId",
        "message" => "messageId",
        other => other,
    }
}
