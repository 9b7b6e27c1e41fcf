use std::{borrow::Cow, collections::HashMap};

use serde::Deserialize;
use serde_json::{Value, value::RawValue};
use storage::{MessageId, Metadata};
use url::form_urlencoded;
use uuid::Uuid;

use super::{ERROR, error::Failure};
use crate::{
    chat::{Error, Side, Thing},
    dialects::file_names::without_bidi_controls,
};

const MOST_PER_PAGE: u64 = 100;
const USUAL_PER_PAGE: u64 = 50;
/// How long a mark for retries may be. It is part of a key, which a store can only find while it is short.
const LONGEST_UID: usize = 256;

/// One request, with its parameters still to be read.
pub(super) struct Request<'a> {
    /// As it was sent, query string included: that is where it is answered.
    pub(super) route: String,
    /// Some go back as they were written.
    body: Members<'a>,
}

/// Why a frame is no request, and where that is said.
pub(super) struct NoRequest {
    pub(super) channel: String,
    pub(super) failure: Failure,
}

/// Which part of a list is wanted.
#[derive(Clone, Copy)]
pub(super) struct Paging {
    /// From 1 on.
    pub(super) page: u64,
    pub(super) limit: u64,
}

impl Paging {
    /// No larger than what clients can count.
    pub(super) fn offset(self) -> u64 {
        (self.page - 1).saturating_mul(self.limit).min(i64::MAX as u64)
    }

    pub(super) fn limit(self) -> usize {
        usize::try_from(self.limit).unwrap_or(usize::MAX)
    }
}

/// The members of an object, each as it was written. Of several with the same name it is the last.
type Members<'a> = HashMap<String, &'a RawValue>;

fn text(raw: Option<&&RawValue>) -> Option<String> {
    serde_json::from_str(raw?.get()).ok()
}

impl<'a> Request<'a> {
    /// Reads a frame as far as every request is the same.
    pub(super) fn read(frame: &'a str) -> Result<Self, NoRequest> {
        let no = |channel: &str, message| Err(NoRequest { channel: channel.to_owned(), failure: Failure::bad(message) });
        let Ok(envelope) = serde_json::from_str::<Members<'_>>(frame) else {
            return no(ERROR, "A frame must be a JSON object with action and data");
        };
        let data = envelope.get("data").map(|data| serde_json::from_str::<Option<Members<'_>>>(data.get()));
        let Ok(data) = data.transpose() else { return no(ERROR, "data must be a JSON object") };
        let data = data.flatten().unwrap_or_default();
        let Some(route) = text(data.get("route")) else { return no(ERROR, "data.route must be a text") };
        if text(envelope.get("action")).as_deref() != Some("api") {
            return no(&route, "action must be \"api\"");
        }
        let body = match data.get("body").map(|body| serde_json::from_str::<Option<Members<'_>>>(body.get())) {
            None => HashMap::new(),
            Some(Ok(body)) => body.unwrap_or_default(),
            Some(Err(_)) => return no(&route, "data.body must be a JSON object"),
        };
        Ok(Self { route, body })
    }

    /// As whom something is asked for, and what.
    pub(super) fn target(&self) -> Option<(Side, &str)> {
        let path = self.route.split_once('?').map_or(self.route.as_str(), |(path, _)| path);
        let (side, action) = path.split_once('/')?;
        match side {
            "client" => Some((Side::Initiator, action)),
            "backend" => Some((Side::Agent, action)),
            _ => None,
        }
    }

    /// A parameter that is there.
    pub(super) fn value(&self, name: &str) -> Option<&'a RawValue> {
        self.body.get(name).copied().filter(|value| value.get() != "null")
    }

    /// The session that is meant.
    pub(super) fn session(&self) -> Result<Uuid, Failure> {
        let text = self.text("chatSessionId")?.ok_or(Failure::bad("chatSessionId is missing"))?;
        text.parse().map_err(|_| Error::NotFound(Thing::Conversation).into())
    }

    /// The message that is meant, and how it was said.
    pub(super) fn message(&self) -> Result<(MessageId, &'a RawValue), Failure> {
        let given = self.value("messageId").ok_or(Failure::bad("messageId is missing"))?;
        let id = whole(given).ok_or(Failure::bad("messageId must be a whole number"))?;
        Ok((MessageId(id), given))
    }

    pub(super) fn flag(&self, name: &'static str) -> Result<Option<bool>, Failure> {
        self.given(name, "true or false")
    }

    pub(super) fn text(&self, name: &'static str) -> Result<Option<String>, Failure> {
        self.given(name, "a text")
    }

    fn given<T: Deserialize<'a>>(&self, name: &'static str, what: &'static str) -> Result<Option<T>, Failure> {
        let read = self.value(name).map(|value| serde_json::from_str(value.get())).transpose();
        read.map_err(|_| Failure::bad(format!("{name} must be {what}")))
    }

    /// What is to be kept with a message, under the name that it goes by.
    pub(super) fn metadata(&self, name: &'static str) -> Result<Option<Metadata>, Failure> {
        let kept = |value: &RawValue| match without_bidi_controls(value.get()) {
            Cow::Borrowed(_) => Metadata::of(value),
            Cow::Owned(json) => RawValue::from_string(json).ok().and_then(|json| Metadata::of(&json)),
        };
        let kept = |value| kept(value).ok_or_else(|| Failure::bad(format!("{name} holds a text without characters")));
        self.value(name).map(kept).transpose()
    }

    /// What marks a message so that a retry can be told from a new one.
    pub(super) fn message_uid(metadata: Option<&Metadata>) -> Result<Option<String>, Failure> {
        let Some(given) = metadata.and_then(|metadata| metadata.member("messageUid")).map(RawValue::get) else {
            return Ok(None);
        };
        let uid = match given {
            "null" => return Ok(None),
            number if number.starts_with(|first: char| first == '-' || first.is_ascii_digit()) => number.to_owned(),
            text => serde_json::from_str(text).map_err(|_| Failure::bad("metadata.messageUid must be a text"))?,
        };
        if uid.len() > LONGEST_UID {
            return Err(Failure::bad(format!("metadata.messageUid must not be longer than {LONGEST_UID} bytes")));
        }
        Ok(Some(uid).filter(|uid| !uid.is_empty()))
    }

    /// From the route's query string, or else from the body.
    pub(super) fn paging(&self) -> Result<Paging, Failure> {
        let page = self.count("page")?.unwrap_or(1);
        let limit = self.count("limit")?.unwrap_or(USUAL_PER_PAGE).min(MOST_PER_PAGE);
        Ok(Paging { page, limit })
    }

    fn count(&self, name: &'static str) -> Result<Option<u64>, Failure> {
        let query = self.route.split_once('?').map_or("", |(_, query)| query);
        let in_query = form_urlencoded::parse(query.as_bytes()).find(|(given, _)| given == name);
        let given = match (in_query, self.value(name)) {
            (Some((_, text)), _) => number(&text),
            (None, Some(value)) => whole(value),
            (None, None) => return Ok(None),
        };
        let positive = given.and_then(|number| u64::try_from(number).ok()).filter(|number| *number > 0);
        positive.map(Some).ok_or_else(|| Failure::bad(format!("{name} must be a whole number greater than 0")))
    }
}

/// A whole number, as a number or as a text. Beyond 64 bits there is nothing that could be meant.
fn whole(value: &RawValue) -> Option<i64> {
    match serde_json::from_str(value.get()).ok()? {
        Value::Number(number) => match number.as_i64() {
            Some(number) => Some(number),
            None => number.as_f64().filter(|number| number.fract() == 0.0).map(|number| number as i64),
        },
        Value::String(text) => number(&text),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
    }
}

fn number(text: &str) -> Option<i64> {
    text.trim().parse().ok()
}
