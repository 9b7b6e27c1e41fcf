//! The dialects: each translates one API to and from the chat, and contains no rule of its own.

pub mod concierge;
pub mod conversations;
pub mod im_chat;
pub mod messaging;
pub mod odoo;
pub mod room;
pub mod tokens;
pub mod uploads;

use poem::{Request, Response, http::StatusCode};
use serde_json::value::RawValue;

use crate::{
    shares::NoShare,
    web::{json::ErrorMessage, jsonrpc},
};

/// Sentence for a client while the store cannot be reached.
const UNAVAILABLE: &str = "The server is not available now, please try again shortly";
/// Sentence for a client whose request finds no memory.
const NO_MEMORY: &str = "The server has no memory to spare, please try again shortly";

/// Response to a request that exceeds its quota, in the format of the dialect at `path`. `call` is `Some` for a JSON-RPC call,
/// and holds its id.
pub fn refused(path: &str, why: NoShare, call: Option<Option<&RawValue>>) -> Response {
    let is_below = |prefixes: &[&str]| prefixes.iter().any(|prefix| path.starts_with(prefix));
    match call {
        Some(id) if is_below(jsonrpc::PATHS) => jsonrpc::refused(path, why, id),
        _ if is_below(&["/api/messaging/"]) => messaging::refused(why),
        _ if is_below(&["/chat/"]) => room::refused(why),
        _ if is_below(&["/files/", "/file-new/"]) => uploads::refused(why),
        _ => ErrorMessage::quota_exceeded(why),
    }
}

/// Response to a body with a `Content-Encoding`, in the format of the requested dialect. No coding is supported.
pub fn unsupported_content_encoding(request: &Request) -> Response {
    const WORDS: &str = "The body must come without Content-Encoding: none is known here.";
    let path = request.uri().path();
    let is_below = |prefix: &str| path.starts_with(prefix);
    let mut response = if jsonrpc::is_json(request) && jsonrpc::PATHS.iter().any(|prefix| is_below(prefix)) {
        jsonrpc::error_page(StatusCode::UNSUPPORTED_MEDIA_TYPE, WORDS)
    } else if is_below("/api/messaging/") {
        messaging::bad_request(WORDS)
    } else if is_below("/chat/") {
        room::bad_request(WORDS)
    } else if is_below("/files/") || is_below("/file-new/") {
        uploads::bad_request(WORDS)
    } else {
        ErrorMessage::response(WORDS, StatusCode::UNSUPPORTED_MEDIA_TYPE)
    };
    response.set_status(StatusCode::UNSUPPORTED_MEDIA_TYPE);
    response
}
