//! The messaging room: `/api/messaging/*`.

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

/// Waits long enough for anything to happen meanwhile.
const LONG: u64 = 60;

/// The refusal that a call comes back with, as a successful result.
async fn refusal(client: &Client, route: &str, params: Value) -> String {
    let result = client.messaging(route, params).await;
    let members = result.as_object().unwrap_or_else(|| panic!("{route}: {result}"));
    assert_eq!(members.keys().collect::<Vec<_>>(), ["error"], "{route}: {result}");
    members["error"].as_str().unwrap_or_else(|| panic!("{route}: {result}")).to_owned()
}

/// Sends a message and gives its id.
async fn send(client: &Client, thread: i64, body: &str) -> i64 {
    let sent = client.messaging("message/send", json!({"thread_id": thread, "body": body})).await;
    assert_eq!(sent["success"], true, "{sent}");
    sent["message_id"].as_i64().unwrap()
}

/// The texts of a thread, newest first.
async fn bodies(client: &Client, thread: i64) -> Vec<String> {
    let page = client.messaging("messages", json!({"thread_id": thread})).await;
    texts(&page)
}

/// The texts of the messages in an answer.
fn texts(answer: &Value) -> Vec<String> {
    let messages = answer["messages"].as_array().unwrap_or_else(|| panic!("{answer}"));
    messages.iter().map(|message| message["body"].as_str().unwrap().to_owned()).collect()
}

/// Begins a thread of the caller with these.
async fn thread_with(client: &Client, partners: Value) -> i64 {
    let made = client.messaging("thread/create", json!({"name": "Thread", "partner_ids": partners})).await;
    made["thread_id"].as_i64().unwrap_or_else(|| panic!("{made}"))
}

async fn unread(client: &Client) -> i64 {
    client.messaging("notifications/count", json!({})).await["total_count"].as_i64().unwrap()
}

/// Starts a call that waits, does something once it waits, and gives what the call came back with.
async fn while_waiting(server: &Server, client: &Client, route: &str, params: Value, act: impl Future<Output = ()>) -> Value {
    let (answer, ()) = tokio::join!(client.messaging(route, params), async {
        server.polls_waiting(1).await;
        act.await;
    });
    answer
}

/// Every key in the order in which it stands, through all levels, with the type of its value. Lists give their first item.
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

/// Whether a text is a time as this room writes it.
fn is_time(text: &Value) -> bool {
    text.as_str().is_some_and(|text| text.len() == 19 && chrono::NaiveDateTime::parse_from_str(text, "%Y-%m-%d %H:%M:%S").is_ok())
}
