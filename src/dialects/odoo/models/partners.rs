//! Model `res.partner`, with `im_search`.

use async_trait::async_trait;
use serde_json::{Value, json};

use super::{
    fields::{PersonModel, status_name},
    records,
};
use crate::{
    auth::Caller,
    chat::Contact,
    dialects::odoo::error,
    shares::Account,
    web::{
        AppContext,
        jsonrpc::{
            Fault,
            arguments::Arguments,
            model::{MethodResult, Model, no_such_method},
        },
        odoo_time,
    },
};

/// `res.partner`: people that can receive messages.
pub(super) struct PartnersModel;

#[async_trait]
impl Model for PartnersModel {
    fn name(&self) -> &'static str {
        PersonModel::Partner.model()
    }

    fn has(&self, method: &str) -> bool {
        method == "im_search" || records::Method::named(method).is_some()
    }

    async fn call(
        &self,
        app: &AppContext,
        caller: &Caller,
        account: &Account,
        method: &str,
        arguments: Arguments,
    ) -> Result<MethodResult, Fault> {
        if method == "im_search" {
            return im_search(app, caller, account, arguments).await;
        }
        match records::Method::named(method) {
            Some(method) => records::call(app, caller, account, PersonModel::Partner, method, arguments).await,
            None => Err(no_such_method(self, method)),
        }
    }
}

/// Fields of a user found.
const FOUND_FIELDS: usize = 10;

/// Searches other users by name, as Odoo's chat window does for a new chat.
async fn im_search(app: &AppContext, caller: &Caller, account: &Account, arguments: Arguments) -> Result<MethodResult, Fault> {
    let [name, limit, excluded] = arguments.bind("im_search", 1, ["name", "limit", "excluded_ids"])?;
    let excluded = excluded.filter(Value::is_array).unwrap_or_else(|| json!([]));
    let domain =
        json!([["name", "ilike", name.unwrap_or_default()], ["id", "!=", caller.user.0], ["partner_id", "not in", excluded],]);
    let (limit, order) = (limit.unwrap_or_else(|| 20.into()), "name, id".into());
    let search = records::RecordSearch::parse(PersonModel::User, Some(domain), None, Some(limit), Some(order))?;
    let found = records::select(app, caller, account, PersonModel::User, search, FOUND_FIELDS).await?;
    let people = found.iter().map(Contact::person).collect();
    let people = app.chat.presence(people).await.map_err(|error| error::fault(&error))?;
    let lines = found.iter().zip(people).map(|(contact, presence)| {
        let (partner, user) = (&contact.partner, contact.user.as_ref().expect("the records of users have one"));
        json!({
            "id": partner.id,
            "name": partner.name,
            "email": partner.email.as_deref().map_or(Value::from(false), Value::from),
            "active": contact.is_active(),
            "im_status": status_name(presence.status),
            "is_company": false,
            "write_date": odoo_time(user.created_at),
            "user": {"id": user.id, "isInternalUser": true},
            "type": "partner",
        })
    });
    records::list(account, lines).await
}
