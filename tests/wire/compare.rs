//! Comparison of a recorded answer with the present one.

use serde_json::Value;

use super::{Response, differences::ADDED};
use crate::support::Answer;

/// The addon's own error texts, which clients compare.
const TEXTS: [&str; 12] = [
    "thread_id is required",
    "Thread not found",
    "Access denied",
    "thread_id and body are required",
    "name is required",
    "message_id or message_ids required",
    "query parameter is required",
    "thread_id and partner_id are required",
    "Participant not found",
    "partner_ids required",
    "No valid partners found",
    "Attachment not found",
];

/// Descriptions of all differences between an answer and the recorded one.
pub(super) fn differences(recorded: &Response, answer: &Answer) -> Vec<String> {
    let mut found = Vec::new();
    let status = recorded.status.split(' ').next().unwrap_or_default();
    if status != answer.status.as_str() {
        found.push(format!("status {} instead of {status}", answer.status.as_u16()));
    }
    for header in ["Content-Type", "Allow"] {
        let was = recorded.headers.iter().find(|(name, _)| name == header).map(|(_, value)| value.as_str());
        let is = answer.headers.get(header).map(|value| value.to_str().expect("headers are plain"));
        if was != is {
            found.push(format!("{header} {is:?} instead of {was:?}"));
        }
    }
    if recorded.body.is_object() {
        match serde_json::from_str::<Value>(&answer.body) {
            Ok(body) => envelope(&recorded.body, &body, &mut found),
            Err(_) => found.push("no JSON".to_owned()),
        }
    } else if !is_html(answer) && recorded.body.as_str() != Some(answer.body.as_str()) {
        found.push(format!("body {:?} instead of {}", answer.body, recorded.body));
    }
    found
}

/// Pages are for people, so their text is not compared.
fn is_html(answer: &Answer) -> bool {
    answer.body.starts_with("<!doctype html>")
}

fn envelope(was: &Value, is: &Value, found: &mut Vec<String>) {
    for pointer in ["/error/code", "/error/data/name"] {
        if was.pointer(pointer) != is.pointer(pointer) {
            found.push(format!("{pointer} {:?} instead of {:?}", is.pointer(pointer), was.pointer(pointer)));
        }
    }
    if let (Some(Value::String(was)), Some(is)) = (was.pointer("/result/error"), is.pointer("/result/error"))
        && TEXTS.contains(&was.as_str())
        && is != was.as_str()
    {
        found.push(format!("refused with {is} instead of {was}"));
    }
    shape("", was, is, found);
}

/// Compares members and types recursively.
fn shape(at: &str, was: &Value, is: &Value, found: &mut Vec<String>) {
    match (was, is) {
        (Value::Object(was), Value::Object(is)) => {
            for key in was.keys().filter(|key| !is.contains_key(*key)) {
                found.push(format!("{at}/{key} is missing"));
            }
            for (key, is) in is {
                match was.get(key) {
                    Some(was) => shape(&format!("{at}/{key}"), was, is, found),
                    None if at.starts_with("/result/messages/") && ADDED.contains(&key.as_str()) => {}
                    None => found.push(format!("{at}/{key} is new")),
                }
            }
        }
        // A list of objects of one kind; any other array is a tuple.
        (Value::Array(was), Value::Array(is)) if was.iter().all(Value::is_object) => {
            if let Some(was) = was.first() {
                is.iter().enumerate().for_each(|(index, is)| shape(&format!("{at}/{index}"), was, is, found));
            }
        }
        (Value::Array(was), Value::Array(is)) => {
            for (index, (was, is)) in was.iter().zip(is).enumerate() {
                shape(&format!("{at}/{index}"), was, is, found);
            }
        }
        (Value::Null, _) | (_, Value::Null) => {}
        (was, is) if std::mem::discriminant(was) == std::mem::discriminant(is) => {}
        (was, is) => found.push(format!("{at} is {is} instead of {was}")),
    }
}
