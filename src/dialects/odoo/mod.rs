//! Odoo's own session routes, `/jsonrpc` and the models behind it (spec `10-odoo-session.md`).

mod about;
mod error;
mod models;
mod service;
mod session;
mod wire;

use poem_openapi::{OpenApi, Tags};

use super::{House, model::Model};

/// The routes of this room. `models` are those that other rooms bring.
pub fn api(house: &House, models: &'static [&'static dyn Model]) -> impl OpenApi + use<> {
    (
        session::SessionApi(house.clone()),
        about::AboutApi(house.clone()),
        service::ServiceApi { house: house.clone(), others: models },
    )
}

#[derive(Tags)]
enum Tag {
    /// Odoo's cookie session, and JSON-RPC for clients without cookies.
    #[oai(rename = "odoo")]
    Odoo,
}
