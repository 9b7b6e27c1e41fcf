//! Parameters whose failures are errors of the envelope, unlike in the messaging dialect.

use storage::{Document, Shelf, Window};
use uuid::Uuid;

use crate::dialects::{
    jsonrpc::Fault,
    loose::{Int, Loose, Text},
};

/// The value if there is one.
pub(super) fn optional<T>(value: Loose<T>, name: &str) -> Result<Option<T>, Fault> {
    match value {
        Loose::Missing => Ok(None),
        Loose::Given(value) => Ok(Some(value)),
        Loose::Wrong(what) => Err(value_error(format!("{name} must be {what}"))),
    }
}

/// The value, without which the route cannot be called.
pub(super) fn required<T>(value: Loose<T>, function: &str, name: &'static str) -> Result<T, Fault> {
    optional(value, name)?.ok_or_else(|| Fault::missing_arguments(function, &[name]))
}

/// How many things to give; what is missing or not positive means the default.
pub(super) fn limit(value: Int, default: usize, most: usize) -> Result<usize, Fault> {
    let given = optional(value, "limit")?.filter(|limit| *limit > 0);
    Ok(given.map_or(default, |limit| usize::try_from(limit).unwrap_or(most)).min(most))
}

/// The document that a session is about; its two halves belong together.
pub(super) fn document(id: Int, model: Text) -> Result<Option<Document>, Fault> {
    match (optional(id, "doc_id")?, optional(model, "doc_model")?) {
        (None, None) => Ok(None),
        (Some(id), Some(model)) => Ok(Some(Document { model, id })),
        _ => Err(value_error("doc_id and doc_model must be given together".into())),
    }
}

/// A session's uuid; a text that is none names no session.
pub(super) fn uuid(text: &str) -> Option<Uuid> {
    Uuid::parse_str(text.trim()).ok()
}

/// A window state by its word.
pub(super) fn window(word: &str) -> Result<Window, Fault> {
    Window::parse(word).ok_or_else(|| value_error(format!("Wrong value for im_chat.conversation_state.state: '{word}'")))
}

/// A shelf by its word.
pub(super) fn shelf(word: &str) -> Option<Shelf> {
    Shelf::parse(word)
}

/// A value that means nothing where it stands.
pub(super) fn value_error(message: String) -> Fault {
    Fault::new("builtins.ValueError", message)
}
