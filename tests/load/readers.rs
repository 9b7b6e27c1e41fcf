//! How clients of each dialect listen, and how they go on after they were cut off.

use std::collections::{BTreeMap, HashSet};

use serde_json::{Value, json};

use super::{
    ByConversation, Dialect, END, Place, Side,
    visitor::{Line, Visitor},
};
use crate::order::checker::{Heard, Rising};

/// The admin, with whom John has his conversation.
const ADMIN_UUID: &str = "75140d72-8b20-4549-885c-20599badb486";
/// As many as a page holds at most.
const PAGE: usize = 100;

/// Reads until the end of each of these conversations.
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

/// The result of a call. An error must be one that means: later.
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

/// Reads what it is told to have changed, and polls at the next door each time. A client has no cursor here: what one node
/// forgot to tell would be read only once something else changes, and the end never.
pub async fn follow_updates(mut visitor: Visitor, places: Vec<i64>) -> ByConversation {
    let mut heard: ByConversation = places.iter().map(|place| (*place, Vec::new())).collect();
    // Whoever has lost an answer reads everything, since it has been told already.
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

/// Reads everything that there is now.
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

/// With `last`, the largest id that it was told; ids must rise, whichever node tells them.
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

/// What differs between the dialects with sockets.
trait Listening {
    /// Where its socket is, for whoever has this token.
    fn path(&self, token: &str) -> String;
    /// Everything after this message, oldest first, by way of the dialect's own history, and what was told meanwhile.
    /// `None` if the connection broke or the server cannot tell now.
    async fn catch_up(&self, visitor: &mut Visitor, line: &mut Line, after: i64) -> Option<(Vec<Heard>, Vec<Value>)>;
    /// The message that a frame tells, if it tells one.
    fn message(&self, frame: &Value) -> Option<Heard>;
}

/// Opens a socket, catches up by way of the history, and goes on with what is told, again and again. What the history had
/// already may be told once more; what was missing there must not come later.
async fn listen(visitor: &mut Visitor, place: i64, heard: &mut ByConversation, dialect: impl Listening) {
    while !is_over(heard) {
        let Some(mut line) = visitor.open(&dialect.path(visitor.token())).await else { continue };
        let heard = heard.get_mut(&place).expect("it is read");
        let last = heard.last().map_or(0, |last| last.id);
        let Some((missed, told)) = dialect.catch_up(visitor, &mut line, last).await else {
            visitor.closed().await;
            continue;
        };
        let known: HashSet<i64> = missed.iter().map(|message| message.id).collect();
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
            heard.extend(dialect.message(&frame).filter(|message| !known.contains(&message.id) && message.id != last));
        }
    }
}

struct Conversation(i64);

impl Listening for Conversation {
    fn path(&self, token: &str) -> String {
        format!("/conversations/{}/?token={token}", self.0)
    }

    async fn catch_up(&self, _: &mut Visitor, line: &mut Line, after: i64) -> Option<(Vec<Heard>, Vec<Value>)> {
        // It listens from before its greeting on.
        while line.hear().await?["type"] != "user_status" {}
        let (mut missed, mut told): (Vec<Heard>, _) = (Vec::new(), Vec::new());
        loop {
            let after = missed.last().map_or(after, |last| last.id);
            line.say(json!({"action": "fetch_messages", "after_id": after, "limit": PAGE})).await?;
            let page = loop {
                let frame = line.hear().await?;
                match frame["type"].as_str() {
                    Some("messages_fetched") => break frame,
                    // It cannot be read now.
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

    /// The history is told from its end, so it is read back to where it is known.
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
        // What is said in groups is told here too.
        let is_ours =
            ["re_message", "conf_message"].map(Some).contains(&frame["action"].as_str()) && frame.get("thread").is_none();
        is_ours.then(|| heard(&frame["created_msg_id"], &frame["message"]))
    }
}

/// A support session, from one of its sides.
struct Desk {
    side: Side,
    session: String,
    device: String,
}

impl Listening for Desk {
    fn path(&self, token: &str) -> String {
        format!("/concierge?Auth={token}&deviceId={}", self.device)
    }

    /// Page 1 is the newest, so it is read back to where it is known. What comes meanwhile moves others to later pages.
    async fn catch_up(&self, _: &mut Visitor, line: &mut Line, after: i64) -> Option<(Vec<Heard>, Vec<Value>)> {
        // It listens from before its greeting on.
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
            // Without them it cannot be read now.
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

/// A message whose id may be written as a text.
fn heard(id: &Value, body: &Value) -> Heard {
    let id = id.as_i64().or_else(|| id.as_str()?.parse().ok()).expect("it has an id");
    Heard { id, body: body.as_str().expect("it has a text").to_owned() }
}
