#![doc = include_str!("README.md")]

mod about;
mod error;
mod models;
mod service;
mod session;
mod wire;

use poem_openapi::{OpenApi, Tags};

use crate::web::{AppContext, jsonrpc::model::Model};

/// All routes of the dialect. `models` are those that other dialects contribute.
pub fn api(app: &AppContext, models: &'static [&'static dyn Model]) -> impl OpenApi + use<> {
    (
        session::OdooSessionApi(app.clone()),
        about::AboutApi(app.clone()),
        service::ServiceApi { app: app.clone(), other_models: models },
    )
}

#[derive(Tags)]
enum Tag {
    /// Odoo's cookie session and model calls, and JSON-RPC for clients without cookies.
    #[oai(rename = "odoo")]
    Odoo,
}
