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

use super::{
    dialect::{Ears, Entered, Mouth, Seat, Told, Visit},
    site::{Http, Pass, Trouble},
};

/// Added to the time-out for a long poll of the bus, longer than the poll itself.
const WAIT: Duration = Duration::from_secs(60);

/// Gets or creates the session with another user.
pub(crate) async fn begin(http: &Http, pass: &Pass, other: i64) -> Result<String, Trouble> {
    let path = "/im_chat/api/get_or_create_session";
    let session = http.call(path, &pass.session, json!({"user_to": other}), Duration::ZERO).await?;
    session["uuid"].as_str().map(str::to_owned).ok_or_else(Trouble::strange)
}

pub(crate) async fn enter(visit: &Visit) -> Result<Entered, Trouble> {
    let (http, session) = (visit.http.clone(), visit.pass.session.clone());
    let ears = Bus { http: http.clone(), session: session.clone(), position: Arc::clone(&visit.position) };
    // A reconnect resumes from the last position. A first connect receives messages younger than 50 s.
    Ok(Entered { ears: Box::new(ears), mouth: Box::new(Requests { http, session }), missed: Vec::new() })
}

struct Bus {
    http: Http,
    session: String,
    position: Arc<AtomicI64>,
}

#[async_trait]
impl Ears for Bus {
    async fn listen(&mut self) -> Result<Vec<Told>, Trouble> {
        let last = self.position.load(Ordering::Relaxed);
        let params = json!({"channels": [], "last": last, "options": {"im_presence": true}});
        let answer = self.http.call("/longpolling/poll", &self.session, params, WAIT).await?;
        let answer = answer.as_array().ok_or_else(Trouble::strange)?;
        let mut told = Vec::new();
        for notification in answer {
            let position = notification["id"].as_i64().ok_or_else(Trouble::strange)?;
            if self.position.fetch_max(position, Ordering::Relaxed) >= position {
                told.push(Told::Trouble("bus out of order".into()));
            }
            let message = &notification["message"];
            if let (Some("message"), Some(text), Some(id)) =
                (message["type"].as_str(), message["message"].as_str(), message["id"].as_i64())
            {
                told.push(Told::Message { text: text.to_owned(), id });
            }
        }
        Ok(told)
    }
}

struct Requests {
    http: Http,
    session: String,
}

impl Requests {
    async fn post(&self, seat: &Seat, kind: &str, content: &str) -> Result<Value, Trouble> {
        let params = json!({"uuid": seat.address, "message_type": kind, "message_content": content});
        self.http.call("/im_chat/post", &self.session, params, Duration::ZERO).await
    }
}

#[async_trait]
impl Mouth for Requests {
    async fn say(&self, seat: &Seat, text: &str, _: &str) -> Result<bool, Trouble> {
        match self.post(seat, "message", text).await? {
            Value::Number(_) => Ok(true),
            Value::Bool(false) => Err(Trouble::Refused("no such session".into())),
            _ => Err(Trouble::strange()),
        }
    }

    async fn types(&self, seat: &Seat) -> Result<(), Trouble> {
        self.post(seat, "typing", "...").await.map(drop)
    }

    /// Reading the history marks it as read.
    async fn has_read(&self, seat: &Seat, _: i64) -> Result<(), Trouble> {
        let params = json!({"uuid": seat.address, "limit": 20});
        self.http.call("/im_chat/api/history", &self.session, params, Duration::ZERO).await.map(drop)
    }
}
