//! Message metadata: JSON of a dialect, stored and returned byte for byte.

use std::{collections::HashMap, sync::Arc};

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Value, value::RawValue};

/// Metadata of a message: any JSON, kept byte for byte, with the order of its keys and all digits of its numbers. Only dialects
/// interpret it.
///
/// Serialize it with serde_json alone, and directly. A [`Value`], and serde's own buffers for untagged and flattened types, lose
/// the original text.
#[derive(Clone, Debug)]
pub struct Metadata(Arc<RawValue>);

impl Metadata {
    /// Accepts JSON whose strings all decode. `None` if one does not, as half of a surrogate pair: most clients could not read
    /// it.
    pub fn of(json: &RawValue) -> Option<Self> {
        let mut texts = Tokens(json.get()).filter(|token| token.contains('\\'));
        texts.all(|text| serde_json::from_str::<String>(text).is_ok()).then(|| Self(json.to_owned().into()))
    }

    /// Returns the JSON as it was written.
    pub fn json(&self) -> &str {
        self.0.get()
    }

    /// Nesting depth of lists and objects; 0 if it is neither.
    pub fn depth(&self) -> usize {
        let (mut depth, mut deepest) = (0, 0);
        for token in Tokens(self.json()) {
            match token {
                "[" | "{" => depth += 1,
                "]" | "}" => depth -= 1,
                _ => {}
            }
            deepest = deepest.max(depth);
        }
        deepest
    }

    /// All strings in it, the names of members included.
    pub fn texts(&self) -> impl Iterator<Item = String> {
        let texts = Tokens(self.json()).filter(|token| token.starts_with('"'));
        texts.filter_map(|text| serde_json::from_str(text).ok())
    }

    /// Finds the member of an object; the last one if several have the same name, as JSON parsers usually do.
    pub fn member(&self, name: &str) -> Option<&RawValue> {
        serde_json::from_str::<HashMap<String, &RawValue>>(self.json()).ok()?.remove(name)
    }
}

impl From<Value> for Metadata {
    fn from(value: Value) -> Self {
        Self(serde_json::value::to_raw_value(&value).expect("it is JSON").into())
    }
}

impl PartialEq for Metadata {
    fn eq(&self, other: &Self) -> bool {
        self.json() == other.json()
    }
}

impl Serialize for Metadata {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Metadata {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Self(Box::<RawValue>::deserialize(deserializer)?.into()))
    }
}

/// Iterator over the brackets, braces and strings (with their quotes) of valid JSON.
struct Tokens<'a>(&'a str);

impl<'a> Iterator for Tokens<'a> {
    type Item = &'a str;

    fn next(&mut self) -> Option<&'a str> {
        let rest = &self.0[self.0.find(['[', ']', '{', '}', '"'])?..];
        let length = if rest.starts_with('"') { text_length(rest) } else { 1 };
        let (token, rest) = rest.split_at(length);
        self.0 = rest;
        Some(token)
    }
}

/// Length in bytes of the string at the beginning of `json`, both quotes included.
fn text_length(json: &str) -> usize {
    let mut escaped = false;
    let end = json.bytes().skip(1).position(|byte| match byte {
        _ if escaped => {
            escaped = false;
            false
        }
        b'\\' => {
            escaped = true;
            false
        }
        byte => byte == b'"',
    });
    end.map_or(json.len(), |end| end + 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raw(json: &str) -> &RawValue {
        serde_json::from_str(json).expect("it is JSON")
    }

    fn metadata(json: &str) -> Metadata {
        Metadata::of(raw(json)).expect("its texts can be read")
    }

    #[test]
    fn it_stays_as_it_was_written() {
        for json in [r#"{"b": 1.0, "a":[1e400 , -0]}"#, "123456789012345678901234567890", r#""\u0000 \ud83e\udd80 ä""#, "null"] {
            let kept = metadata(json);
            assert_eq!(kept.json(), json);
            assert_eq!(serde_json::to_string(&kept).unwrap(), json);
            assert_eq!(serde_json::from_str::<Metadata>(json).unwrap(), kept);
        }
        assert_ne!(metadata("1"), metadata("1.0"));
    }

    #[test]
    fn its_depth_is_that_of_what_holds_something() {
        for (json, depth) in [("1", 0), (r#""[[{\"[""#, 0), ("[]", 1), (r#"{"]": "\\", "a": [[], {"b": "}"}]}"#, 3)] {
            assert_eq!(metadata(json).depth(), depth, "{json}");
        }
    }

    #[test]
    fn a_text_that_nobody_could_read_is_none() {
        for json in [r#""\ud800""#, r#"[{"\udc00": 1}]"#, r#"{"a": "\\\ud83e"}"#] {
            assert!(Metadata::of(raw(json)).is_none(), "{json}");
        }
    }

    #[test]
    fn a_member_is_the_last_of_its_name() {
        let kept = metadata(r#"{"a": {"b": 0}, "b": 1, "\u0062": 2.50}"#);
        assert_eq!(kept.member("b").map(RawValue::get), Some("2.50"));
        assert!(kept.member("c").is_none() && metadata("[1]").member("b").is_none());
    }
}
