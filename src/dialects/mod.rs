//! The rooms: each speaks one dialect, and only translates.

pub mod asyncapi;
pub mod bearer;
pub mod concierge;
pub mod conversations;
pub mod files;
pub mod im_chat;
pub mod json;
pub mod jsonrpc;
pub mod loose;
pub mod messaging;
pub mod model;
pub mod odoo;
pub mod python;
pub mod room;
pub mod session;
pub mod socket;
pub mod tokens;
pub mod upload;
pub mod uploads;

use std::sync::Arc;

use chrono::{DateTime, Utc};

use crate::{auth::Auth, chat::Chat, config::Config};
use socket::Sockets;

/// What every room works with. Clones share it.
#[derive(Clone)]
pub struct House {
    pub auth: Auth,
    pub chat: Chat,
    pub config: Arc<Config>,
    pub sockets: Sockets,
    /// How clients reach this server, without a slash at the end.
    pub base_url: Arc<str>,
}

impl House {
    /// Whether cookies must not travel in the clear.
    pub fn is_secure(&self) -> bool {
        self.base_url.starts_with("https:")
    }
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
