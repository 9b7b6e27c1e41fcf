//! Client message ids (`local_id`), returned exactly as sent: strings, or numbers with every digit.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Serialize, Serializer};
use serde_json::value::RawValue;

/// Prefix of a client key that holds JSON. All other keys are plain text, as in other dialects.
const JSON: char = '=';

/// A client's own id of a message.
#[derive(Clone, Debug)]
pub(super) enum LocalId<'a> {
    Text(Cow<'a, str>),
    /// JSON source text, unchanged.
    Json(&'a RawValue),
}

impl<'a> LocalId<'a> {
    /// Parses the field. `None` if the value counts as missing; an error if it is neither a string nor a number.
    pub(super) fn read(raw: &'a RawValue) -> Result<Option<Self>, &'static str> {
        if is_number(raw) {
            return Ok(Some(Self::Json(raw)));
        }
        match raw.get() {
            "null" | "false" => Ok(None),
            text if !text.starts_with('"') => Err("must be a text"),
            text => match serde_json::from_str::<String>(text) {
                Ok(text) if text.is_empty() => Ok(None),
                Ok(text) => Ok(Some(Self::Text(text.into()))),
                Err(_) => Err("cannot be read"),
            },
        }
    }

    /// Client key under which the message is stored. The encoding is injective.
    pub(super) fn key(&self) -> String {
        match self {
            Self::Text(text) if text.starts_with(JSON) => {
                format!("{JSON}{}", serde_json::to_string(text).expect("a text can be written"))
            }
            Self::Text(text) => text.as_ref().to_owned(),
            Self::Json(raw) => format!("{JSON}{raw}"),
        }
    }

    /// Inverse of [`LocalId::key`]. Accepts keys of other dialects.
    pub(super) fn of_key(key: &'a str) -> Self {
        let json = key.strip_prefix(JSON).and_then(|json| serde_json::from_str::<&RawValue>(json).ok());
        let own = json.filter(|json| is_number(json) || json.get().starts_with('"'));
        own.map_or(Self::Text(key.into()), Self::Json)
    }
}

impl Serialize for LocalId<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Text(text) => text.serialize(serializer),
            Self::Json(raw) => raw.serialize(serializer),
        }
    }
}

impl JsonSchema for LocalId<'_> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "LocalId".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        schemars::json_schema!({"type": ["string", "number"]})
    }
}

/// True if a value is a number of any size.
pub(super) fn is_number(raw: &RawValue) -> bool {
    raw.get().starts_with(|first: char| first == '-' || first.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_comes_back_as_the_json_that_it_was() {
        let mut keys = Vec::new();
        for (json, key) in [
            (r#""temp_123""#, "temp_123"),
            (r#""7""#, "7"),
            ("7", "=7"),
            ("7.0", "=7.0"),
            ("-0", "=-0"),
            ("123456789012345678901234567890", "=123456789012345678901234567890"),
            ("1e999", "=1e999"),
            (r#""=7""#, r#"="=7""#),
            (r#""=\"=7\"""#, r#"="=\"=7\"""#),
            (r#""=""#, r#"="=""#),
        ] {
            let raw = serde_json::from_str(json).expect("it is JSON");
            let id = LocalId::read(raw).expect("it is an id").expect("it is there");
            assert_eq!(id.key(), key);
            assert_eq!(serde_json::to_string(&LocalId::of_key(key)).expect("it can be written"), json);
            keys.push(key);
        }
        keys.sort_unstable();
        assert!(keys.windows(2).all(|pair| pair[0] != pair[1]));
    }

    #[test]
    fn keys_of_others_are_texts() {
        for key in ["=", "=x", "=7x", "==7", "={}", "=true", "7"] {
            assert_eq!(serde_json::to_string(&LocalId::of_key(key)).expect("it can be written"), format!("{key:?}"));
        }
    }

    #[test]
    fn other_values_are_no_ids() {
        for (json, read) in [
            ("null", Ok(true)),
            ("false", Ok(true)),
            (r#""""#, Ok(true)),
            ("true", Err("must be a text")),
            ("[]", Err("must be a text")),
            ("{}", Err("must be a text")),
            (r#""\ud800""#, Err("cannot be read")),
        ] {
            let raw = serde_json::from_str(json).expect("it is JSON");
            assert_eq!(LocalId::read(raw).map(|id| id.is_none()), read, "{json}");
        }
    }
}
