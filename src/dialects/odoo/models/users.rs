//! Model `res.users`, with `context_get`.

use async_trait::async_trait;
use serde_json::json;

use super::{fields::PersonModel, records};
use crate::{
    auth::Caller,
    dialects::odoo::wire::UserContext,
    shares::Account,
    web::{
        AppContext,
        jsonrpc::{
            Fault,
            arguments::Arguments,
            model::{MethodResult, Model, no_such_method},
        },
    },
};

/// `res.users`: people that can log in.
pub(super) struct UsersModel;

#[async_trait]
impl Model for UsersModel {
    fn name(&self) -> &'static str {
        PersonModel::User.model()
    }

    fn has(&self, method: &str) -> bool {
        method == "context_get" || records::Method::named(method).is_some()
    }

    async fn call(
        &self,
        app: &AppContext,
        caller: &Caller,
        account: &Account,
        method: &str,
        arguments: Arguments,
    ) -> Result<MethodResult, Fault> {
        if method == "context_get" {
            let [] = arguments.bind(method, 0, [])?;
            let UserContext { lang, tz, uid } = UserContext::of(caller);
            return Ok(json!({"lang": lang, "tz": tz, "uid": uid}).into());
        }
        match records::Method::named(method) {
            Some(method) => records::call(app, caller, account, PersonModel::User, method, arguments).await,
            None => Err(no_such_method(self, method)),
        }
    }
}
