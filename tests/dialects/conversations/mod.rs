//! Tests of the `conversations` dialect: one socket per conversation, `/conversations/<id>/`, and one for all,
//! `/conversations/`.

mod all;
mod doors;
mod history;
mod input;
mod messages;
mod node;
mod paths;
mod presence;
mod reactions;
mod receipts;
mod seed;

use std::fmt::Display;

use serde_json::{Value, json};

use crate::support::{Server, Socket, token};

/// User ids of the demo data.
const ADMIN: i64 = 2;
const JOHN: i64 = 4;
const JANE: i64 = 6;
const BOB: i64 = 8;

fn url(server: &Server, conversation: impl Display, token: &str) -> String {
    server.socket_url(&format!("/conversations/{conversation}/?token={token}"))
}

/// Opens a user's socket of a conversation, without waiting for the subscription.
async fn open(server: &Server, uid: i64, conversation: impl Display) -> Socket {
    Socket::open(url(server, conversation, &token(uid))).await
}

/// Opens a user's socket of a conversation, and waits until it receives everything.
async fn enter(server: &Server, uid: i64, conversation: impl Display) -> Socket {
    let mut socket = open(server, uid, conversation).await;
    assert_eq!(socket.hear().await["type"], "user_status");
    socket
}

/// Opens a user's socket of all conversations, and waits until it receives everything.
async fn enter_all(server: &Server, uid: i64) -> Socket {
    let mut socket = Socket::open(server.socket_url(&format!("/conversations/?token={}", token(uid)))).await;
    assert_eq!(socket.hear().await["user_id"], uid.to_string(), "the user itself is the first");
    socket
}

/// Sends a text, and returns the message as the sender receives it.
async fn send(socket: &mut Socket, text: &str) -> Value {
    socket.say(json!({"action": "send_message", "content": text})).await;
    let mut told = socket.hear_until(|told| told["message"]["content"] == text || told["type"] == "message.failed").await;
    assert_eq!(told["type"], "chat_message", "{told}");
    told["message"].take()
}

/// Returns the next frame of a kind, and skips others.
async fn hear(socket: &mut Socket, kind: &str) -> Value {
    socket.hear_until(|told| told["type"] == kind).await
}

/// Sends an invalid frame, and returns the error.
async fn complaint(socket: &mut Socket, frame: &str) -> Value {
    socket.say_text(frame).await;
    socket.hear_until(|told| ["error", "message.failed"].map(Some).contains(&told["type"].as_str())).await
}

/// Returns the frames received so far, without presence.
async fn said(socket: &mut Socket) -> Vec<Value> {
    let mut said = socket.heard_so_far().await;
    said.retain(|told| told["type"] != "user_status");
    said
}

fn keys(object: &Value) -> Vec<&str> {
    object.as_object().unwrap_or_else(|| panic!("{object} is an object")).keys().map(String::as_str).collect()
}

fn text<'a>(object: &'a Value, key: &str) -> &'a str {
    object[key].as_str().unwrap_or_else(|| panic!("{key} of {object} is a text"))
}

/// True if the value is a time such as `2023-12-01T12:00:00Z`.
fn is_time(value: &Value) -> bool {
    value.as_str().is_some_and(|text| text.len() == 20 && text.ends_with('Z') && text.as_bytes()[10] == b'T')
}
