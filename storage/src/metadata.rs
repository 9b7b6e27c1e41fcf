use std::{collections::HashMap, sync::Arc};

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Value, value::RawValue};

/// What belongs to a message beside its text: any JSON, kept to the letter, with the order of its keys and all digits of
/// its numbers. No code but a dialect's looks into it.
///
/// It goes through serde_json alone, and only directly: not through a [`Value`], nor through one of serde's own buffers
/// (untagged and flattened types), which know no letters.
#[derive(Clone, Debug)]
pub struct Metadata(Arc<RawValue>);

impl Metadata {
    /// `None` if a text in it stands for no characters, as half of a surrogate pair does: most of those who are told it
    /// could not read it.
    pub fn of(json: &RawValue) -> Option<Self> {
        let mut texts = Tokens(json.get()).filter(|token| token.contains('\\'));
        texts.all(|text| serde_json::from_str::<String>(text).is_ok()).then(|| Self(json.to_owned().into()))
    }

    /// As it was written.
    pub fn json(&self) -> &str {
        self.0.get()
    }

    /// How many lists and objects there are within each other; 0 if it is neither.
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

    /// All texts in it, the names of members included.
    pub fn texts(&self) -> impl Iterator<Item = String> {
        let texts = Tokens(self.json()).filter(|token| token.starts_with('"'));
        texts.filter_map(|text| serde_json::from_str(text).ok())
    }

    /// The member of an object. Of several with the same name it is the last, as everybody reads them.
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

/// The brackets, braces and texts, with their quotes, of what is valid JSON.
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

/// How long the text is that begins here, with both quotes.
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
