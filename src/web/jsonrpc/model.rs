//! Odoo models: tables whose methods clients call by name. Each dialect provides its own models, and the dialect `odoo` with the
//! routes of such calls receives all of them.

use async_trait::async_trait;
use serde::Serialize;
use serde_json::{Value, value::RawValue};

use super::{Fault, arguments::Arguments};
use crate::{auth::Caller, shares::Account, web::AppContext};

/// Result of a method.
#[derive(Serialize)]
#[serde(untagged)]
pub enum MethodResult {
    Value(Value),
    /// A long list, whose items are JSON already: a tree of them would take several times the memory, and long to write.
    List(Vec<Box<RawValue>>),
}

impl From<Value> for MethodResult {
    fn from(value: Value) -> Self {
        Self::Value(value)
    }
}

/// An Odoo model, or some methods of a model that another dialect owns.
#[async_trait]
pub trait Model: Send + Sync {
    fn name(&self) -> &'static str;

    /// True if the method is implemented here. Of several models with one name, the first that has the method is called.
    fn has(&self, method: &str) -> bool;

    /// Calls a public method. Fails with [`no_such_method`] for any other. The memory of long results is reserved at `account`.
    async fn call(
        &self,
        app: &AppContext,
        caller: &Caller,
        account: &Account,
        method: &str,
        arguments: Arguments,
    ) -> Result<MethodResult, Fault>;
}

/// Error for a call of a method that a model does not have.
pub fn no_such_method(model: &dyn Model, method: &str) -> Fault {
    let message = format!("The method '{method}' does not exist on the model '{}'", model.name());
    Fault::new("builtins.AttributeError", message)
}
