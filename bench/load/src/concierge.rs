//! Client of the support chat (dialect `concierge`): tenants who begin sessions, and agents who answer in several.

use std::sync::Arc;

use serde_json::{Value, json};

use crate::{
    client::{ConnectContext, ConnectedClient, Membership, ReceivedEvent},
    socket::{Codec, Connection, message_id, parse_page, split_connection},
    target::{Credentials, RequestError, Target},
};

const PAGE: usize = 50;

/// Creates a tenant's session. A first message goes there at once: a tenant without one would get the same session
/// again.
pub(crate) async fn create_session(target: &Target, pass: &Credentials, device: &str) -> Result<String, RequestError> {
    let mut line = open(target, pass, device).await?;
    let begun = request_reply(&mut line, "client/init-chat-with-concierge", json!({"newSession": true})).await?;
    let session = begun["chatSessionId"].as_str().ok_or_else(RequestError::malformed)?;
    request_reply(&mut line, "client/send-message", json!({"chatSessionId": session, "messageContent": "Good day"})).await?;
    Ok(session.to_owned())
}

async fn open(target: &Target, pass: &Credentials, device: &str) -> Result<Connection, RequestError> {
    let mut line = Connection::open(target, &format!("/concierge?Auth={}&deviceId={device}", pass.token)).await?;
    let greeting = line.wait_for_frame(|frame| frame["channel"] == "connection").await?;
    if greeting["status"] == 200 { Ok(line) } else { Err(refusal(&greeting, "connection")) }
}

async fn request_reply(line: &mut Connection, route: &str, body: Value) -> Result<Value, RequestError> {
    line.send(&request(route, body)).await?;
    let mut answer = line.wait_for_frame(|frame| frame["channel"] == route).await?;
    if answer["status"] == 200 { Ok(answer["body"].take()) } else { Err(refusal(&answer, route)) }
}

fn request(route: &str, body: Value) -> Value {
    json!({"action": "api", "data": {"route": route, "body": body}})
}

fn refusal(answer: &Value, route: &str) -> RequestError {
    let kind = refusal_kind(answer, route);
    if answer["status"] == 401 { RequestError::Unauthorized(kind) } else { RequestError::Refused(kind) }
}

fn refusal_kind(answer: &Value, route: &str) -> String {
    let (route, _) = route.split_once('?').unwrap_or((route, ""));
    format!("{route}: {}", answer["status"])
}

pub(crate) async fn connect(visit: &ConnectContext) -> Result<ConnectedClient, RequestError> {
    let mut line = open(&visit.target, &visit.credentials, &visit.device_id).await?;
    let side = if visit.is_agent { "backend" } else { "client" };
    let mut missed = Vec::new();
    for seat in visit.memberships.iter() {
        let session = json!(seat.address);
        // Joining again is idempotent.
        if visit.is_agent {
            request_reply(&mut line, "backend/join-chat-session", json!({"chatSessionId": session})).await?;
        } else {
            let again = json!({"chatSessionId": session, "newSession": false});
            request_reply(&mut line, "client/init-chat-with-concierge", again).await?;
        }
        missed.extend(history(&mut line, seat, side).await?);
    }
    Ok(split_connection(line, Concierge { side, seats: Arc::clone(&visit.memberships) }, missed))
}

/// Messages since the last connect. The first page is the newest, and ids ascend within a page.
async fn history(line: &mut Connection, seat: &Membership, side: &str) -> Result<Vec<(String, i64)>, RequestError> {
    let mut missed: Vec<(String, i64)> = Vec::new();
    for number in 1.. {
        let route = format!("{side}/get-chat-messages?page={number}&limit={PAGE}");
        let answer = request_reply(line, &route, json!({"chatSessionId": seat.address})).await?;
        let page = parse_page(&answer["messages"], "messageContent", "id")?;
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
    seats: Arc<[Membership]>,
}

impl Codec for Concierge {
    fn decode(&self, frame: &Value) -> Option<ReceivedEvent> {
        let channel = frame["channel"].as_str()?;
        if channel.starts_with("chat-message-") {
            let message = &frame["payload"]["chatMessage"];
            return Some(ReceivedEvent::Message {
                text: message["messageContent"].as_str()?.to_owned(),
                id: message_id(&message["id"])?,
            });
        }
        match (frame["status"].as_i64()?, channel.ends_with("/send-message")) {
            (200, true) => {
                Some(ReceivedEvent::Acknowledged { text: frame["body"]["chatMessage"]["messageContent"].as_str()?.to_owned() })
            }
            (200, false) => None,
            (_, true) => Some(ReceivedEvent::Refused { key: None, why: refusal_kind(frame, channel) }),
            (_, false) => Some(ReceivedEvent::Failure(refusal_kind(frame, channel))),
        }
    }

    fn encode_message(&self, seat: &Membership, text: &str, key: &str) -> Value {
        let metadata = json!({"messageUid": key});
        let body = json!({"chatSessionId": seat.address, "contentType": "TEXT", "messageContent": text, "metadata": metadata});
        request(&format!("{}/send-message", self.side), body)
    }

    fn encode_typing(&self, _: &Membership) -> Option<Value> {
        None
    }

    fn encode_read(&self, seat: &Membership, id: i64) -> Option<Value> {
        let body = json!({"chatSessionId": seat.address, "messageId": id.to_string()});
        Some(request(&format!("{}/update-message-seen-at", self.side), body))
    }

    /// Heartbeats keep a session alive; without them it ends.
    fn encode_heartbeat(&self) -> Vec<Value> {
        let ping =
            |seat: &Membership| request(&format!("{}/ping-on-chat-session", self.side), json!({"chatSessionId": seat.address}));
        self.seats.iter().map(ping).collect()
    }

    fn has_idempotency_keys(&self) -> bool {
        true
    }
}
