use async_trait::async_trait;
use serde_json::{Value, json};

use super::{Model, fields::Side, no_such_method, records};
use crate::{
    auth::Caller,
    dialects::{
        House,
        im_chat::model,
        jsonrpc::Fault,
        odoo::{python::Arguments, wire::UserContext},
    },
};

/// `res.users`: whoever can log in.
pub(super) struct Users;

#[async_trait]
impl Model for Users {
    fn name(&self) -> &'static str {
        Side::User.model()
    }

    async fn call(&self, house: &House, caller: &Caller, method: &str, arguments: Arguments) -> Result<Value, Fault> {
        if method == "context_get" {
            let [] = arguments.bind(method, 0, [])?;
            let UserContext { lang, tz, uid } = UserContext::of(caller);
            return Ok(json!({"lang": lang, "tz": tz, "uid": uid}));
        }
        if method == "im_search" {
            let [name, limit] = arguments.bind(method, 1, ["name", "limit"])?;
            return model::im_search(house, caller, name.unwrap_or_default(), limit).await;
        }
        match records::Method::named(method) {
            Some(method) => records::call(house, Side::User, method, arguments).await,
            None => Err(no_such_method(self, method)),
        }
    }
}
