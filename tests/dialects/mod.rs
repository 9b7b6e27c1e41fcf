//! Tests of the dialects, one module each.

mod concierge;
mod conversations;
mod im_chat;
mod messaging;
mod odoo;
mod room;
mod uploads;
