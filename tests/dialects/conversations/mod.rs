//! The room with one socket per conversation, `/conversations/<id>/`, and one for all of them, `/conversations/`.

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

/// The uids of the demo data's people.
const ADMIN: i64 = 2;
const JOHN: i64 = 4;
const JANE: i64 = 6;
const BOB: i64 = 8;

fn url(server: &Server, conversation: impl Display, token: &str) -> String {
    server.socket_url(&format!("/conversations/{conversation}/?token={token}"))
}

/// A user's socket of a conversation, which may not have begun.
async fn open(server: &Server, uid: i64, conversation: impl Display) -> Socket {
    Socket::open(url(server, conversation, &token(uid))).await
}

/// The same once it has begun: from now on it hears everything.
async fn enter(server: &Server, uid: i64, conversation: impl Display) -> Socket {
    let mut socket = open(server, uid, conversation).await;
    assert_eq!(socket.hear().await["type"], "user_status");
    socket
}

/// A user's socket of all conversations, once it has begun: from now on it hears everything.
async fn enter_all(server: &Server, uid: i64) -> Socket {
    let mut socket = Socket::open(server.socket_url(&format!("/conversations/?token={}", token(uid)))).await;
    assert_eq!(socket.hear().await["user_id"], uid.to_string(), "the user itself is the first");
    socket
}

/// Sends a text, and gives the message as the sender is told of it.
async fn send(socket: &mut Socket, text: &str) -> Value {
    socket.say(json!({"action": "send_message", "content": text})).await;
    let mut told = socket.hear_until(|told| told["message"]["content"] == text || told["type"] == "message.failed").await;
    assert_eq!(told["type"], "chat_message", "{told}");
    told["message"].take()
}

/// The next frame of a kind; others are passed over.
async fn hear(socket: &mut Socket, kind: &str) -> Value {
    socket.hear_until(|told| told["type"] == kind).await
}

/// What the server says to one frame that it does not like.
async fn complaint(socket: &mut Socket, frame: &str) -> Value {
    socket.say_text(frame).await;
    socket.hear_until(|told| ["error", "message.failed"].map(Some).contains(&told["type"].as_str())).await
}

/// Those of the frames heard so far that are not about anybody's coming and going.
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

/// Whether it is a time such as `2023-12-01T12:00:00Z`.
fn is_time(value: &Value) -> bool {
    value.as_str().is_some_and(|text| text.len() == 20 && text.ends_with('Z') && text.as_bytes()[10] == b'T')
}
