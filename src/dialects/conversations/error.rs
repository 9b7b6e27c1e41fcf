//! Error messages and close codes of the dialect.

use super::{NO_SUCH_CONVERSATION, client_frame::InvalidFrame};
use crate::{
    auth,
    chat::{Error, ResourceKind},
    dialects::UNAVAILABLE,
    telemetry,
    web::{capitalized, websocket::Close},
};

/// Reason for which an action failed.
#[derive(Debug)]
pub(super) enum ActionError {
    /// The frame is invalid. The message is a sentence.
    Invalid(InvalidFrame),
    Chat(Error),
}

impl From<InvalidFrame> for ActionError {
    fn from(wrong: InvalidFrame) -> Self {
        Self::Invalid(wrong)
    }
}

impl From<Error> for ActionError {
    fn from(error: Error) -> Self {
        Self::Chat(error)
    }
}

impl ActionError {
    /// Message for the client, or the close code if the error ends the session.
    pub(super) fn message(self) -> Result<String, Close> {
        match self {
            Self::Invalid(wrong) => Ok(wrong),
            Self::Chat(error) => message(&error),
        }
    }
}

fn message(error: &Error) -> Result<String, Close> {
    Ok(match error {
        Error::Ended => return Err(Close::NOT_LOGGED_IN),
        Error::NotFound(ResourceKind::Conversation) => "Conversation not found".into(),
        Error::NotFound(ResourceKind::Message) => "Message not found".into(),
        Error::NotFound(ResourceKind::Partner) => "User not found".into(),
        Error::NotFound(ResourceKind::Attachment) => "Attachment not found".into(),
        Error::NotFound(ResourceKind::Group) => "Group not found".into(),
        Error::Forbidden => "Access denied".into(),
        Error::Invalid { field, reason } => format!("{} {reason}", field_name(field)),
        Error::Conflict(state) => capitalized(state),
        Error::WrongType { expected } => format!("It is not of the type {expected}"),
        Error::TooLate(what) => format!("Too late: {what} is over"),
        Error::TooLarge { limit_bytes } => format!("It is larger than {limit_bytes} bytes"),
        Error::TooLong { field, limit_bytes } => format!("{} is longer than {limit_bytes} bytes", field_name(field)),
        Error::TooMany(what) => format!("Too many {what}"),
        Error::TooFast { what, .. } => format!("Too many {what}, please wait"),
        Error::Unavailable(cause) => {
            telemetry::unavailable("not available", cause);
            UNAVAILABLE.into()
        }
        Error::Internal(cause) => {
            format!("Something went wrong on our side ({})", telemetry::failed("internal error", cause))
        }
    })
}

/// Name of a field in this dialect.
fn field_name(field: &str) -> &str {
    match field {
        "body" => "content",
        "client key" => "local_id",
        other => other,
    }
}

/// Close code if a subscription fails.
pub(super) fn subscribe_close(error: &Error) -> Close {
    match error {
        Error::NotFound(_)
        | Error::Forbidden
        | Error::Invalid { .. }
        | Error::WrongType { .. }
        | Error::TooLate(_)
        | Error::Conflict(_)
        | Error::TooLarge { .. }
        | Error::TooLong { .. } => NO_SUCH_CONVERSATION,
        Error::Ended => Close::NOT_LOGGED_IN,
        Error::TooMany(_) | Error::TooFast { .. } => Close::TOO_MANY,
        Error::Unavailable(cause) => {
            telemetry::unavailable("not available", cause);
            Close::UNAVAILABLE
        }
        Error::Internal(cause) => {
            telemetry::failed("internal error", cause);
            Close::INTERNAL
        }
    }
}

/// Close code if authentication fails.
pub(super) fn auth_close(error: &auth::Error) -> Close {
    match error {
        auth::Error::Denied | auth::Error::Expired | auth::Error::InvalidToken(_) => Close::NOT_LOGGED_IN,
        auth::Error::TooManyAttempts { .. }
        | auth::Error::TooManyWaiting { .. }
        | auth::Error::TooFast { .. }
        | auth::Error::NoShare(_) => Close::TOO_MANY,
        auth::Error::NotConfigured(_) => Close::NO_TOKENS,
        auth::Error::Unavailable(cause) => {
            telemetry::unavailable("not available", cause);
            Close::UNAVAILABLE
        }
        auth::Error::Internal(cause) => {
            telemetry::failed("internal error", cause);
            Close::INTERNAL
        }
    }
}
