//! The models that can be called. To add one: a file here with its [`Model`], and its line in [`MODELS`].

mod domain;
mod fields;
mod im_chat;
mod partners;
mod records;
mod users;

use async_trait::async_trait;
use serde_json::Value;

use super::python::Arguments;
use crate::{
    auth::Caller,
    dialects::{House, jsonrpc::Fault},
};

const MODELS: [&dyn Model; 3] = [&users::Users, &partners::Partners, &im_chat::Sessions];

/// What Odoo's clients call by the name of a table.
#[async_trait]
pub(super) trait Model: Send + Sync {
    fn name(&self) -> &'static str;

    /// Calls a public method; what the model does not have fails with [`no_such_method`].
    async fn call(&self, house: &House, caller: &Caller, method: &str, arguments: Arguments) -> Result<Value, Fault>;
}

/// The model of this name.
pub(super) fn named(name: &str) -> Option<&'static dyn Model> {
    MODELS.into_iter().find(|model| model.name() == name)
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

fn no_such_method(model: &dyn Model, method: &str) -> Fault {
    let message = format!("The method '{method}' does not exist on the model '{}'", model.name());
    Fault::new("builtins.AttributeError", message)
}
