//! Odoo's own session routes, `/jsonrpc` and the models behind it (spec `10-odoo-session.md`).

mod about;
mod error;
mod models;
mod python;
mod service;
mod session;
mod wire;

use poem_openapi::{OpenApi, Tags};

use super::House;

/// The routes of this room.
pub fn api(house: &House) -> impl OpenApi + use<> {
    (session::SessionApi(house.clone()), about::AboutApi(house.clone()), service::ServiceApi(house.clone()))
}

#[derive(Tags)]
enum Tag {
    /// Odoo's cookie session, and JSON-RPC for clients without cookies.
    #[oai(rename = "odoo")]
    Odoo,
}
