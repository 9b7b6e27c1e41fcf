//! Wire types that several routes share. An Odoo tuple is an array here.

use poem_openapi::Object;
use serde::Serialize;
use serde_json::Value;
use storage::{Author, ConversationId, Document, Message as Stored, MessageId, PartnerId, Person, UserId};
use uuid::Uuid;

use super::content::{self, MessageKind};
use crate::{events::PresenceState, web::odoo_time};

/// A session as one user sees it: `state`, `status` and `is_read` are the caller's own.
#[derive(Debug, Object, Serialize)]
#[oai(rename = "ImChatSession")]
pub(super) struct Session {
    pub uuid: String,
    /// `YYYY-MM-DD HH:MM:SS`, UTC.
    pub create_date: String,
    /// `active`, `favorite` or `archive`.
    pub status: String,
    /// `open`, `folded` or `closed`.
    pub state: String,
    pub is_group: bool,
    pub is_read: bool,
    pub groups: Vec<Group>,
    pub with_documents: bool,
    /// The same as `with_documents`, under the other spelling of the clients' documentation.
    #[oai(rename = "with_documents:")]
    #[serde(rename = "with_documents:")]
    pub with_documents_misspelt: bool,
    pub docs: Vec<Doc>,
    /// The same as `docs`.
    #[oai(rename = "docs:")]
    #[serde(rename = "docs:")]
    pub docs_misspelt: Vec<Doc>,
    pub users: Vec<SessionUser>,
}

/// The group that a session belongs to.
#[derive(Clone, Debug, Object, Serialize)]
#[oai(rename = "ImChatGroup")]
pub(super) struct Group {
    pub id: i64,
    pub name: String,
}

/// A document that a session is about.
#[derive(Clone, Debug, Object, Serialize)]
#[oai(rename = "ImChatDocument")]
pub(super) struct Doc {
    pub doc_model: String,
    pub doc_id: i64,
    /// Unique among all sessions' documents.
    pub id: i64,
}

impl Doc {
    /// The session's id is the document's id: a session created by this server has at most one document.
    pub(super) fn of(session: ConversationId, document: &Document) -> Self {
        Self { doc_model: document.model.clone(), doc_id: document.id, id: session.0 }
    }
}

/// A user in a session.
#[derive(Debug, Object, Serialize)]
#[oai(rename = "ImChatSessionUser")]
pub(super) struct SessionUser {
    /// `online`, `away` or `offline`.
    pub im_status: String,
    pub id: i64,
    pub name: String,
    /// `[id, name]`
    pub partner_id: Vec<Value>,
    /// This user's newest message here: `{type, message, create_date, id}`; `false` if none.
    pub last_message: Value,
}

/// A user.
#[derive(Debug, Object, Serialize)]
#[oai(rename = "ImChatUser")]
pub(super) struct User {
    /// `online`, `away` or `offline`.
    pub im_status: String,
    pub id: i64,
    pub name: String,
}

/// A user in the caller's contact list.
#[derive(Debug, Object, Serialize)]
#[oai(rename = "ImChatContact")]
pub(super) struct Contact {
    /// The newest message between the two users: `{type, create_date, id}`; `false` if none.
    pub last_message: Value,
    /// `online`, `away` or `offline`.
    pub im_status: String,
    pub id: i64,
    pub name: String,
    /// `false` if none.
    pub email: Value,
    pub partner_id: i64,
}

/// A message of a session.
#[derive(Clone, Debug, Object, Serialize)]
#[oai(rename = "ImChatMessage")]
pub(super) struct Message {
    /// `YYYY-MM-DD HH:MM:SS`, UTC.
    pub create_date: String,
    /// `[session id, uuid]`
    pub to_id: Vec<Value>,
    /// Exactly as sent; clients escape.
    pub message: String,
    /// `message`, `meta` or `money4_chat_attach_msg`; on the bus also `typing`.
    #[oai(rename = "type")]
    #[serde(rename = "type")]
    pub kind: String,
    pub id: i64,
    /// `[uid, name]`; `false` if the author has no user.
    pub from_id: Value,
    /// `[partner id, name]`
    pub from_partner_id: Value,
}

impl Message {
    /// Message as shown to `reader`.
    pub(super) fn of(message: &Stored, uuid: Uuid, reader: PartnerId) -> Self {
        let author = &message.author;
        Self {
            create_date: odoo_time(message.created_at),
            to_id: to_id(message.conversation, uuid),
            message: content::text(message, reader),
            kind: MessageKind::of(message).as_str().into(),
            id: message.id.0,
            from_id: from_id(author),
            from_partner_id: pair(author.partner.0, &author.name),
        }
    }
}

/// A session's header as in Odoo 8, with additional fields of this server.
#[derive(Clone, Debug, Object, Serialize)]
#[oai(rename = "ImChatSessionInfo")]
pub(super) struct SessionInfo {
    pub uuid: String,
    pub users: Vec<InfoUser>,
    /// `open`, `folded` or `closed`: the caller's own.
    pub state: String,
    /// `active`, `favorite` or `archive`: the caller's own.
    pub status: String,
    pub is_read: bool,
    /// The user whose reading caused this notification, if it was caused so.
    #[oai(skip_serializing_if_is_none)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub read_by: Option<ReadBy>,
    /// The edited or deleted message that caused this notification, if it was caused so.
    #[oai(skip_serializing_if_is_none)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub changed: Option<Message>,
}

impl SessionInfo {
    /// Header for a notification that another user has read.
    pub(super) fn read_by(&self, user: UserId, last: MessageId) -> Self {
        Self { read_by: Some(ReadBy { id: user.0, message_id: last.0 }), ..self.clone() }
    }

    /// Header for a notification that a message has changed.
    pub(super) fn with_changed(&self, message: Message) -> Self {
        Self { changed: Some(message), ..self.clone() }
    }
}

/// A user's read position.
#[derive(Clone, Debug, Object, Serialize)]
#[oai(rename = "ImChatReadBy")]
pub(super) struct ReadBy {
    pub id: i64,
    /// The newest message that the user has read.
    pub message_id: i64,
}

/// A user in a session's header.
#[derive(Clone, Debug, Object, Serialize)]
#[oai(rename = "ImChatInfoUser")]
pub(super) struct InfoUser {
    pub id: i64,
    pub name: String,
    /// `online`, `away` or `offline`.
    pub im_status: String,
}

/// Status of a call. Invalid parameters are reported here and not as a JSON-RPC error.
#[derive(Debug, Object, Serialize)]
#[oai(rename = "ImChatOutcome")]
pub(super) struct Outcome {
    /// `success` or `error`.
    pub status: String,
    /// The invalid parameter.
    #[oai(skip_serializing_if_is_none)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub field: Option<String>,
    #[oai(skip_serializing_if_is_none)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

impl Outcome {
    pub(super) fn success() -> Self {
        Self { status: "success".into(), field: None, message: None }
    }

    pub(super) fn error(message: &str) -> Self {
        Self { status: "error".into(), field: None, message: Some(message.into()) }
    }

    pub(super) fn error_in(field: &str, message: &str) -> Self {
        Self { field: Some(field.into()), ..Self::error(message) }
    }
}

pub(super) fn to_id(session: ConversationId, uuid: Uuid) -> Vec<Value> {
    vec![session.0.into(), uuid.to_string().into()]
}

fn from_id(author: &Author) -> Value {
    author.user.map_or(Value::Bool(false), |user| pair(user.0, &author.name))
}

/// `[uid, name]`; `false` for a person without a user.
pub(super) fn user_of(person: &Person) -> Value {
    person.user.map_or(Value::Bool(false), |user| pair(user.0, &person.partner.name))
}

/// `[partner id, name]`
pub(super) fn partner_of(person: &Person) -> Value {
    pair(person.partner.id.0, &person.partner.name)
}

fn pair(id: i64, name: &str) -> Value {
    vec![Value::from(id), name.into()].into()
}

/// Presence status as text.
pub(super) fn im_status(status: PresenceState) -> &'static str {
    match status {
        PresenceState::Online => "online",
        PresenceState::Away => "away",
        PresenceState::Offline => "offline",
    }
}
