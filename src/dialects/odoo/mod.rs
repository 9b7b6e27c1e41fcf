//! Odoo's own session routes and `/jsonrpc` (spec `10-odoo-session.md`).

use super::House;

/// The routes of this room.
pub fn api(_: &House) {}
