//! Parser of requests in the style of an AWS API Gateway WebSocket: the envelope, then each parameter on demand.

use std::{borrow::Cow, collections::HashMap};

use serde::Deserialize;
use serde_json::{Value, value::RawValue};
use storage::{MessageId, Metadata};
use url::form_urlencoded;
use uuid::Uuid;

use super::{ERROR, error::ConciergeError};
use crate::{
    chat::{CallerSide, Error, ResourceKind},
    shares::Charge,
    web::{
        body::{self, JsonError},
        file_names::without_bidi_controls,
    },
};

const MAX_PAGE: u64 = 100;
const DEFAULT_PAGE: u64 = 50;
/// Maximum length of `messageUid`, in bytes. It is part of an indexed key, whose length databases limit.
const MAX_UID_BYTES: usize = 256;

/// A request whose parameters are parsed on demand.
pub(super) struct ConciergeRequest<'a> {
    /// Route as sent, query string included. It is the channel of the answer.
    pub(super) route: String,
    /// Raw parameters, because answers repeat some of them unchanged.
    body: RawMembers<'a>,
}

/// Error for a frame that is no request, with the channel of its answer.
pub(super) struct InvalidRequest {
    pub(super) channel: String,
    pub(super) failure: ConciergeError,
}

/// Page of a list.
#[derive(Clone, Copy)]
pub(super) struct Paging {
    /// Page number, from 1.
    pub(super) page: u64,
    pub(super) limit: u64,
}

impl Paging {
    /// Bounded to the range of a signed 64-bit integer.
    pub(super) fn offset(self) -> u64 {
        (self.page - 1).saturating_mul(self.limit).min(i64::MAX as u64)
    }

    pub(super) fn limit(self) -> usize {
        usize::try_from(self.limit).unwrap_or(usize::MAX)
    }
}

/// Members of an object as raw JSON. The last value of a duplicate key counts.
type RawMembers<'a> = HashMap<String, &'a RawValue>;

fn text(raw: Option<&&RawValue>) -> Option<String> {
    serde_json::from_str(raw?.get()).ok()
}

/// Route of a frame whose tree has no memory.
fn route_without_tree(frame: &str) -> Option<String> {
    let [data] = body::members(frame, ["data"]);
    let [route] = body::members(data?.get(), ["route"]);
    text(route.as_ref())
}

impl<'a> ConciergeRequest<'a> {
    /// Parses the envelope, which all requests share. Charges what is parsed from the whole frame.
    pub(super) fn read(frame: &'a str, charge: &mut Charge) -> Result<Self, InvalidRequest> {
        let no =
            |channel: &str, message| Err(InvalidRequest { channel: channel.to_owned(), failure: ConciergeError::bad(message) });
        let no_tree = |why: JsonError| InvalidRequest {
            channel: route_without_tree(frame).unwrap_or_else(|| ERROR.to_owned()),
            failure: why.into(),
        };
        body::charge_tree(frame, charge).map_err(no_tree)?;
        let not_json = |_| InvalidRequest { channel: ERROR.to_owned(), failure: JsonError::NotJson.into() };
        let envelope: RawMembers<'_> = serde_json::from_str(frame).map_err(not_json)?;
        let data = envelope.get("data").map(|data| serde_json::from_str::<Option<RawMembers<'_>>>(data.get()));
        let Ok(data) = data.transpose() else { return no(ERROR, "data must be a JSON object") };
        let data = data.flatten().unwrap_or_default();
        let Some(route) = text(data.get("route")) else { return no(ERROR, "data.route must be a text") };
        if text(envelope.get("action")).as_deref() != Some("api") {
            return no(&route, "action must be \"api\"");
        }
        let body = match data.get("body").map(|body| serde_json::from_str::<Option<RawMembers<'_>>>(body.get())) {
            None => HashMap::new(),
            Some(Ok(body)) => body.unwrap_or_default(),
            Some(Err(_)) => return no(&route, "data.body must be a JSON object"),
        };
        Ok(Self { route, body })
    }

    /// Side and action of the route.
    pub(super) fn target(&self) -> Option<(CallerSide, &str)> {
        let path = self.route.split_once('?').map_or(self.route.as_str(), |(path, _)| path);
        let (side, action) = path.split_once('/')?;
        match side {
            "client" => Some((CallerSide::Initiator, action)),
            "backend" => Some((CallerSide::Agent, action)),
            _ => None,
        }
    }

    /// Value of a parameter, unless it is null.
    pub(super) fn value(&self, name: &str) -> Option<&'a RawValue> {
        self.body.get(name).copied().filter(|value| value.get() != "null")
    }

    /// The `chatSessionId` parameter.
    pub(super) fn session(&self) -> Result<Uuid, ConciergeError> {
        let text = self.text("chatSessionId")?.ok_or(ConciergeError::bad("chatSessionId is missing"))?;
        text.parse().map_err(|_| Error::NotFound(ResourceKind::Conversation).into())
    }

    /// The `messageId` parameter, and its source text.
    pub(super) fn message(&self) -> Result<(MessageId, &'a RawValue), ConciergeError> {
        let given = self.value("messageId").ok_or(ConciergeError::bad("messageId is missing"))?;
        let id = parse_int(given).ok_or(ConciergeError::bad("messageId must be a whole number"))?;
        Ok((MessageId(id), given))
    }

    pub(super) fn flag(&self, name: &'static str) -> Result<Option<bool>, ConciergeError> {
        self.parse_param(name, "true or false")
    }

    pub(super) fn text(&self, name: &'static str) -> Result<Option<String>, ConciergeError> {
        self.parse_param(name, "a text")
    }

    fn parse_param<T: Deserialize<'a>>(&self, name: &'static str, what: &'static str) -> Result<Option<T>, ConciergeError> {
        let read = self.value(name).map(|value| serde_json::from_str(value.get())).transpose();
        read.map_err(|_| ConciergeError::bad(format!("{name} must be {what}")))
    }

    /// Metadata to store with a message, from the parameter `name`.
    pub(super) fn metadata(&self, name: &'static str) -> Result<Option<Metadata>, ConciergeError> {
        let kept = |value: &RawValue| match without_bidi_controls(value.get()) {
            Cow::Borrowed(_) => Metadata::of(value),
            Cow::Owned(json) => RawValue::from_string(json).ok().and_then(|json| Metadata::of(&json)),
        };
        let kept = |value| kept(value).ok_or_else(|| ConciergeError::bad(format!("{name} holds a text without characters")));
        self.value(name).map(kept).transpose()
    }

    /// Client key of a message (`metadata.messageUid`), for idempotent retries.
    pub(super) fn message_uid(metadata: Option<&Metadata>) -> Result<Option<String>, ConciergeError> {
        let Some(given) = metadata.and_then(|metadata| metadata.member("messageUid")).map(RawValue::get) else {
            return Ok(None);
        };
        let uid = match given {
            "null" => return Ok(None),
            number if number.starts_with(|first: char| first == '-' || first.is_ascii_digit()) => number.to_owned(),
            text => serde_json::from_str(text).map_err(|_| ConciergeError::bad("metadata.messageUid must be a text"))?,
        };
        if uid.len() > MAX_UID_BYTES {
            return Err(ConciergeError::bad(format!("metadata.messageUid must not be longer than {MAX_UID_BYTES} bytes")));
        }
        Ok(Some(uid).filter(|uid| !uid.is_empty()))
    }

    /// Page parameters, from the route's query string, else from the body.
    pub(super) fn paging(&self) -> Result<Paging, ConciergeError> {
        let page = self.count("page")?.unwrap_or(1);
        let limit = self.count("limit")?.unwrap_or(DEFAULT_PAGE).min(MAX_PAGE);
        Ok(Paging { page, limit })
    }

    fn count(&self, name: &'static str) -> Result<Option<u64>, ConciergeError> {
        let query = self.route.split_once('?').map_or("", |(_, query)| query);
        let in_query = form_urlencoded::parse(query.as_bytes()).find(|(given, _)| given == name);
        let given = match (in_query, self.value(name)) {
            (Some((_, text)), _) => number(&text),
            (None, Some(value)) => parse_int(value),
            (None, None) => return Ok(None),
        };
        let positive = given.and_then(|number| u64::try_from(number).ok()).filter(|number| *number > 0);
        positive.map(Some).ok_or_else(|| ConciergeError::bad(format!("{name} must be a whole number greater than 0")))
    }
}

/// An integer, as a number or a string. A number beyond 64 bits saturates: no valid value lies there.
fn parse_int(value: &RawValue) -> Option<i64> {
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
