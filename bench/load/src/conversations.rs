//! Client of the dialect `conversations`: one socket for each conversation.

use serde_json::{Value, json};

use crate::{
    client::{ConnectContext, ConnectedClient, Membership, ReceivedEvent},
    socket::{Codec, Connection, message_id, only_membership, parse_page, split_connection},
    target::RequestError,
};

const PAGE: usize = 100;

pub(crate) async fn connect(visit: &ConnectContext) -> Result<ConnectedClient, RequestError> {
    let seat = only_membership(visit)?;
    let path = format!("/conversations/{}/?token={}", seat.address, visit.credentials.token);
    let mut line = Connection::open(&visit.target, &path).await?;
    // The subscription begins before the greeting: from here on no message is missed.
    line.wait_for_frame(|frame| frame["type"] == "user_status").await?;
    let mut missed: Vec<(String, i64)> = Vec::new();
    loop {
        let after = missed.last().map_or(seat.last(), |(_, id)| *id);
        line.send(&json!({"action": "fetch_messages", "after_id": after, "limit": PAGE})).await?;
        let answer =
            line.wait_for_frame(|frame| ["messages_fetched", "error"].map(Some).contains(&frame["type"].as_str())).await?;
        if answer["type"] == "error" {
            return Err(RequestError::Refused("fetch_messages refused".into()));
        }
        let page = parse_page(&answer["messages"], "content", "id")?;
        let is_last = page.len() < PAGE;
        missed.extend(page);
        if is_last {
            return Ok(split_connection(line, Conversations, missed));
        }
    }
}

struct Conversations;

impl Codec for Conversations {
    fn decode(&self, frame: &Value) -> Option<ReceivedEvent> {
        let text = |value: &Value| value.as_str().map(str::to_owned);
        match frame["type"].as_str()? {
            "chat_message" => {
                let message = &frame["message"];
                Some(ReceivedEvent::Message { text: text(&message["content"])?, id: message_id(&message["id"])? })
            }
            "message.failed" => Some(ReceivedEvent::Refused { key: text(&frame["local_id"]), why: "message.failed".into() }),
            "error" => Some(ReceivedEvent::Failure(format!("{} refused", frame["action"].as_str().unwrap_or("something")))),
            _ => None,
        }
    }

    fn encode_message(&self, seat: &Membership, text: &str, key: &str) -> Value {
        json!({"action": "send_message", "conversation_id": seat.address, "content": text, "local_id": key})
    }

    fn encode_typing(&self, _: &Membership) -> Option<Value> {
        Some(json!({"action": "typing", "is_typing": true}))
    }

    fn encode_read(&self, _: &Membership, id: i64) -> Option<Value> {
        Some(json!({"action": "read", "message_ids": [id.to_string()]}))
    }

    fn encode_heartbeat(&self) -> Vec<Value> {
        vec![json!({"action": "heartbeat"})]
    }

    fn has_idempotency_keys(&self) -> bool {
        true
    }
}
