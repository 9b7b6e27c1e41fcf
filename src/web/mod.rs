//! HTTP and WebSocket toolkit that the dialects share: accept loop, sessions, bearer tokens, origin checks, bodies, files, lenient
//! values, JSON-RPC and sockets. It knows no dialect.

pub mod accept;
pub mod asyncapi;
pub mod bearer;
pub mod body;
mod context;
pub mod disposition;
pub mod download;
pub mod file_names;
pub mod files;
pub mod form;
pub mod json;
pub mod jsonrpc;
pub mod lenient;
pub mod multipart;
pub mod origin;
pub mod page;
mod security_schemes;
pub mod session;
pub mod websocket;

use chrono::{DateTime, Utc};

pub use context::AppContext;

/// Formats a time as Odoo does: UTC, in seconds, without a time zone.
pub fn odoo_time(time: DateTime<Utc>) -> String {
    time.format("%Y-%m-%d %H:%M:%S").to_string()
}

/// Capitalizes a clause.
pub fn capitalized(clause: &str) -> String {
    let mut letters = clause.chars();
    letters.next().into_iter().flat_map(char::to_uppercase).chain(letters).collect()
}
