//! Client of the dialect `conversations`: one socket for each conversation.

use serde_json::{Value, json};

use super::{
    dialect::{Entered, Seat, Told, Visit},
    site::Trouble,
    socket::{Line, Tongue, entered, number, only_seat, page},
};

const PAGE: usize = 100;

pub(crate) async fn enter(visit: &Visit) -> Result<Entered, Trouble> {
    let seat = only_seat(visit)?;
    let path = format!("/conversations/{}/?token={}", seat.address, visit.pass.token);
    let mut line = Line::open(&visit.site, &path).await?;
    // The subscription begins before the greeting: from here on no message is missed.
    line.answer(|frame| frame["type"] == "user_status").await?;
    let mut missed: Vec<(String, i64)> = Vec::new();
    loop {
        let after = missed.last().map_or(seat.last(), |(_, id)| *id);
        line.say(&json!({"action": "fetch_messages", "after_id": after, "limit": PAGE})).await?;
        let answer = line.answer(|frame| ["messages_fetched", "error"].map(Some).contains(&frame["type"].as_str())).await?;
        if answer["type"] == "error" {
            return Err(Trouble::Refused("fetch_messages refused".into()));
        }
        let page = page(&answer["messages"], "content", "id")?;
        let is_last = page.len() < PAGE;
        missed.extend(page);
        if is_last {
            return Ok(entered(line, Conversations, missed));
        }
    }
}

struct Conversations;

impl Tongue for Conversations {
    fn understand(&self, frame: &Value) -> Option<Told> {
        let text = |value: &Value| value.as_str().map(str::to_owned);
        match frame["type"].as_str()? {
            "chat_message" => {
                let message = &frame["message"];
                Some(Told::Message { text: text(&message["content"])?, id: number(&message["id"])? })
            }
            "message.failed" => Some(Told::Refused { key: text(&frame["local_id"]), why: "message.failed".into() }),
            "error" => Some(Told::Trouble(format!("{} refused", frame["action"].as_str().unwrap_or("something")))),
            _ => None,
        }
    }

    fn message(&self, seat: &Seat, text: &str, key: &str) -> Value {
        json!({"action": "send_message", "conversation_id": seat.address, "content": text, "local_id": key})
    }

    fn typing(&self, _: &Seat) -> Option<Value> {
        Some(json!({"action": "typing", "is_typing": true}))
    }

    fn read(&self, _: &Seat, id: i64) -> Option<Value> {
        Some(json!({"action": "read", "message_ids": [id.to_string()]}))
    }

    fn sign_of_life(&self) -> Vec<Value> {
        vec![json!({"action": "heartbeat"})]
    }

    fn has_keys(&self) -> bool {
        true
    }
}
