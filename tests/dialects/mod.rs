//! What each room promises to its clients.

mod im_chat;
mod messaging;
mod odoo;
mod room;
