//! What each room promises to its clients.

mod messaging;
mod odoo;
