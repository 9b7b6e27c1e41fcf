//! Models of people. To add one: a file here with its [`Model`], and its line in [`MODELS`].

mod domain;
mod fields;
mod partners;
mod records;
mod users;

use crate::{
    auth::Caller,
    shares::Account,
    web::{
        AppContext,
        jsonrpc::{
            Fault,
            arguments::Arguments,
            model::{MethodResult, Model},
        },
    },
};

const MODELS: [&dyn Model; 2] = [&users::UsersModel, &partners::PartnersModel];

/// Finds a model by name, here or in `others`: the first that has the method, or else the first of that name.
pub(super) fn find(name: &str, method: &str, others: &'static [&'static dyn Model]) -> Option<&'static dyn Model> {
    let named = || MODELS.into_iter().chain(others.iter().copied()).filter(|model| model.name() == name);
    named().find(|model| model.has(method)).or_else(|| named().next())
}

/// Calls a model's method; private methods (`_...`) are refused.
pub(super) async fn call(
    model: &dyn Model,
    app: &AppContext,
    caller: &Caller,
    account: &Account,
    method: &str,
    arguments: Arguments,
) -> Result<MethodResult, Fault> {
    if method.starts_with('_') {
        let message = format!("Private methods (such as {method}) cannot be called remotely.");
        return Err(Fault::new("odoo.exceptions.AccessError", message));
    }
    model.call(app, caller, account, method, arguments).await
}
