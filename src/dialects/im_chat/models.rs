//! Models of this dialect for Odoo's model calls. Arguments are bound to names here; [`methods`] does the work.

use async_trait::async_trait;

use super::methods;
use crate::{
    auth::Caller,
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

/// Models that this dialect contributes to Odoo's model calls.
pub const MODELS: &[&dyn Model] = &[&ImChatSessionModel, &ImChatUsersModel];

/// `im_chat.session`: conversations in the form of Odoo 8's web client.
struct ImChatSessionModel;

#[async_trait]
impl Model for ImChatSessionModel {
    fn name(&self) -> &'static str {
        "im_chat.session"
    }

    fn has(&self, method: &str) -> bool {
        matches!(method, "session_get" | "session_info" | "update_state" | "add_user" | "quit_user")
    }

    async fn call(
        &self,
        app: &AppContext,
        caller: &Caller,
        account: &Account,
        method: &str,
        arguments: Arguments,
    ) -> Result<MethodResult, Fault> {
        let result = match method {
            "session_get" => {
                let [with] = arguments.bind(method, 1, ["user_to"])?;
                methods::session_get(app, caller, account, with.unwrap_or_default()).await
            }
            "session_info" => {
                let [ids] = arguments.bind(method, 1, ["ids"])?;
                methods::session_info(app, caller, account, ids.unwrap_or_default()).await
            }
            "update_state" => {
                let [uuid, state] = arguments.bind(method, 1, ["uuid", "state"])?;
                methods::update_state(app, caller, uuid.unwrap_or_default(), state).await
            }
            "add_user" => {
                let [uuid, user] = arguments.bind(method, 2, ["uuid", "user_id"])?;
                methods::add_user(app, caller, uuid.unwrap_or_default(), user.unwrap_or_default()).await
            }
            "quit_user" => {
                let [uuid] = arguments.bind(method, 1, ["uuid"])?;
                methods::quit_user(app, caller, uuid.unwrap_or_default()).await
            }
            _ => Err(no_such_method(self, method)),
        };
        result.map(MethodResult::from)
    }
}

/// Methods of `res.users` beyond those of the `odoo` dialect.
struct ImChatUsersModel;

#[async_trait]
impl Model for ImChatUsersModel {
    fn name(&self) -> &'static str {
        "res.users"
    }

    fn has(&self, method: &str) -> bool {
        method == "im_search"
    }

    async fn call(
        &self,
        app: &AppContext,
        caller: &Caller,
        account: &Account,
        method: &str,
        arguments: Arguments,
    ) -> Result<MethodResult, Fault> {
        if !self.has(method) {
            return Err(no_such_method(self, method));
        }
        let [name, limit] = arguments.bind(method, 1, ["name", "limit"])?;
        methods::im_search(app, caller, account, name.unwrap_or_default(), limit).await.map(MethodResult::from)
    }
}
