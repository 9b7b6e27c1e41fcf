//! Parameters of the routes. Invalid ones fail as errors of the JSON-RPC envelope, unlike in the messaging dialect.

use storage::{Document, Folder, WindowState};
use uuid::Uuid;

use crate::web::{
    jsonrpc::Fault,
    lenient::{Int, Lenient, Text},
};

/// Value of an optional parameter; `ValueError` if it has the wrong type.
pub(super) fn optional<T>(value: Lenient<T>, name: &str) -> Result<Option<T>, Fault> {
    match value {
        Lenient::Missing => Ok(None),
        Lenient::Present(value) => Ok(Some(value)),
        Lenient::WrongType(what) => Err(value_error(format!("{name} must be {what}"))),
    }
}

/// Value of a required parameter; fails as Python does on a missing argument.
pub(super) fn required<T>(value: Lenient<T>, function: &str, name: &'static str) -> Result<T, Fault> {
    optional(value, name)?.ok_or_else(|| Fault::missing_arguments(function, &[name]))
}

/// Page size; the default if missing or not positive.
pub(super) fn limit(value: Int, default: usize, most: usize) -> Result<usize, Fault> {
    let given = optional(value, "limit")?.filter(|limit| *limit > 0);
    Ok(given.map_or(default, |limit| usize::try_from(limit).unwrap_or(most)).min(most))
}

/// Document of a session; id and model must be given together.
pub(super) fn document(id: Int, model: Text) -> Result<Option<Document>, Fault> {
    match (optional(id, "doc_id")?, optional(model, "doc_model")?) {
        (None, None) => Ok(None),
        (Some(id), Some(model)) => Ok(Some(Document { model, id })),
        _ => Err(value_error("doc_id and doc_model must be given together".into())),
    }
}

/// Session uuid; `None` if the text is not a uuid.
pub(super) fn uuid(text: &str) -> Option<Uuid> {
    Uuid::parse_str(text.trim()).ok()
}

/// Window state by its wire name.
pub(super) fn window(word: &str) -> Result<WindowState, Fault> {
    WindowState::parse(word).ok_or_else(|| value_error(format!("Wrong value for im_chat.conversation_state.state: '{word}'")))
}

/// Folder by its wire name.
pub(super) fn folder(word: &str) -> Option<Folder> {
    Folder::parse(word)
}

/// Python's `ValueError`, for a value outside its domain.
pub(super) fn value_error(message: String) -> Fault {
    Fault::new("builtins.ValueError", message)
}
