//! Errors of the chat as Odoo's exceptions.

use std::borrow::Borrow;

use crate::{
    chat::{Error, ResourceKind},
    web::{capitalized, jsonrpc::Fault},
};

/// Maps a chat error to the JSON-RPC error of a call.
pub(super) fn fault(error: impl Borrow<Error>) -> Fault {
    match error.borrow() {
        Error::NotFound(
            ResourceKind::Conversation
            | ResourceKind::Partner
            | ResourceKind::Attachment
            | ResourceKind::Group
            | ResourceKind::Message,
        ) => Fault::new("odoo.exceptions.MissingError", "Record does not exist or has been deleted."),
        Error::Ended => Fault::session_expired(),
        Error::Forbidden => Fault::new("odoo.exceptions.AccessError", "You are not allowed to access this record."),
        Error::TooLong { field: "body", limit_bytes } => {
            Fault::new("odoo.exceptions.ValidationError", format!("message_content is longer than {limit_bytes} bytes"))
        }
        error @ (Error::Invalid { .. } | Error::TooLong { .. }) => {
            Fault::new("odoo.exceptions.ValidationError", error.to_string())
        }
        error @ (Error::TooLarge { .. }
        | Error::WrongType { .. }
        | Error::TooLate(_)
        | Error::Conflict(_)
        | Error::TooMany(_)) => Fault::new("odoo.exceptions.UserError", error.to_string()),
        error @ Error::TooFast { .. } => Fault::too_fast(capitalized(&error.to_string()), error.retry_after_seconds()),
        Error::Unavailable(cause) => Fault::unavailable(cause),
        Error::Internal(cause) => Fault::internal(cause),
    }
}

/// True if the response must not reveal more than that the session does not exist.
pub(super) fn is_absent(error: &Error) -> bool {
    matches!(error, Error::NotFound(ResourceKind::Conversation) | Error::Forbidden)
}
