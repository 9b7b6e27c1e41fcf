//! Error messages and close codes of the dialect.

use super::{NOT_IN_IT, asking::Wrong};
use crate::{
    auth,
    chat::{Error, Thing},
    dialects::{sentence, socket::Close},
    telemetry,
};

/// Reason for which an action failed.
#[derive(Debug)]
pub(super) enum Failure {
    /// The frame is invalid. The message is a sentence.
    Wrong(Wrong),
    Chat(Error),
}

impl From<Wrong> for Failure {
    fn from(wrong: Wrong) -> Self {
        Self::Wrong(wrong)
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Chat(error)
    }
}

impl Failure {
    /// Message for the client, or the close code if the error ends the session.
    pub(super) fn words(self) -> Result<String, Close> {
        match self {
            Self::Wrong(wrong) => Ok(wrong),
            Self::Chat(error) => words(&error),
        }
    }
}

fn words(error: &Error) -> Result<String, Close> {
    Ok(match error {
        Error::Ended => return Err(Close::NOT_LOGGED_IN),
        Error::NotFound(Thing::Conversation) => "Conversation not found".into(),
        Error::NotFound(Thing::Message) => "Message not found".into(),
        Error::NotFound(Thing::Partner) => "User not found".into(),
        Error::NotFound(Thing::Attachment) => "Attachment not found".into(),
        Error::NotFound(Thing::Group) => "Group not found".into(),
        Error::Forbidden => "Access denied".into(),
        Error::Invalid { field, reason } => format!("{} {reason}", in_this_dialect(field)),
        Error::Conflict(state) => sentence(state),
        Error::WrongType { expected } => format!("It is not of the type {expected}"),
        Error::TooLate(what) => format!("Too late: {what} is over"),
        Error::TooLarge { limit_bytes } => format!("It is larger than {limit_bytes} bytes"),
        Error::TooLong { field, limit_bytes } => format!("{} is longer than {limit_bytes} bytes", in_this_dialect(field)),
        Error::TooMany(what) => format!("Too many {what}"),
        Error::TooFast { what, .. } => format!("Too many {what}, please wait"),
        Error::Unavailable(cause) => {
            telemetry::unavailable("not available", cause);
            "The server is not available now, please try again shortly".into()
        }
        Error::Internal(cause) => {
            format!("Something went wrong on our side ({})", telemetry::failed("internal error", cause))
        }
    })
}

/// Name of a field in this dialect.
fn in_this_dialect(field: &str) -> &str {
    match field {
        "body" => "content",
        "client key" => "local_id",
        other => other,
    }
}

/// Close code if a subscription fails.
pub(super) fn not_opened(error: &Error) -> Close {
    match error {
        Error::NotFound(_)
        | Error::Forbidden
        | Error::Invalid { .. }
        | Error::WrongType { .. }
        | Error::TooLate(_)
        | Error::Conflict(_)
        | Error::TooLarge { .. }
        | Error::TooLong { .. } => NOT_IN_IT,
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
pub(super) fn not_let_in(error: &auth::Error) -> Close {
    match error {
        auth::Error::Denied | auth::Error::Expired | auth::Error::Refused(_) => Close::NOT_LOGGED_IN,
        auth::Error::TooManyAttempts { .. } | auth::Error::TooManyWaiting { .. } | auth::Error::TooFast { .. } => Close::TOO_MANY,
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
