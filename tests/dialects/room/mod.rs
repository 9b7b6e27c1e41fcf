//! Tests of the `room` dialect, a Django Channels chat: `/chat/*` and the socket `/ws/chat/room/`.

mod doors;
mod files;
mod history;
mod input;
mod meeting;
mod older;
mod others;
mod python;
mod seed;
mod socket;

use reqwest::{Method, RequestBuilder, multipart};
use serde_json::{Value, json};

use crate::support::{Answer, Server, Socket, token};

/// A user of the demo data.
#[derive(Clone, Copy)]
struct Person {
    uid: i64,
    uuid: &'static str,
    email: &'static str,
    name: &'static str,
}

const ADMIN: Person =
    Person { uid: 2, uuid: "75140d72-8b20-4549-885c-20599badb486", email: "admin@gmail.com", name: "Admin user" };
const JOHN: Person = Person { uid: 4, uuid: "302e305b-6e73-4f9c-bac7-551a92b106b0", email: "john@example.com", name: "John Doe" };
const JANE: Person =
    Person { uid: 6, uuid: "3fa85f64-5717-4562-b3fc-2c963f66afa6", email: "jane@example.com", name: "Jane Smith" };
const BOB: Person = Person { uid: 8, uuid: "87c8b8e2-3efc-4a4a-b667-1f9c0d7e8437", email: "bob@example.com", name: "Bob Wilson" };

impl Person {
    fn request(&self, server: &Server, method: Method, path: &str) -> RequestBuilder {
        server.client().request(method, path).bearer_auth(token(self.uid))
    }

    async fn get(&self, server: &Server, path: &str) -> Answer {
        Answer::of(self.request(server, Method::GET, path)).await
    }

    /// Fetches a route, and returns its data.
    async fn data(&self, server: &Server, path: &str) -> Value {
        let answer = self.get(server, path).await;
        assert_eq!(answer.status, 200, "{path}: {answer:?}");
        answer.json()["data"].take()
    }

    /// Returns the messages between this user and another, newest first.
    async fn history(&self, server: &Server, other: &Self) -> Vec<Value> {
        let data = self.data(server, &format!("/chat/messages/{}/", other.uuid)).await;
        data["messages"].as_array().expect("it is a list").clone()
    }

    async fn socket(&self, server: &Server) -> Socket {
        let socket = Socket::open(server.socket_url(&format!("/ws/chat/room/?token={}", token(self.uid)))).await;
        // Registration of the socket: complete after a round trip.
        let mut socket = socket;
        assert_eq!(socket.heard_so_far().await, [Value::Null; 0]);
        socket
    }

    async fn post_form(&self, server: &Server, form: multipart::Form) -> Answer {
        Answer::of(self.request(server, Method::POST, "/chat/attachment/").multipart(form)).await
    }

    /// Uploads a file of `bytes` bytes for a receiver, and returns the message.
    async fn upload(&self, server: &Server, to: &Self, message: &str, bytes: usize) -> Value {
        let form = form(to.uuid, message, bytes);
        let answer = self.post_form(server, form).await;
        assert_eq!(answer.status, 201, "{answer:?}");
        answer.json()["entity"]["message"].take()
    }
}

fn form(receiver: &str, message: &str, bytes: usize) -> multipart::Form {
    let file = multipart::Part::bytes(vec![b'x'; bytes]).file_name("Screenshot 2025-03-14 100311.png");
    multipart::Form::new().text("receiver", receiver.to_owned()).text("message", message.to_owned()).part("attached_file", file)
}

fn text(to: &Person, body: &str) -> Value {
    json!({"action": "text_message", "message_body": body, "receiver_id": to.uuid})
}

fn show(id: &Value) -> Value {
    json!({"action": "file_message", "chat_id": id})
}

/// Answer to a refused request.
fn failure(message: &str) -> Value {
    json!({"status": "failure", "entity": null, "message": message, "success": false})
}

/// Asserts that this is a recent time with microseconds, in that zone.
#[track_caller]
fn is_time(time: &Value, zone: &str) {
    let text = time.as_str().unwrap_or_else(|| panic!("{time} is a text"));
    assert!(text.len() == 26 + zone.len() && text.ends_with(zone) && text.as_bytes()[19] == b'.', "{text}");
    chrono::DateTime::parse_from_rfc3339(text).expect("it is a time");
}
