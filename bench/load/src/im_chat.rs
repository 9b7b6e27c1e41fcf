//! Client of `/im_chat/*`: session cookie, long polling of the bus, and other requests beside the poll.

use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use serde_json::{Value, json};

use crate::{
    client::{ConnectContext, ConnectedClient, Membership, ReceivedEvent, Receiver, Sender},
    target::{Credentials, Http, RequestError},
};

/// Added to the time-out for a long poll of the bus, longer than the poll itself.
const POLL_TIMEOUT: Duration = Duration::from_secs(60);

/// Gets or creates the session with another user.
pub(crate) async fn get_or_create_session(http: &Http, pass: &Credentials, other: i64) -> Result<String, RequestError> {
    let path = "/im_chat/api/get_or_create_session";
    let session = http.call(path, &pass.session, json!({"user_to": other}), Duration::ZERO).await?;
    session["uuid"].as_str().map(str::to_owned).ok_or_else(RequestError::malformed)
}

pub(crate) async fn connect(visit: &ConnectContext) -> Result<ConnectedClient, RequestError> {
    let (http, session) = (visit.http.clone(), visit.credentials.session.clone());
    let ears = BusReceiver { http: http.clone(), session: session.clone(), position: Arc::clone(&visit.bus_position) };
    // A reconnect resumes from the last position. A first connect receives messages younger than 50 s.
    Ok(ConnectedClient { receiver: Box::new(ears), sender: Box::new(RequestSender { http, session }), missed: Vec::new() })
}

struct BusReceiver {
    http: Http,
    session: String,
    position: Arc<AtomicI64>,
}

#[async_trait]
impl Receiver for BusReceiver {
    async fn receive(&mut self) -> Result<Vec<ReceivedEvent>, RequestError> {
        let last = self.position.load(Ordering::Relaxed);
        let params = json!({"channels": [], "last": last, "options": {"im_presence": true}});
        let answer = self.http.call("/longpolling/poll", &self.session, params, POLL_TIMEOUT).await?;
        let answer = answer.as_array().ok_or_else(RequestError::malformed)?;
        let mut told = Vec::new();
        for notification in answer {
            let position = notification["id"].as_i64().ok_or_else(RequestError::malformed)?;
            if self.position.fetch_max(position, Ordering::Relaxed) >= position {
                told.push(ReceivedEvent::Failure("bus out of order".into()));
            }
            let message = &notification["message"];
            if let (Some("message"), Some(text), Some(id)) =
                (message["type"].as_str(), message["message"].as_str(), message["id"].as_i64())
            {
                told.push(ReceivedEvent::Message { text: text.to_owned(), id });
            }
        }
        Ok(told)
    }
}

struct RequestSender {
    http: Http,
    session: String,
}

impl RequestSender {
    async fn post(&self, seat: &Membership, kind: &str, content: &str) -> Result<Value, RequestError> {
        let params = json!({"uuid": seat.address, "message_type": kind, "message_content": content});
        self.http.call("/im_chat/post", &self.session, params, Duration::ZERO).await
    }
}

#[async_trait]
impl Sender for RequestSender {
    async fn send(&self, seat: &Membership, text: &str, _: &str) -> Result<bool, RequestError> {
        match self.post(seat, "message", text).await? {
            Value::Number(_) => Ok(true),
            Value::Bool(false) => Err(RequestError::Refused("no such session".into())),
            _ => Err(RequestError::malformed()),
        }
    }

    async fn send_typing(&self, seat: &Membership) -> Result<(), RequestError> {
        self.post(seat, "typing", "...").await.map(drop)
    }

    /// Reading the history marks it as read.
    async fn mark_read(&self, seat: &Membership, _: i64) -> Result<(), RequestError> {
        let params = json!({"uuid": seat.address, "limit": 20});
        self.http.call("/im_chat/api/history", &self.session, params, Duration::ZERO).await.map(drop)
    }
}
