//! Replay of recorded requests, with logins, passwords and ids of the demo data.

use std::collections::HashMap;

use reqwest::Method;
use serde_json::{Value, json};

use super::Record;
use crate::support::{Answer, BOB, Client, JANE, JOHN, PASSWORD, Server};

/// Mappings from recorded values to present ones: logins, passwords, and the ids of users and partners. An ambiguous number
/// is a user's id.
const LOGINS: [(&str, &str); 3] = [("alice", JOHN), ("bob", JANE), ("carol", BOB)];
const PASSWORDS: [&str; 3] = ["alice-pw", "bob-pw", "carol-pw"];
const PEOPLE: [(i64, i64); 4] = [(6, 4), (7, 6), (8, 8), (10, 34)];
const PARTNERS: [(i64, i64); 3] = [(7, 5), (8, 7), (9, 9)];

/// Requests of users other than Alice.
const AS_BOB: [&str; 8] = [
    "message_send_ok_string_thread_id",
    "threads_ok_bob",
    "unread_count_bob",
    "notifications_count_bob",
    "message_read_ok_single",
    "message_read_ok_list",
    "attachment_download_other_user",
    "attachment_delete_error_denied",
];
const AS_CAROL: [&str; 5] = [
    "user_route_ok_carol",
    "message_send_error_denied",
    "messages_error_denied",
    "mark_all_read_not_participant_thread",
    "add_participant_error_denied",
];
/// Requests with an ended session, and requests that end their session.
const ENDED: [&str; 2] = ["session_destroy_then_use_old_cookie", "session_logout_then_use_old_cookie"];
const ENDING: [&str; 3] = ["authenticate_again_with_cookie", "session_destroy_ok", "session_logout_json_post"];

pub(super) struct Replay<'a> {
    server: &'a Server,
    alice: Client,
    bob: Client,
    carol: Client,
    /// Present ids by key and recorded id.
    ids: HashMap<(&'static str, i64), i64>,
}

impl<'a> Replay<'a> {
    pub(super) async fn start(server: &'a Server) -> Self {
        let (alice, bob, carol) = (log_in(server, JOHN).await, log_in(server, JANE).await, log_in(server, BOB).await);
        let mut replay = Self { server, alice, bob, carol, ids: HashMap::new() };
        // The recording begins in the middle of a conversation.
        let thread = replay.alice.messaging("thread/create", json!({"name": "Before"})).await["thread_id"].as_i64().unwrap();
        replay.ids.insert(("thread_id", 4), thread);
        replay
    }

    /// Sends a recorded request. Returns the present answer.
    pub(super) async fn ask(&mut self, record: &Record) -> Answer {
        self.meanwhile(record).await;
        let answer = match record.name.as_str() {
            "poll_messages_message_sent_during_wait" | "poll_updates_message_sent_during_wait" => {
                let (answer, ()) = tokio::join!(self.send(record), async {
                    self.server.polls_waiting(1).await;
                    let params = json!({"thread_id": self.ids[&("thread_id", 11)], "body": "arrives during the poll"});
                    self.bob.messaging("message/send", params).await;
                });
                answer
            }
            _ => self.send(record).await,
        };
        self.learn(record, &answer);
        answer
    }

    /// Performs the unrecorded actions between two records.
    async fn meanwhile(&mut self, record: &Record) {
        match record.name.as_str() {
            "message_send_ok_string_thread_id" => {
                for (recorded, client, body) in [(14, &self.alice, "hello <b>wörld</b> 😀"), (15, &self.bob, "second")] {
                    let params = json!({"thread_id": self.ids[&("thread_id", 11)], "body": body});
                    let sent = client.messaging("message/send", params).await;
                    self.ids.insert(("message_id", recorded), sent["message_id"].as_i64().unwrap());
                }
            }
            "attachment_upload_empty_file" => {
                let file = self.ids[&("attachment_id", 37)];
                let params = json!({"thread_id": self.ids[&("thread_id", 11)], "body": "see file", "attachment_ids": [file]});
                let sent = self.alice.messaging("message/send", params).await;
                self.ids.insert(("message_id", 22), sent["message_id"].as_i64().unwrap());

                let png = reqwest::multipart::Part::bytes(b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR".to_vec()).file_name("pic.png");
                let form = reqwest::multipart::Form::new().part("file", png);
                let request = self.alice.request(Method::POST, "/api/messaging/attachment/upload").multipart(form);
                let id = Answer::of(request).await.json()["attachment_id"].as_i64().unwrap();
                self.ids.insert(("attachment_id", 38), id);
            }
            _ => {}
        }
    }

    async fn send(&self, record: &Record) -> Answer {
        let session = self.session(record).await;
        let mut words = record.request.line.as_deref().expect("it was an exchange").split(' ');
        let method: Method = words.next().and_then(|word| word.parse().ok()).expect("a method");
        let path = self.path(words.next().expect("a path")).replace("<40 hex>", &session);
        let mut request = self.server.client().request(method, &path);
        let mut chunked = false;
        for (name, value) in &record.request.headers {
            if name == "Transfer-Encoding" {
                chunked = true;
            } else {
                request = request.header(name, value.replace("<40 hex>", &session));
            }
        }
        let body = record.request.body.as_deref().unwrap_or_default();
        if chunked {
            let pieces = [Ok::<_, std::io::Error>("{\"params\""), Ok(":{}}")];
            request = request.body(reqwest::Body::wrap_stream(futures_util::stream::iter(pieces)));
        } else if !body.is_empty() {
            request = request.body(self.body(record, body));
        }
        Answer::of(request).await
    }

    /// The session of a record's user.
    async fn session(&self, record: &Record) -> String {
        let name = record.name.as_str();
        let session = |client: &Client| client.session().expect("everybody is logged in").to_owned();
        if name.contains("garbage") {
            "0".repeat(40)
        } else if ENDED.contains(&name) {
            let client = log_in(self.server, JOHN).await;
            client.call("/web/session/destroy", json!({})).await;
            session(&client)
        } else if ENDING.contains(&name) {
            session(&log_in(self.server, JOHN).await)
        } else if AS_BOB.contains(&name) {
            session(&self.bob)
        } else if AS_CAROL.contains(&name) {
            session(&self.carol)
        } else {
            session(&self.alice)
        }
    }

    fn now(&self, key: &'static str, recorded: i64) -> i64 {
        self.ids.get(&(key, recorded)).copied().unwrap_or(recorded)
    }

    fn path(&self, path: &str) -> String {
        let Some((start, id)) = path.rsplit_once('/') else { return path.to_owned() };
        let key = match start.rsplit('/').next() {
            Some("participants" | "status") => "thread_id",
            Some("attachment" | "info" | "delete") => "attachment_id",
            _ => return path.to_owned(),
        };
        match id.parse() {
            Ok(id) => format!("{start}/{}", self.now(key, id)),
            Err(_) => path.to_owned(),
        }
    }

    /// The body; unchanged, byte for byte, unless it holds a value to map.
    fn body(&self, record: &Record, body: &str) -> String {
        if record.path().ends_with("/upload") {
            return body.replace("\r\n\r\n11\r\n", &format!("\r\n\r\n{}\r\n", self.now("thread_id", 11)));
        }
        let Ok(whole) = serde_json::from_str::<Value>(body) else { return body.to_owned() };
        let mut renamed = whole.clone();
        if let Some(params) = renamed.get_mut("params") {
            self.rename(record, params);
        }
        if renamed == whole { body.to_owned() } else { renamed.to_string() }
    }

    fn rename(&self, record: &Record, params: &mut Value) {
        if record.path() == "/jsonrpc" {
            params["args"].as_array_mut().into_iter().flatten().for_each(|argument| rename_ids(argument, &PEOPLE));
            rename_texts(params);
            return;
        }
        if record.path().starts_with("/web/dataset") {
            return rename_ids(&mut params["args"], &PARTNERS);
        }
        rename_texts(params);
        let Some(params) = params.as_object_mut() else { return };
        for (name, value) in params {
            let key = match name.as_str() {
                "thread_id" => "thread_id",
                "message_id" | "message_ids" | "last_message_id" => "message_id",
                "attachment_ids" => "attachment_id",
                "partner_id" | "partner_ids" => {
                    rename_ids(value, &PEOPLE);
                    continue;
                }
                _ => continue,
            };
            each_number(value, &|recorded| self.now(key, recorded));
        }
    }

    /// Stores the ids of created objects.
    fn learn(&mut self, record: &Record, answer: &Answer) {
        let Ok(answer) = serde_json::from_str::<Value>(&answer.body) else { return };
        let body = |whole: &Value| whole.get("result").unwrap_or(whole).clone();
        let (was, is) = (body(&record.response.body), body(&answer));
        for key in ["thread_id", "message_id", "attachment_id"] {
            if let (Some(was), Some(is)) = (was[key].as_i64(), is[key].as_i64()) {
                self.ids.insert((key, was), is);
            }
        }
    }
}

async fn log_in(server: &Server, login: &str) -> Client {
    let params = json!({"params": {"db": "peer", "login": login, "password": PASSWORD}});
    let answer = server.client().post("/web/session/authenticate", &params).await;
    server.client().with_session(answer.session().as_deref())
}

fn rename_ids(value: &mut Value, ids: &[(i64, i64)]) {
    each_number(value, &|recorded| ids.iter().find(|(was, _)| *was == recorded).map_or(recorded, |(_, is)| *is));
}

/// Applies the mapping to numbers, also in texts and in lists.
fn each_number(value: &mut Value, rename: &impl Fn(i64) -> i64) {
    match value {
        Value::Number(number) => {
            if let Some(number) = number.as_i64() {
                *value = rename(number).into();
            }
        }
        Value::String(text) => {
            if let Ok(number) = text.parse() {
                *text = rename(number).to_string();
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| each_number(item, rename)),
        Value::Null | Value::Bool(_) | Value::Object(_) => {}
    }
}

fn rename_texts(value: &mut Value) {
    match value {
        Value::String(text) => {
            if PASSWORDS.contains(&text.as_str()) {
                *text = PASSWORD.to_owned();
            } else if let Some((_, login)) = LOGINS.iter().find(|(was, _)| was == text) {
                *text = (*login).to_owned();
            }
        }
        Value::Array(items) => items.iter_mut().for_each(rename_texts),
        Value::Object(members) => members.values_mut().for_each(rename_texts),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}
