//! Comparison of an earlier release's answers with the present ones, for the migration tests.

use chrono::{DateTime, NaiveDateTime, TimeDelta, Utc};
use serde_json::Value;

/// Members for a current state that is not in the store.
const OF_THE_MOMENT: [&str; 1] = ["im_status"];

/// Comparison of this program's answers with those of a release on the same store, whose times were moved since.
pub struct Answers {
    pub began: DateTime<Utc>,
    pub stopped: DateTime<Utc>,
    pub moved: TimeDelta,
}

impl Answers {
    /// Checks that everything is still there: members, items and their order, texts, numbers. New members are allowed, and an
    /// attachment's address may have another token.
    #[track_caller]
    pub fn check(&self, place: &str, before: &Value, now: &Value) {
        match (before, now) {
            (Value::Object(before), Value::Object(now)) => {
                for (name, before) in before {
                    let place = format!("{place}.{name}");
                    let now = now.get(name).unwrap_or_else(|| panic!("{place} is missing: {now:?}"));
                    match name.as_str() {
                        name if OF_THE_MOMENT.contains(&name) => {}
                        "access_token" => assert!(now.as_str().is_some_and(|token| !token.is_empty()), "{place}: {now}"),
                        _ => self.check(&place, before, now),
                    }
                }
            }
            (Value::Array(before), Value::Array(now)) => {
                assert_eq!(before.len(), now.len(), "{place}: not {} but {}", list(before), list(now));
                for (number, (before, now)) in before.iter().zip(now).enumerate() {
                    self.check(&format!("{place}[{number}]"), before, now);
                }
            }
            _ => {
                // im_chat names files in a JSON text.
                if let (Some(before), Some(now)) = (object_in(before), object_in(now)) {
                    return self.check(place, &before, &now);
                }
                let is_same = match (self.time(before), time(now)) {
                    (Some(before), Some(now)) => before + self.moved == now,
                    (Some(_), None) => false,
                    (None, _) => match (before, now) {
                        (Value::String(before), Value::String(now)) => without_tokens(before) == without_tokens(now),
                        _ => before == now,
                    },
                };
                assert!(is_same, "{place}: not {before} but {now}; times are moved by {}", self.moved);
            }
        }
    }

    /// The time in a value, if it lies within the period in which the store was filled.
    fn time(&self, value: &Value) -> Option<DateTime<Utc>> {
        // Some times are shown without their fractions.
        let filled = self.began - TimeDelta::seconds(1)..=self.stopped;
        time(value).filter(|time| filled.contains(time))
    }
}

/// A time in any dialect's notation: milliseconds as a number or a text, Odoo's notation, or RFC 3339.
fn time(value: &Value) -> Option<DateTime<Utc>> {
    let millis = value.as_i64().or_else(|| value.as_str()?.parse().ok());
    let text = value.as_str().unwrap_or_default();
    let odoo = || NaiveDateTime::parse_from_str(text, "%Y-%m-%d %H:%M:%S").ok().map(|time| time.and_utc());
    let rfc3339 = || DateTime::parse_from_rfc3339(text).ok().map(|time| time.to_utc());
    millis.and_then(DateTime::from_timestamp_millis).or_else(odoo).or_else(rfc3339)
}

/// The object in a JSON text.
fn object_in(value: &Value) -> Option<Value> {
    serde_json::from_str(value.as_str()?).ok().filter(Value::is_object)
}

/// A text with each attachment's address cut off before its token.
fn without_tokens(text: &str) -> String {
    const PLACE: &str = "/attachment/";
    let cut = |word: &str| match word.split_once(PLACE) {
        Some((host, rest)) => format!("{host}{PLACE}{}", rest.chars().take_while(char::is_ascii_digit).collect::<String>()),
        None => word.to_owned(),
    };
    text.split_inclusive([' ', '\n']).map(cut).collect()
}

fn list(items: &[Value]) -> String {
    Value::from(items).to_string()
}
