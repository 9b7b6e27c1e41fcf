//! Address book of the chat extension, and the contact list.

use std::cmp::Reverse;

use poem::Request;
use poem_openapi::{Object, OpenApi, types::Example};
use serde_json::{Value, json};
use storage::{PartnerId, Role, UserId, fold};

use super::{
    Tag,
    content::MessageKind,
    error::fault,
    params::{limit, optional},
    view,
    wire::{Contact, Outcome, User, im_status},
};
use crate::{
    chat::{LISTED_PEOPLE, ListContent, PersonPresence, people_bytes},
    events::PresenceState,
    web::{
        AppContext, body,
        jsonrpc::{Call, CallFailure, Fault, NoJsonRpcParams, Reply},
        lenient::{Int, Lenient, Text},
        odoo_time,
        session::Session,
    },
};

const NOT_VALID: &str = "input parameters are not valid";

pub(super) struct AddressBookApi(pub(super) AppContext);

#[OpenApi(prefix_path = "/im_chat/api", tag = "Tag::ImChat")]
impl AddressBookApi {
    /// Lists the active users that are not in the caller's address book
    ///
    /// By rising id; if there are more than 10,000, the first 10,000.
    #[oai(path = "/user_chat_ab/get_all_users", method = "post", operation_id = "im_chat_get_all_users")]
    async fn others(&self, request: &Request, call: Call<NoJsonRpcParams>, session: Session) -> Reply<Vec<User>> {
        let account = body::account(request);
        call.logged_in(session, |login, _| async move {
            account.reserve(people_bytes(LISTED_PEOPLE)).await.map_err(Fault::refused)?;
            Ok(view::users(&self.0, self.0.chat.users_not_in_address_book(&login).await.map_err(fault)?).await?)
        })
        .await
    }

    /// Lists the caller's address book
    ///
    /// By rising id. More than 100 users count as a search for each started 1,000.
    #[oai(path = "/user_chat_ab/get_users_from_book", method = "post", operation_id = "im_chat_get_users_from_book")]
    async fn list(&self, request: &Request, call: Call<NoJsonRpcParams>, session: Session) -> Reply<Vec<User>> {
        let account = body::account(request);
        call.logged_in(session, |login, _| async move {
            let book = self.0.chat.admit_address_book(&login).await.map_err(fault)?;
            account.reserve(people_bytes(book.len())).await.map_err(Fault::refused)?;
            Ok(view::users(&self.0, self.0.chat.address_book(&book).await.map_err(fault)?).await?)
        })
        .await
    }

    /// Adds users to the caller's address book
    ///
    /// An address book has at most 10,000 users.
    #[oai(path = "/user_chat_ab/add_users", method = "post", operation_id = "im_chat_add_users")]
    async fn add(&self, call: Call<UserIds>, session: Session) -> Reply<Outcome> {
        call.logged_in(session, |login, params| async move {
            let Some(users) = params.users() else { return Ok(Outcome::error("user_ids is not list")) };
            self.0.chat.add_to_address_book(&login, login.user, &users).await.map_err(fault)?;
            Ok(Outcome::success())
        })
        .await
    }

    /// Removes users from the caller's address book
    #[oai(path = "/user_chat_ab/remove_users", method = "post", operation_id = "im_chat_remove_users")]
    async fn remove(&self, call: Call<UserIds>, session: Session) -> Reply<Outcome> {
        call.logged_in(session, |login, params| async move {
            let Some(users) = params.users() else { return Ok(Outcome::error("user_ids is not list")) };
            self.0.chat.remove_from_address_book(&login, &users).await.map_err(fault)?;
            Ok(Outcome::success())
        })
        .await
    }

    /// Adds a partner to a partner's address book
    ///
    /// To the caller's own address book; administrators may change any address book.
    #[oai(path = "/user_chat_ab/add_partner", method = "post", operation_id = "im_chat_add_partner")]
    async fn add_partner(&self, call: Call<AddressBookPartners>, session: Session) -> Reply<Outcome> {
        call.logged_in(session, |login, params| async move {
            let (Lenient::Present(parent), Lenient::Present(child)) = (params.parent_partner_id, params.child_partner_id) else {
                return Ok(Outcome::error(NOT_VALID));
            };
            let (parent, child) = (PartnerId(parent), PartnerId(child));
            if parent != login.partner && login.role != Role::Admin {
                return Ok(Outcome::error(NOT_VALID));
            }
            let contacts = self.0.chat.contacts_by_id(&[parent, child]).await.map_err(fault)?;
            let user_of = |partner: PartnerId| {
                contacts.iter().find(|contact| contact.partner.id == partner).and_then(|contact| contact.user.as_ref())
            };
            let (Some(owner), Some(child)) = (user_of(parent), user_of(child)) else {
                return Ok(Outcome::error(NOT_VALID));
            };
            match self.0.chat.add_to_address_book(&login, owner.id, &[child.id]).await.map_err(fault)? {
                0 => Ok(Outcome::error(NOT_VALID)),
                _ => Ok(Outcome::success()),
            }
        })
        .await
    }

    /// Lists the caller's contacts
    ///
    /// Users in the address book and users who share a session with the caller, filtered by `name`. Of a session with more than 100
    /// users the first 100 count, and fewer if the caller has many sessions. Sorted by status (online, away, offline), then by the
    /// newest message.
    #[oai(path = "/init", method = "post", operation_id = "im_chat_contacts")]
    async fn contacts(&self, request: &Request, call: Call<ContactFilter>, session: Session) -> Reply<Vec<Contact>> {
        let account = body::account(request);
        call.logged_in(session, |login, params| async move {
            let name = optional(params.name, "name")?.unwrap_or_default();
            let name = fold(&name);
            let limit = limit(params.limit, LISTED_PEOPLE, LISTED_PEOPLE)?;
            let book = self.0.chat.admit_address_book(&login).await.map_err(fault)?;
            let list = self.0.chat.list_bytes(&login, ListContent::LastMessages).await.map_err(fault)?;
            account.reserve(people_bytes(book.len()) + list).await.map_err(Fault::refused)?;
            let mut known = Vec::new();
            for acquaintance in self.0.chat.acquaintances(&login, book).await.map_err(fault)? {
                if fold(&acquaintance.user.partner.name).contains(&name) {
                    known.push(acquaintance);
                }
                tokio::task::consume_budget().await;
            }
            let people = known.iter().map(|known| known.user.person()).collect();
            let presence = self.0.chat.presence(people).await.map_err(fault)?;
            let mut ranked: Vec<_> = known.into_iter().zip(presence).collect();
            ranked.sort_by_key(|(known, PersonPresence { status, .. })| {
                let newest = known.last_message.as_ref().map(|message| message.id);
                (rank(*status), Reverse(newest), known.user.id)
            });
            let contacts = ranked.into_iter().take(limit).map(|(known, presence)| Contact {
                last_message: known.last_message.map_or(Value::Bool(false), |message| {
                    let (kind, at) = (MessageKind::of(&message).as_str(), odoo_time(message.created_at));
                    json!({"type": kind, "create_date": at, "id": message.id})
                }),
                im_status: im_status(presence.status).into(),
                id: known.user.id.0,
                name: known.user.partner.name,
                email: known.user.partner.email.map_or(Value::Bool(false), Value::from),
                partner_id: known.user.partner.id.0,
            });
            Ok::<_, CallFailure>(contacts.collect())
        })
        .await
    }
}

/// Sort key of a status: online before away before offline.
pub(super) fn rank(status: PresenceState) -> u8 {
    match status {
        PresenceState::Online => 0,
        PresenceState::Away => 1,
        PresenceState::Offline => 2,
    }
}

/// A list of users.
#[derive(Object)]
#[oai(rename = "ImChatUserIds", example)]
struct UserIds {
    /// A list of uids; unknown uids are ignored.
    user_ids: Option<Value>,
}

impl UserIds {
    /// Parses `user_ids`; `None` unless it is a list of whole numbers.
    fn users(self) -> Option<Vec<UserId>> {
        let Some(Value::Array(ids)) = self.user_ids else { return None };
        ids.iter().map(|id| id.as_i64().or_else(|| id.as_str()?.trim().parse().ok()).map(UserId)).collect()
    }
}

impl Example for UserIds {
    fn example() -> Self {
        Self { user_ids: Some(json!([4, 6])) }
    }
}

/// The owner of an address book and the partner to add.
#[derive(Object)]
#[oai(rename = "ImChatPartners", example)]
struct AddressBookPartners {
    parent_partner_id: Int,
    child_partner_id: Int,
}

impl Example for AddressBookPartners {
    fn example() -> Self {
        Self { parent_partner_id: Lenient::Present(3), child_partner_id: Lenient::Present(5) }
    }
}

/// A filter for contacts.
#[derive(Object)]
#[oai(rename = "ImChatContactFilter", example)]
struct ContactFilter {
    /// A substring of the contacts' names; all contacts if it is missing.
    name: Text,
    limit: Int,
}

impl Example for ContactFilter {
    fn example() -> Self {
        Self { name: Lenient::Present("jo".into()), limit: Lenient::Present(20) }
    }
}
