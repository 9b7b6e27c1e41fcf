//! The models of people. To add one: a file here with its [`Model`], and its line in [`MODELS`].

mod domain;
mod fields;
mod partners;
mod records;
mod users;

use serde_json::Value;

use crate::{
    auth::Caller,
    dialects::{House, jsonrpc::Fault, model::Model, python::Arguments},
};

const MODELS: [&dyn Model; 2] = [&users::Users, &partners::Partners];

/// The model of this name that has the method, or else one of this name: of those here, and of `others`.
pub(super) fn find(name: &str, method: &str, others: &'static [&'static dyn Model]) -> Option<&'static dyn Model> {
    let named = || MODELS.into_iter().chain(others.iter().copied()).filter(|model| model.name() == name);
    named().find(|model| model.has(method)).or_else(|| named().next())
}

/// Calls a model's method, unless it is one that nobody may call from outside.
pub(super) async fn call(
    model: &dyn Model,
    house: &House,
    caller: &Caller,
    method: &str,
    arguments: Arguments,
) -> Result<Value, Fault> {
    if method.starts_with('_') {
        let message = format!("Private methods (such as {method}) cannot be called remotely.");
        return Err(Fault::new("odoo.exceptions.AccessError", message));
    }
    model.call(house, caller, method, arguments).await
}
