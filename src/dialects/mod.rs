//! The rooms: each speaks one dialect, and only translates.

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
use json::Said;
use socket::Sockets;

/// What every room works with. Clones share it.
#[derive(Clone)]
pub struct House {
    pub auth: Auth,
    pub chat: Chat,
    pub config: Arc<Config>,
    pub sockets: Sockets,
    pub shares: Shares,
    /// How clients reach this server, without a slash at the end.
    pub base_url: Arc<str>,
}

impl House {
    /// Memory that a page of so many messages takes at most while it is made: as it comes from the store, and as text.
    pub fn page_bytes(&self, messages: usize) -> usize {
        let message = self.config.limits.message_bytes.saturating_add(ATTACHMENTS * FILE_BYTES);
        messages.saturating_mul(2).saturating_mul(message)
    }

    /// Whether cookies must not travel in the clear.
    pub fn is_secure(&self) -> bool {
        self.base_url.starts_with("https:")
    }
}

/// The answer of the dialect whose route `path` is to a request that has no share left. `call` has the id of a JSON-RPC call, if it
/// is one.
pub fn refused(path: &str, why: NoShare, call: Option<Option<&RawValue>>) -> Response {
    let is_below = |prefixes: &[&str]| prefixes.iter().any(|prefix| path.starts_with(prefix));
    match call {
        Some(id) if is_below(jsonrpc::PATHS) => jsonrpc::refused(path, why, id),
        _ if is_below(&["/api/messaging/"]) => messaging::refused(why),
        _ if is_below(&["/chat/"]) => room::refused(why),
        _ if is_below(&["/files/", "/file-new/"]) => uploads::refused(why),
        _ => Said::refused(why),
    }
}

/// The answer of the dialect whose route is asked for to a body in a coding (`Content-Encoding`) that is not known here.
pub fn unknown_coding(request: &Request) -> Response {
    const WORDS: &str = "The body must come without Content-Encoding: none is known here.";
    let path = request.uri().path();
    let is_below = |prefix: &str| path.starts_with(prefix);
    let mut response = if jsonrpc::is_json(request) && jsonrpc::PATHS.iter().any(|prefix| is_below(prefix)) {
        jsonrpc::page(StatusCode::UNSUPPORTED_MEDIA_TYPE, WORDS)
    } else if is_below("/api/messaging/") {
        messaging::bad_request(WORDS)
    } else if is_below("/chat/") {
        room::bad_request(WORDS)
    } else if is_below("/files/") || is_below("/file-new/") {
        uploads::bad_request(WORDS)
    } else {
        Said::response(WORDS, StatusCode::UNSUPPORTED_MEDIA_TYPE)
    };
    response.set_status(StatusCode::UNSUPPORTED_MEDIA_TYPE);
    response
}

/// A time as Odoo writes it: UTC, to the second, without saying so.
pub fn odoo_time(time: DateTime<Utc>) -> String {
    time.format("%Y-%m-%d %H:%M:%S").to_string()
}

/// A clause as a sentence begins.
pub fn sentence(clause: &str) -> String {
    let mut letters = clause.chars();
    letters.next().into_iter().flat_map(char::to_uppercase).chain(letters).collect()
}
