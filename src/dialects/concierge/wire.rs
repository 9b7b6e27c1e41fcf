//! JSON frames of the server, key for key as the published client expects them.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Serialize, Serializer};
use serde_json::{Value, value::RawValue};
use storage::{Author, Device, Message, MessageSide, MessageType, Metadata, PartnerId, Role, SupportSession, Timestamp, User};
use uuid::Uuid;

use super::request::Paging;
use crate::{
    auth::Caller,
    chat::{SentFile, SupportMessage, side_of_message, text_for},
    web::{files, websocket::Frame},
};

const TENANT: &str = "TENANT";
const BACKEND_USER: &str = "BACKEND_USER";

/// Encodes an answer, or a frame about the connection.
pub(super) fn answer(channel: &str, status: u16, body: &impl Serialize) -> Frame {
    frame(&Answer { channel, status, body })
}

#[derive(Serialize, JsonSchema)]
pub(super) struct Answer<'a, B> {
    channel: &'a str,
    status: u16,
    body: &'a B,
}

pub(super) fn frame(said: &impl Serialize) -> Frame {
    Frame::from(serde_json::to_string(said).expect("all keys are texts"))
}

#[derive(Serialize, JsonSchema)]
pub(super) struct Refusal<'a> {
    pub(super) message: &'a str,
}

/// Answer for an unknown session, which reads as a closed one.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct MissingSession<'a> {
    message: &'a str,
    chat_session: NoSession,
}

#[derive(Default, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct NoSession {
    id: (),
    org_id: (),
    /// As sent by the client.
    chat_session_id: String,
    chat_initiated_by_entity_type: (),
    chat_initiated_by_entity_id: (),
    last_pinged_by_chat_initiator: (),
    chat_joined_by_entity_type: (),
    chat_joined_by_entity_id: (),
    last_pinged_by_chat_joiner: (),
    /// Always true.
    is_session_closed: bool,
}

impl<'a> MissingSession<'a> {
    pub(super) fn new(message: &'a str, chat_session_id: String) -> Self {
        Self { message, chat_session: NoSession { chat_session_id, is_session_closed: true, ..NoSession::default() } }
    }
}

/// An integer, encoded as a number or as a string.
#[derive(Clone, Copy)]
pub(super) struct Number {
    value: i64,
    is_text: bool,
}

impl Serialize for Number {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.is_text { serializer.collect_str(&self.value) } else { serializer.serialize_i64(self.value) }
    }
}

impl JsonSchema for Number {
    fn schema_name() -> Cow<'static, str> {
        "Number".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "A text in answers, and a number in pushed events unless the settings say otherwise",
            "oneOf": [{"type": "integer"}, {"type": "string", "pattern": "^-?[0-9]+$"}],
        })
    }
}

#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct ChatSession {
    id: Number,
    org_id: Number,
    chat_session_id: Uuid,
    chat_initiated_by_entity_type: &'static str,
    chat_initiated_by_entity_id: Number,
    last_pinged_by_chat_initiator: Number,
    chat_joined_by_entity_type: Option<&'static str>,
    chat_joined_by_entity_id: Option<Number>,
    last_pinged_by_chat_joiner: Option<Number>,
    is_session_closed: bool,
}

#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct ChatMessage<'a> {
    id: Number,
    /// Only in pushed events.
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    kind: Option<u8>,
    org_id: Number,
    chat_session_id: Uuid,
    sender_entity_type: &'static str,
    sender_entity_id: Number,
    message_content: Cow<'a, str>,
    sent_at: Number,
    status: u8,
    seen_at: Option<Number>,
    delivered_at: Number,
    content_type: &'static str,
    /// As sent by the client. For a file sent without metadata, its known properties.
    #[schemars(with = "Option<Value>")]
    metadata: Option<MessageMetadata<'a>>,
    /// The same as `metadata`, for clients that misspell it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<Value>")]
    pub(super) metdata: Option<&'a Metadata>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum MessageMetadata<'a> {
    AsSent(&'a Metadata),
    OfFile(FileMetadata<'a>),
}

/// File metadata that the published app sends with each file, and requires to show one.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct FileMetadata<'a> {
    file: NamedFile<'a>,
    filename: &'a str,
    mime_type: &'a str,
    /// In bytes.
    file_size: i64,
    /// In pixels; 1 if unknown, because the app divides by them.
    width: i32,
    height: i32,
}

#[derive(Serialize)]
struct NamedFile<'a> {
    name: &'a str,
}

impl<'a> FileMetadata<'a> {
    fn of(file: &'a SentFile) -> Self {
        let SentFile { name, mimetype, size_bytes, dimensions } = file;
        let (width, height) = dimensions.unwrap_or((1, 1));
        Self { file: NamedFile { name }, filename: name, mime_type: mimetype, file_size: *size_bytes, width, height }
    }
}

#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct Connection<'a> {
    id: Number,
    connection_id: &'a str,
    entity_type: &'static str,
    entity_id: Number,
    device_id: &'a str,
    expired_at: Number,
    created_at: Number,
    updated_at: Number,
    org_id: Number,
}

/// Level of detail of a tenant.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Profile {
    Short,
    Whole,
}

#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct Tenant<'a> {
    id: Number,
    email: Option<&'a str>,
    country_id: &'a Value,
    code: &'a Value,
    phone_number: Value,
    #[serde(flatten)]
    rest: Option<TenantRest<'a>>,
}

#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct TenantRest<'a> {
    resident_profile: &'a Value,
    property_owner_profile: &'a Value,
    properties: Value,
}

#[derive(Serialize, JsonSchema)]
pub(super) struct Paginate {
    per_page: u64,
    offset: u64,
    page: u64,
}

impl From<Paging> for Paginate {
    fn from(paging: Paging) -> Self {
        Self { per_page: paging.limit, offset: paging.offset(), page: paging.page }
    }
}

/// Sender or receiver in the envelope of an event.
#[derive(Clone, Copy)]
pub(super) struct Entity {
    pub(super) kind: Option<&'static str>,
    pub(super) id: Option<Number>,
}

/// Encoder of records in this dialect's JSON.
#[derive(Clone, Copy)]
pub(super) struct Encoder<'a> {
    /// Reader, for whom addresses of files are signed.
    pub(super) reader: PartnerId,
    pub(super) org_id: i64,
    /// True if ids and times are encoded as strings.
    pub(super) numbers_as_text: bool,
    /// Public URL of this server.
    pub(super) base_url: &'a str,
}

impl Encoder<'_> {
    pub(super) fn number(self, value: i64) -> Number {
        Number { value, is_text: self.numbers_as_text }
    }

    fn time(self, time: Timestamp) -> Number {
        self.number(time.timestamp_millis())
    }

    pub(super) fn session(self, session: &SupportSession) -> ChatSession {
        let SupportSession { conversation, uuid, initiator, joiner, closed_at } = *session;
        ChatSession {
            id: self.number(conversation.0),
            org_id: self.number(self.org_id),
            chat_session_id: uuid,
            chat_initiated_by_entity_type: TENANT,
            chat_initiated_by_entity_id: self.number(initiator.user.0),
            last_pinged_by_chat_initiator: self.time(initiator.pinged_at),
            chat_joined_by_entity_type: joiner.map(|_| BACKEND_USER),
            chat_joined_by_entity_id: joiner.map(|joiner| self.number(joiner.user.0)),
            last_pinged_by_chat_joiner: joiner.map(|joiner| self.time(joiner.pinged_at)),
            is_session_closed: closed_at.is_some(),
        }
    }

    /// Encodes a message. `file` has the properties of a file sent without metadata.
    pub(super) fn message<'a>(
        self,
        session: &SupportSession,
        message: &'a Message,
        seen: Option<Timestamp>,
        file: Option<&'a SentFile>,
    ) -> ChatMessage<'a> {
        let as_sent = message.metadata.as_ref().map(MessageMetadata::AsSent);
        let sent_at = self.time(message.created_at);
        ChatMessage {
            id: self.number(message.id.0),
            kind: None,
            org_id: self.number(self.org_id),
            chat_session_id: session.uuid,
            sender_entity_type: entity_type(side_of_message(session, message)),
            sender_entity_id: self.number(entity_id(&message.author)),
            message_content: self.content(message),
            sent_at,
            status: match (message.deleted_at, seen) {
                (Some(_), _) => 0,
                (None, Some(_)) => 4,
                (None, None) => 3,
            },
            seen_at: seen.map(|seen| self.time(seen)),
            delivered_at: sent_at,
            content_type: content_type(message),
            metadata: as_sent.or(file.map(|file| MessageMetadata::OfFile(FileMetadata::of(file)))),
            metdata: None,
        }
    }

    pub(super) fn seen<'a>(self, session: &SupportSession, seen: &'a SupportMessage) -> ChatMessage<'a> {
        self.message(session, &seen.message, seen.seen_at, seen.file.as_ref())
    }

    /// Content of a message. Files from other dialects have no field of their own: a single file without a text becomes its
    /// address, like a file of this dialect; otherwise each file follows the text in a line of its own.
    fn content(self, message: &Message) -> Cow<'_, str> {
        match message.attachments.as_slice() {
            [] => message.body.as_str().into(),
            [file] if is_file_alone(message) => files::address(file, self.reader, self.base_url).into(),
            attached => {
                let text = text_for(message, self.reader);
                let said = if text.trim().is_empty() { "" } else { &text };
                files::with_file_list(said, attached, self.reader, self.base_url).into()
            }
        }
    }

    pub(super) fn connection<'a>(self, caller: &Caller, device: &'a Device) -> Connection<'a> {
        Connection {
            id: self.number(device.id),
            connection_id: &device.connection,
            entity_type: match caller.role {
                Role::User => TENANT,
                Role::Agent | Role::Admin => BACKEND_USER,
            },
            entity_id: self.number(device.user.0),
            device_id: &device.name,
            expired_at: self.time(device.expires_at),
            created_at: self.time(device.created_at),
            updated_at: self.time(device.updated_at),
            org_id: self.number(self.org_id),
        }
    }

    pub(super) fn tenant(self, user: &User, how: Profile) -> Tenant<'_> {
        const NOTHING: Value = Value::Null;
        let of = |key: &str| user.profile.get(key).unwrap_or(&NOTHING);
        let phone = || user.partner.phone.as_deref().map_or(Value::Null, Value::from);
        Tenant {
            id: self.number(user.id.0),
            email: user.partner.email.as_deref(),
            country_id: of("countryId"),
            code: of("code"),
            phone_number: user.profile.get("phoneNumber").cloned().unwrap_or_else(phone),
            rest: (how == Profile::Whole).then(|| TenantRest {
                resident_profile: of("residentProfile"),
                property_owner_profile: of("propertyOwnerProfile"),
                properties: user.profile.get("properties").cloned().unwrap_or_else(|| Value::Array(Vec::new())),
            }),
        }
    }

    pub(super) fn tenant_entity(self, session: &SupportSession) -> Entity {
        Entity { kind: Some(TENANT), id: Some(self.number(session.initiator.user.0)) }
    }

    pub(super) fn agent_entity(self, id: Option<i64>) -> Entity {
        Entity { kind: Some(BACKEND_USER), id: id.map(|id| self.number(id)) }
    }

    /// Author and receiver of a message.
    pub(super) fn correspondents(self, session: &SupportSession, message: &Message) -> (Entity, Entity) {
        let side = side_of_message(session, message);
        let author = Entity { kind: Some(entity_type(side)), id: Some(self.number(entity_id(&message.author))) };
        match side {
            MessageSide::Initiator => (author, self.agent_entity(session.joiner.map(|joiner| joiner.user.0))),
            MessageSide::Agent => (author, self.tenant_entity(session)),
        }
    }
}

fn entity_type(side: MessageSide) -> &'static str {
    match side {
        MessageSide::Initiator => TENANT,
        MessageSide::Agent => BACKEND_USER,
    }
}

/// Partners without an account could be participants in the first release.
fn entity_id(author: &Author) -> i64 {
    author.user.map_or(author.partner.0, |user| user.0)
}

/// True if a message consists of one file.
fn is_file_alone(message: &Message) -> bool {
    message.attachments.len() == 1 && (message.body.trim().is_empty() || names_files(message))
}

/// True if the text is a JSON description of files, as in file messages of `im_chat`.
fn names_files(message: &Message) -> bool {
    let text = message.body.trim();
    message.message_type == MessageType::File && text.starts_with('{') && serde_json::from_str::<&RawValue>(text).is_ok()
}

/// Content type of a message. Every type but `TEXT` means that the content is one address.
fn content_type(message: &Message) -> &'static str {
    match (message.message_type, message.attachments.as_slice()) {
        // A deleted message has no content.
        _ if message.deleted_at.is_some() => "TEXT",
        (MessageType::File, []) if !names_files(message) => "FILE",
        (MessageType::Image, []) => "IMAGE",
        (MessageType::Video, []) => "VIDEO",
        (_, [file]) if is_file_alone(message) => match file.mimetype.split('/').next() {
            Some("image") => "IMAGE",
            Some("video") => "VIDEO",
            _ => "FILE",
        },
        _ => "TEXT",
    }
}

impl ChatMessage<'_> {
    /// The message with the fields of pushed events.
    pub(super) fn pushed(self) -> Self {
        Self { kind: Some(kind(self.content_type)), ..self }
    }
}

/// Numeric kind of a message in the published description, which orders its three kinds like the content types.
fn kind(content_type: &str) -> u8 {
    match content_type {
        "FILE" | "VIDEO" => 2,
        "IMAGE" => 3,
        _ => 1,
    }
}
