//! The dialects: each translates one API to and from the chat, and contains no rule of its own.

pub mod asyncapi;
pub mod bearer;
pub mod body;
pub mod concierge;
pub mod conversations;
pub mod disposition;
pub mod download;
pub mod file_names;
pub mod files;
pub mod form;
pub mod im_chat;
pub mod json;
pub mod jsonrpc;
pub mod loose;
pub mod messaging;
pub mod model;
pub mod odoo;
pub mod page;
pub mod python;
pub mod room;
pub mod session;
pub mod socket;
pub mod tokens;
pub mod upload;
pub mod uploads;

use std::sync::Arc;

use chrono::{DateTime, Utc};
use poem::{Request, Response, http::StatusCode};
use serde_json::value::RawValue;
use storage::FILE_BYTES;

use crate::{
    auth::Auth,
    chat::{ATTACHMENTS, Chat},
    config::Config,
    shares::{NoShare, Shares},
};
use json::ErrorMessage;
use socket::SocketServer;

/// Dependencies that every dialect works with. Clones share them.
#[derive(Clone)]
pub struct AppContext {
    pub auth: Auth,
    pub chat: Chat,
    pub config: Arc<Config>,
    pub sockets: SocketServer,
    pub shares: Shares,
    /// Public URL of this server, without a slash at the end.
    pub base_url: Arc<str>,
}

impl AppContext {
    /// Maximum memory of a page of messages while it is built: the rows from the database and the text of the response.
    pub fn page_bytes(&self, messages: usize) -> usize {
        let message = self.config.limits.message_bytes.saturating_add(ATTACHMENTS * FILE_BYTES);
        messages.saturating_mul(2).saturating_mul(message)
    }

    /// True if cookies need the `Secure` attribute.
    pub fn is_secure(&self) -> bool {
        self.base_url.starts_with("https:")
    }
}

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

/// Formats a time as Odoo does: UTC, in seconds, without a time zone.
pub fn odoo_time(time: DateTime<Utc>) -> String {
    time.format("%Y-%m-%d %H:%M:%S").to_string()
}

/// Capitalizes a clause.
pub fn capitalized(clause: &str) -> String {
    let mut letters = clause.chars();
    letters.next().into_iter().flat_map(char::to_uppercase).chain(letters).collect()
}
