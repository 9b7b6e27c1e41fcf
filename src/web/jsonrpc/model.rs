//! Odoo models: tables whose methods clients call by name. Each dialect provides its own models, and the dialect `odoo` with the
//! routes of such calls receives all of them.

use async_trait::async_trait;
use serde_json::Value;

use super::{Fault, arguments::Arguments};
use crate::{auth::Caller, web::AppContext};

/// An Odoo model, or some methods of a model that another dialect owns.
#[async_trait]
pub trait Model: Send + Sync {
    fn name(&self) -> &'static str;

    /// True if the method is implemented here. Of several models with one name, the first that has the method is called.
    fn has(&self, method: &str) -> bool;

    /// Calls a public method. Fails with [`no_such_method`] for any other.
    async fn call(&self, app: &AppContext, caller: &Caller, method: &str, arguments: Arguments) -> Result<Value, Fault>;
}

/// Error for a call of a method that a model does not have.
pub fn no_such_method(model: &dyn Model, method: &str) -> Fault {
    let message = format!("The method '{method}' does not exist on the model '{}'", model.name());
    Fault::new("builtins.AttributeError", message)
}
