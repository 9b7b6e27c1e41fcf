//! Client of the dialect `room`: one socket for all conversations of a user, who is addressed by uuid.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::{
    client::{ConnectContext, ConnectedClient, Membership, ReceivedEvent},
    socket::{Codec, Connection, only_membership, parse_page, split_connection},
    target::RequestError,
};

const PAGE: usize = 200;

pub(crate) async fn connect(visit: &ConnectContext) -> Result<ConnectedClient, RequestError> {
    let seat = only_membership(visit)?;
    let mut line = Connection::open(&visit.target, &format!("/ws/chat/room/?token={}", visit.credentials.token)).await?;
    line.wait_for_pong().await?;
    if seat.is_new() {
        // Older messages of the two users are not part of the run.
        let newest = history(visit, seat, "?limit=1").await?;
        seat.start_after(newest.first().map_or(0, |(_, id)| *id));
    }
    Ok(split_connection(line, Room, missed(visit, seat).await?))
}

/// Messages since the last connect. The history begins with the newest page, so it is read backwards to the last known
/// id.
async fn missed(visit: &ConnectContext, seat: &Membership) -> Result<Vec<(String, i64)>, RequestError> {
    let mut missed = BTreeMap::new();
    let mut before = String::new();
    loop {
        let page = history(visit, seat, &format!("?limit={PAGE}{before}")).await?;
        let is_last = page.len() < PAGE;
        missed.extend(page.into_iter().map(|(text, id)| (id, text)));
        let oldest = missed.keys().next().copied();
        if is_last || oldest.is_none_or(|oldest| oldest <= seat.last()) {
            missed.retain(|id, _| *id > seat.last());
            return Ok(missed.into_iter().map(|(id, text)| (text, id)).collect());
        }
        before = oldest.map(|oldest| format!("&before={oldest}")).unwrap_or_default();
    }
}

async fn history(visit: &ConnectContext, seat: &Membership, query: &str) -> Result<Vec<(String, i64)>, RequestError> {
    let path = format!("/chat/messages/{}/{query}", seat.address);
    parse_page(&visit.http.get(&path, &visit.credentials.token).await?["data"]["messages"], "message", "id")
}

struct Room;

impl Codec for Room {
    fn decode(&self, frame: &Value) -> Option<ReceivedEvent> {
        match frame["action"].as_str()? {
            "re_message" | "conf_message" => Some(ReceivedEvent::Message {
                text: frame["message"].as_str()?.to_owned(),
                id: frame["created_msg_id"].as_i64()?,
            }),
            "error" => {
                let why = frame["code"].as_str().unwrap_or("an error without a code").to_owned();
                Some(match frame["request"].as_str() {
                    Some("text_message") => ReceivedEvent::Refused { key: None, why },
                    _ => ReceivedEvent::Failure(why),
                })
            }
            _ => None,
        }
    }

    fn encode_message(&self, seat: &Membership, text: &str, _: &str) -> Value {
        json!({"action": "text_message", "message_body": text, "receiver_id": seat.address})
    }

    fn encode_typing(&self, _: &Membership) -> Option<Value> {
        None
    }

    fn encode_read(&self, _: &Membership, _: i64) -> Option<Value> {
        None
    }

    fn encode_heartbeat(&self) -> Vec<Value> {
        Vec::new()
    }

    fn has_idempotency_keys(&self) -> bool {
        false
    }
}
