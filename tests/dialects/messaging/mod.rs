//! Tests of the `messaging` dialect: `/api/messaging/*`.

mod attachments;
mod changes;
mod download;
mod messages;
mod notifications;
mod participants;
mod partners;
mod poll_messages;
mod poll_updates;
mod presence;
mod reactions;
mod refusals;
mod retries;
mod search;
mod seed;
mod settings;
mod threads;
mod typing;

use serde_json::{Value, json};

use crate::support::{Client, Server};

/// Poll time-out in seconds, longer than any other step takes.
const LONG: u64 = 60;

/// Makes a call that is refused, and returns the error text, which comes as a successful result.
async fn refusal(client: &Client, route: &str, params: Value) -> String {
    let result = client.messaging(route, params).await;
    let members = result.as_object().unwrap_or_else(|| panic!("{route}: {result}"));
    assert_eq!(members.keys().collect::<Vec<_>>(), ["error"], "{route}: {result}");
    members["error"].as_str().unwrap_or_else(|| panic!("{route}: {result}")).to_owned()
}

/// Sends a message, and returns its id.
async fn send(client: &Client, thread: i64, body: &str) -> i64 {
    let sent = client.messaging("message/send", json!({"thread_id": thread, "body": body})).await;
    assert_eq!(sent["success"], true, "{sent}");
    sent["message_id"].as_i64().unwrap()
}

/// Returns the texts of a thread, newest first.
async fn bodies(client: &Client, thread: i64) -> Vec<String> {
    let page = client.messaging("messages", json!({"thread_id": thread})).await;
    texts(&page)
}

/// Texts of the messages in an answer.
fn texts(answer: &Value) -> Vec<String> {
    let messages = answer["messages"].as_array().unwrap_or_else(|| panic!("{answer}"));
    messages.iter().map(|message| message["body"].as_str().unwrap().to_owned()).collect()
}

/// Creates a thread of the caller with these partners.
async fn thread_with(client: &Client, partners: Value) -> i64 {
    let made = client.messaging("thread/create", json!({"name": "Thread", "partner_ids": partners})).await;
    made["thread_id"].as_i64().unwrap_or_else(|| panic!("{made}"))
}

async fn unread(client: &Client) -> i64 {
    client.messaging("notifications/count", json!({})).await["total_count"].as_i64().unwrap()
}

/// Starts a call that waits, runs `act` meanwhile, and returns the result of the call.
async fn while_waiting(server: &Server, client: &Client, route: &str, params: Value, act: impl Future<Output = ()>) -> Value {
    let (answer, ()) = tokio::join!(client.messaging(route, params), async {
        server.polls_waiting(1).await;
        act.await;
    });
    answer
}

/// Keys in order, at every level, with the type of each value. A list is represented by its first element.
fn shape(value: &Value) -> Value {
    match value {
        Value::Object(members) => members.iter().map(|(key, value)| (key.clone(), shape(value))).collect(),
        Value::Array(items) => items.first().map(shape).into_iter().collect(),
        Value::Null => "null".into(),
        Value::Bool(_) => "bool".into(),
        Value::Number(_) => "number".into(),
        Value::String(_) => "text".into(),
    }
}

/// True if a text is a time in the format of this dialect.
fn is_time(text: &Value) -> bool {
    text.as_str().is_some_and(|text| text.len() == 19 && chrono::NaiveDateTime::parse_from_str(text, "%Y-%m-%d %H:%M:%S").is_ok())
}
