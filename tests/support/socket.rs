//! A WebSocket client with a time limit on every read.

use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use serde_json::Value;
use tokio::{net::TcpStream, time::timeout};
use tokio_tungstenite::{
    MaybeTlsStream, WebSocketStream, connect_async,
    tungstenite::{Bytes, Error, Message, client::IntoClientRequest, handshake::client::Response},
};

/// Time limit of a read; only a missing event reaches it.
const PATIENCE: Duration = Duration::from_secs(60);

/// A WebSocket client.
pub struct Socket(WebSocketStream<MaybeTlsStream<TcpStream>>);

impl Socket {
    /// Opens a socket: a URL such as `ws://127.0.0.1:1234/path?token=...`, or a request with headers.
    pub async fn open(request: impl IntoClientRequest + Unpin) -> Self {
        Self::opened(request).await.0
    }

    /// The same as [`Socket::open`], with the handshake response.
    pub async fn opened(request: impl IntoClientRequest + Unpin) -> (Self, Response) {
        let connecting = timeout(PATIENCE, connect_async(request)).await.expect("the server answers");
        let (stream, response) = connecting.expect("the server gives a socket");
        (Self(stream), response)
    }

    /// Makes a handshake that is refused, and returns the status and the body.
    pub async fn refused(request: impl IntoClientRequest + Unpin) -> (u16, Value) {
        let connecting = timeout(PATIENCE, connect_async(request)).await.expect("the server answers");
        match connecting {
            Err(Error::Http(response)) => {
                let body = response.body().as_deref().and_then(|body| serde_json::from_slice(body).ok());
                (response.status().as_u16(), body.unwrap_or_default())
            }
            Err(error) => panic!("the server answers otherwise: {error}"),
            Ok(_) => panic!("the server gives a socket"),
        }
    }

    /// The underlying stream, for unusual operations.
    pub fn into_stream(self) -> WebSocketStream<MaybeTlsStream<TcpStream>> {
        self.0
    }

    pub async fn say(&mut self, frame: Value) {
        self.say_text(&frame.to_string()).await;
    }

    pub async fn say_text(&mut self, text: &str) {
        self.send(Message::text(text)).await;
    }

    pub async fn send(&mut self, message: Message) {
        self.0.send(message).await.expect("the socket is open");
    }

    /// Reads the next text frame as JSON.
    pub async fn hear(&mut self) -> Value {
        serde_json::from_str(&self.hear_text().await).expect("frames are JSON")
    }

    /// Reads the next text frame.
    pub async fn hear_text(&mut self) -> String {
        match self.next().await {
            Message::Text(text) => text.as_str().to_owned(),
            other => panic!("expected a frame of text, not {other:?}"),
        }
    }

    /// Reads up to the next text frame that satisfies `wanted`, and skips others.
    pub async fn hear_until(&mut self, wanted: impl Fn(&Value) -> bool) -> Value {
        loop {
            let frame = self.hear().await;
            if wanted(&frame) {
                return frame;
            }
        }
    }

    /// Reads all frames up to the pong of a new ping, after which every earlier frame is answered.
    pub async fn heard_so_far(&mut self) -> Vec<Value> {
        let mark = Bytes::from_static(b"so far");
        self.send(Message::Ping(mark.clone())).await;
        let mut heard = Vec::new();
        loop {
            let message = timeout(PATIENCE, self.0.next()).await.expect("the server answers");
            match message.expect("the socket is open").expect("the socket works") {
                Message::Pong(answered) if answered == mark => return heard,
                Message::Text(text) => heard.push(serde_json::from_str(&text).expect("frames are JSON")),
                Message::Ping(_) | Message::Pong(_) => {}
                other => panic!("expected text, not {other:?}"),
            }
        }
    }

    /// Reads until the server closes the socket, and returns the code.
    pub async fn closed(self) -> u16 {
        self.farewell().await.0
    }

    /// The same with the reason.
    pub async fn farewell(mut self) -> (u16, String) {
        loop {
            if let Message::Close(frame) = self.next().await {
                return frame.map_or((1005, String::new()), |frame| (frame.code.into(), frame.reason.to_string()));
            }
        }
    }

    /// Closes the socket, and waits for the server's close frame.
    pub async fn close(mut self) {
        self.0.close(None).await.expect("the socket is open");
        while let Ok(Some(Ok(_))) = timeout(PATIENCE, self.0.next()).await {}
    }

    /// Reads the next message, except for pings and pongs, which the library answers.
    async fn next(&mut self) -> Message {
        loop {
            let message = timeout(PATIENCE, self.0.next()).await.expect("the server says something");
            match message.expect("the socket is open").expect("the socket works") {
                Message::Ping(_) | Message::Pong(_) => {}
                message => return message,
            }
        }
    }
}
