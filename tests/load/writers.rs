//! Writers of the load generator: sending and retrying in each dialect, and reading the outcome from the answers.

use std::{sync::atomic::Ordering, time::Duration};

use serde_json::{Value, json};
use tokio::sync::watch;

use super::{
    Dialect, END, PAIR, Place, Side,
    visitor::{Line, Visitor},
};
use crate::order::checker::Sent;

/// Uuid of John, the admin's counterpart in the dialect `room`.
const JOHN_UUID: &str = "302e305b-6e73-4f9c-bac7-551a92b106b0";
/// Pause between two messages of one writer.
const PAUSE: Duration = Duration::from_millis(20);

/// A writer's number and conversations.
pub struct Written {
    pub writer: usize,
    pub places: Vec<Place>,
    /// Turns false at the end of the run.
    pub stop: watch::Receiver<bool>,
}

/// Outcome of one try.
enum Answer {
    Acknowledged(i64),
    Refused,
    /// Unknown: the message may be stored or not.
    Nothing,
}

impl Written {
    /// Writes until the run ends. Each retry of a message has a text of its own, until one is acknowledged. Returns the
    /// outcomes.
    pub async fn by(self, dialect: Dialect, mut visitor: Visitor) -> Vec<Sent> {
        let (mut sent, mut line, device) = (Vec::new(), None, uuid::Uuid::new_v4().to_string());
        for step in 0.. {
            if !*self.stop.borrow() {
                break;
            }
            let place = match dialect {
                Dialect::Room => self.places.iter().find(|place| place.id == PAIR).expect("it is among them"),
                // Ten messages in one conversation, then ten in the next.
                _ => &self.places[step / 10 % self.places.len()],
            };
            for retry in 0.. {
                let body = format!("{dialect:?} {}/{step}/{retry}", self.writer);
                let answer = match dialect {
                    Dialect::Messaging => post(&mut visitor, "/api/messaging/message/send", place.id, &body).await,
                    Dialect::ImChat => post_session(&mut visitor, &place.uuid, &body).await,
                    Dialect::Conversations => speak(&mut visitor, &mut line, place.id, &body).await,
                    Dialect::Room => speak_in_room(&mut visitor, &mut line, &body).await,
                    Dialect::Concierge(side) => speak_at_desk(&mut visitor, &mut line, place, (side, &device), &body).await,
                };
                match answer {
                    Answer::Acknowledged(id) => {
                        visitor.troubles.acknowledged.fetch_add(1, Ordering::Relaxed);
                        sent.push(Sent::acknowledged(self.writer, place.id, &body, id));
                        break;
                    }
                    Answer::Refused => {
                        visitor.troubles.refused.fetch_add(1, Ordering::Relaxed);
                        sent.push(Sent::refused(self.writer, place.id, &body));
                        visitor.turn_away().await;
                    }
                    Answer::Nothing => {}
                }
            }
            tokio::time::sleep(PAUSE).await;
        }
        sent
    }
}

/// Sends the last message of a conversation, until it is stored.
pub async fn end(visitor: &Visitor, place: i64) -> Sent {
    let mut visitor = visitor.clone();
    loop {
        match post(&mut visitor, "/api/messaging/message/send", place, END).await {
            Answer::Acknowledged(id) => return Sent::acknowledged(usize::MAX, place, END, id),
            Answer::Refused => visitor.turn_away().await,
            Answer::Nothing => panic!("all doors are open"),
        }
    }
}

fn answer(answer: Option<Value>, id: impl Fn(&Value) -> Option<i64>) -> Answer {
    match answer {
        None => Answer::Nothing,
        Some(answer) => id(&answer["result"]).map_or(Answer::Refused, Answer::Acknowledged),
    }
}

async fn post(visitor: &mut Visitor, path: &str, place: i64, body: &str) -> Answer {
    let params = json!({"thread_id": place, "body": body});
    answer(visitor.call(path, params).await, |result| result["message_id"].as_i64())
}

async fn post_session(visitor: &mut Visitor, uuid: &str, body: &str) -> Answer {
    let params = json!({"uuid": uuid, "message_type": "message", "message_content": body});
    answer(visitor.call("/im_chat/post", params).await, Value::as_i64)
}

/// An open socket and its conversation, reused for the next message.
type Kept = Option<(i64, Line)>;

/// Sends in `conversations` with an idempotency key, and retries until there is an answer: the message must be stored once.
async fn speak(visitor: &mut Visitor, kept: &mut Kept, place: i64, body: &str) -> Answer {
    loop {
        let (at, mut line) = match kept.take() {
            Some(open) => open,
            None => match visitor.open(&format!("/conversations/{place}/?token={}", visitor.token())).await {
                Some(line) => (place, line),
                None => continue,
            },
        };
        if at != place {
            continue;
        }
        let frame = json!({"action": "send_message", "content": body, "local_id": body});
        if line.say(frame).await.is_some() {
            while let Some(told) = line.hear().await {
                let answer = match told["type"].as_str() {
                    Some("chat_message") if told["message"]["local_id"] == *body => {
                        let id = told["message"]["id"].as_str().and_then(|id| id.parse().ok());
                        Answer::Acknowledged(id.expect("it has an id"))
                    }
                    Some("message.failed") => Answer::Refused,
                    _ => continue,
                };
                *kept = Some((place, line));
                return answer;
            }
        }
        visitor.closed().await;
    }
}

async fn speak_in_room(visitor: &mut Visitor, kept: &mut Kept, body: &str) -> Answer {
    let mut line = match kept.take() {
        Some((_, line)) => line,
        None => loop {
            if let Some(line) = visitor.open(&format!("/ws/chat/room/?token={}", visitor.token())).await {
                break line;
            }
        },
    };
    let frame = json!({"action": "text_message", "message_body": body, "receiver_id": JOHN_UUID});
    if line.say(frame).await.is_some() {
        while let Some(told) = line.hear().await {
            let answer = match told["action"].as_str() {
                Some("conf_message") if told["message"] == *body => {
                    Answer::Acknowledged(told["created_msg_id"].as_i64().expect("it has an id"))
                }
                Some("error") => Answer::Refused,
                _ => continue,
            };
            *kept = Some((PAIR, line));
            return answer;
        }
    }
    visitor.closed().await;
    Answer::Nothing
}

/// Sends in `concierge` with an idempotency key, and retries until there is an answer: the message must be stored once.
async fn speak_at_desk(visitor: &mut Visitor, kept: &mut Kept, place: &Place, who: (Side, &str), body: &str) -> Answer {
    let (side, device) = who;
    let route = format!("{}/send-message", side.name());
    loop {
        let opened = match kept.take() {
            Some((_, line)) => Some(line),
            None => visitor.open(&format!("/concierge?Auth={}&deviceId={device}", visitor.token())).await,
        };
        let Some(mut line) = opened else { continue };
        let message = json!({"chatSessionId": place.uuid, "messageContent": body, "metadata": {"messageUid": body}});
        if line.say(json!({"action": "api", "data": {"route": route, "body": message}})).await.is_some() {
            while let Some(told) = line.hear().await {
                if told["channel"] != *route {
                    continue;
                }
                *kept = Some((place.id, line));
                return match told["body"]["chatMessage"]["id"].as_str() {
                    Some(id) => Answer::Acknowledged(id.parse().expect("it is a number")),
                    None => Answer::Refused,
                };
            }
        }
        visitor.closed().await;
    }
}
