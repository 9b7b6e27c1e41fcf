//! Odoo's own session routes and `/jsonrpc` (spec `10-odoo-session.md`).
