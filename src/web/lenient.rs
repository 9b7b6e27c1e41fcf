//! Lenient parameters, as Odoo's Python code accepts them: numbers as numbers or strings, a single value for a list, empty values
//! for missing ones. Parsing never fails; the handler checks the parameters that it needs.

use std::{borrow::Cow, fmt};

use poem_openapi::{
    registry::{MetaSchema, MetaSchemaRef},
    types::{ParseFromJSON, ParseFromParameter, ParseResult, ToJSON, Type},
};
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{
    Deserialize, Deserializer,
    de::{DeserializeSeed, IgnoredAny, MapAccess, SeqAccess, Visitor},
};
use serde_json::{Value, json};

use super::jsonrpc::CallFailure;

/// A lenient parameter: missing, valid, or of a wrong type.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Lenient<T> {
    #[default]
    Missing,
    Present(T),
    /// The expected type, as the end of the sentence "`name` must be ...".
    WrongType(&'static str),
}

impl<T> Lenient<T> {
    /// The value, if any; an error if it has a wrong type.
    pub fn optional(self, name: &str) -> Result<Option<T>, CallFailure> {
        match self {
            Self::Missing => Ok(None),
            Self::Present(value) => Ok(Some(value)),
            Self::WrongType(what) => Err(CallFailure::refusal(format!("{name} must be {what}"))),
        }
    }

    /// The value; an error with the text `missing` if there is none.
    pub fn required(self, name: &str, missing: &'static str) -> Result<T, CallFailure> {
        self.optional(name)?.ok_or(CallFailure::refusal(missing))
    }
}

/// An integer, as a number or a string. `null`, `false` and `""` count as missing.
pub type Int = Lenient<i64>;
/// A string; a number is converted to one. `null`, `false` and `""` count as missing.
pub type Text = Lenient<String>;
/// A list of integers, or a single one. Other members are only flagged.
pub type Ints = Lenient<IntList>;

impl Int {
    /// The value, or `default` if it is missing; an error if it is negative.
    pub fn non_negative(self, name: &str, default: u64) -> Result<u64, CallFailure> {
        let Some(value) = self.optional(name)? else { return Ok(default) };
        u64::try_from(value).map_err(|_| CallFailure::refusal(format!("{name} must not be negative")))
    }
}

/// Contents of a list of integers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IntList {
    pub numbers: Vec<i64>,
    /// True if the list contains anything but integers.
    pub has_others: bool,
}

const WHOLE: &str = "a whole number";
const WHOLES: &str = "a list of whole numbers";

fn int(value: &Value) -> Lenient<i64> {
    match value {
        Value::Null | Value::Bool(false) => Lenient::Missing,
        Value::Number(number) => match (number.as_i64(), number.as_f64()) {
            (Some(number), _) => Lenient::Present(number),
            // No valid value lies beyond 64 bits. The cast saturates.
            (None, Some(number)) if number.fract() == 0.0 => Lenient::Present(number as i64),
            _ => Lenient::WrongType(WHOLE),
        },
        Value::String(text) if text.trim().is_empty() => Lenient::Missing,
        Value::String(text) => parse_int(text.trim()),
        Value::Bool(true) | Value::Array(_) | Value::Object(_) => Lenient::WrongType(WHOLE),
    }
}

fn parse_int(text: &str) -> Lenient<i64> {
    match text.parse() {
        Ok(number) => Lenient::Present(number),
        Err(error) => match error.kind() {
            std::num::IntErrorKind::PosOverflow => Lenient::Present(i64::MAX),
            std::num::IntErrorKind::NegOverflow => Lenient::Present(i64::MIN),
            _ => Lenient::WrongType(WHOLE),
        },
    }
}

trait Shape: Sized + Send + Sync {
    const NAME: &'static str;

    fn read(value: Value) -> Lenient<Self>;
    fn write(&self) -> Value;
    fn schema() -> MetaSchema;
    /// JSON Schema of the type, without the values that count as missing.
    fn described() -> Value;
}

impl Shape for i64 {
    const NAME: &'static str = "Int";

    fn read(value: Value) -> Lenient<Self> {
        int(&value)
    }

    fn write(&self) -> Value {
        (*self).into()
    }

    fn schema() -> MetaSchema {
        let word = MetaSchema { pattern: Some("^\\s*[+-]?[0-9]+\\s*$".into()), ..MetaSchema::new("string") };
        MetaSchema {
            one_of: vec![inline(MetaSchema::new_with_format("integer", "int64")), inline(word)],
            nullable: true,
            ..MetaSchema::ANY
        }
    }

    fn described() -> Value {
        json!({"oneOf": [{"type": "integer"}, {"type": "string", "pattern": "^\\s*[+-]?[0-9]+\\s*$"}]})
    }
}

impl Shape for String {
    const NAME: &'static str = "Text";

    fn read(value: Value) -> Lenient<Self> {
        match value {
            Value::Null | Value::Bool(false) => Lenient::Missing,
            Value::String(text) if text.is_empty() => Lenient::Missing,
            Value::String(text) => Lenient::Present(text),
            Value::Number(number) => Lenient::Present(number.to_string()),
            Value::Bool(true) | Value::Array(_) | Value::Object(_) => Lenient::WrongType("a text"),
        }
    }

    fn write(&self) -> Value {
        self.as_str().into()
    }

    fn schema() -> MetaSchema {
        let either = vec![inline(MetaSchema::new("string")), inline(MetaSchema::new("number"))];
        MetaSchema { one_of: either, nullable: true, ..MetaSchema::ANY }
    }

    fn described() -> Value {
        json!({"type": ["string", "number"]})
    }
}

impl Shape for IntList {
    const NAME: &'static str = "Ints";

    fn read(value: Value) -> Lenient<Self> {
        match value {
            Value::Null | Value::Bool(false) => Lenient::Missing,
            Value::Array(items) => {
                let mut list = Self::default();
                for item in &items {
                    match int(item) {
                        Lenient::Present(number) => list.numbers.push(number),
                        Lenient::Missing | Lenient::WrongType(_) => list.has_others = true,
                    }
                }
                Lenient::Present(list)
            }
            one => match int(&one) {
                Lenient::Present(number) => Lenient::Present(Self { numbers: vec![number], has_others: false }),
                Lenient::Missing => Lenient::Missing,
                Lenient::WrongType(_) => Lenient::WrongType(WHOLES),
            },
        }
    }

    fn write(&self) -> Value {
        self.numbers.as_slice().into()
    }

    fn schema() -> MetaSchema {
        let list = MetaSchema { items: Some(Box::new(inline(i64::schema()))), ..MetaSchema::new("array") };
        MetaSchema { one_of: vec![inline(list), inline(i64::schema())], nullable: true, ..MetaSchema::ANY }
    }

    fn described() -> Value {
        json!({"oneOf": [{"type": "array", "items": i64::described()}, i64::described()]})
    }
}

impl IntList {
    /// All integers; an error if the list contains anything else.
    pub fn all(self, name: &str) -> Result<Vec<i64>, CallFailure> {
        if self.has_others {
            return Err(CallFailure::refusal(format!("{name} must be {WHOLES}")));
        }
        Ok(self.numbers)
    }
}

fn inline(schema: MetaSchema) -> MetaSchemaRef {
    MetaSchemaRef::Inline(Box::new(schema))
}

impl<T: Shape> Type for Lenient<T> {
    const IS_REQUIRED: bool = false;

    type RawElementValueType = Self;
    type RawValueType = Self;

    fn name() -> Cow<'static, str> {
        T::NAME.into()
    }

    fn schema_ref() -> MetaSchemaRef {
        inline(T::schema())
    }

    fn as_raw_value(&self) -> Option<&Self> {
        Some(self)
    }

    fn raw_element_iter<'a>(&'a self) -> Box<dyn Iterator<Item = &'a Self> + 'a> {
        Box::new(std::iter::once(self))
    }

    fn is_none(&self) -> bool {
        !matches!(self, Self::Present(_))
    }
}

impl<T: Shape> ParseFromJSON for Lenient<T> {
    fn parse_from_json(value: Option<Value>) -> ParseResult<Self> {
        Ok(value.map_or(Self::Missing, T::read))
    }
}

/// Uses no serde `default` for a missing field, because the generated schema would mention it.
impl<'de, T: Shape> Deserialize<'de> for Lenient<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct FlatValue(Value);

        impl<'de> Deserialize<'de> for FlatValue {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                FlatVisitor { is_nested: false }.deserialize(deserializer).map(Self)
            }
        }

        Ok(Option::<FlatValue>::deserialize(deserializer)?.map_or(Self::Missing, |FlatValue(value)| T::read(value)))
    }
}

/// Deserializes a value without its deeper levels: lists keep scalar members, objects stay empty. No shape needs more, and a
/// whole tree can be a hundred times as large as its text.
struct FlatVisitor {
    is_nested: bool,
}

impl<'de> DeserializeSeed<'de> for FlatVisitor {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for FlatVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_str<E>(self, text: &str) -> Result<Value, E> {
        Ok(text.into())
    }

    fn visit_string<E>(self, text: String) -> Result<Value, E> {
        Ok(text.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        if self.is_nested {
            while items.next_element::<IgnoredAny>()?.is_some() {}
        } else {
            while let Some(item) = items.next_element_seed(Self { is_nested: true })? {
                list.push(item);
            }
        }
        Ok(Value::Array(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Value, A::Error> {
        while members.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Value::Object(serde_json::Map::new()))
    }
}

impl<T: Shape> JsonSchema for Lenient<T> {
    fn schema_name() -> Cow<'static, str> {
        T::NAME.into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        Schema::try_from(T::described()).expect("it is an object")
    }
}

impl<T: Shape> ToJSON for Lenient<T> {
    fn to_json(&self) -> Option<Value> {
        match self {
            Self::Present(value) => Some(value.write()),
            Self::Missing | Self::WrongType(_) => None,
        }
    }
}

/// An integer path parameter. A number beyond 64 bits saturates and matches no id; any other text does not match the route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PathInt(pub i64);

impl Type for PathInt {
    const IS_REQUIRED: bool = true;

    type RawElementValueType = Self;
    type RawValueType = Self;

    fn name() -> Cow<'static, str> {
        "integer".into()
    }

    fn schema_ref() -> MetaSchemaRef {
        inline(MetaSchema::new_with_format("integer", "int64"))
    }

    fn as_raw_value(&self) -> Option<&Self> {
        Some(self)
    }

    fn raw_element_iter<'a>(&'a self) -> Box<dyn Iterator<Item = &'a Self> + 'a> {
        Box::new(std::iter::once(self))
    }
}

impl ParseFromParameter for PathInt {
    fn parse_from_parameter(text: &str) -> ParseResult<Self> {
        match parse_int(text) {
            Lenient::Present(number) => Ok(Self(number)),
            Lenient::Missing | Lenient::WrongType(_) => Err(poem_openapi::types::ParseError::expected_type(text.into())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// WebSocket frames and HTTP bodies give the same values, though frames are read without a tree.
    #[test]
    fn values_read_the_same_from_a_text_and_from_a_tree() {
        for text in [
            "null",
            "false",
            "true",
            "7",
            "-7",
            "7.0",
            "7.5",
            "1e300",
            "18446744073709551615",
            r#""""#,
            r#"" 7 ""#,
            r#""a\n\u00e4""#,
            "[]",
            r#"[1,"2",null,[3],{"a":4}]"#,
            r#"{"a":[1]}"#,
            "[[[]]]",
        ] {
            let tree: Value = serde_json::from_str(text).expect("it is JSON");
            assert_eq!(serde_json::from_str::<Int>(text).ok(), Some(i64::read(tree.clone())), "{text}");
            assert_eq!(serde_json::from_str::<Text>(text).ok(), Some(String::read(tree.clone())), "{text}");
            assert_eq!(serde_json::from_str::<Ints>(text).ok(), Some(IntList::read(tree)), "{text}");
        }
        #[derive(Deserialize)]
        struct Message {
            body: Text,
        }
        assert_eq!(serde_json::from_str::<Message>("{}").ok().map(|message| message.body), Some(Text::Missing));
    }
}
