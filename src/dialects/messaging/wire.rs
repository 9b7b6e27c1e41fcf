//! Wire types that several routes share.

use std::borrow::Cow;

use poem_openapi::{
    Enum, Object,
    registry::{MetaSchema, MetaSchemaRef},
    types::{Example, ParseError, ParseFromJSON, ParseResult, ToJSON, Type},
};
use serde::{Serialize, Serializer};
use serde_json::Value;
use storage::{Attachment, MessageForReader, MessageType, PartnerId, Person, ReactionCount, ThreadType};

use crate::{
    chat::{attachment_token, text_for},
    config::PartnerOrUser,
    web::{AppContext, files, lenient::Int, odoo_time},
};

/// A participant of a thread.
#[derive(Debug, Object, Serialize)]
#[oai(rename = "MessagingParticipant")]
pub(super) struct Participant {
    /// The user's id, or the partner's id if there is no user.
    id: i64,
    name: String,
    partner_id: i64,
    #[oai(nullable)]
    user_id: Option<i64>,
}

impl From<&Person> for Participant {
    fn from(person: &Person) -> Self {
        let name = person.partner.name.clone();
        Self { id: id_of(person), name, partner_id: person.partner.id.0, user_id: user_of(person) }
    }
}

/// A person with contact data.
#[derive(Debug, Object, Serialize)]
#[oai(rename = "MessagingContact")]
pub(super) struct Contact {
    /// The user's id, or the partner's id if there is no user.
    id: i64,
    name: String,
    partner_id: i64,
    #[oai(nullable)]
    user_id: Option<i64>,
    email: TextOrFalse,
    phone: TextOrFalse,
    mobile: TextOrFalse,
}

impl From<Person> for Contact {
    fn from(person: Person) -> Self {
        Self {
            id: id_of(&person),
            partner_id: person.partner.id.0,
            user_id: user_of(&person),
            name: person.partner.name,
            email: TextOrFalse(person.partner.email),
            phone: TextOrFalse(person.partner.phone),
            mobile: TextOrFalse(person.partner.mobile),
        }
    }
}

/// Id of a person for clients: the user's, or else the partner's.
pub(super) fn id_of(person: &Person) -> i64 {
    user_of(person).unwrap_or(person.partner.id.0)
}

pub(super) fn user_of(person: &Person) -> Option<i64> {
    person.user.map(|user| user.0)
}

/// A message of a thread.
#[derive(Debug, Object, Serialize)]
#[oai(rename = "MessagingMessage")]
pub(super) struct Message {
    id: i64,
    /// The author's partner id, or, by a setting of the server, the user id.
    author_id: i64,
    author_partner_id: i64,
    #[oai(nullable)]
    author_user_id: Option<i64>,
    author_name: String,
    /// Exactly as sent; clients escape.
    body: String,
    message_type: Kind,
    /// Of a message of the caller: true if another participant has read it. Of a message of others: true if the caller has read
    /// it.
    is_read: bool,
    /// `YYYY-MM-DD HH:MM:SS`, UTC.
    created_date: String,
    attachments: Vec<File>,
    /// In the order of first use.
    reactions: Vec<Reaction>,
    /// The message of the same thread that this one answers.
    #[oai(nullable)]
    reply_to: Option<i64>,
}

impl Message {
    /// Message as shown to `reader`.
    pub(super) fn of(
        MessageForReader { message, is_read, reactions }: MessageForReader,
        reader: PartnerId,
        app: &AppContext,
    ) -> Self {
        let (partner, user) = (message.author.partner.0, message.author.user.map(|user| user.0));
        let body = text_for(&message, reader).into_owned();
        Self {
            id: message.id.0,
            author_id: match app.config.messaging.author_id {
                PartnerOrUser::Partner => partner,
                PartnerOrUser::User => user.unwrap_or(partner),
            },
            author_partner_id: partner,
            author_user_id: user,
            author_name: message.author.name,
            body,
            message_type: message.message_type.into(),
            is_read,
            created_date: odoo_time(message.created_at),
            attachments: message.attachments.into_iter().map(|file| File::of(file, reader, app)).collect(),
            reactions: reactions.into_iter().map(Reaction::from).collect(),
            reply_to: message.reply_to.map(|id| id.0),
        }
    }

    pub(super) fn all(messages: Vec<MessageForReader>, reader: PartnerId, app: &AppContext) -> Vec<Self> {
        messages.into_iter().map(|seen| Self::of(seen, reader, app)).collect()
    }
}

/// A reaction to a message.
#[derive(Debug, Object, Serialize)]
#[oai(rename = "MessagingReaction")]
pub(super) struct Reaction {
    content: String,
    /// Number of participants with this reaction.
    count: i64,
    /// True if the caller is one of them.
    user_reacted: bool,
}

impl From<ReactionCount> for Reaction {
    fn from(ReactionCount { content, count, by_reader }: ReactionCount) -> Self {
        Self { content, count, user_reacted: by_reader }
    }
}

/// A file attached to a message.
#[derive(Debug, Object, Serialize)]
#[oai(rename = "MessagingFile")]
pub(super) struct File {
    id: i64,
    name: String,
    mimetype: String,
    file_size: i64,
    /// Address of the file's bytes. Anybody with this address may download them, as long as the caller may read the file.
    url: String,
    /// Grants access to anybody who adds it to the address as `access_token`, as long as the caller may read the file.
    access_token: String,
}

impl File {
    fn of(file: Attachment, reader: PartnerId, app: &AppContext) -> Self {
        Self {
            id: file.id.0,
            url: files::address(&file, reader, &app.base_url),
            access_token: attachment_token(&file, reader),
            name: file.name,
            mimetype: file.mimetype,
            file_size: file.size_bytes,
        }
    }
}

/// The type of a message.
#[derive(Clone, Copy, Debug, Enum, Serialize)]
#[oai(rename = "MessagingMessageType", rename_all = "snake_case")]
#[serde(rename_all = "snake_case")]
pub(super) enum Kind {
    Text,
    File,
    Image,
    Video,
    Notice,
    Profile,
}

impl From<MessageType> for Kind {
    fn from(kind: MessageType) -> Self {
        match kind {
            MessageType::Text => Self::Text,
            MessageType::File => Self::File,
            MessageType::Image => Self::Image,
            MessageType::Video => Self::Video,
            MessageType::Notice => Self::Notice,
            MessageType::Profile => Self::Profile,
        }
    }
}

/// The type of a thread.
#[derive(Clone, Copy, Debug, Enum, Serialize)]
#[oai(rename = "MessagingThreadType", rename_all = "snake_case")]
#[serde(rename_all = "snake_case")]
pub(super) enum ThreadKind {
    Chat,
    Group,
    Sms,
}

impl From<ThreadType> for ThreadKind {
    fn from(kind: ThreadType) -> Self {
        match kind {
            ThreadType::Chat => Self::Chat,
            ThreadType::Group => Self::Group,
            ThreadType::Sms => Self::Sms,
        }
    }
}

/// A thread by its id.
#[derive(Debug, Object)]
#[oai(rename = "MessagingThreadParams", example)]
pub(super) struct ThreadParams {
    pub thread_id: Int,
}

impl Example for ThreadParams {
    fn example() -> Self {
        Self { thread_id: Int::Present(1) }
    }
}

/// A text, or `false` if there is none, as in Odoo.
#[derive(Clone, Debug)]
pub(super) struct TextOrFalse(Option<String>);

impl Serialize for TextOrFalse {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match &self.0 {
            Some(text) if !text.is_empty() => serializer.serialize_str(text),
            Some(_) | None => serializer.serialize_bool(false),
        }
    }
}

impl Type for TextOrFalse {
    const IS_REQUIRED: bool = true;

    type RawElementValueType = Self;
    type RawValueType = Self;

    fn name() -> Cow<'static, str> {
        "TextOrFalse".into()
    }

    fn schema_ref() -> MetaSchemaRef {
        let inline = |schema| MetaSchemaRef::Inline(Box::new(schema));
        let no = MetaSchema { enum_items: vec![Value::Bool(false)], ..MetaSchema::new("boolean") };
        inline(MetaSchema { one_of: vec![inline(MetaSchema::new("string")), inline(no)], ..MetaSchema::ANY })
    }

    fn as_raw_value(&self) -> Option<&Self> {
        Some(self)
    }

    fn raw_element_iter<'a>(&'a self) -> Box<dyn Iterator<Item = &'a Self> + 'a> {
        Box::new(std::iter::once(self))
    }
}

impl ParseFromJSON for TextOrFalse {
    fn parse_from_json(value: Option<Value>) -> ParseResult<Self> {
        match value {
            Some(Value::String(text)) => Ok(Self(Some(text))),
            Some(Value::Bool(false)) => Ok(Self(None)),
            value => Err(ParseError::expected_type(value.unwrap_or_default())),
        }
    }
}

impl ToJSON for TextOrFalse {
    fn to_json(&self) -> Option<Value> {
        Some(self.0.clone().map_or(Value::Bool(false), Value::String))
    }
}
