//! Tests of the `im_chat` dialect: chat, address book and bus, `/im_chat/*` and `/longpolling/*`.

mod administration;
mod bus;
mod fairness;
mod live;
mod membership;
mod methods;
mod outsiders;
mod presence;

mod seed;
mod sessions;
mod signals;
mod starting;

use std::collections::{HashSet, VecDeque};

use serde_json::{Value, json};

use crate::support::{Client, Server};

/// A user's client of this dialect, which polls the bus as published clients do.
struct Person {
    client: Client,
    uid: i64,
    /// Cursor: largest id received.
    last: i64,
    /// Uuids to listen on, besides the user's own channel.
    channels: Vec<Value>,
    /// All ids received.
    seen: HashSet<i64>,
    /// Received notifications that are not yet examined.
    waiting: VecDeque<Value>,
}

impl Person {
    async fn log_in(server: &Server, login: &str) -> Self {
        let client = server.log_in(login).await;
        let info = client.result("/web/session/get_session_info", json!({})).await;
        Self {
            client,
            uid: info["uid"].as_i64().unwrap(),
            last: 0,
            channels: Vec::new(),
            seen: HashSet::new(),
            waiting: VecDeque::new(),
        }
    }

    async fn im_chat(&self, route: &str, params: Value) -> Value {
        self.client.result(&format!("/im_chat/{route}"), params).await
    }

    /// Returns the uuid of the session with a user, without a document.
    async fn session_with(&self, other: &Self) -> String {
        let session = self.im_chat("api/get_or_create_session", json!({"user_to": other.uid})).await;
        session["uuid"].as_str().unwrap().to_owned()
    }

    async fn post(&self, uuid: &str, text: &str) -> Value {
        self.post_as(uuid, "message", text).await
    }

    async fn post_as(&self, uuid: &str, kind: &str, text: &str) -> Value {
        let params = json!({"uuid": uuid, "message_type": kind, "message_content": text});
        self.im_chat("post", params).await
    }

    /// Returns the texts of a session, newest first.
    async fn history(&self, uuid: &str) -> Value {
        let history = self.im_chat("history", json!({"uuid": uuid, "limit": 100})).await;
        match history.as_array() {
            Some(messages) => messages.iter().map(|message| message["message"].clone()).collect(),
            None => history,
        }
    }

    async fn call_kw(&self, model: &str, method: &str, args: Value) -> Value {
        let params = json!({"model": model, "method": method, "args": args, "kwargs": {}});
        self.client.call("/web/dataset/call_kw", params).await
    }

    /// Polls once, and asserts that ids rise and are never repeated.
    async fn poll(&mut self) -> Vec<Value> {
        let params = json!({"channels": self.channels, "last": self.last, "options": {"im_presence": true}});
        let answer = self.client.result("/longpolling/poll", params).await;
        let told = answer.as_array().unwrap_or_else(|| panic!("{answer}")).clone();
        for notification in &told {
            let id = notification["id"].as_i64().unwrap();
            assert!(id > self.last, "{id} after {}: {answer}", self.last);
            assert!(self.seen.insert(id), "{id} comes twice: {answer}");
            self.last = id;
        }
        told
    }

    /// Polls until a notification matches, and returns it. Skips earlier ones, and keeps later ones of the same answer.
    async fn hear(&mut self, what: &str, fits: impl Fn(&Value) -> bool) -> Value {
        loop {
            while let Some(told) = self.waiting.pop_front() {
                if fits(&told) {
                    return told;
                }
            }
            let told = self.poll().await;
            assert!(!told.is_empty(), "{what} does not come");
            self.waiting.extend(told);
        }
    }

    /// Polls until a message with this type and text arrives on the user's own channel, and returns it.
    async fn hear_message(&mut self, kind: &str, text: &str) -> Value {
        let own = self.channel();
        let fits = |told: &Value| told["channel"] == own && told["message"]["type"] == kind && told["message"]["message"] == text;
        self.hear(text, fits).await["message"].take()
    }

    fn channel(&self) -> Value {
        json!(["odoo2", "im_chat.session", self.uid])
    }
}
