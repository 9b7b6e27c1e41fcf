//! Removal of bidirectional control characters from file names in client-defined JSON, which otherwise stays byte for byte the
//! same.

use std::{borrow::Cow, ops::Range};

use crate::characters::is_bidi_control;

/// Members that hold a file name in the JSON of common clients, compared without case, `_` and `-`.
const MEMBERS: [&str; 5] = ["filename", "name", "originalfilename", "originalname", "displayname"];

/// Removes the characters from file names that reverse the reading direction.
pub fn without_bidi_controls(json: &str) -> Cow<'_, str> {
    if !json.contains("\\u") && !json.contains(is_bidi_control) {
        return json.into();
    }
    let mut clean = String::new();
    // `copied`: end of the copied part. `member`: end of the last key, if its value is a file name.
    let (mut copied, mut member) = (0, None);
    for place in json_strings(json) {
        let Range { start, end } = place;
        let Ok(text) = serde_json::from_str::<Cow<'_, str>>(&json[start..end]) else { return json.into() };
        if json[end..].trim_start().starts_with(':') {
            member = is_member(&text).then_some(end);
            continue;
        }
        let is_name = member.is_some_and(|member: usize| json[member..start].trim() == ":");
        if is_name && text.contains(is_bidi_control) {
            let name: String = text.chars().filter(|c| !is_bidi_control(*c)).collect();
            clean.push_str(&json[copied..start]);
            clean.push_str(&serde_json::to_string(&name).expect("a text can be written as JSON"));
            copied = end;
        }
    }
    if copied == 0 {
        return json.into();
    }
    clean.push_str(&json[copied..]);
    clean.into()
}

fn is_member(name: &str) -> bool {
    let letters = || name.chars().filter(|letter| !['_', '-'].contains(letter));
    MEMBERS.iter().any(|member| letters().map(|letter| letter.to_ascii_lowercase()).eq(member.chars()))
}

/// Byte ranges of all strings in JSON, quotes included.
pub(super) fn json_strings(json: &str) -> impl Iterator<Item = Range<usize>> {
    let mut at = 0;
    std::iter::from_fn(move || {
        let start = at + json[at..].find('"')?;
        let mut is_escaped = false;
        let is_end = |byte: &u8| {
            let ends = *byte == b'"' && !is_escaped;
            is_escaped = *byte == b'\\' && !is_escaped;
            ends
        };
        at = start + 2 + json.as_bytes()[start + 1..].iter().position(is_end)?;
        Some(start..at)
    })
}

#[cfg(test)]
mod tests {
    use super::without_bidi_controls;

    #[test]
    fn only_names_of_files_change() {
        for (json, expected) in [
            ("{\"filename\":\"a\u{202e}gpj.exe\", \"n\": 1.0e2}", "{\"filename\":\"agpj.exe\", \"n\": 1.0e2}"),
            (r#"{"file": {"name" : "a\u202egpj.exe"}, "b":[]}"#, r#"{"file": {"name" : "agpj.exe"}, "b":[]}"#),
            ("[{\"fileName\":\"\u{2066}a\\\"b\\\\\"}]", r#"[{"fileName":"a\"b\\"}]"#),
            ("{\"text\":\"\u{202e}\",\"filename\":\"a\"}", "{\"text\":\"\u{202e}\",\"filename\":\"a\"}"),
            ("{\"name\":[\"\u{202e}\"]}", "{\"name\":[\"\u{202e}\"]}"),
            ("\"\u{202e}\"", "\"\u{202e}\""),
            (r#"{"filename":null,"a":"\\"}"#, r#"{"filename":null,"a":"\\"}"#),
            (r#"{"a":"\""#, r#"{"a":"\""#),
            (
                "{\"file_name\":\"\u{202e}a\",\"originalFilename\":\"\u{202e}b\",\"display_name\":\"\u{202e}c\"}",
                r#"{"file_name":"a","originalFilename":"b","display_name":"c"}"#,
            ),
            ("no JSON", "no JSON"),
        ] {
            assert_eq!(without_bidi_controls(json), expected, "{json}");
        }
    }
}
