//! Request bodies read as a whole: bounded in size and time, and charged to the caller's memory quota as they arrive. Also JSON
//! parsing with a bound on the parsed tree.

use std::{borrow::Cow, fmt, time::Duration};

use futures_util::StreamExt;
use poem::{Body, Request, RequestBody, http::header};
use serde::{
    Deserializer,
    de::{IgnoredAny, MapAccess, Visitor},
};
use serde_json::{Number, Value, value::RawValue};

use super::file_names::json_strings;
use crate::shares::{Account, Charge, NoShare};

/// Limit of a body's size, and of its JSON tree, as the metrics name it.
const SIZE_LIMIT: &str = "body_bytes";
/// Maximum estimated size of a JSON tree parsed from a body, in bytes.
const TREE_BYTES: usize = 16 * 1024 * 1024;
/// Estimated memory of an object or array with a few members, in bytes.
const CONTAINER_BYTES: usize = 656;
/// Estimated memory of a member besides its text, in bytes.
const MEMBER_BYTES: usize = 200;
/// Byte order mark, which .NET puts before JSON. RFC 8259, section 8.1, lets readers ignore it; Odoo's JSON-RPC envelope does
/// not.
const BYTE_ORDER_MARK: char = '\u{feff}';

/// Limits of a request body, in the extensions of every request: its size, and the deadline for its arrival.
#[derive(Clone, Copy)]
pub struct BodyLimit {
    pub bytes: usize,
    pub time: Duration,
}

impl BodyLimit {
    pub fn of(request: &Request) -> Self {
        *request.data::<Self>().expect("the server puts it into every request")
    }
}

/// The account of a request, from its extensions.
pub fn account(request: &Request) -> &Account {
    request.data().expect("the server puts it into every request")
}

/// A body with its memory charge, which also covers what is parsed from it.
pub struct FullBody {
    pub bytes: Vec<u8>,
    pub charge: Charge,
}

/// Reason for which a body was not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyError {
    TooLarge,
    /// The body ended early, or could not be read at all.
    Truncated,
    /// The body did not arrive before the deadline, or came too slowly.
    TimedOut,
    NoShare(NoShare),
}

/// Reads the body of a request. Refuses a body that is too large as soon as its size is known.
pub async fn read_body(request: &Request, body: &mut RequestBody) -> Result<FullBody, BodyError> {
    let (limit, charge) = (BodyLimit::of(request), account(request).body());
    let announced = content_length(request);
    if announced.is_some_and(|bytes| bytes > limit.bytes as u64) {
        return Err(too_large(&charge));
    }
    let body = body.take().map_err(|_| BodyError::Truncated)?;
    let most = announced.and_then(|bytes| usize::try_from(bytes).ok()).unwrap_or(limit.bytes);
    read_within(body, most, limit.time, charge).await
}

fn too_large(charge: &Charge) -> BodyError {
    charge.count_refusal(SIZE_LIMIT);
    BodyError::TooLarge
}

/// Reads at most `most` bytes before the deadline `time`. Memory is charged before it is allocated.
pub async fn read_within(body: Body, most: usize, time: Duration, mut charge: Charge) -> Result<FullBody, BodyError> {
    let reading = async {
        let mut pieces = body.into_bytes_stream();
        let mut bytes = Vec::new();
        while let Some(piece) = pieces.next().await {
            let piece = piece.map_err(|error| if is_late(&error) { BodyError::TimedOut } else { BodyError::Truncated })?;
            let length = bytes.len() + piece.len();
            if length > most {
                return Err(too_large(&charge));
            }
            if length > bytes.capacity() {
                let capacity = length.max(bytes.capacity().saturating_mul(2)).min(most);
                charge.set(capacity).map_err(BodyError::NoShare)?;
                bytes.reserve_exact(capacity - bytes.len());
            }
            bytes.extend_from_slice(&piece);
        }
        Ok(bytes)
    };
    // Boxed because it is large: the request's future keeps only a pointer while the body arrives.
    let read = tokio::time::timeout(time, Box::pin(reading)).await;
    let bytes = read.unwrap_or_else(|_| {
        charge.count_refusal("body_seconds");
        Err(BodyError::TimedOut)
    })?;
    Ok(FullBody { bytes, charge })
}

fn is_late(error: &std::io::Error) -> bool {
    error.kind() == std::io::ErrorKind::TimedOut
}

/// Value of `Content-Length`.
fn content_length(request: &Request) -> Option<u64> {
    request.headers().get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// Reason for which no tree was parsed from a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JsonError {
    /// The text is not JSON, or contains a lone surrogate.
    NotJson,
    /// The text contains too many values.
    TooLarge,
    NoShare(NoShare),
}

/// Parses JSON, and charges its tree first.
pub fn parse_json(text: &str, charge: &mut Charge) -> Result<Value, JsonError> {
    let text = text.strip_prefix(BYTE_ORDER_MARK).unwrap_or(text);
    charge_tree(text, charge)?;
    parse_lossless(text).ok_or(JsonError::NotJson)
}

/// Charges what is parsed from a JSON text, in addition to the present charge: its estimated size, since a tree can be a hundred
/// times as large as its text.
pub fn charge_tree(text: &str, charge: &mut Charge) -> Result<(), JsonError> {
    let cost = tree_bytes(text.as_bytes());
    if cost > TREE_BYTES {
        charge.count_refusal(SIZE_LIMIT);
        return Err(JsonError::TooLarge);
    }
    charge.set(charge.bytes() + cost).map_err(JsonError::NoShare)
}

/// Values of an object's members by name, as they are written, for the answer to a text that gets no tree: takes no memory but for
/// one key at a time. The last value of a duplicate key counts. All are `None` if the text is not JSON, or no object.
pub fn members<'a, const N: usize>(json: &'a str, names: [&str; N]) -> [Option<&'a RawValue>; N] {
    struct Members<'n, const N: usize>([&'n str; N]);

    impl<'de, const N: usize> Visitor<'de> for Members<'_, N> {
        type Value = [Option<&'de RawValue>; N];

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an object")
        }

        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
            let mut found = [None; N];
            while let Some(key) = map.next_key::<String>()? {
                match self.0.iter().position(|name| *name == key) {
                    Some(at) => found[at] = Some(map.next_value()?),
                    None => drop(map.next_value::<IgnoredAny>()?),
                }
            }
            Ok(found)
        }
    }

    let mut reader = serde_json::Deserializer::from_str(json);
    let found = reader.deserialize_map(Members(names));
    found.ok().filter(|_| reader.end().is_ok()).unwrap_or([None; N])
}

/// Parses JSON without loss of precision: a number that would lose digits becomes a string of its source text. It stays readable
/// where a text is expected; no field that expects a number has a valid value of that size. `None` if the text is not JSON or
/// contains a lone surrogate.
pub fn parse_lossless(json: &str) -> Option<Value> {
    serde_json::from_str(&with_all_digits(json)).ok()
}

/// Puts quotes around the numbers that would lose digits.
fn with_all_digits(json: &str) -> Cow<'_, str> {
    let is_of_number = |byte: &u8| byte.is_ascii_alphanumeric() || b"+-.".contains(byte);
    let (mut quoted, mut copied, mut at) = (String::new(), 0, 0);
    for text in json_strings(json).chain(std::iter::once(json.len()..json.len())) {
        while at < text.start {
            let length = json.as_bytes()[at..text.start].iter().take_while(|byte| is_of_number(byte)).count();
            if length > 0 && loses_digits(&json[at..at + length]) {
                quoted.extend([&json[copied..at], "\"", &json[at..at + length], "\""]);
                copied = at + length;
            }
            at += length.max(1);
        }
        at = text.end;
    }
    // In anything but JSON, the added quotes could make invalid text valid.
    if copied == 0 || serde_json::from_str::<&RawValue>(json).is_err() {
        return json.into();
    }
    quoted.push_str(&json[copied..]);
    quoted.into()
}

/// True if a token outside of JSON strings is a number whose parsed value differs from its source text, or that is out of range.
/// A short integer in another notation, such as `1e3`, keeps its value.
fn loses_digits(word: &str) -> bool {
    /// Numbers with fewer characters have no more digits than an `f64` keeps.
    const SHORT: usize = 16;
    /// 2^53: an `f64` represents every integer below exactly, in any notation.
    const WHOLE: f64 = 9_007_199_254_740_992.0;

    let is_number = word.starts_with(|first: char| first == '-' || first.is_ascii_digit());
    let is_short = word.len() < SHORT;
    if !is_number || (is_short && word.bytes().all(|byte| byte.is_ascii_digit() || byte == b'-')) {
        return false;
    }
    match serde_json::from_str::<Number>(word) {
        Ok(number) => {
            let is_whole = number.as_f64().is_some_and(|number| number.fract() == 0.0 && number.abs() < WHOLE);
            !(is_short && is_whole) && number.to_string() != word
        }
        // No number at all, or one out of range. Only the latter is valid as raw JSON.
        Err(_) => serde_json::from_str::<&RawValue>(word).is_ok(),
    }
}

/// Upper bound of the tree's size, computed from its text.
fn tree_bytes(text: &[u8]) -> usize {
    let (mut branches, mut members) = (0, 0);
    let (mut is_inside, mut is_escaped) = (false, false);
    for byte in text {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' if is_inside => is_escaped = true,
            b'"' => is_inside = !is_inside,
            b'{' | b'[' if !is_inside => branches += 1,
            b',' if !is_inside => members += 1,
            _ => {}
        }
    }
    text.len() + branches * (CONTAINER_BYTES + MEMBER_BYTES) + members * MEMBER_BYTES
}

#[cfg(test)]
mod tests {
    use storage::UserId;

    use super::*;
    use crate::{
        metrics::Metrics,
        shares::{Party, Shares, Sizes},
    };

    fn account() -> Account {
        let sizes = Sizes { bodies_bytes: 0, answers_bytes: 0, requests_per_user: 0, requests_per_address: 0 };
        Account::new(Shares::new(sizes, &Metrics::default()), Party::User(UserId(1)))
    }

    #[test]
    fn a_tree_is_bounded_by_its_values_and_not_by_its_text() {
        let made = |text: &str| parse_json(text, &mut account().body());
        let many = |value: &str, times| format!("[{}]", vec![value; times].join(","));
        assert!(made(&format!("\"{}\"", "[{,".repeat(300_000))).is_ok(), "a long text is one value");
        assert!(made(&many("1", 70_000)).is_ok());
        assert_eq!(made(&many("1", 500_000)), Err(JsonError::TooLarge));
        assert_eq!(made(&many(r#"{"":0}"#, 149_000)), Err(JsonError::TooLarge));
        assert_eq!(made("[1,"), Err(JsonError::NotJson));
        assert_eq!(made(r#""\ud800""#), Err(JsonError::NotJson));
    }

    #[test]
    fn members_are_read_without_a_tree() {
        let read = |json| members(json, ["a", "b"]).map(|value| value.map(RawValue::get));
        assert_eq!(read(r#"{"c":[{"a":1}],"a":"x","b":{"a":[1, 2]},"\u0061":7.00}"#), [Some("7.00"), Some(r#"{"a":[1, 2]}"#)]);
        for none in ["", "[1,2]", r#"{"a":1"#, r#"{"a":1}{}"#, r#"{"a":1,"c":tru}"#] {
            assert_eq!(read(none), [None; 2], "{none}");
        }
    }

    #[test]
    fn no_number_loses_digits() {
        for (json, expected) in [
            ("[1, -2.5, 1e3, 7.00, 0]", "[1,-2.5,1000.0,7.0,0]"),
            ("[18446744073709551615,-9223372036854775808]", "[18446744073709551615,-9223372036854775808]"),
            ("18446744073709551616", r#""18446744073709551616""#),
            (
                r#"{"a" : -123456789012345678901234567890,"b":[1E999 ]}"#,
                r#"{"a":"-123456789012345678901234567890","b":["1E999"]}"#,
            ),
            ("[1.0000000000000000000001, 0.50]", r#"["1.0000000000000000000001","0.50"]"#),
            (r#"[0.12345678901234567890,"1e999",{"1e999":true}]"#, r#"["0.12345678901234567890","1e999",{"1e999":true}]"#),
            (r#"["a\\",1e999,"\"1e999"]"#, r#"["a\\","1e999","\"1e999"]"#),
        ] {
            assert_eq!(parse_lossless(json).map(|value| value.to_string()).as_deref(), Some(expected), "{json}");
        }
        for broken in ["{1e999:1}", "[01e999]", "1e999 1", "[1e999", "--1e999", "\u{e9}1e999", "\"1e999", "nan"] {
            assert_eq!(parse_lossless(broken), None, "{broken}");
        }
    }

    #[test]
    fn what_is_inside_a_text_costs_nothing_more() {
        assert_eq!(tree_bytes(br#""a,\",[{""#), 9);
        assert_eq!(tree_bytes(b"[1,2]"), 5 + CONTAINER_BYTES + 2 * MEMBER_BYTES);
    }

    /// The estimate exceeds the allocation of the worst case known: a map with one member.
    #[test]
    fn the_estimate_covers_a_map_of_one_member() {
        let node = 11 * (size_of::<String>() + size_of::<Value>()) + 16;
        assert!(CONTAINER_BYTES + MEMBER_BYTES > node + size_of::<Value>() * 2, "{node}");
        // Every node of a B-tree but the root is at least half full.
        assert!(MEMBER_BYTES > node / 5, "{node}");
    }

    #[tokio::test]
    async fn a_body_is_charged_as_it_arrives() {
        let account = account();
        let pieces = futures_util::stream::iter(["12345", "678"].map(|piece| Ok::<_, std::io::Error>(piece.as_bytes())));
        let whole = read_within(Body::from_bytes_stream(pieces), 8, Duration::from_secs(1), account.body()).await;
        let whole = whole.unwrap_or_else(|error| panic!("{error:?}"));
        assert_eq!((whole.bytes.as_slice(), whole.charge.bytes()), (b"12345678".as_slice(), 8));
        let more = read_within(Body::from("123456789"), 8, Duration::from_secs(1), account.body()).await;
        assert_eq!(more.err(), Some(BodyError::TooLarge));
        let never = Body::from_bytes_stream(futures_util::stream::pending::<Result<&[u8], std::io::Error>>());
        assert_eq!(read_within(never, 8, Duration::from_millis(1), account.body()).await.err(), Some(BodyError::TimedOut));
    }
}
