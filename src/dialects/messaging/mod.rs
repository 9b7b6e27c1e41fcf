//! The dialect of an Odoo addon: `/api/messaging/*` (spec `20-messaging.md`).

use super::House;

/// The routes of this room.
pub fn api(_: &House) {}
