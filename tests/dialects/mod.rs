//! What each room promises to its clients.

mod concierge;
mod conversations;
mod im_chat;
mod messaging;
mod odoo;
mod room;
mod uploads;
