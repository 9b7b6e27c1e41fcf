//! Client of `/api/messaging/*`: session cookie, long polling, and other requests beside the poll.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use serde_json::{Value, json};

use super::{
    dialect::{Ears, Entered, Mouth, Seat, Told, Visit},
    site::{Http, Pass, Trouble},
    socket::{only_seat, page},
};

/// Duration of a long poll, in seconds.
const WAIT: u64 = 30;
const PAGE: usize = 100;

/// Creates a thread with these participants.
pub(crate) async fn begin(http: &Http, pass: &Pass, others: &[i64]) -> Result<String, Trouble> {
    let params = json!({"name": "Crowd", "partner_ids": others, "thread_type": "group"});
    let made = http.call("/api/messaging/thread/create", &pass.session, params, Duration::ZERO).await?;
    made["thread_id"].as_i64().map(|id| id.to_string()).ok_or_else(Trouble::strange)
}

struct Client {
    http: Http,
    session: String,
}

impl Client {
    async fn call(&self, route: &str, params: Value, wait: u64) -> Result<Value, Trouble> {
        let path = format!("/api/messaging/{route}");
        self.http.call(&path, &self.session, params, Duration::from_secs(wait)).await
    }
}

pub(crate) async fn enter(visit: &Visit) -> Result<Entered, Trouble> {
    let seat = only_seat(visit)?;
    let client = Arc::new(Client { http: visit.http.clone(), session: visit.pass.session.clone() });
    let (thread, last) = (seat.address.clone(), seat.last());
    let mouth = Box::new(Requests(Arc::clone(&client)));
    if visit.waits_for_all {
        // The first `poll/updates` starts at the present; earlier messages are read from the history afterwards.
        client.call("poll/updates", json!({"timeout": 0}), 0).await?;
        let mut ears = PollUpdates { client, thread, last };
        let missed = ears.look().await?;
        return Ok(Entered { ears: Box::new(ears), mouth, missed });
    }
    Ok(Entered { ears: Box::new(PollMessages { client, thread, last }), mouth, missed: Vec::new() })
}

/// Receiver that polls the messages of one thread.
struct PollMessages {
    client: Arc<Client>,
    thread: String,
    last: i64,
}

#[async_trait]
impl Ears for PollMessages {
    async fn listen(&mut self) -> Result<Vec<Told>, Trouble> {
        let params = json!({"thread_id": self.thread, "last_message_id": self.last, "timeout": WAIT});
        let answer = self.client.call("poll/messages", params, WAIT).await?;
        let messages = page(&answer["messages"], "body", "id")?;
        self.last = messages.iter().map(|(_, id)| *id).fold(self.last, i64::max);
        Ok(told(messages))
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
    async fn look(&mut self) -> Result<Vec<Told>, Trouble> {
        let (mut missed, mut before) = (Vec::new(), None);
        loop {
            let mut params = json!({"thread_id": self.thread, "limit": PAGE});
            if let Some(before) = before {
                params["before_id"] = json!(before);
            }
            let page = page(&self.client.call("messages", params, 0).await?["messages"], "body", "id")?;
            before = page.last().map(|(_, id)| *id);
            let is_last = page.len() < PAGE || before.is_some_and(|before| before <= self.last);
            missed.extend(page.into_iter().filter(|(_, id)| *id > self.last));
            if is_last {
                break;
            }
        }
        missed.reverse();
        self.last = missed.last().map_or(self.last, |(_, id)| *id);
        Ok(told(missed))
    }
}

#[async_trait]
impl Ears for PollUpdates {
    async fn listen(&mut self) -> Result<Vec<Told>, Trouble> {
        let answer = self.client.call("poll/updates", json!({"timeout": WAIT}), WAIT).await?;
        let threads = answer["threads_with_updates"].as_array().ok_or_else(Trouble::strange)?;
        let is_ours = |thread: &Value| thread["thread_id"].as_i64().is_some_and(|id| id.to_string() == self.thread);
        if threads.iter().any(is_ours) { self.look().await } else { Ok(Vec::new()) }
    }
}

fn told(messages: Vec<(String, i64)>) -> Vec<Told> {
    messages.into_iter().map(|(text, id)| Told::Message { text, id }).collect()
}

struct Requests(Arc<Client>);

#[async_trait]
impl Mouth for Requests {
    async fn say(&self, seat: &Seat, text: &str, _: &str) -> Result<bool, Trouble> {
        let sent = self.0.call("message/send", json!({"thread_id": seat.address, "body": text}), 0).await?;
        if sent["message_id"].is_i64() { Ok(true) } else { Err(Trouble::strange()) }
    }

    async fn types(&self, seat: &Seat) -> Result<(), Trouble> {
        self.0.call("typing/start", json!({"thread_id": seat.address}), 0).await.map(drop)
    }

    async fn has_read(&self, _: &Seat, id: i64) -> Result<(), Trouble> {
        self.0.call("message/read", json!({"message_id": id}), 0).await.map(drop)
    }
}
