//! Client of `/api/messaging/*`: session cookie, long polling, and other requests beside the poll.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use serde_json::{Value, json};

use crate::{
    client::{ConnectContext, ConnectedClient, Membership, ReceivedEvent, Receiver, Sender},
    socket::{only_membership, parse_page},
    target::{Credentials, Http, RequestError},
};

/// Duration of a long poll, in seconds.
const POLL_SECONDS: u64 = 30;
const PAGE: usize = 100;

/// Creates a thread with these participants.
pub(crate) async fn create_thread(http: &Http, pass: &Credentials, others: &[i64]) -> Result<String, RequestError> {
    let params = json!({"name": "Crowd", "partner_ids": others, "thread_type": "group"});
    let made = http.call("/api/messaging/thread/create", &pass.session, params, Duration::ZERO).await?;
    made["thread_id"].as_i64().map(|id| id.to_string()).ok_or_else(RequestError::malformed)
}

struct Client {
    http: Http,
    session: String,
}

impl Client {
    async fn call(&self, route: &str, params: Value, wait: u64) -> Result<Value, RequestError> {
        let path = format!("/api/messaging/{route}");
        self.http.call(&path, &self.session, params, Duration::from_secs(wait)).await
    }
}

pub(crate) async fn connect(visit: &ConnectContext) -> Result<ConnectedClient, RequestError> {
    let seat = only_membership(visit)?;
    let client = Arc::new(Client { http: visit.http.clone(), session: visit.credentials.session.clone() });
    let (thread, last) = (seat.address.clone(), seat.last());
    let mouth = Box::new(RequestSender(Arc::clone(&client)));
    if visit.polls_all_threads {
        // The first `poll/updates` starts at the present; earlier messages are read from the history afterwards.
        client.call("poll/updates", json!({"timeout": 0}), 0).await?;
        let mut ears = PollUpdates { client, thread, last };
        let missed = ears.read_missed().await?;
        return Ok(ConnectedClient { receiver: Box::new(ears), sender: mouth, missed });
    }
    Ok(ConnectedClient { receiver: Box::new(PollMessages { client, thread, last }), sender: mouth, missed: Vec::new() })
}

/// Receiver that polls the messages of one thread.
struct PollMessages {
    client: Arc<Client>,
    thread: String,
    last: i64,
}

#[async_trait]
impl Receiver for PollMessages {
    async fn receive(&mut self) -> Result<Vec<ReceivedEvent>, RequestError> {
        let params = json!({"thread_id": self.thread, "last_message_id": self.last, "timeout": POLL_SECONDS});
        let answer = self.client.call("poll/messages", params, POLL_SECONDS).await?;
        let messages = parse_page(&answer["messages"], "body", "id")?;
        self.last = messages.iter().map(|(_, id)| *id).fold(self.last, i64::max);
        Ok(received_events(messages))
    }
}

/// Receiver that polls for updates of all threads, and then reads the thread.
struct PollUpdates {
    client: Arc<Client>,
    thread: String,
    last: i64,
}

impl PollUpdates {
    /// Messages since the last read, oldest first.
    async fn read_missed(&mut self) -> Result<Vec<ReceivedEvent>, RequestError> {
        let (mut missed, mut before) = (Vec::new(), None);
        loop {
            let mut params = json!({"thread_id": self.thread, "limit": PAGE});
            if let Some(before) = before {
                params["before_id"] = json!(before);
            }
            let page = parse_page(&self.client.call("messages", params, 0).await?["messages"], "body", "id")?;
            before = page.last().map(|(_, id)| *id);
            let is_last = page.len() < PAGE || before.is_some_and(|before| before <= self.last);
            missed.extend(page.into_iter().filter(|(_, id)| *id > self.last));
            if is_last {
                break;
            }
        }
        missed.reverse();
        self.last = missed.last().map_or(self.last, |(_, id)| *id);
        Ok(received_events(missed))
    }
}

#[async_trait]
impl Receiver for PollUpdates {
    async fn receive(&mut self) -> Result<Vec<ReceivedEvent>, RequestError> {
        let answer = self.client.call("poll/updates", json!({"timeout": POLL_SECONDS}), POLL_SECONDS).await?;
        let threads = answer["threads_with_updates"].as_array().ok_or_else(RequestError::malformed)?;
        let is_ours = |thread: &Value| thread["thread_id"].as_i64().is_some_and(|id| id.to_string() == self.thread);
        if threads.iter().any(is_ours) { self.read_missed().await } else { Ok(Vec::new()) }
    }
}

fn received_events(messages: Vec<(String, i64)>) -> Vec<ReceivedEvent> {
    messages.into_iter().map(|(text, id)| ReceivedEvent::Message { text, id }).collect()
}

struct RequestSender(Arc<Client>);

#[async_trait]
impl Sender for RequestSender {
    async fn send(&self, seat: &Membership, text: &str, _: &str) -> Result<bool, RequestError> {
        let sent = self.0.call("message/send", json!({"thread_id": seat.address, "body": text}), 0).await?;
        if sent["message_id"].is_i64() { Ok(true) } else { Err(RequestError::malformed()) }
    }

    async fn send_typing(&self, seat: &Membership) -> Result<(), RequestError> {
        self.0.call("typing/start", json!({"thread_id": seat.address}), 0).await.map(drop)
    }

    async fn mark_read(&self, _: &Membership, id: i64) -> Result<(), RequestError> {
        self.0.call("message/read", json!({"message_id": id}), 0).await.map(drop)
    }
}
