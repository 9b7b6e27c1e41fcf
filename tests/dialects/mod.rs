//! What each room promises to its clients.

mod concierge;
mod im_chat;
mod messaging;
mod odoo;
