//! Client of the support chat (dialect `concierge`): tenants who begin sessions, and agents who answer in several.

use std::sync::Arc;

use serde_json::{Value, json};

use super::{
    dialect::{Entered, Seat, Told, Visit},
    site::{Pass, Site, Trouble},
    socket::{Line, Tongue, entered, number, page},
};

const PAGE: usize = 50;

/// Creates a tenant's session. A first message goes there at once: a tenant without one would get the same session
/// again.
pub(crate) async fn begin(site: &Site, pass: &Pass, device: &str) -> Result<String, Trouble> {
    let mut line = open(site, pass, device).await?;
    let begun = ask(&mut line, "client/init-chat-with-concierge", json!({"newSession": true})).await?;
    let session = begun["chatSessionId"].as_str().ok_or_else(Trouble::strange)?;
    ask(&mut line, "client/send-message", json!({"chatSessionId": session, "messageContent": "Good day"})).await?;
    Ok(session.to_owned())
}

async fn open(site: &Site, pass: &Pass, device: &str) -> Result<Line, Trouble> {
    let mut line = Line::open(site, &format!("/concierge?Auth={}&deviceId={device}", pass.token)).await?;
    let greeting = line.answer(|frame| frame["channel"] == "connection").await?;
    if greeting["status"] == 200 { Ok(line) } else { Err(refusal(&greeting, "connection")) }
}

async fn ask(line: &mut Line, route: &str, body: Value) -> Result<Value, Trouble> {
    line.say(&request(route, body)).await?;
    let mut answer = line.answer(|frame| frame["channel"] == route).await?;
    if answer["status"] == 200 { Ok(answer["body"].take()) } else { Err(refusal(&answer, route)) }
}

fn request(route: &str, body: Value) -> Value {
    json!({"action": "api", "data": {"route": route, "body": body}})
}

fn refusal(answer: &Value, route: &str) -> Trouble {
    let kind = refused(answer, route);
    if answer["status"] == 401 { Trouble::Unauthorized(kind) } else { Trouble::Refused(kind) }
}

fn refused(answer: &Value, route: &str) -> String {
    let (route, _) = route.split_once('?').unwrap_or((route, ""));
    format!("{route}: {}", answer["status"])
}

pub(crate) async fn enter(visit: &Visit) -> Result<Entered, Trouble> {
    let mut line = open(&visit.site, &visit.pass, &visit.device).await?;
    let side = if visit.is_agent { "backend" } else { "client" };
    let mut missed = Vec::new();
    for seat in visit.seats.iter() {
        let session = json!(seat.address);
        // Joining again is idempotent.
        if visit.is_agent {
            ask(&mut line, "backend/join-chat-session", json!({"chatSessionId": session})).await?;
        } else {
            let again = json!({"chatSessionId": session, "newSession": false});
            ask(&mut line, "client/init-chat-with-concierge", again).await?;
        }
        missed.extend(history(&mut line, seat, side).await?);
    }
    Ok(entered(line, Concierge { side, seats: Arc::clone(&visit.seats) }, missed))
}

/// Messages since the last connect. The first page is the newest, and ids ascend within a page.
async fn history(line: &mut Line, seat: &Seat, side: &str) -> Result<Vec<(String, i64)>, Trouble> {
    let mut missed: Vec<(String, i64)> = Vec::new();
    for number in 1.. {
        let route = format!("{side}/get-chat-messages?page={number}&limit={PAGE}");
        let answer = ask(line, &route, json!({"chatSessionId": seat.address})).await?;
        let page = page(&answer["messages"], "messageContent", "id")?;
        let is_last = page.len() < PAGE || page.first().is_none_or(|(_, id)| *id <= seat.last());
        missed.extend(page);
        if is_last {
            break;
        }
    }
    // Deduplication: a message sent between two page reads shifts others onto the next page, too.
    missed.sort_by_key(|(_, id)| *id);
    missed.dedup_by_key(|(_, id)| *id);
    missed.retain(|(_, id)| *id > seat.last());
    Ok(missed)
}

struct Concierge {
    side: &'static str,
    seats: Arc<[Seat]>,
}

impl Tongue for Concierge {
    fn understand(&self, frame: &Value) -> Option<Told> {
        let channel = frame["channel"].as_str()?;
        if channel.starts_with("chat-message-") {
            let message = &frame["payload"]["chatMessage"];
            return Some(Told::Message { text: message["messageContent"].as_str()?.to_owned(), id: number(&message["id"])? });
        }
        match (frame["status"].as_i64()?, channel.ends_with("/send-message")) {
            (200, true) => Some(Told::Confirmed { text: frame["body"]["chatMessage"]["messageContent"].as_str()?.to_owned() }),
            (200, false) => None,
            (_, true) => Some(Told::Refused { key: None, why: refused(frame, channel) }),
            (_, false) => Some(Told::Trouble(refused(frame, channel))),
        }
    }

    fn message(&self, seat: &Seat, text: &str, key: &str) -> Value {
        let metadata = json!({"messageUid": key});
        let body = json!({"chatSessionId": seat.address, "contentType": "TEXT", "messageContent": text, "metadata": metadata});
        request(&format!("{}/send-message", self.side), body)
    }

    fn typing(&self, _: &Seat) -> Option<Value> {
        None
    }

    fn read(&self, seat: &Seat, id: i64) -> Option<Value> {
        let body = json!({"chatSessionId": seat.address, "messageId": id.to_string()});
        Some(request(&format!("{}/update-message-seen-at", self.side), body))
    }

    /// Heartbeats keep a session alive; without them it ends.
    fn sign_of_life(&self) -> Vec<Value> {
        let ping = |seat: &Seat| request(&format!("{}/ping-on-chat-session", self.side), json!({"chatSessionId": seat.address}));
        self.seats.iter().map(ping).collect()
    }

    fn has_keys(&self) -> bool {
        true
    }
}
