//! Readers of the load generator: receiving and resuming after a lost connection, in each dialect.

use std::collections::{BTreeMap, HashSet};

use serde_json::{Value, json};

use super::{
    ByConversation, Dialect, END, Place, Side,
    visitor::{Line, Visitor},
};
use crate::order::checker::{Heard, Rising};

/// Uuid of the admin, John's counterpart in `PAIR`.
const ADMIN_UUID: &str = "75140d72-8b20-4549-885c-20599badb486";
/// Largest page size of the routes.
const PAGE: usize = 100;

/// Reads until the last message of each of these conversations.
pub async fn read(dialect: Dialect, mut visitor: Visitor, places: Vec<Place>) -> ByConversation {
    let mut heard: ByConversation = places.iter().map(|place| (place.id, Vec::new())).collect();
    let first = places[0].id;
    match dialect {
        Dialect::Messaging => poll_messages(&mut visitor, first, &mut heard).await,
        Dialect::ImChat => poll_bus(&mut visitor, &mut heard).await,
        Dialect::Conversations => listen(&mut visitor, first, &mut heard, Conversation(first)).await,
        Dialect::Room => listen(&mut visitor, first, &mut heard, Room).await,
        Dialect::Concierge(side) => {
            let desk = Desk { side, session: places[0].uuid.clone(), device: uuid::Uuid::new_v4().to_string() };
            listen(&mut visitor, first, &mut heard, desk).await;
        }
    }
    heard
}

fn is_over(heard: &ByConversation) -> bool {
    heard.values().all(|heard| heard.last().is_some_and(|last| last.body == END))
}

/// The result of a call; `None` for the one error that asks for a retry.
fn result(mut answer: Value) -> Option<Value> {
    if answer.get("error").is_some() {
        assert_eq!(answer["error"]["data"]["name"], "psycopg2.OperationalError", "{answer}");
        return None;
    }
    Some(answer["result"].take())
}

async fn poll_messages(visitor: &mut Visitor, place: i64, heard: &mut ByConversation) {
    while !is_over(heard) {
        let heard = heard.get_mut(&place).expect("it is read");
        let last = heard.last().map_or(0, |last| last.id);
        let params = json!({"thread_id": place, "last_message_id": last, "timeout": 60});
        let Some(answer) = visitor.call("/api/messaging/poll/messages", params).await else { continue };
        match result(answer) {
            Some(result) => {
                let messages = result["messages"].as_array().unwrap_or_else(|| panic!("a poll succeeds: {result}"));
                heard.extend(messages.iter().map(Heard::read));
            }
            None => visitor.turn_away().await,
        }
    }
}

/// Polls `poll/updates` and reads the changed conversations, at the next address each time. This poll has no client cursor:
/// an update that one node omits would appear only after a further change, and after the last message never.
pub async fn follow_updates(mut visitor: Visitor, places: Vec<i64>) -> ByConversation {
    let mut heard: ByConversation = places.iter().map(|place| (*place, Vec::new())).collect();
    // A lost answer has already moved the session's cursor, so the reader then reads all conversations.
    let mut follows = false;
    while !is_over(&heard) {
        let params = json!({"timeout": if follows { 60 } else { 0 }});
        let answer = visitor.call("/api/messaging/poll/updates", params).await.and_then(result);
        visitor.turn_away().await;
        let Some(answer) = answer else {
            follows = false;
            continue;
        };
        let told = answer["threads_with_updates"].as_array().unwrap_or_else(|| panic!("a poll succeeds: {answer}")).iter();
        let told = told.map(|thread| thread["thread_id"].as_i64().expect("it has an id"));
        let changed = if follows { told.collect() } else { places.clone() };
        for place in changed {
            read_on(&mut visitor, place, heard.get_mut(&place).expect("it is read")).await;
        }
        follows = true;
    }
    heard
}

/// Reads all messages after the last known one.
async fn read_on(visitor: &mut Visitor, place: i64, heard: &mut Vec<Heard>) {
    loop {
        let last = heard.last().map_or(0, |last| last.id);
        let params = json!({"thread_id": place, "last_message_id": last, "timeout": 0});
        match visitor.call("/api/messaging/poll/messages", params).await.and_then(result) {
            Some(result) => {
                let messages = result["messages"].as_array().unwrap_or_else(|| panic!("a poll succeeds: {result}"));
                heard.extend(messages.iter().map(Heard::read));
                if messages.len() < PAGE {
                    return;
                }
            }
            None => visitor.turn_away().await,
        }
    }
}

/// Polls with `last`, the largest id so far. Ids must rise, whichever node answers.
async fn poll_bus(visitor: &mut Visitor, heard: &mut ByConversation) {
    let (mut last, mut messages) = (0, Rising::default());
    while !is_over(heard) {
        let Some(answer) = visitor.call("/longpolling/poll", json!({"channels": [], "last": last})).await else { continue };
        let Some(told) = result(answer) else {
            visitor.turn_away().await;
            continue;
        };
        for told in told.as_array().unwrap_or_else(|| panic!("a poll succeeds: {told}")) {
            let id = told["id"].as_i64().expect("ids are numbers");
            let message = &told["message"];
            last = last.max(id);
            if message["type"] != "message" {
                continue;
            }
            assert!(messages.takes(id), "{id} comes after {messages:?}: {told}");
            let place = message["to_id"][0].as_i64().expect("it is in a session");
            let body = message["message"].as_str().expect("it has a text").to_owned();
            let id = message["id"].as_i64().expect("it has an id");
            heard.get_mut(&place).unwrap_or_else(|| panic!("a session of the reader's: {told}")).push(Heard { id, body });
        }
    }
}

/// Differences between the dialects with sockets.
trait Listening {
    /// Path of the socket, with this token.
    fn path(&self, token: &str) -> String;
    /// Reads the dialect's history after this message, oldest first. Also returns the frames that arrived meanwhile. `None`
    /// if the connection broke or the server cannot read now.
    async fn catch_up(&self, visitor: &mut Visitor, line: &mut Line, after: i64) -> Option<(Vec<Heard>, Vec<Value>)>;
    /// The message in a frame, if there is one.
    fn message(&self, frame: &Value) -> Option<Heard>;
}

/// Opens a socket, catches up from the history and continues with the pushed frames, again after each disconnect. A message of the
/// history, or one that came on the connection before, may be pushed once more, by a node that is behind; any other must not be
/// pushed late.
async fn listen(visitor: &mut Visitor, place: i64, heard: &mut ByConversation, dialect: impl Listening) {
    while !is_over(heard) {
        let Some(mut line) = visitor.open(&dialect.path(visitor.token())).await else { continue };
        let heard = heard.get_mut(&place).expect("it is read");
        let last = heard.last().map_or(0, |last| last.id);
        let Some((missed, told)) = dialect.catch_up(visitor, &mut line, last).await else {
            visitor.closed().await;
            continue;
        };
        let known: HashSet<i64> = heard.iter().chain(&missed).map(|message| message.id).collect();
        heard.extend(missed);
        let mut told = told.into_iter();
        while heard.last().is_none_or(|last| last.body != END) {
            let frame = match told.next() {
                Some(frame) => frame,
                None => match line.hear().await {
                    Some(frame) => frame,
                    None => {
                        visitor.closed().await;
                        break;
                    }
                },
            };
            heard.extend(dialect.message(&frame).filter(|message| !known.contains(&message.id)));
        }
    }
}

struct Conversation(i64);

impl Listening for Conversation {
    fn path(&self, token: &str) -> String {
        format!("/conversations/{}/?token={token}", self.0)
    }

    async fn catch_up(&self, _: &mut Visitor, line: &mut Line, after: i64) -> Option<(Vec<Heard>, Vec<Value>)> {
        // The subscription begins before the greeting.
        while line.hear().await?["type"] != "user_status" {}
        let (mut missed, mut told): (Vec<Heard>, _) = (Vec::new(), Vec::new());
        loop {
            let after = missed.last().map_or(after, |last| last.id);
            line.say(json!({"action": "fetch_messages", "after_id": after, "limit": PAGE})).await?;
            let page = loop {
                let frame = line.hear().await?;
                match frame["type"].as_str() {
                    Some("messages_fetched") => break frame,
                    // The server cannot read now.
                    Some("error") => return None,
                    _ => told.push(frame),
                }
            };
            let page = page["messages"].as_array().expect("a list").iter();
            let page: Vec<_> = page.map(|message| heard(&message["id"], &message["content"])).collect();
            let is_last = page.len() < PAGE;
            missed.extend(page);
            if is_last {
                return Some((missed, told));
            }
        }
    }

    fn message(&self, frame: &Value) -> Option<Heard> {
        let message = &frame["message"];
        (frame["type"] == "chat_message").then(|| heard(&message["id"], &message["content"]))
    }
}

struct Room;

impl Listening for Room {
    fn path(&self, token: &str) -> String {
        format!("/ws/chat/room/?token={token}")
    }

    /// Reads the history backwards to the last known message: its pages begin with the newest.
    async fn catch_up(&self, visitor: &mut Visitor, line: &mut Line, after: i64) -> Option<(Vec<Heard>, Vec<Value>)> {
        let told = line.listens().await?;
        let mut missed = BTreeMap::new();
        let mut before = String::new();
        loop {
            let answer = visitor.get(&format!("/chat/messages/{ADMIN_UUID}/?limit={PAGE}{before}")).await?;
            let page = answer["data"]["messages"].as_array()?;
            for message in page.iter().map(|message| heard(&message["id"], &message["message"])) {
                missed.insert(message.id, message);
            }
            let oldest = missed.keys().next().copied();
            if page.len() < PAGE || oldest.is_none_or(|oldest| oldest <= after) {
                missed.retain(|id, _| *id > after);
                return Some((missed.into_values().collect(), told));
            }
            before = oldest.map(|oldest| format!("&before={oldest}")).unwrap_or_default();
        }
    }

    fn message(&self, frame: &Value) -> Option<Heard> {
        // Frames of group messages arrive here too.
        let is_ours =
            ["re_message", "conf_message"].map(Some).contains(&frame["action"].as_str()) && frame.get("thread").is_none();
        is_ours.then(|| heard(&frame["created_msg_id"], &frame["message"]))
    }
}

/// A support session from one of its sides.
struct Desk {
    side: Side,
    session: String,
    device: String,
}

impl Listening for Desk {
    fn path(&self, token: &str) -> String {
        format!("/concierge?Auth={token}&deviceId={}", self.device)
    }

    /// Reads backwards from page 1, the newest, to the last known message. New messages move older ones to later pages.
    async fn catch_up(&self, _: &mut Visitor, line: &mut Line, after: i64) -> Option<(Vec<Heard>, Vec<Value>)> {
        // The subscription begins before the greeting.
        let greeting = line.hear().await?;
        if greeting["status"] != 200 {
            return None;
        }
        let (mut missed, mut told) = (BTreeMap::new(), Vec::new());
        for page in 1.. {
            let route = format!("{}/get-chat-messages?page={page}&limit={PAGE}", self.side.name());
            line.say(json!({"action": "api", "data": {"route": route, "body": {"chatSessionId": self.session}}})).await?;
            let answer = loop {
                let frame = line.hear().await?;
                if frame["channel"] == *route {
                    break frame;
                }
                told.push(frame);
            };
            // An answer without messages: the server cannot read now.
            let page = answer["body"]["messages"].as_array()?;
            for message in page.iter().map(|message| heard(&message["id"], &message["messageContent"])) {
                missed.insert(message.id, message);
            }
            let oldest = missed.keys().next().copied();
            if page.len() < PAGE || oldest.is_none_or(|oldest| oldest <= after) {
                break;
            }
        }
        missed.retain(|id, _| *id > after);
        Some((missed.into_values().collect(), told))
    }

    fn message(&self, frame: &Value) -> Option<Heard> {
        let message = &frame["payload"]["chatMessage"];
        let is_message = frame["channel"] == format!("chat-message-{}", self.session);
        is_message.then(|| heard(&message["id"], &message["messageContent"]))
    }
}

/// A message with a numeric or textual id.
fn heard(id: &Value, body: &Value) -> Heard {
    let id = id.as_i64().or_else(|| id.as_str()?.parse().ok()).expect("it has an id");
    Heard { id, body: body.as_str().expect("it has a text").to_owned() }
}
