//! Tests of the `concierge` dialect, the support chat: tenants, agents and their connections.

mod agents;
mod app;
mod beginning;
mod connection;
mod desk;
mod events;
mod files;
mod input;
mod members;
mod node;
mod outsiders;
mod seed;
mod seen;
mod sessions;

use std::collections::VecDeque;

use jsonwebtoken::{EncodingKey, Header};
use serde_json::{Value, json};

use crate::support::{Backend, Server, Socket};

const SECRET: &str = "thirty-two bytes are what a secret needs";
/// User ids of the demo data.
const DEEPAK: i64 = 34;
const CONCIERGE: i64 = 32314;
const ADMIN: i64 = 2;
const JOHN: i64 = 4;

async fn start(backend: Backend) -> Server {
    Server::builder(backend).set("TOKENS__SECRET", SECRET).start().await
}

fn token(uid: i64) -> String {
    signed(json!({"user_id": uid, "token_type": "access", "exp": chrono::Utc::now().timestamp() + 3_600}))
}

fn signed(claims: Value) -> String {
    jsonwebtoken::encode(&Header::default(), &claims, &EncodingKey::from_secret(SECRET.as_bytes())).expect("it can be signed")
}

fn address(server: &Server, path: &str) -> String {
    server.url(path).replacen("http", "ws", 1)
}

/// A client of this dialect.
struct Client {
    socket: Socket,
    /// First event of the connection.
    connection: Value,
    /// Events received while waiting for an answer.
    pushed: VecDeque<Value>,
}

impl Client {
    async fn connect(server: &Server, uid: i64, device: &str) -> Self {
        Self::at(&address(server, &format!("/concierge?Auth={}&deviceId={device}", token(uid)))).await
    }

    async fn at(address: &str) -> Self {
        let mut socket = Socket::open(address).await;
        let greeting = socket.hear().await;
        assert_eq!((&greeting["channel"], &greeting["status"]), (&json!("connection"), &json!(200)), "{greeting}");
        Self { socket, connection: greeting["body"]["connection"].clone(), pushed: VecDeque::new() }
    }

    /// Sends a request, and returns the whole answer.
    async fn ask(&mut self, route: &str, body: Value) -> Value {
        self.socket.say(json!({"action": "api", "data": {"route": route, "body": body}})).await;
        loop {
            let frame = self.socket.hear().await;
            assert!(frame["channel"].is_string(), "{frame}");
            if frame["channel"] == route {
                return frame;
            }
            self.pushed.push_back(frame);
        }
    }

    /// Sends a request that succeeds, and returns the body of the answer.
    async fn body(&mut self, route: &str, body: Value) -> Value {
        let mut answer = self.ask(route, body).await;
        assert_eq!(answer["status"], 200, "{route}: {answer}");
        answer["body"].take()
    }

    /// Sends a request that is refused, and returns the status of the answer.
    async fn refused(&mut self, route: &str, body: Value) -> u64 {
        let answer = self.ask(route, body).await;
        assert!(answer["body"]["message"].is_string(), "{route}: {answer}");
        answer["status"].as_u64().expect("it has one")
    }

    /// Returns the next event.
    async fn event(&mut self) -> Value {
        match self.pushed.pop_front() {
            Some(event) => event,
            None => self.socket.hear().await,
        }
    }

    /// Begins a session, and returns its `chatSessionId`.
    async fn init(&mut self) -> Value {
        self.body("client/init-chat-with-concierge", json!({"newSession": true})).await["chatSessionId"].take()
    }

    /// Begins a session, and sends a message there, so that the next `init` begins another.
    async fn init_and_say(&mut self, text: &str) -> Value {
        let session = self.init().await;
        self.send("client", &session, text).await;
        session
    }

    async fn join(&mut self, session: &Value) -> Value {
        self.body("backend/join-chat-session", json!({"chatSessionId": session})).await
    }

    /// Expects an update event of this session, and returns the session.
    async fn update(&mut self, session: &Value) -> Value {
        let mut event = self.event().await;
        let channel = format!("chat-session-update-{}", session.as_str().expect("a text"));
        assert_eq!(event["channel"], channel, "{event}");
        event["payload"]["chatSession"].take()
    }

    /// Expects the event of a session that waits for an agent.
    async fn is_told_that_waits(&mut self, session: &Value) {
        let event = self.event().await;
        let told = (&event["channel"], &event["payload"]["chatSession"]["chatSessionId"]);
        assert_eq!(told, (&json!("chat-session-new"), session), "{event}");
    }

    /// Returns all events pushed so far.
    async fn events_so_far(&mut self) -> Vec<Value> {
        let heard = self.socket.heard_so_far().await;
        self.pushed.drain(..).chain(heard).collect()
    }

    /// Sends a text, and returns the stored message.
    async fn send(&mut self, side: &str, session: &Value, text: &str) -> Value {
        let message = json!({"chatSessionId": session, "contentType": "TEXT", "messageContent": text});
        self.body(&format!("{side}/send-message"), message).await["chatMessage"].take()
    }

    async fn texts(&mut self, side: &str, session: &Value) -> Vec<Value> {
        let mut history = self.body(&format!("{side}/get-chat-messages"), json!({"chatSessionId": session})).await;
        let messages = history["messages"].as_array_mut().expect("it is a list");
        messages.iter_mut().map(|message| message["messageContent"].take()).collect()
    }
}

/// The same value with every string, number and boolean replaced by the name of its type.
fn shape(value: &Value) -> Value {
    match value {
        Value::Object(members) => members.iter().map(|(key, value)| (key.clone(), shape(value))).collect(),
        Value::Array(items) => items.iter().map(shape).collect(),
        Value::String(text) if text.parse::<i64>().is_ok() => json!("a number as text"),
        Value::String(_) => json!("text"),
        Value::Number(_) => json!("number"),
        Value::Bool(_) => json!("true or false"),
        Value::Null => Value::Null,
    }
}
