//! The dialect of an Odoo addon: `/api/messaging/*` (spec `20-messaging.md`).
