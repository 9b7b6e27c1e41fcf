//! Conformance tests against recorded answers of Odoo 17 and the addon: the same status, content type, allowed methods, error
//! codes and names, and the same members of the same types. `differences.rs` lists the intended differences with their
//! reasons. A listed difference that no longer exists fails the test, as an unlisted one does.

mod compare;
mod differences;
mod replay;

use serde::Deserialize;
use serde_json::Value;

use crate::{
    support::{Backend, Server},
    with_every_backend,
};
use differences::DIFFERENCES;
use replay::Replay;

/// A recorded exchange, with its secrets replaced.
#[derive(Debug, Deserialize)]
struct Record {
    set: String,
    name: String,
    request: Request,
    response: Response,
}

#[derive(Debug, Deserialize)]
struct Request {
    /// `None` for a record that is no HTTP exchange.
    line: Option<String>,
    headers: Vec<(String, String)>,
    body: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Response {
    status: String,
    headers: Vec<(String, String)>,
    body: Value,
}

impl Record {
    /// Key in the list of differences.
    fn key(&self) -> String {
        format!("{}/{}", self.set, self.name)
    }

    fn path(&self) -> &str {
        self.request.line.as_deref().and_then(|line| line.split(' ').nth(1)).unwrap_or_default()
    }

    /// Reason of an intended difference.
    fn listed(&self) -> Option<&'static str> {
        DIFFERENCES.iter().find(|(pattern, _)| self.matches(pattern)).map(|(_, reason)| *reason)
    }

    fn matches(&self, pattern: &str) -> bool {
        match pattern.strip_suffix('*') {
            Some(start) if start.starts_with('/') => self.path().starts_with(start),
            Some(start) => self.key().starts_with(start),
            None => self.key() == pattern,
        }
    }
}

fn recording() -> Vec<Record> {
    // Python's NaN is not JSON.
    let lines = include_str!("odoo17.jsonl").lines().map(|line| line.replace(": NaN", ": null"));
    lines.map(|line| serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}"))).collect()
}

async fn answers_as_recorded(backend: Backend) {
    let server = Server::builder(backend).set("DATABASE", "peer").set("IM_CHAT__POLL_SECONDS", 1).start().await;
    let mut replay = Replay::start(&server).await;
    let mut wrong = Vec::new();
    for record in recording() {
        let listed = record.listed();
        if record.request.line.is_none() {
            if listed.is_none() {
                wrong.push(format!("{} cannot be replayed and is not listed", record.key()));
            }
            continue;
        }
        let answer = replay.ask(&record).await;
        let found = compare::differences(&record.response, &answer);
        match (found.is_empty(), listed) {
            (true, Some(reason)) => wrong.push(format!("{} differs no longer, but is listed: {reason}", record.key())),
            (false, None) => wrong.push(format!("{}: {}\n    {answer:?}", record.key(), found.join("; "))),
            _ => {}
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

with_every_backend! {
    /// The whole recording, in its order.
    async fn the_recording_is_answered_as_it_was(backend) {
        answers_as_recorded(backend).await;
    }
}

/// A pattern without a match hides a mistake.
#[test]
fn every_listed_difference_is_of_a_record() {
    let records = recording();
    for (pattern, reason) in DIFFERENCES {
        assert!(records.iter().any(|record| record.matches(pattern)), "{pattern} is listed in vain: {reason}");
    }
}
