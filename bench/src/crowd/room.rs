//! Client of the dialect `room`: one socket for all conversations of a user, who is addressed by uuid.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{
    dialect::{Entered, Seat, Told, Visit},
    site::Trouble,
    socket::{Line, Tongue, entered, only_seat, page},
};

const PAGE: usize = 200;

pub(crate) async fn enter(visit: &Visit) -> Result<Entered, Trouble> {
    let seat = only_seat(visit)?;
    let mut line = Line::open(&visit.site, &format!("/ws/chat/room/?token={}", visit.pass.token)).await?;
    line.listens().await?;
    if seat.is_new() {
        // Older messages of the two users are not part of the run.
        let newest = history(visit, seat, "?limit=1").await?;
        seat.begins_after(newest.first().map_or(0, |(_, id)| *id));
    }
    Ok(entered(line, Room, missed(visit, seat).await?))
}

/// Messages since the last connect. The history begins with the newest page, so it is read backwards to the last known
/// id.
async fn missed(visit: &Visit, seat: &Seat) -> Result<Vec<(String, i64)>, Trouble> {
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

async fn history(visit: &Visit, seat: &Seat, query: &str) -> Result<Vec<(String, i64)>, Trouble> {
    let path = format!("/chat/messages/{}/{query}", seat.address);
    page(&visit.http.get(&path, &visit.pass.token).await?["data"]["messages"], "message", "id")
}

struct Room;

impl Tongue for Room {
    fn understand(&self, frame: &Value) -> Option<Told> {
        match frame["action"].as_str()? {
            "re_message" | "conf_message" => {
                Some(Told::Message { text: frame["message"].as_str()?.to_owned(), id: frame["created_msg_id"].as_i64()? })
            }
            "error" => {
                let why = frame["code"].as_str().unwrap_or("an error without a code").to_owned();
                Some(match frame["request"].as_str() {
                    Some("text_message") => Told::Refused { key: None, why },
                    _ => Told::Trouble(why),
                })
            }
            _ => None,
        }
    }

    fn message(&self, seat: &Seat, text: &str, _: &str) -> Value {
        json!({"action": "text_message", "message_body": text, "receiver_id": seat.address})
    }

    fn typing(&self, _: &Seat) -> Option<Value> {
        None
    }

    fn read(&self, _: &Seat, _: i64) -> Option<Value> {
        None
    }

    fn sign_of_life(&self) -> Vec<Value> {
        Vec::new()
    }

    fn has_keys(&self) -> bool {
        false
    }
}
