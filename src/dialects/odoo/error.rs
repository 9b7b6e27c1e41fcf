//! Errors of the chat as Odoo's exceptions. Errors of authentication are the same in all dialects with a cookie session:
//! [`crate::web::jsonrpc::fault`].

use crate::{
    chat::{Error, ResourceKind},
    web::{capitalized, jsonrpc::Fault},
};

/// Maps a chat error to one of Odoo's exceptions.
pub(super) fn fault(error: &Error) -> Fault {
    match error {
        Error::NotFound(
            ResourceKind::Conversation
            | ResourceKind::Partner
            | ResourceKind::Attachment
            | ResourceKind::Group
            | ResourceKind::Message,
        ) => Fault::new("odoo.exceptions.MissingError", "Record does not exist or has been deleted."),
        Error::Ended => Fault::session_expired(),
        Error::Forbidden => {
            Fault::new("odoo.exceptions.AccessError", "You are not allowed to access this record. Contact your administrator.")
        }
        Error::Invalid { .. } | Error::TooLong { .. } => Fault::new("odoo.exceptions.ValidationError", error.to_string()),
        Error::TooLarge { .. } | Error::WrongType { .. } | Error::TooLate(_) | Error::Conflict(_) | Error::TooMany(_) => {
            user_error(error.to_string())
        }
        Error::TooFast { .. } => Fault::too_fast(capitalized(&error.to_string()), error.retry_after_seconds()),
        Error::Unavailable(cause) => Fault::unavailable(cause),
        Error::Internal(cause) => Fault::internal(cause),
    }
}

/// Odoo's `UserError`, for an error that the user can correct.
pub(super) fn user_error(message: String) -> Fault {
    Fault::new("odoo.exceptions.UserError", message)
}

/// Python's `ValueError`, for a value outside its domain.
pub(super) fn value_error(message: String) -> Fault {
    Fault::new("builtins.ValueError", message)
}

/// The error for an unknown database, with PostgreSQL's message.
pub(super) fn no_database(name: &str) -> Fault {
    let message = format!("connection to server failed: FATAL:  database \"{name}\" does not exist\n");
    Fault::new("psycopg2.OperationalError", message)
}
