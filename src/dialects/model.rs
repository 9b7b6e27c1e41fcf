//! What Odoo's clients call by the name of a table. Each room brings its own models, and the one with the doors to them is
//! given them all.

use async_trait::async_trait;
use serde_json::Value;

use super::{House, jsonrpc::Fault, python::Arguments};
use crate::auth::Caller;

/// A model, or some methods of one that another room keeps.
#[async_trait]
pub trait Model: Send + Sync {
    fn name(&self) -> &'static str;

    /// Whether a method is to be looked for here. Of several models with one name, the first that has it is called.
    fn has(&self, method: &str) -> bool;

    /// Calls a public method; what the model does not have fails with [`no_such_method`].
    async fn call(&self, house: &House, caller: &Caller, method: &str, arguments: Arguments) -> Result<Value, Fault>;
}

/// The failure of a call to what a model does not have.
pub fn no_such_method(model: &dyn Model, method: &str) -> Fault {
    let message = format!("The method '{method}' does not exist on the model '{}'", model.name());
    Fault::new("builtins.AttributeError", message)
}
