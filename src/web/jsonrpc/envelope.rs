//! Parser of the JSON-RPC envelope. `params` stay unparsed until the handler needs them.

use std::{
    borrow::Cow,
    fmt,
    ops::Range,
    sync::{Arc, OnceLock},
};

use poem_openapi::types::ParseFromJSON;
use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, Visitor},
};
use serde_json::{Value, value::RawValue};

use super::{CallFailure, Fault};
use crate::{
    shares::Charge,
    web::body::{self, JsonError},
};

/// The `id` of a call, returned byte for byte.
pub type Id = Option<Box<RawValue>>;

/// Slot for the call's id, used by error responses from outside the handler.
#[derive(Clone, Default)]
pub struct IdSlot(Arc<OnceLock<Id>>);

impl IdSlot {
    /// Id of the call, if it was read already.
    pub fn get(&self) -> Option<&RawValue> {
        self.0.get().and_then(Option::as_deref)
    }

    /// Reads the id from a body that no extractor has read. A body that is no call has none.
    pub fn read(&self, body: &[u8]) {
        if let Ok(RawEnvelope { id, .. }) = RawEnvelope::of(&String::from_utf8_lossy(body)) {
            self.keep(id.map(RawValue::to_owned));
        }
    }

    pub(super) fn keep(&self, id: Id) {
        // Fails only if it is set already. A request has one body and one id.
        let _ = self.0.set(id);
    }
}

/// Members of a call that have a meaning. The last value of a duplicate key counts.
pub(super) struct Envelope {
    pub(super) id: Id,
    pub(super) params: Params,
}

impl Envelope {
    pub(super) fn parse(body: Vec<u8>, charge: Charge) -> Result<Self, &'static str> {
        // Like Odoo, with replacement characters for invalid UTF-8.
        let text = String::from_utf8(body).unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned());
        let RawEnvelope { id, params } = RawEnvelope::of(&text)?;
        let (id, place) = (id.map(RawValue::to_owned), params.map(|params| byte_range(&text, params.get())));
        Ok(Self { id, params: Params { text, place, charge } })
    }
}

/// Byte range of `part` in the text that it was borrowed from.
fn byte_range(text: &str, part: &str) -> Range<usize> {
    let start = part.as_ptr().addr() - text.as_ptr().addr();
    start..start + part.len()
}

/// Unparsed `params` of a call.
pub(super) struct Params {
    /// Text of the whole call.
    text: String,
    place: Option<Range<usize>>,
    charge: Charge,
}

impl Params {
    /// Parses the parameters. Returns the memory charge for them.
    pub(super) fn read<P: ParseFromJSON>(self) -> Result<(P, Charge), CallFailure> {
        let Self { text, place, mut charge } = self;
        let object = match place {
            // Missing `params` and `[]` count as `{}`.
            None => Value::Object(serde_json::Map::new()),
            Some(place) => match body::parse_json(&text[place], &mut charge) {
                Ok(value) => object(value)?,
                Err(JsonError::NotJson) => return Err(unreadable().into()),
                Err(JsonError::TooLarge) => return Err(Fault::new("builtins.ValueError", "params hold too many values").into()),
                Err(JsonError::NoShare(why)) => return Err(Fault::refused(why).into()),
            },
        };
        drop(text);
        // The error texts of poem-openapi name our types and repeat the input.
        let parsed =
            P::parse_from_json(Some(object)).map_err(|_| Fault::type_error("an argument is not of the expected type"))?;
        Ok((parsed, charge))
    }
}

/// Error for valid JSON that cannot be represented: a lone surrogate, or excessive nesting.
fn unreadable() -> Fault {
    Fault::new("builtins.ValueError", "params hold what cannot be read")
}

/// Converts `params` to an object. Any other type fails with Python's message.
fn object(params: Value) -> Result<Value, Fault> {
    match params {
        params @ Value::Object(_) => Ok(params),
        Value::Array(items) if items.is_empty() => Ok(Value::Object(serde_json::Map::new())),
        Value::Array(_) => Err(Fault::type_error("cannot convert dictionary update sequence element #0 to a sequence")),
        Value::Null => Err(Fault::type_error("'NoneType' object is not iterable")),
        Value::Bool(_) => Err(Fault::type_error("'bool' object is not iterable")),
        Value::String(_) => Err(Fault::type_error("'str' object cannot be converted to a dictionary")),
        Value::Number(number) if number.is_f64() => Err(Fault::type_error("'float' object is not iterable")),
        Value::Number(_) => Err(Fault::type_error("'int' object is not iterable")),
    }
}

/// Raw members of a call.
#[derive(Default)]
struct RawEnvelope<'a> {
    id: Option<&'a RawValue>,
    params: Option<&'a RawValue>,
}

impl<'a> RawEnvelope<'a> {
    fn of(text: &'a str) -> Result<Self, &'static str> {
        match serde_json::from_str(text) {
            Ok(members) => Ok(members),
            Err(_) if serde_json::from_str::<&RawValue>(text).is_ok() => Err("Invalid JSON-RPC data"),
            Err(_) => Err("Invalid JSON data"),
        }
    }
}

impl<'de> Deserialize<'de> for RawEnvelope<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct EnvelopeVisitor;

        impl<'de> Visitor<'de> for EnvelopeVisitor {
            type Value = RawEnvelope<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<RawEnvelope<'de>, A::Error> {
                let mut members = RawEnvelope::default();
                while let Some(key) = map.next_key::<Cow<'de, str>>()? {
                    match key.as_ref() {
                        "id" => members.id = Some(map.next_value()?),
                        "params" => members.params = Some(map.next_value()?),
                        _ => drop(map.next_value::<serde::de::IgnoredAny>()?),
                    }
                }
                Ok(members)
            }
        }

        deserializer.deserialize_map(EnvelopeVisitor)
    }
}
