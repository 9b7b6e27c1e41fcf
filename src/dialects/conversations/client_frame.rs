//! Parser of client frames: the action and its fields.

use std::collections::HashMap;

use poem_openapi::types::ParseFromJSON;
use serde_json::value::RawValue;
use storage::{MessageId, Page};

use super::local_id::{LocalId, is_number};
use crate::{
    dialects::NO_MEMORY,
    shares::NoShare,
    web::{
        body::{self, JsonError},
        lenient::{Int, Lenient, Text},
    },
};

/// Default page size of `fetch_messages`, followed by its maximum.
const DEFAULT_PAGE: usize = 20;
const MAX_PAGE: i64 = 100;

/// One client frame. Fields are parsed separately, so that an invalid field does not hide the others.
pub(super) struct ClientFrame<'a>(HashMap<String, &'a RawValue>);

/// Validation error, as a sentence.
pub(super) type InvalidFrame = String;

/// Action requested by a frame.
#[derive(Debug, PartialEq)]
pub(super) enum ClientAction {
    Send {
        content: String,
        /// Client key derived from `local_id`, for idempotent retries.
        client_key: Option<String>,
    },
    Typing(bool),
    Read(Vec<MessageId>),
    Fetch(Page),
    Edit {
        message: MessageId,
        content: String,
    },
    Delete(MessageId),
    React {
        message: MessageId,
        content: String,
        remove: bool,
    },
    /// Heartbeat of the client. It has no effect: any frame proves that the connection is alive.
    Heartbeat,
}

pub(super) const SEND: &str = "send_message";

impl<'a> ClientFrame<'a> {
    pub(super) fn read(text: &'a str) -> Result<Self, InvalidFrame> {
        serde_json::from_str(text).map(Self).map_err(|_| unparsed(JsonError::NotJson))
    }

    /// The fields that the answer to a frame repeats, of one whose tree has no memory: only texts and numbers, if any.
    pub(super) fn without_tree(text: &'a str) -> Self {
        const REPEATED: [&str; 3] = ["action", "conversation_id", "local_id"];
        let fields = REPEATED.into_iter().zip(body::members(text, REPEATED));
        let scalar = |value: &&RawValue| !value.get().starts_with(['[', '{']);
        Self(fields.filter_map(|(name, value)| Some((name.to_owned(), value.filter(scalar)?))).collect())
    }

    /// Name of the action, if any.
    pub(super) fn name(&self) -> Option<String> {
        self.text("action").ok().flatten()
    }

    /// The client's own id of the message (`local_id`), if any.
    pub(super) fn local_id(&self) -> Result<Option<LocalId<'a>>, InvalidFrame> {
        let Some(raw) = self.0.get("local_id") else { return Ok(None) };
        LocalId::read(raw).map_err(|wrong| format!("local_id {wrong}"))
    }

    /// Value of `conversation_id`, if any.
    pub(super) fn conversation(&self) -> Result<Option<String>, InvalidFrame> {
        self.text("conversation_id")
    }

    pub(super) fn action(&self) -> Result<ClientAction, InvalidFrame> {
        let name = self.text("action")?.ok_or("action is missing")?;
        Ok(match name.as_str() {
            SEND => ClientAction::Send { content: self.content()?, client_key: self.local_id()?.map(|id| id.key()) },
            "typing" => ClientAction::Typing(self.flag("is_typing")?),
            "read" => ClientAction::Read(self.messages("message_ids")?),
            "fetch_messages" => ClientAction::Fetch(self.page()?),
            "edit_message" => ClientAction::Edit { message: self.message("message_id")?, content: self.content()? },
            "reaction" => {
                let is_missing = self.0.get("remove").is_none_or(|remove| remove.get() == "null");
                let remove = !is_missing && self.flag("remove")?;
                ClientAction::React { message: self.message("message_id")?, content: self.content()?, remove }
            }
            "delete_message" => ClientAction::Delete(self.message("message_id")?),
            "heartbeat" | "heartbeat_ack" => ClientAction::Heartbeat,
            _ => return Err("There is no such action".into()),
        })
    }

    fn page(&self) -> Result<Page, InvalidFrame> {
        let limit = match self.field::<Int>("limit")?.value("limit")? {
            None => DEFAULT_PAGE,
            Some(limit @ 1..) => usize::try_from(limit.min(MAX_PAGE)).expect("it is between 1 and 100"),
            Some(_) => return Err("limit must be greater than 0".into()),
        };
        let [before, after] = ["before_id", "after_id"].map(|name| self.field::<Int>(name)?.value(name));
        match (before?, after?) {
            (None, None) => Ok(Page::latest(limit)),
            (Some(id), None) => Ok(Page::Before { id: MessageId(id), limit }),
            (None, Some(id)) => Ok(Page::After { id: MessageId(id), limit }),
            (Some(_), Some(_)) => Err("before_id and after_id cannot both be given".into()),
        }
    }

    fn content(&self) -> Result<String, InvalidFrame> {
        Ok(self.text("content")?.unwrap_or_default())
    }

    /// Text field. A number is taken with its digits as written.
    fn text(&self, name: &str) -> Result<Option<String>, InvalidFrame> {
        if let Some(number) = self.0.get(name).filter(|value| is_number(value)) {
            return Ok(Some(number.get().to_owned()));
        }
        self.field::<Text>(name)?.value(name)
    }

    fn message(&self, name: &str) -> Result<MessageId, InvalidFrame> {
        self.field::<Int>(name)?.value(name)?.map(MessageId).ok_or_else(|| format!("{name} is missing"))
    }

    fn messages(&self, name: &str) -> Result<Vec<MessageId>, InvalidFrame> {
        let list = || format!("{name} must be a list of whole numbers");
        let given = self.0.get(name).map_or("null", |value| value.get());
        if !given.starts_with('[') {
            return match parse_int(given) {
                Lenient::Present(id) => Ok(vec![MessageId(id)]),
                Lenient::Missing => Err(format!("{name} is missing")),
                Lenient::WrongType(_) => Err(list()),
            };
        }
        // Parsed one by one, and invalid ids are skipped, just as unknown ones are.
        let items: Vec<&RawValue> = serde_json::from_str(given).map_err(|_| list())?;
        let ids: Vec<_> = items.iter().filter_map(|item| parse_int(item.get()).value(name).ok()?.map(MessageId)).collect();
        match ids.is_empty() {
            false => Ok(ids),
            true if items.is_empty() => Err(format!("{name} must not be empty")),
            true => Err(list()),
        }
    }

    fn flag(&self, name: &str) -> Result<bool, InvalidFrame> {
        let value = self.0.get(name).and_then(|value| serde_json::from_str(value.get()).ok());
        value.ok_or_else(|| format!("{name} must be true or false"))
    }

    fn field<T: ParseFromJSON + Default>(&self, name: &str) -> Result<T, InvalidFrame> {
        let Some(value) = self.0.get(name) else { return Ok(T::default()) };
        // A lone surrogate, a number out of range, or nesting that is too deep.
        let value = serde_json::from_str(value.get()).map_err(|_| format!("{name} cannot be read"))?;
        T::parse_from_json(Some(value)).map_err(|_| format!("{name} cannot be read"))
    }
}

/// Message for a frame that is not parsed.
pub(super) fn unparsed(why: JsonError) -> InvalidFrame {
    let message = match why {
        JsonError::NotJson => "A frame must be a JSON object",
        JsonError::TooLarge => "The frame holds too many values",
        JsonError::NoShare(NoShare::Memory) => NO_MEMORY,
        JsonError::NoShare(NoShare::Requests) => "Too many requests at once",
    };
    message.into()
}

fn parse_int(json: &str) -> Int {
    let value = serde_json::from_str(json).ok();
    value.and_then(|value| Int::parse_from_json(Some(value)).ok()).unwrap_or(Lenient::WrongType("a whole number"))
}

trait LenientField<T> {
    fn value(self, name: &str) -> Result<Option<T>, InvalidFrame>;
}

impl<T> LenientField<T> for Lenient<T> {
    fn value(self, name: &str) -> Result<Option<T>, InvalidFrame> {
        match self {
            Self::Missing => Ok(None),
            Self::Present(value) => Ok(Some(value)),
            Self::WrongType(what) => Err(format!("{name} must be {what}")),
        }
    }
}
