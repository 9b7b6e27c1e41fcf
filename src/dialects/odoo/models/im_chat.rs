use async_trait::async_trait;
use serde_json::Value;

use super::{Model, no_such_method};
use crate::{
    auth::Caller,
    dialects::{House, im_chat::model, jsonrpc::Fault, odoo::python::Arguments},
};

/// `im_chat.session`: conversations, as the web client of Odoo 8 knows them.
pub(super) struct Sessions;

#[async_trait]
impl Model for Sessions {
    fn name(&self) -> &'static str {
        "im_chat.session"
    }

    async fn call(&self, house: &House, caller: &Caller, method: &str, arguments: Arguments) -> Result<Value, Fault> {
        match method {
            "session_get" => {
                let [with] = arguments.bind(method, 1, ["user_to"])?;
                model::session_get(house, caller, with.unwrap_or_default()).await
            }
            "session_info" => {
                let [ids] = arguments.bind(method, 1, ["ids"])?;
                model::session_info(house, caller, ids.unwrap_or_default()).await
            }
            "update_state" => {
                let [uuid, state] = arguments.bind(method, 1, ["uuid", "state"])?;
                model::update_state(house, caller, uuid.unwrap_or_default(), state).await
            }
            "add_user" => {
                let [uuid, user] = arguments.bind(method, 2, ["uuid", "user_id"])?;
                model::add_user(house, caller, uuid.unwrap_or_default(), user.unwrap_or_default()).await
            }
            "quit_user" => {
                let [uuid] = arguments.bind(method, 1, ["uuid"])?;
                model::quit_user(house, caller, uuid.unwrap_or_default()).await
            }
            _ => Err(no_such_method(self, method)),
        }
    }
}
