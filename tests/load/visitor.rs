//! Virtual user of the load generator: HTTP calls and sockets with a switch to the next address after each failure.

use std::{
    net::SocketAddr,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use futures_util::{SinkExt, StreamExt};
use reqwest::{
    StatusCode,
    header::{AUTHORIZATION, CONTENT_TYPE, COOKIE},
};
use serde_json::{Value, json};
use tokio::{net::TcpStream, time::timeout};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async, tungstenite::Message};

use super::Troubles;
use crate::support::{http, token};

/// Pause between two tries.
const PAUSE: Duration = Duration::from_millis(50);
/// Time-out of a read, longer than any poll waits.
const PATIENCE: Duration = Duration::from_secs(90);

/// A client of one user at one of the addresses.
#[derive(Clone)]
pub struct Visitor {
    http: reqwest::Client,
    doors: Arc<[SocketAddr]>,
    door: usize,
    session: String,
    token: String,
    pub(super) troubles: Arc<Troubles>,
}

impl Visitor {
    pub fn new(doors: &Arc<[SocketAddr]>, door: usize, uid: i64, session: &str, troubles: &Arc<Troubles>) -> Self {
        let (doors, troubles) = (Arc::clone(doors), Arc::clone(troubles));
        Self { http: http(), doors, door, session: session.to_owned(), token: token(uid), troubles }
    }

    fn address(&self) -> SocketAddr {
        self.doors[self.door % self.doors.len()]
    }

    /// Switches to the next address after a pause.
    pub async fn turn_away(&mut self) {
        self.door += 1;
        self.pause().await;
    }

    pub async fn pause(&self) {
        tokio::time::sleep(PAUSE).await;
    }

    /// A JSON-RPC call with its whole answer; `None` if the connection broke, or if a proxy answered in the server's place.
    pub async fn call(&mut self, path: &str, params: Value) -> Option<Value> {
        let request = self.http.post(format!("http://{}{path}", self.address())).header(CONTENT_TYPE, "application/json");
        let request = request.header(COOKIE, format!("session_id={}", self.session));
        let answer = whole(request.body(json!({"id": 1, "params": params}).to_string())).await;
        self.or_broken(answer).await
    }

    /// A `GET` with the bearer token.
    pub async fn get(&mut self, path: &str) -> Option<Value> {
        let request = self.http.get(format!("http://{}{path}", self.address()));
        let answer = whole(request.header(AUTHORIZATION, format!("Bearer {}", self.token))).await;
        self.or_broken(answer).await
    }

    async fn or_broken(&mut self, answer: Option<Value>) -> Option<Value> {
        if answer.is_none() {
            self.troubles.broken.fetch_add(1, Ordering::Relaxed);
            self.turn_away().await;
        }
        answer
    }

    /// The token for a socket's address.
    pub fn token(&self) -> &str {
        &self.token
    }

    /// Opens a socket at a path that includes its query; `None` if that fails.
    pub async fn open(&mut self, path: &str) -> Option<Line> {
        let connecting = connect_async(format!("ws://{}{path}", self.address()));
        match timeout(PATIENCE, connecting).await {
            Ok(Ok((stream, _))) => Some(Line(stream)),
            Ok(Err(_)) | Err(_) => {
                self.closed().await;
                None
            }
        }
    }

    /// Counts a lost socket, and switches to the next address.
    pub async fn closed(&mut self) {
        self.troubles.closed.fetch_add(1, Ordering::Relaxed);
        self.turn_away().await;
    }
}

async fn whole(request: reqwest::RequestBuilder) -> Option<Value> {
    let response = request.timeout(PATIENCE).send().await.ok()?;
    let status = response.status();
    let text = response.text().await.ok()?;
    // The server always answers in JSON, a proxy does not.
    let answer = serde_json::from_str(&text).ok();
    answer.filter(|_| status == StatusCode::OK || status == StatusCode::SERVICE_UNAVAILABLE)
}

/// An open socket.
pub struct Line(WebSocketStream<MaybeTlsStream<TcpStream>>);

impl Line {
    /// Sends a frame; `None` if the socket is closed.
    pub async fn say(&mut self, frame: Value) -> Option<()> {
        self.0.send(Message::text(frame.to_string())).await.ok()
    }

    /// The next frame; `None` if the socket is closed or silent for too long.
    pub async fn hear(&mut self) -> Option<Value> {
        loop {
            match timeout(PATIENCE, self.0.next()).await.ok()?? {
                Ok(Message::Text(text)) => return Some(serde_json::from_str(&text).expect("frames are JSON")),
                Ok(Message::Ping(_) | Message::Pong(_)) => {}
                Ok(Message::Binary(_) | Message::Close(_) | Message::Frame(_)) | Err(_) => return None,
            }
        }
    }

    /// Sends a ping and waits for its pong, which proves that the server has registered the socket. Returns the frames before
    /// it; `None` if the socket is closed.
    pub async fn listens(&mut self) -> Option<Vec<Value>> {
        self.0.send(Message::Ping("listening?".into())).await.ok()?;
        let mut said = Vec::new();
        loop {
            match timeout(PATIENCE, self.0.next()).await.ok()?? {
                Ok(Message::Text(text)) => said.push(serde_json::from_str(&text).expect("frames are JSON")),
                Ok(Message::Pong(_)) => return Some(said),
                Ok(Message::Ping(_)) => {}
                Ok(Message::Binary(_) | Message::Close(_) | Message::Frame(_)) | Err(_) => return None,
            }
        }
    }
}
